"""Pretrained models by name."""

from __future__ import annotations

from musicnn_zoo.models import TaggingModel, build_model
from musicnn_zoo.presets import get_preset
from musicnn_zoo.weights import load_into, resolve


def load_model(name: str) -> TaggingModel:
    """Load a pretrained model.

    Parameters
    ----------
    name : str
        One of :func:`musicnn_zoo.list_models`.

    Returns
    -------
    TaggingModel
        A functional ``keras.Model`` from waveforms ``(batch, samples)``, float in ±1 at 16 kHz,
        to tag probabilities ``(batch, 50)``. ``musicnn`` takes any number of samples from
        512 on and was trained on 48,128; ``vgg`` takes 48,128 only. The tags stand in
        ``model.tags``, the layers worth looking at in ``model.endpoints``.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    WeightsError
        If the weights file is missing, damaged, or does not fit.

    References
    ----------
    Pons, Serra. "musicnn: Pre-trained convolutional neural networks for music audio
    tagging." ISMIR late-breaking 2019.

    Examples
    --------
    >>> import musicnn_zoo
    >>> model = musicnn_zoo.load_model("MTT_musicnn")
    >>> model.output_shape
    (None, 50)
    """
    preset = get_preset(name)
    path = resolve(preset)
    model = build_model(preset.config, tags=preset.tags, name=name)
    load_into(model, path)
    return model
