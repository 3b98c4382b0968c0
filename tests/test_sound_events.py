import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from musicnn_zoo import ArgumentError
from musicnn_zoo.tagging.results import Event, find_events

TAGS = ("drums", "voice")


def events(columns: list[list[float]], **options: float) -> tuple[Event, ...]:
    scores = np.array(columns).T
    times = np.arange(len(scores)) * 0.5
    return find_events(scores, TAGS[: len(columns)], times, len(scores) * 0.5, **options)


def test_an_event_lasts_while_the_score_holds() -> None:
    assert events([[0.1, 0.6, 0.8, 0.1]]) == (Event("drums", 0.5, 1.5, pytest.approx(0.7)),)


def test_hysteresis_bridges_a_dip_and_keeps_the_flanks() -> None:
    (event,) = events([[0.1, 0.45, 0.6, 0.42, 0.6, 0.1]], release=0.4)
    assert (event.start_s, event.end_s) == (0.5, 2.5)


def test_without_a_release_an_event_lasts_down_to_four_fifths_of_the_threshold() -> None:
    (event,) = events([[0.6, 0.41, 0.6, 0.39]])
    assert (event.start_s, event.end_s) == (0.0, 1.5)


def test_a_score_between_release_and_threshold_is_no_event() -> None:
    assert events([[0.45, 0.49, 0.45]], release=0.4) == ()


def test_short_events_are_left_out() -> None:
    scores = [[0.9, 0.1, 0.9, 0.9, 0.1]]
    assert [event.start_s for event in events(scores, min_length_s=1.0)] == [1.0]


def test_events_of_several_tags_are_in_order_of_time() -> None:
    found = events([[0.1, 0.9, 0.1, 0.9], [0.9, 0.9, 0.1, 0.9]])
    assert [(event.tag, event.start_s) for event in found] == [
        ("voice", 0.0), ("drums", 0.5), ("drums", 1.5), ("voice", 1.5),
    ]  # fmt: skip


def test_an_event_may_last_to_the_end() -> None:
    assert events([[0.1, 0.9]])[0].end_s == 1.0


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": 0.5, "release": 0.6}, "release"),
        ({"release": -0.1}, "release"),
        ({"min_length_s": -1.0}, "min_length_s"),
        ({"min_length_s": float("nan")}, "min_length_s"),
    ],
)
def test_refuses_what_is_out_of_range(options: dict[str, float], name: str) -> None:
    with pytest.raises(ArgumentError, match=name):
        events([[0.5]], **options)


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_events_are_where_the_score_says(column: np.ndarray, threshold: float, part: float) -> None:
    release = part * threshold
    found = events([column.tolist()], threshold=threshold, release=release)
    inside = np.zeros(len(column), bool)
    for event in found:
        rows = slice(round(event.start_s * 2), round(event.end_s * 2))
        assert (column[rows] >= release).all()
        assert column[rows].max() >= threshold
        assert not inside[rows].any()
        inside[rows] = True
    assert not (column[~inside] >= threshold).any()
