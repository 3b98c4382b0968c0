"""Recurrent networks: a deep temporal model sums up the sequence.

References
----------
Vogl, Dorfer, Widmer, Knees. "Drum transcription via joint beat and drum modeling using
convolutional recurrent neural networks." ISMIR 2017 (2018 in the tutorial; three bidirectional
GRU layers). Choi, Fazekas, Sandler, Cho.
"Convolutional recurrent neural networks for music classification." ICASSP 2017. Pons, Serra.
musicnn-training, 2019 (two LSTM layers of 512).
"""

from __future__ import annotations

from typing import Any, Literal

from keras import layers

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.networks.head import head

Cell = Literal["lstm", "gru"]
CELLS: tuple[Cell, ...] = ("lstm", "gru")


def recurrent(
    x: Any,
    *,
    n_tags: int,
    activation: str | None,
    cell: Cell = "lstm",
    cell_units: int = 512,
    depth: int = 2,
    bidirectional: bool = False,
    units: int | None = 200,
    input_bn: bool = True,
    dropout: float = 0.5,
) -> Any:
    """Run recurrent layers over time and take the last state.

    The defaults are musicnn-training's. ``cell="gru", cell_units=32, units=None`` is Won et al.'s
    CRNN, ``cell="gru", depth=3, bidirectional=True`` the shape of Vogl et al.

    Parameters
    ----------
    x : tensor, shape (batch, frames, channels)
        Masked frames are passed over.
    n_tags : int
    activation : {"sigmoid", "softmax"} or None
    cell : {"lstm", "gru"}
    cell_units : int
        Of each layer and direction.
    depth : int
        Layers.
    bidirectional : bool
        Whether each layer also runs backwards; the two outputs are concatenated.
    units, input_bn, dropout
        See :func:`musicnn_zoo.networks.head.head`.

    Returns
    -------
    tensor, shape (batch, n_tags)
        Endpoints ``last_state`` (batch, cell_units or twice that) and ``penultimate``
        (batch, units).
    """
    if cell not in CELLS:
        raise ArgumentError(f"cell must be one of {', '.join(CELLS)}; received {cell!r}")
    if depth < 1:
        raise ArgumentError(f"depth must be at least 1; received {depth}")
    make = layers.LSTM if cell == "lstm" else layers.GRU
    for number in range(1, depth + 1):
        last = number == depth
        name = "last_state" if last else f"backend_{cell}{number}"
        inner = f"backend_{cell}{number}" if bidirectional else name
        layer = make(cell_units, return_sequences=not last, name=inner)
        x = (layers.Bidirectional(layer, name=name) if bidirectional else layer)(x)
    return head(
        x, n_tags=n_tags, activation=activation, units=units, input_bn=input_bn, dropout=dropout
    )
