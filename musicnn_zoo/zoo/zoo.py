"""Pretrained models as Keras models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from musicnn_zoo.errors import ArgumentError, WeightsError
from musicnn_zoo.zoo.catalogue import Preset, get_preset
from musicnn_zoo.zoo.downloads import sha256_of
from musicnn_zoo.zoo.pretrained import find_pretrained
from musicnn_zoo.zoo.sources import SourceKind
from musicnn_zoo.zoo.weights import load_into

if TYPE_CHECKING:
    from musicnn_zoo.networks.models import TaggingModel


def load_model(
    model: str | os.PathLike[str],
    *,
    source: SourceKind | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> TaggingModel:
    """Load a pretrained model.

    Parameters
    ----------
    model : str or path
        One of :func:`musicnn_zoo.list_models`; ``"hf://user/repository"`` or
        ``"hf://user/repository@revision"``, a model on the Hugging Face Hub; or a folder. The last
        two are as :func:`musicnn_zoo.save_pretrained` writes them; loading them runs no code of
        theirs.
    source : {"bundled", "hub", "web"}, optional
        Where to take the weights of a model of the list from, if there are several sources; by
        default from the package if they are bundled. What is downloaded is kept.
    weights : str or path, optional
        A local file of weights for a model of the list instead of its own: .weights.h5 of
        Keras, .safetensors, or a PyTorch checkpoint .pt or .pth of the families in
        :mod:`musicnn_zoo.zoo.torch_names` (``pip install "musicnn-zoo[torch]"``).

    Returns
    -------
    TaggingModel
        A functional ``keras.Model`` from waveforms ``(batch, samples)``, float in ±1 at
        ``model.zoo_config.input.sample_rate``, to tag probabilities ``(batch, tags)``. ``musicnn``
        takes any number of samples from 512 on and was trained on 48,128; ``vgg`` takes 48,128
        only. The tags stand in ``model.tags``, the layers worth looking at in
        ``model.endpoints``, and in ``model.provenance`` what it was trained on.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    ArgumentError
        If ``source`` or ``weights`` do not go with the model.
    WeightsError
        If a file of weights is missing, damaged, not the one it should be, or does not fit.
    DownloadError
        If a file cannot be downloaded.

    References
    ----------
    Pons, Serra. "musicnn: Pre-trained convolutional neural networks for music audio
    tagging." ISMIR late-breaking 2019. Won, Ferraro, Bogdanov, Serra. "Evaluation of CNN-based
    automatic music tagging models." SMC 2020.

    Examples
    --------
    >>> import musicnn_zoo
    >>> model = musicnn_zoo.load_model("MTT_musicnn")
    >>> model.output_shape
    (None, 50)
    """
    if weights is None:
        return find_pretrained(model, source=source).load()
    if source is not None:
        raise ArgumentError(
            f"source and weights exclude each other; received source={source!r} and "
            f"weights={os.fspath(weights)!r}"
        )
    return _with_weights(get_preset(os.fspath(model)), Path(weights))


def _with_weights(preset: Preset, path: Path) -> TaggingModel:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file of weights")
    from musicnn_zoo.networks.models import build_model

    ours = {file.sha256 for file in preset.sources}
    provenance = find_pretrained(preset.name).provenance if sha256_of(path) in ours else None
    model = build_model(preset.config, tags=preset.tags, name=preset.name, provenance=provenance)
    load_into(model, path)
    return model
