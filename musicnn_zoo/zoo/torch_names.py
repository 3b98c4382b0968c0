"""From the names and shapes of other people's PyTorch checkpoints to those of our layers.

``musicnn-pytorch``
    The Hugging Face repository ``oriyonay/musicnn-pytorch``: musicnn's own weights. Its maps
    are (batch, channels, frames, bands).
``sota-music-tagging-models``
    Won, Ferraro, Bogdanov, Serra. "Evaluation of CNN-based automatic music tagging models." SMC
    2020. Its maps are (batch, channels, bands, frames).

PyTorch stores a convolution as (out, in, …), a dense layer as (out, in), and a GRU's gates in
the order reset, update, new, where Keras has update, reset, new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.zoo.checkpoints import Arrays

MapAxes = Literal["frames_bands", "bands_frames"]

BATCHNORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


@dataclass(frozen=True)
class TorchNames:
    """How one family of checkpoints names and lays out its weights.

    Parameters
    ----------
    modules : mapping of str to str
        PyTorch module to Keras layer.
    map_axes : {"frames_bands", "bands_frames"}
        Order of the last two axes of its maps.
    recurrent : str
        Module of the GRU layers, if there are any.
    buffers : tuple of str
        Beginnings of names that hold no weights.
    """

    modules: Mapping[str, str]
    map_axes: MapAxes
    recurrent: str | None = None
    buffers: tuple[str, ...] = ()

    def fits(self, names: set[str]) -> bool:
        """Whether a checkpoint has all the modules."""
        owners = {name.rpartition(".")[0] for name in names}
        wanted = {*self.modules, *([self.recurrent] if self.recurrent else [])}
        return wanted <= owners

    def translate(self, state: Mapping[str, NDArray[Any]]) -> Arrays:
        """Arrays by the names of Keras's variables, in Keras's layout.

        A name that has no place is kept as it is, so that whoever loads the arrays refuses it.
        """
        translated: Arrays = {}
        gru: Arrays = {}
        for name, value in state.items():
            module, _, part = name.rpartition(".")
            if part == "num_batches_tracked" or name.startswith(self.buffers):
                continue
            if module == self.recurrent:
                gru[part] = value
            elif module not in self.modules:
                translated[name] = value
            else:
                layer = self.modules[module]
                is_batchnorm = f"{module}.running_mean" in state
                ours = BATCHNORM.get(part) if is_batchnorm else _KERNEL.get(part)
                transposed = value if part != "weight" or is_batchnorm else self._kernel(value)
                translated[f"{layer}/{ours}" if ours else name] = transposed
        return translated | _gru(gru)

    def _kernel(self, weight: NDArray[Any]) -> NDArray[Any]:
        if weight.ndim == 4 and self.map_axes == "bands_frames":
            weight = weight.swapaxes(2, 3)
        return np.transpose(weight, (*range(2, weight.ndim), 1, 0))


_KERNEL = {"weight": "kernel", "bias": "bias"}


def _gru(values: Arrays) -> Arrays:
    """Weights of stacked GRU layers; the last is the layer ``last_state``."""
    depth = sum(name.startswith("weight_ih_l") for name in values)
    translated: Arrays = {}
    for number in range(depth):
        layer = "last_state" if number == depth - 1 else f"backend_gru{number + 1}"

        def gates(part: str, number: int = number) -> NDArray[Any]:
            reset, update, new = np.split(values[f"{part}_l{number}"], 3)
            return np.concatenate([update, reset, new])

        translated |= {
            f"{layer}/gru_cell/kernel": gates("weight_ih").T,
            f"{layer}/gru_cell/recurrent_kernel": gates("weight_hh").T,
            f"{layer}/gru_cell/bias": np.stack([gates("bias_ih"), gates("bias_hh")]),
        }
    return translated


def _convolutions(layers: Mapping[str, str]) -> dict[str, str]:
    """Modules that hold a convolution ``conv`` and a BatchNorm ``bn``."""
    return {
        f"{module}.{part}": f"{layer}{suffix}"
        for module, layer in layers.items()
        for part, suffix in (("conv", ""), ("bn", "_bn"))
    }


MUSICNN_PYTORCH = TorchNames(
    {
        "bn_input": "input_bn",
        **_convolutions(
            {
                "timbral_1.conv_block": "frontend_timbral_38",
                "timbral_2.conv_block": "frontend_timbral_67",
                "temp_1.conv_block": "frontend_temporal_128",
                "temp_2.conv_block": "frontend_temporal_64",
                "temp_3.conv_block": "frontend_temporal_32",
            }
        ),
        "midend.c1_conv": "midend_conv1",
        "midend.c1_bn": "cnn1",
        "midend.c2_conv": "midend_conv2",
        "midend.c2_bn": "midend_conv2_bn",
        "midend.c3_conv": "midend_conv3",
        "midend.c3_bn": "midend_conv3_bn",
        "backend.bn_in": "backend_bn",
        "backend.fc1": "backend_dense",
        "backend.bn_fc1": "penultimate",
        "backend.fc2": "logits",
    },
    map_axes="frames_bands",
)

_SOTA: dict[str, Any] = {"map_axes": "bands_frames", "buffers": ("spec.",)}

SOTA_FCN = TorchNames(
    {
        "spec_bn": "input_bn",
        **_convolutions(
            {
                "layer1": "frontend_conv1",
                **{f"layer{number}": f"backend_conv{number - 1}" for number in range(2, 6)},
            }
        ),
        "dense": "logits",
    },
    **_SOTA,
)
SOTA_CRNN = TorchNames(
    {
        "spec_bn": "input_bn",
        **_convolutions({f"layer{number}": f"frontend_conv{number}" for number in range(1, 5)}),
        "dense": "logits",
    },
    recurrent="layer5",
    **_SOTA,
)
SOTA_MUSICNN = TorchNames(
    {
        "spec_bn": "input_bn",
        **_convolutions(
            {
                "layers.0": "frontend_timbral_67",
                "layers.1": "frontend_timbral_38",
                "layers.2": "frontend_temporal_129",
                "layers.3": "frontend_temporal_65",
                "layers.4": "frontend_temporal_33",
                "layer1": "midend_conv1",
                "layer2": "midend_conv2",
                "layer3": "midend_conv3",
            }
        ),
        "dense1": "backend_dense",
        "bn": "backend_dense_bn",
        "dense2": "logits",
    },
    **_SOTA,
)

FAMILIES = (MUSICNN_PYTORCH, SOTA_FCN, SOTA_CRNN, SOTA_MUSICNN)


def from_torch(state: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Translate a checkpoint of a family that we know; leave any other as it is.

    Parameters
    ----------
    state : dict of str to ndarray
    shapes : mapping of str to tuple of int
        Of the variables that the arrays are for. An array that differs by axes of length one,
        as a convolution over all bands does from one over time, gets the shape it is to have.
    """
    for family in FAMILIES:
        if family.fits(set(state)):
            translated = family.translate(state)
            return {
                name: _without_idle_axes(value, shapes.get(name))
                for name, value in translated.items()
            }
    return state


def _without_idle_axes(value: NDArray[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
    def busy(axes: tuple[int, ...]) -> list[int]:
        return [length for length in axes if length != 1]

    return value if shape is None or busy(value.shape) != busy(shape) else value.reshape(shape)
