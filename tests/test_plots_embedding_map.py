"""What the picture of a map shows, read off its artists."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_pictures import HOSTILE, ODD, check_readable, check_saved
from matplotlib.colors import to_hex

from musicnn_zoo.library.embedding_map import EmbeddingMap


def map_of(groups, *, colour_by="folder", explained=(0.5, 0.25), errors=None, model="a_model"):
    points = np.random.default_rng(0).normal(size=(len(groups), 2)).astype(np.float32)
    return EmbeddingMap(
        points, tuple(f"{index}.ogg" for index in range(len(groups))), tuple(groups),
        tuple(groups), colour_by, "umap" if explained is None else "pca", explained, model,
        "penultimate", errors or {},
    )  # fmt: skip


def legend_of(figure):
    legend = figure.axes[0].get_legend()
    return legend, [text.get_text() for text in legend.get_texts()]


def shape_of(collection):
    (path,) = collection.get_paths()
    return tuple(np.round(path.vertices, 3).ravel())


@pytest.mark.platform
def test_every_file_is_a_point_of_its_group() -> None:
    groups = ["b", "a", "b", "c", "b", "a"]
    found = map_of(groups)
    figure = check_readable(found.plot())
    legend, labels = legend_of(figure)
    assert labels == ["b (3)", "a (2)", "c (1)"]
    assert legend.get_title().get_text() == "folder"
    for collection, name in zip(figure.axes[0].collections, "bac", strict=True):
        chosen = [group == name for group in groups]
        np.testing.assert_array_equal(collection.get_offsets(), found.points[chosen])
    assert figure.get_suptitle() == "6 files, a_model penultimate"
    assert figure.axes[0].get_xlabel() == "principal component 1 (50 % of the variance)"
    assert figure.axes[0].get_ylabel() == "principal component 2 (25 % of the variance)"
    assert figure.get_supxlabel() == "close together: alike to the model (PCA)"


def test_umap_is_named_and_files_that_failed_counted() -> None:
    figure = map_of("abc", colour_by="tag", explained=None, errors={"x": "y"}).plot()
    assert figure.axes[0].get_xlabel() == "UMAP 1"
    assert figure.get_supxlabel().endswith("(UMAP); 1 file could not be used")
    assert legend_of(check_readable(figure))[0].get_title().get_text() == "strongest tag"


@pytest.mark.parametrize("count", [3, 8, 9, 12])
def test_each_group_has_a_shape_of_its_own_and_near_ones_a_colour(count: int) -> None:
    figure = check_readable(map_of([f"group {n}" for n in range(count)] * 3).plot())
    collections = figure.axes[0].collections
    assert len({shape_of(one) for one in collections}) == count
    colours = [to_hex(one.get_facecolor()[0]) for one in collections]
    assert max(Counter(colours).values()) <= 2
    assert len(set(colours[:7])) == min(count, 7)


def test_of_many_groups_the_smaller_ones_are_put_together() -> None:
    groups = [f"group {n:02}" for n in range(30) for _ in range(40 - n)]
    found = map_of(groups)
    figure = check_readable(found.plot())
    _, labels = legend_of(figure)
    assert labels[:2] == ["group 00 (40)", "group 01 (39)"]
    assert labels[10] == "group 10 (30)"
    rest = sum(40 - n for n in range(11, 30))
    assert labels[11:] == [f"other: 19 groups ({rest})"]
    assert len(figure.axes[0].collections[-1].get_offsets()) == rest


def test_odd_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    found = map_of([*ODD, *ODD, HOSTILE], model="$\\alpha$<b>")
    figure = check_readable(found.plot())
    _, labels = legend_of(figure)
    assert {"_hidden (2)", "$x^2$ and $y (2)", "<b>&amp; (2)", r"a\nb\x1b[2J (2)"} <= set(labels)
    assert all(len(label) < 32 for label in labels)
    assert figure.get_suptitle() == "13 files, $\\alpha$<b> penultimate"
    check_saved(found.plot, tmp_path)


def test_thousands_of_files_are_a_small_vector_picture(tmp_path: Path) -> None:
    path = tmp_path / "map.svg"
    map_of(["a", "b"] * 5000).plot(path)
    assert path.stat().st_size < 500_000


def test_few_points_have_names_that_do_not_cover_each_other() -> None:
    found = map_of(["a"] * 40)
    figure = check_readable(found.plot())
    names = [text.get_text() for text in figure.axes[0].texts]
    assert 20 < len(names) <= 40
    assert set(names) <= set(found.sources)
    left_out = f"names of {40 - len(names)} left out" if len(names) < 40 else "close together"
    assert left_out in figure.get_supxlabel()
    assert len(map_of(["a"] * 41).plot().axes[0].texts) == 0


def test_names_at_one_place_are_written_once() -> None:
    found = map_of(["a"] * 5)
    alike = replace(found, points=np.zeros((5, 2), np.float32))
    figure = alike.plot()
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.ogg"]
    assert "names of 4 left out" in figure.get_supxlabel()
