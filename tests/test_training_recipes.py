import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError, UnknownNameError
from musicnn_zoo.training import FINETUNE, FROM_SCRATCH, Phase, Recipe

counts = st.integers(1, 10**6)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
phases = st.builds(
    Phase,
    trainable=st.sampled_from(["head", "backend", "midend", "all"]),
    learning_rate=positive,
    epochs=counts,
    halve_after=counts,
    stop_after=st.none() | counts,
    batchnorm=st.sampled_from(["frozen", "trainable"]),
)
recipes = st.builds(
    Recipe,
    phases=st.lists(phases, min_size=1, max_size=3).map(tuple),
    batch_size=counts,
    l2=positive | st.just(0.0),
    steps_per_epoch=st.none() | counts,
    balance=st.booleans(),
)


@given(recipes)
def test_a_recipe_survives_json(recipe) -> None:
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@given(recipes)
def test_what_is_written_is_plain_and_complete(recipe) -> None:
    written = recipe.to_dict()
    assert set(written) == {"phases", "batch_size", "l2", "steps_per_epoch", "balance"}
    for phase in written["phases"]:
        assert set(phase) == {
            "trainable", "learning_rate", "epochs", "halve_after", "stop_after", "batchnorm",
        }  # fmt: skip


def test_what_is_not_given_is_the_default() -> None:
    assert Recipe.from_dict({"phases": [{}]}) == Recipe((Phase(),)) == FROM_SCRATCH
    assert Recipe.from_dict({"phases": ({"epochs": 2},), "l2": 0}).phases[0].epochs == 2


def test_the_recipe_of_musicnn_and_that_for_a_new_head() -> None:
    (phase,) = FROM_SCRATCH.phases
    assert (FROM_SCRATCH.batch_size, FROM_SCRATCH.l2, phase.learning_rate) == (32, 1e-5, 1e-3)
    assert (phase.halve_after, phase.stop_after, phase.trainable) == (75, None, "all")
    assert [phase.trainable for phase in FINETUNE.phases] == ["head", "all"]
    assert {phase.batchnorm for phase in FINETUNE.phases} == {"frozen"}
    head, rest = FINETUNE.phases
    assert rest.learning_rate <= head.learning_rate / 10


def test_settings_of_all_phases_are_changed_at_once() -> None:
    changed = FINETUNE.with_phases(epochs=3, stop_after=None)
    assert [(phase.epochs, phase.stop_after) for phase in changed.phases] == [(3, None)] * 2
    assert [phase.trainable for phase in changed.phases] == ["head", "all"]
    assert replace(changed, phases=FINETUNE.phases) == FINETUNE
    with pytest.raises(ArgumentError, match="epochs must be at least 1"):
        FINETUNE.with_phases(epochs=0)


def test_recipes_are_values() -> None:
    assert Recipe([Phase()]) == Recipe((Phase(),))
    assert hash(Recipe([Phase()])) == hash(Recipe((Phase(),)))
    with pytest.raises(FrozenInstanceError):
        FROM_SCRATCH.batch_size = 3  # type: ignore[misc]


NO_COUNTS = [0, -1, 1.0, 2.5, True, "3", math.nan]
NO_NUMBERS = [-1e-9, -1, math.nan, math.inf, -math.inf, "0.1", None, True]


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (Phase, "epochs", [*NO_COUNTS, None]),
        (Phase, "halve_after", [*NO_COUNTS, None]),
        (Phase, "stop_after", NO_COUNTS),
        (Phase, "learning_rate", [*NO_NUMBERS, 0, 0.0]),
        (Recipe, "batch_size", [*NO_COUNTS, None]),
        (Recipe, "steps_per_epoch", NO_COUNTS),
        (Recipe, "l2", NO_NUMBERS),
        (Recipe, "balance", [1, None, "no"]),
        (Phase, "trainable", ["none", "", None, "Head", 1]),
        (Phase, "batchnorm", ["moving", None, True]),
    ],
)
def test_values_out_of_range_are_refused_by_name(kind, name, values) -> None:
    for value in values:
        given = {name: value} | ({"phases": [Phase()]} if kind is Recipe else {})
        with pytest.raises(ArgumentError, match=rf"^{name} must be .*received ") as caught:
            kind(**given)
        assert str(caught.value).endswith((f"received {value!r}", f"received {value}"))
        written = {"phases": [{}], name: value} if kind is Recipe else {"phases": [{name: value}]}
        with pytest.raises(ArgumentError, match=rf"^{name} must be "):
            Recipe.from_dict(written)


def test_numbers_of_numpy_are_numbers() -> None:
    assert Phase(learning_rate=np.float64(0.5)).learning_rate == 0.5
    assert Recipe((Phase(),), l2=0).l2 == 0


def test_a_recipe_without_phases_is_refused() -> None:
    for make in (lambda: Recipe(()), lambda: Recipe.from_dict({}), lambda: Recipe([])):
        with pytest.raises(ArgumentError, match="at least one phase"):
            make()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"phases": [{}], "batchsize": 3}, UnknownNameError,
         "unknown Recipe entry 'batchsize'; did you mean batch_size"),
        ({"phases": [{}, {"epoch": 3}]}, UnknownNameError,
         "unknown Phase entry 'epoch'; did you mean epochs"),
        ({"phases": {"trainable": "all"}}, ArgumentError, "phases must be a list"),
        ({"phases": 3}, ArgumentError, "phases must be a list"),
        ({"phases": ["head"]}, ArgumentError, "a phase must be an object; received 'head'"),
        ([], ArgumentError, "a recipe must be an object"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused(values, error, message) -> None:
    with pytest.raises(error, match=message):
        Recipe.from_dict(values)
