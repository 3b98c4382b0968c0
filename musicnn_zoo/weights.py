"""From a preset to a verified weights file, and from that into a model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from musicnn_zoo.errors import WeightsError
from musicnn_zoo.presets import PinnedFile, Preset

if TYPE_CHECKING:
    import keras


def bundled_folder() -> Path:
    """Folder of the bundled weights.

    A wheel carries them as ``musicnn_zoo/bundled``; in a checkout, and in an editable
    install of one, they lie in ``weights`` beside the package.
    """
    package = Path(__file__).parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "weights"


def resolve(preset: Preset) -> Path:
    """Find the weights file of a preset and verify it.

    Returns
    -------
    Path
        A file whose SHA-256 is the preset's.

    Raises
    ------
    WeightsError
        If the file is missing or its bytes are not those of the preset.
    """
    return _verified(preset.weights)


def resolve_graph(preset: Preset) -> Path:
    """Find the ONNX graph of a preset that has one and verify it, as :func:`resolve` does."""
    if preset.graph is None:
        raise WeightsError(f"{preset.name} has no ONNX graph of its own")
    return _verified(preset.graph)


def _verified(file: PinnedFile) -> Path:
    path = bundled_folder() / file.name
    verify(path, file.sha256)
    return path


def verify(path: Path, sha256: str) -> None:
    """Compare the SHA-256 of a file with the one expected.

    Raises
    ------
    WeightsError
        If they differ, or the file cannot be read.
    """
    try:
        received = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path}: the file cannot be read ({error.strerror}); install the package again"
        ) from error
    if received != sha256:
        raise WeightsError(
            f"{path}: the file is damaged or was changed; its SHA-256 must be {sha256}, "
            f"received {received}; install the package again"
        )


def load_into(model: keras.Model, path: Path) -> None:
    """Load a ``.weights.h5`` file into a model of the same architecture.

    Raises
    ------
    WeightsError
        If the file does not fit the model.
    """
    try:
        model.load_weights(path)
    except Exception as error:
        summary = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path}: does not fit the model {model.name}: {summary}") from error
