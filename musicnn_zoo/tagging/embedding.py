"""Activations of the layers of a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.tagging.clip import Clip
from musicnn_zoo.tagging.forms import plain_floats, require_pandas

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Embedding:
    """Activations of one layer as vectors.

    Parameters
    ----------
    values : ndarray, float32
        Shape (dimensions,) for a clip, or (patches, dimensions) if ``pooling`` is None.
    times : ndarray, shape (patches,)
        Start of each patch in seconds.
    layer : str
    pooling : {"mean", "max"} or None
        How patches became one vector.
    patch_s, hop_s : float
        Length of a patch and distance between two starts, in seconds.
    model : str
    clip : Clip
    """

    values: NDArray[np.float32]
    times: NDArray[np.float64]
    layer: str
    pooling: str | None
    patch_s: float
    hop_s: float
    model: str
    clip: Clip

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)

    def to_dict(self) -> dict[str, Any]:
        """Return the vectors as lists with what they are, ready for JSON."""
        return {
            **self.clip.to_dict(),
            "model": self.model,
            "layer": self.layer,
            "pooling": self.pooling,
            "patch_s": self.patch_s,
            "hop_s": self.hop_s,
            "times": self.times.tolist(),
            "values": plain_floats(self.values),
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row a vector, indexed by time, or by source if pooled (needs pandas)."""
        if self.pooling is None:
            return require_pandas().DataFrame(
                self.values, index=require_pandas().Index(self.times, name="time_s")
            )
        return require_pandas().DataFrame(self.values[np.newaxis], index=[self.clip.source])

    def __repr__(self) -> str:
        pooled = f"{self.pooling} over {len(self.times)} patches" if self.pooling else "one a patch"
        return (
            f"<Embedding of {self.clip.describe()}: {self.model} {self.layer}, {pooled}, "
            f"shape {self.values.shape}>"
        )


@dataclass(frozen=True, eq=False)
class Features(Mapping[str, NDArray[np.float32]]):
    """Activations of several layers: a mapping from layer name to array.

    Parameters
    ----------
    values_by_layer : dict of str to ndarray
        Each ``(patches, …)``: ``(patches, frames, channels)`` where the layer has a time
        axis.
    times : ndarray, shape (patches,)
        Start of each patch in seconds.
    patch_s, hop_s : float
        Length of a patch and distance between two starts, in seconds.
    model : str
    clip : Clip
    """

    values_by_layer: dict[str, NDArray[np.float32]]
    times: NDArray[np.float64]
    patch_s: float
    hop_s: float
    model: str
    clip: Clip

    def __getitem__(self, layer: str) -> NDArray[np.float32]:
        return self.values_by_layer[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_layer)

    def __len__(self) -> int:
        return len(self.values_by_layer)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.items())
        return f"<Features of {self.clip.describe()}: {self.model}, {shapes}>"
