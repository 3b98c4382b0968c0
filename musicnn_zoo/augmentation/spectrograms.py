"""SpecAugment as Kapre draws it, for training that can be resumed, on every backend."""

from __future__ import annotations

from math import log10
from typing import Any

import keras
from keras import ops

from musicnn_zoo.augmentation.checks import check_count, check_number
from musicnn_zoo.augmentation.randomness import ReplicaSeedGenerator
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.config import LogMelInput
from musicnn_zoo.networks.mel import DECIBEL_FLOOR


@keras.saving.register_keras_serializable(package="musicnn_zoo")
class SpecAugment(keras.layers.Layer):
    """Masks random stretches of frames and bands of spectrograms in training.

    Takes and gives ``(batch, frames, bands, channels)``; in training it covers random stretches
    of frames and of bands, and is the identity otherwise. The masks are drawn as
    ``kapre.SpecAugment`` draws them, for each example anew: a mask is 1 to ``freq_mask`` bands
    wide (the paper has 0 to ``freq_mask``), every width and every place equally likely,
    and masks may overlap. It differs in that

    - its random numbers come from a seed generator whose state is among the variables of the
      model, so that training can be resumed exactly;
    - the masks of a batch are made at once, not one after the other;
    - all channels, which are spectrograms of the same signal, have the same masks;
    - frames alone, or bands alone, can be masked;
    - inputs of unknown length may be shorter than ``time_mask``: the longest mask is then all
      of the input.

    It works in the precision of its input.

    Parameters
    ----------
    freq_mask, time_mask : int
        Largest width of a mask, in bands and in frames: F and T of the paper, Kapre's
        ``freq_mask_param`` and ``time_mask_param``. With 0 there are no such masks.
    n_freq_masks, n_time_masks : int
        How many masks each example has: m_F and m_T of the paper.
    mask_value : float, optional
        What stands under a mask. By default silence: in a model made by
        :func:`musicnn_zoo.augment` that of its log-mel (``value_of_silence``), elsewhere 0, as in
        Kapre. Silence is the one value that means "nothing heard here" before any normalization;
        the paper's mean of the data is not known to the graph.
    seed : int, optional
        Of the layer's own seed generator; by default a random one.

    Raises
    ------
    ArgumentError
        If an argument cannot be, nothing would be masked, or a mask can be wider than the input.

    References
    ----------
    Park et al. "SpecAugment: a simple data augmentation method for automatic speech
    recognition." Interspeech 2019.
    """

    def __init__(
        self,
        freq_mask: int,
        time_mask: int,
        n_freq_masks: int = 1,
        n_time_masks: int = 1,
        mask_value: float | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        bands = check_count("freq_mask", freq_mask), check_count("n_freq_masks", n_freq_masks)
        frames = check_count("time_mask", time_mask), check_count("n_time_masks", n_time_masks)
        if not all(bands) and not all(frames):
            raise ArgumentError(
                "SpecAugment would mask nothing: give it a freq_mask or a time_mask above 0; "
                f"received {freq_mask!r} ({n_freq_masks!r} masks) and {time_mask!r} "
                f"({n_time_masks!r} masks)"
            )
        super().__init__(autocast=False, **kwargs)
        self.freq_mask, self.n_freq_masks = bands
        self.time_mask, self.n_time_masks = frames
        self.mask_value = None if mask_value is None else check_number("mask_value", mask_value)
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Refuse inputs that are no spectrograms, or smaller than a mask can be."""
        if len(input_shape) != 4:
            raise ArgumentError(
                "SpecAugment takes spectrograms (batch, frames, bands, channels); received the "
                f"shape {tuple(input_shape)}"
            )
        self._check_room(input_shape)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Mask the spectrograms in training, and return them as they are otherwise."""
        if not training:
            return x
        self._check_room(x.shape)
        count, frames, bands = ops.shape(x)[:3]
        masked = ops.logical_or(
            self._draw(count, frames, self.time_mask, self.n_time_masks)[:, :, None, None],
            self._draw(count, bands, self.freq_mask, self.n_freq_masks)[:, None, :, None],
        )
        value = 0.0 if self.mask_value is None else self.mask_value
        return ops.where(masked, ops.cast(value, x.dtype), x)

    def _draw(self, count: Any, length: Any, widest: int, n_masks: int) -> Any:
        """Draw masks as Kapre's ``_generate_axis_mask`` does; shape (count, length)."""
        if widest == 0 or n_masks == 0:
            return ops.zeros((count, length), dtype="bool")
        ends = keras.random.uniform(
            (2, count, n_masks, 1), dtype="float32", seed=self.seed_generator
        )
        widest = ops.cast(ops.minimum(widest, length), "float32")
        width = ops.floor(ends[0] * widest)
        start = ops.floor(ends[1] * (ops.cast(length, "float32") - width))
        place = ops.cast(ops.arange(length), "float32")
        inside = ops.logical_and(place >= start, place <= start + width)
        return ops.any(inside, axis=1)

    def _check_room(self, shape: Any) -> None:
        for name, widest, n_masks, axis, what in (
            ("time_mask", self.time_mask, self.n_time_masks, 1, "frames"),
            ("freq_mask", self.freq_mask, self.n_freq_masks, 2, "bands"),
        ):
            if n_masks and shape[axis] is not None and widest > shape[axis]:
                raise ArgumentError(
                    f"{name} must be at most the {shape[axis]} {what} of the input; "
                    f"received {widest}"
                )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def compute_output_spec(self, x: Any, training: bool | None = None) -> Any:
        """Return shape and dtype of the input."""
        del training
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "freq_mask": self.freq_mask,
            "time_mask": self.time_mask,
            "n_freq_masks": self.n_freq_masks,
            "n_time_masks": self.n_time_masks,
            "mask_value": self.mask_value,
            "seed": self.seed,
        }


def value_of_silence(spectrogram: LogMelInput) -> float:
    """Return the log-mel of no sound: 0 for ``log10``, -100 dB for ``decibel``."""
    return 0.0 if spectrogram.compression == "log10" else 10 * log10(DECIBEL_FLOOR)
