"""What is installed, and the command that brings what is not."""

from __future__ import annotations

import importlib.util

from musicnn_zoo.errors import MissingPackageError

_BACKENDS = ("tensorflow", "jax", "torch")


def require_keras(what: str) -> None:
    """Refuse what needs Keras where it, or all that it can run on, is not installed.

    Nothing is imported, so that this takes no time.

    Parameters
    ----------
    what : str
        What needs it, at the beginning of the message.

    Raises
    ------
    MissingPackageError
        If Keras is missing; the message has the command that brings it.
    """
    if not _is_installed("keras") or not any(map(_is_installed, _BACKENDS)):
        raise MissingPackageError(
            f"{what} needs Keras, which is not installed: pip install tensorflow"
        )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
