"""What the picture of a taggram shows, read off its artists."""

from pathlib import Path

import numpy as np
import pytest
from helpers_pictures import HOSTILE, ODD, check_readable, check_saved
from hypothesis import given
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError
from musicnn_zoo.plots.results import columns_of
from musicnn_zoo.tagging.results import Clip, Taggram


def taggram_of(scores, *, hop_s=1.0, patch_s=3.0, names=None, source="song.mp3"):
    scores = np.asarray(scores, np.float32)
    rows, tags = scores.shape
    return Taggram(
        scores, tuple(names or (f"tag {index}" for index in range(tags))),
        np.arange(rows) * hop_s, patch_s, hop_s, "a_model", Clip(source, rows * hop_s + 1),
    )  # fmt: skip


def cells(figure):
    """Scores by place: (top to bottom, left to right), and where columns begin and end."""
    (mesh,) = figure.axes[0].collections
    corners = np.asarray(mesh.get_coordinates())
    return np.asarray(mesh.get_array()), corners[0, :, 0], mesh


@pytest.mark.platform
def test_the_strongest_tags_are_drawn_in_order_strongest_at_the_top() -> None:
    scores = [[0.1, 0.9, 0.3, 0.0], [0.2, 0.7, 0.5, 0.0]]
    figure = check_readable(taggram_of(scores).plot(top_k=3))
    shown, edges, _ = cells(figure)
    np.testing.assert_allclose(shown, [[0.9, 0.7], [0.3, 0.5], [0.1, 0.2]])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tag 1", "tag 2", "tag 0"]
    assert axes.yaxis_inverted()
    assert edges.tolist() == [0, 1, 4]  # the last row lasts for a patch
    assert axes.get_xlim() == (0, 4)
    assert figure.get_suptitle() == "song.mp3, a_model"
    assert figure.get_supxlabel() == "the strongest 3 of 4 tags"


def test_ten_tags_are_drawn_by_default_and_fewer_if_there_are_fewer() -> None:
    assert len(cells(taggram_of(np.random.default_rng(0).random((2, 12))).plot())[0]) == 10
    assert len(cells(taggram_of([[0.5, 0.4]]).plot())[0]) == 2


@pytest.mark.parametrize(
    ("scores", "top"), [([[0.31, 0.1]], 0.4), ([[0.3, 0.1]], 0.3), ([[0.01]], 0.1), ([[1.0]], 1)]
)
def test_colours_go_to_the_next_tenth(scores, top) -> None:
    figure = taggram_of(scores).plot()
    _, _, mesh = cells(figure)
    assert (mesh.norm.vmin, mesh.norm.vmax) == pytest.approx((0, top))
    assert figure.axes[1].get_ylabel() == "score"


def test_scores_below_zero_have_colours_too() -> None:
    _, _, mesh = cells(taggram_of([[-2.5, 3.2]]).plot())
    assert (mesh.norm.vmin, mesh.norm.vmax) == pytest.approx((-2.5, 3.2))


@pytest.mark.parametrize(
    ("rows", "hop_s", "first", "last"),
    [
        (1, 3.0, ["0:00", "0:00.5"], "0:03"),
        (20, 1.0, ["0:00", "0:05"], "0:20"),
        (200, 1.0, ["0:00", "0:30"], "3:00"),
        (3700, 1.0, ["0:00", "10:00"], "60:00"),
    ],
)
def test_time_is_written_in_minutes_and_seconds(rows, hop_s, first, last) -> None:
    figure = check_readable(taggram_of(np.ones((rows, 2)), hop_s=hop_s).plot())
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert [label.replace("0:00.0", "0:00") for label in labels[:2]] == first
    assert labels[-1].replace("0:03.0", "0:03") == last
    for label, place in zip(labels, axes.get_xticks(), strict=True):
        minutes, seconds = label.split(":")
        assert 60 * int(minutes) + float(seconds) == pytest.approx(place)


def test_an_hour_is_pooled_and_nothing_short_is_lost() -> None:
    scores = np.full((3700, 3), 0.05)
    scores[1801, 2] = 0.95
    figure = check_readable(taggram_of(scores).plot())
    shown, edges, _ = cells(figure)
    assert shown.shape[1] == 925
    assert figure.get_supxlabel() == "a column shows the highest score of 4 patches"
    (column,) = np.flatnonzero(shown[0] > 0.9)
    assert edges[column] <= 1801 < edges[column + 1]
    assert (edges[0], edges[-1]) == (0, 3702)


@given(st.integers(1, 60), st.integers(1, 20))
def test_columns_hold_all_rows_and_no_other(rows: int, most: int) -> None:
    scores = np.random.default_rng(rows).random((rows, 2))
    taggram = taggram_of(scores)
    found = columns_of(scores, np.append(taggram.times, taggram.times[-1] + taggram.patch_s), most)
    assert len(found.scores) <= most
    assert len(found.edges) == len(found.scores) + 1
    for column, (start, end) in enumerate(zip(found.edges, found.edges[1:], strict=False)):
        inside = (taggram.times >= start) & (taggram.times < end)
        np.testing.assert_array_equal(found.scores[column], scores[inside].max(axis=0))
    assert found.edges[-1] == taggram.times[-1] + taggram.patch_s


def test_odd_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    taggram = taggram_of(np.full((3, len(ODD)), 0.5), names=ODD, source=HOSTILE)
    figure = check_readable(taggram.plot())
    names = {label.get_text() for label in figure.axes[0].get_yticklabels()}
    assert {"_hidden", "$x^2$ and $y", "<b>&amp;", r"emoji \U0001f3b8", r"a\nb\x1b[2J"} <= names
    check_saved(taggram.plot, tmp_path)


def test_a_long_taggram_is_a_small_vector_picture(tmp_path: Path) -> None:
    path = tmp_path / "hour.svg"
    taggram_of(np.random.default_rng(0).random((3700, 10))).plot(path)
    assert path.stat().st_size < 500_000


def test_without_rows_or_tags_there_is_nothing_to_draw() -> None:
    empty = Taggram(
        np.empty((0, 2), np.float32), ("a", "b"), np.empty(0), 3.0, 3.0, "m", Clip(None, 0.5)
    )
    with pytest.raises(
        ArgumentError, match=r"^array: there is nothing to draw; the taggram has no"
    ):
        empty.plot()
    with pytest.raises(ArgumentError, match="top_k must be at least 1; received 0"):
        taggram_of([[0.5]]).plot(top_k=0)
