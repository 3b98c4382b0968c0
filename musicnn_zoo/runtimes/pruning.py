"""Drop channels that are constant whatever is played, and keep what a model computes.

Training with a penalty on weights leaves filters of zero, and ReLUs that are never on. What they
give is the same number at every moment of every recording. So the layers that follow can have it
once and for all: in the bias of a dense layer or of a convolution without padding, and otherwise as
one channel of ones for all, which ends where the map ends, as the constants did.

Which channels these are is not taken from recordings, but proved from the weights, in three steps
(what each kind of layer has to do with them is in ``runtimes/channels.py``).

1. Forwards: between which values does every channel lie, for any waveform? The log-mel is bounded
   since its waveform is, and so is all that follows.
2. Backwards: by how much can a score change if a channel changes by one? At most by the absolute
   weights that lead there.
3. A channel that has one value only is dropped. So are channels that have so little room, or so
   little influence, that all of them together move no score by more than the tolerance, and
   no number that is asked for of a layer on the way.

Moore, Kearfott, Cloud. "Introduction to Interval Analysis." SIAM, 2009. Gouk, Frank, Pfahringer,
Cree. "Regularisation of neural networks by enforcing Lipschitz continuity." Machine Learning 110,
2021.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from musicnn_zoo.networks.build import finish_normalization
from musicnn_zoo.runtimes.channels import (
    Flags,
    Floats,
    Part,
    Range,
    Rule,
    Separate,
    Source,
    Wanted,
    Weighted,
    product,
    rule_of,
    with_constants,
)

TOLERANCE = 1e-5
"""By how much all dropped channels together may move a score."""
_MOST_COLUMNS = 2000
BLOCK = 16
"""So many channels runtimes compute and pool at once."""


@dataclass(frozen=True)
class Pruned:
    """A model without the channels that are constant.

    Parameters
    ----------
    model : keras.Model
        Its output is that of the whole model, or, if layers were to be kept, a dictionary of
        ``output`` and of their outputs by name, which have all channels.
    bound : float
        No score differs by more than that from the whole model's, apart from rounding, whatever the
        waveform is, of samples in ±10.
    living : dict of str to ndarray of bool
        Which filters of each convolution, or units of each dense layer, are needed.
    """

    model: keras.Model
    bound: float
    living: dict[str, Flags]

    @property
    def filters(self) -> dict[str, tuple[int, int]]:
        """How many filters of each convolution, or units of each dense layer, of how many."""
        return {name: (int(each.sum()), len(each)) for name, each in self.living.items()}


def prune(
    model: keras.Model,
    *,
    keep: Collection[str] = (),
    tolerance: float = TOLERANCE,
    block: int = BLOCK,
) -> Pruned:
    """Copy a functional model without the channels that are constant; see the module.

    A model stays whole if it has weights that are NaN or infinite, or is more than layers that are
    called once and give one tensor.

    Parameters
    ----------
    model : keras.Model
        Of one input.
    keep : collection of str
        Layers whose outputs keep all their channels.
    tolerance : float
        By how much a score may differ, and any number of the layers that are kept.
    block : int
        The number of filters of a convolution that is made smaller is a multiple of it, as
        runtimes compute so many at once. The last ones give the channel of ones.
    """
    nodes = _nodes_of(model) if _has_numbers(model) else None
    if nodes is None:
        output = model.output
        if keep:
            output = {"output": output} | {name: model.get_layer(name).output for name in keep}
        return Pruned(keras.Model(model.input, output, name=model.name), 0.0, _all_living(model))
    outputs = [id(one) for one in keras.tree.flatten(model.output)]
    kept = [id(model.get_layer(name).output) for name in keep]
    needed, bound = _needed(nodes, outputs, kept, tolerance)
    living = {}
    for node in nodes:
        if isinstance(node.rule, Weighted):
            left = needed[node.output]
            living[node.name] = left.copy()
            count = int(left.sum())
            if count + node.rule.spare(count, block) >= len(left):
                left[:] = True
    parts, whole = _rebuilt(model, nodes, needed, {*outputs, *kept}, block)
    output = keras.tree.map_structure(lambda one: whole[id(one)], model.output)
    if keep:
        output = {"output": output} | dict(zip(keep, map(whole.get, kept), strict=True))
    pruned = keras.Model(parts[id(model.input)].tensor, output, name=model.name)
    finish_normalization(pruned)
    return Pruned(pruned, bound, living)


@dataclass(frozen=True)
class _Node:
    """A layer as it is called in a model: the tensors before and after it, and its rule."""

    name: str
    inputs: list[int]
    output: int
    rule: Rule


def _has_numbers(model: keras.Model) -> bool:
    return all(np.isfinite(values).all() for values in model.get_weights())


def _all_living(model: keras.Model) -> dict[str, Flags]:
    weighted = keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Dense
    return {
        layer.name: np.ones(layer.get_weights()[0].shape[-1], bool)
        for layer in model.layers
        if isinstance(layer, weighted)
    }


def _nodes_of(model: keras.Model) -> list[_Node] | None:
    """Layers in an order in which every one comes after those before it.

    None if tensors come from elsewhere: operations, or other calls of a layer.
    """
    nodes = []
    ranges: dict[int, Range] = {}
    for layer in model.layers:
        first = isinstance(layer, keras.layers.InputLayer)
        inputs = [] if first else [id(one) for one in keras.tree.flatten(layer.input)]
        if not ranges.keys() >= set(inputs) or isinstance(layer.output, list | tuple | dict):
            return None
        rule = rule_of(layer, [ranges[one] for one in inputs])
        ranges[id(layer.output)] = rule.range
        nodes.append(_Node(layer.name, inputs, id(layer.output), rule))
    return nodes if all(id(one) in ranges for one in keras.tree.flatten(model.output)) else None


Use = tuple[int, int]
"""A tensor as a layer takes it: number of the node, number of the input."""


def _costs(nodes: Sequence[_Node], ends: dict[int, Floats]) -> dict[Use, Floats]:
    """By how much each number of ``ends`` can change if a use of a unit becomes its centre.

    ``ends`` has, for each tensor that counts, a column for each of its numbers (units, columns).
    """
    columns = next(iter(ends.values())).shape[1]
    gains = {node.output: np.zeros((len(node.rule.range.centre), columns)) for node in nodes}
    for one, seed in ends.items():
        gains[one] += seed
    costs = {}
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        after = gains.pop(node.output)
        found = node.rule.gains(after) if node.inputs else []
        for number, (one, gain) in enumerate(zip(node.inputs, found, strict=True)):
            gains[one] += gain
            if not isinstance(node.rule, Separate):  # others get what they are asked for
                radius = node.rule.inputs[number].radius
                costs[index, number] = product(gain, radius[:, np.newaxis])
    return costs


def _columns(sizes: dict[int, int], kept: Collection[int]) -> dict[int, Floats]:
    """One column for each number of each tensor, or for several together where there are many.

    The sum of what several change by is no less than what each does.
    """
    many = sum(sizes[one] for one in kept)
    together = {one: -(-many // _MOST_COLUMNS) if one in kept else 1 for one in sizes}
    counts = {one: -(-size // together[one]) for one, size in sizes.items()}
    ends: dict[int, Floats] = {}
    start = 0
    for one, size in sizes.items():
        ends[one] = np.zeros((size, sum(counts.values())))
        ends[one][np.arange(size), start + np.arange(size) // together[one]] = 1
        start += counts[one]
    return ends


def _needed(
    nodes: Sequence[_Node], outputs: Sequence[int], kept: Sequence[int], tolerance: float
) -> tuple[dict[int, Flags], float]:
    """Which units of each tensor are needed, and how much a score can change without the others."""
    ranges = {node.output: node.rule.range for node in nodes}
    sizes = {one: len(ranges[one].centre) for one in (*outputs, *kept)}
    ends = _columns(sizes, set(kept) - set(outputs))
    scores = np.any([ends[one].any(axis=0) for one in outputs], axis=0)
    costs = _costs(nodes, ends)

    def without(dearest: float) -> tuple[dict[int, Flags], Floats]:
        """Drop what costs at most so much."""
        needed: dict[int, Flags] = {
            one: np.zeros(len(each.centre), bool) for one, each in ranges.items()
        }
        for one in ends:
            needed[one] |= ranges[one].radius > (0 if one in outputs else dearest)
        for index in range(len(nodes) - 1, -1, -1):
            node = nodes[index]
            if not needed[node.output].any():
                needed[node.output][0] = True  # a layer of none is no layer
            uses = [(index, number) for number in range(len(node.inputs))]
            may_drop = [costs[use].max(axis=1) <= dearest for use in uses if use in costs]
            asked = node.rule.needs(needed[node.output], may_drop)
            for one, each in zip(node.inputs, asked, strict=True):
                needed[one] |= each
        total = np.zeros(len(scores))
        for (index, number), cost in costs.items():
            total += cost[~needed[nodes[index].inputs[number]]].sum(axis=0)
        for one, seed in ends.items():
            total += np.where(needed[one], 0, ranges[one].radius) @ seed
        return needed, total

    prices = np.unique(np.concatenate([cost.max(axis=1) for cost in costs.values()]))
    prices = prices[(prices > 0) & (prices <= tolerance)]
    needed, found = without(0.0)
    low, high = 0, len(prices)
    while low < high:
        middle = (low + high) // 2
        fewer, total = without(float(prices[middle]))
        if total.max() <= tolerance:
            needed, found, low = fewer, total, middle + 1
        else:
            high = middle
    return needed, float(found[scores].max())


def _rebuilt(
    model: keras.Model,
    nodes: Sequence[_Node],
    needed: dict[int, Flags],
    kept: Collection[int],
    block: int,
) -> tuple[dict[int, Part], dict[int, Any]]:
    """Build the model again: its tensors, and those to be kept, which have all units."""
    parts: dict[int, Part] = {}
    whole: dict[int, Any] = {}
    for node in nodes:
        name, one, rule = node.name, node.output, node.rule
        if isinstance(rule, Source):
            given = model.input
            source = keras.Input(batch_shape=given.shape, dtype=given.dtype, name=given.name)
            parts[one] = Part(source, np.arange(len(rule.range.centre)))
            continue
        before = [parts[each] for each in node.inputs]
        part = rule.rebuild(before, Wanted(needed[one], name, block))
        if one in kept and not part.is_all_of(rule.range):  # another layer has its name
            part = rule.rebuild(before, Wanted(needed[one], f"{name}_left", block))
        parts[one] = part
        if one in kept:
            whole[one] = with_constants(parts[one], rule.range, name)
    return parts, whole
