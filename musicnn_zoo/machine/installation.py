"""What is installed, and the command that brings what is not.

Keras, TensorFlow and scikit-learn are dependencies, but a light installation goes without them:
see ``docs/light.md``.
"""

from __future__ import annotations

import importlib.util

from musicnn_zoo.errors import MissingPackageError

_BACKENDS = {"tensorflow": "tensorflow", "jax": "keras jax", "torch": "keras torch"}
"""What Keras runs on, and what brings both."""
_KERAS = "Keras", _BACKENDS["tensorflow"]
_SKLEARN = "scikit-learn", "scikit-learn"
_NAMES_AND_PACKAGES = {"keras": _KERAS, "tensorflow": _KERAS, "sklearn": _SKLEARN}


def has_keras() -> bool:
    """Whether Keras and something that it can run on are installed.

    Nothing is imported, so that this takes no time.
    """
    return _is_installed("keras") and any(map(_is_installed, _BACKENDS))


def require_keras(what: str, *, backend: str = "tensorflow") -> None:
    """Refuse what needs Keras where :func:`has_keras` is false.

    Parameters
    ----------
    what : str
        What needs it, at the beginning of the message.
    backend : {"tensorflow", "jax", "torch"}
        What Keras would run on.

    Raises
    ------
    MissingPackageError
        If Keras is missing; the message has the command that brings it.
    """
    if not has_keras():
        raise _missing(what, "Keras", _BACKENDS[backend])


def require_sklearn(what: str) -> None:
    """Refuse what needs scikit-learn where it is not installed; see :func:`require_keras`.

    Raises
    ------
    MissingPackageError
        If it is missing; the message has the command that brings it.
    """
    if not _is_installed("sklearn"):
        raise _missing(what, *_SKLEARN)


def explained(error: ModuleNotFoundError, what: str) -> ModuleNotFoundError | MissingPackageError:
    """Say in one line what a failed import means, if a light installation goes without the module.

    Parameters
    ----------
    error : ModuleNotFoundError
    what : str
        What needed it.

    Returns
    -------
    MissingPackageError
        With the command that brings it; or ``error``, if the module is another.
    """
    module = (error.name or "").partition(".")[0]
    if module not in _NAMES_AND_PACKAGES:
        return error
    return _missing(what, *_NAMES_AND_PACKAGES[module])


def _missing(what: str, name: str, package: str) -> MissingPackageError:
    return MissingPackageError(
        f"{what} needs {name}, which is not installed: pip install {package}"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
