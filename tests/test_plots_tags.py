"""What the picture of tags shows, read off its artists."""

from pathlib import Path

import pytest
from helpers_pictures import HOSTILE, ODD, check_readable, check_saved

from musicnn_zoo import ArgumentError
from musicnn_zoo.tagging.results import Clip, Tags, TagScore


def tags_of(*scores, names=None, source="folder/song.mp3"):
    names = names or [f"tag {index}" for index in range(len(scores))]
    ranked = tuple(TagScore(name, score) for name, score in zip(names, scores, strict=True))
    return Tags(ranked, "a_model", Clip(source, 12.0))


def test_a_bar_for_each_tag_as_long_as_its_score_best_at_the_top() -> None:
    figure = check_readable(tags_of(0.9, 0.5, 0.125).plot())
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.5, 0.125]
    assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == pytest.approx([0, 1, 2])
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["tag 0", "tag 1", "tag 2"]
    assert [text.get_text() for text in axes.texts] == ["0.90", "0.50", "0.12"]
    assert axes.get_xlim()[0] == 0
    assert axes.get_xlim()[1] > 1
    assert figure.get_suptitle() == "song.mp3, a_model"


def test_of_many_tags_the_best_are_drawn_and_the_others_counted() -> None:
    figure = check_readable(tags_of(*[1 - index / 50 for index in range(50)]).plot())
    assert len(figure.axes[0].patches) == 30
    assert figure.get_supxlabel() == "the best 30 of 50 tags"


def test_scores_beyond_zero_and_one_are_in_sight() -> None:
    axes = tags_of(4.0, -2.0).plot().axes[0]
    low, high = axes.get_xlim()
    assert low <= -2
    assert high > 4


def test_odd_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    tags = tags_of(*[0.5] * len(ODD), names=ODD, source=HOSTILE)
    figure = check_readable(tags.plot())
    names = {label.get_text() for label in figure.axes[0].get_yticklabels()}
    assert {"_hidden", "$x^2$ and $y", "<b>&amp;", r"emoji \U0001f3b8", r"a\nb\x1b[2J"} <= names
    assert figure.get_suptitle().startswith("<img src=x onerror=alert")
    assert len(figure.get_suptitle()) < 70
    check_saved(tags.plot, tmp_path)


def test_without_tags_there_is_nothing_to_draw() -> None:
    with pytest.raises(ArgumentError, match=r"^song\\n\.mp3: there are no tags to draw; choose a"):
        tags_of(source="song\n.mp3").plot()


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="a picture must end in"):
        tags_of(0.5).plot(tmp_path / "p.jpg")
