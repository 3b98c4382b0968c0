"""What the pictures of an evaluation show, read off their artists."""

import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from musicnn_zoo import ArgumentError
from musicnn_zoo.datasets import Report
from musicnn_zoo.evaluation.evaluate import ModelEvaluation
from musicnn_zoo.evaluation.metrics import curves_of, evaluate_classes, evaluate_scores
from musicnn_zoo.plots import plot_evaluation
from musicnn_zoo.plots.drawing import drawable

ODD = ("_hidden", "$x^2$ and $y", "long " * 20, "emoji \U0001f3b8", "<b>&amp;", "a\nb\x1b[2J")


def of_tags(tags, n_tracks=200, bootstrap=20, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.random((n_tracks, len(tags))) < 0.3
    labels[0] = True
    logits = generator.normal(size=labels.shape) + np.linspace(0.2, 3, len(tags)) * labels
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    figures = evaluate_scores(labels, scores, tags, bootstrap=bootstrap)
    return made(figures, tags, labels, scores)


def of_classes(names, n_tracks=100):
    generator = np.random.default_rng(0)
    truth = generator.integers(len(names), size=n_tracks)
    scores = generator.random((n_tracks, len(names))) + 0.5 * np.eye(len(names))[truth]
    figures = evaluate_classes(truth, scores, names, bootstrap=20)
    return made(figures, names, np.eye(len(names), dtype=bool)[truth], scores)


def made(figures, tags, labels, scores):
    return ModelEvaluation(
        "a_model", "$data$", "test", figures, Report(), {}, 1.0, tuple(tags),
        tuple(map(str, range(len(labels)))), labels, scores.astype(np.float32),
    )  # fmt: skip


def lines(axes, kind):
    return [line for line in axes.lines if line.get_gid() == kind]


def drawn(figure):
    """Draw it all; whatever matplotlib has to complain of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return figure


def test_each_tag_has_its_figures_intervals_and_chance_best_first() -> None:
    evaluation = of_tags(("a", "b", "c", "d", "e"))
    figures = evaluation.figures
    figure = drawn(plot_evaluation(evaluation))
    rocs, precisions = figure.axes[:2]
    order = sorted(figures.per_tag, key=lambda tag: -tag.roc_auc)
    assert [label.get_text() for label in rocs.get_yticklabels()] == [tag.tag for tag in order]
    for axes, figure_of, interval_of, chance_of in (
        (rocs, "roc_auc", "roc_auc_interval", lambda tag: 0.5),
        (precisions, "average_precision", "average_precision_interval",
         lambda tag: tag.positives / 200),
    ):  # fmt: skip
        dots = lines(axes, "figure")
        expected = [[100 * getattr(tag, figure_of)] for tag in order]
        assert [list(dot.get_xdata()) for dot in dots] == expected
        assert [dot.get_ydata()[0] for dot in dots] == list(range(5))
        bars = [list(bar.get_xdata()) for bar in lines(axes, "interval")]
        intervals = [getattr(tag, interval_of) for tag in order]
        assert bars == [[100 * one.low, 100 * one.high] for one in intervals]
        chances = [tick.get_xdata()[0] for tick in lines(axes, "chance")]
        assert chances == pytest.approx([100 * chance_of(tag) for tag in order])
    low, high = figures.roc_auc_interval.low, figures.roc_auc_interval.high
    assert rocs.get_title(loc="left") == (
        f"ROC-AUC {100 * figures.roc_auc:.1f} % ({100 * low:.1f}–{100 * high:.1f})"
    )


def test_the_areas_under_the_curves_are_the_figures() -> None:
    evaluation = of_tags(tuple("abcdef"), n_tracks=2000)
    figures = evaluation.figures
    curves = curves_of(evaluation.labels, evaluation.scores)
    for index, tag in enumerate(figures.per_tag):
        assert curves.roc[index].mean() == pytest.approx(tag.roc_auc, abs=2e-3)
        assert curves.precision[index].mean() == pytest.approx(tag.average_precision, abs=2e-3)
    rocs, precisions = drawn(plot_evaluation(evaluation)).axes[2:]
    (mean,) = lines(rocs, "mean")
    assert mean.get_ydata().mean() / 100 == pytest.approx(figures.roc_auc, abs=2e-3)
    (mean,) = lines(precisions, "mean")
    assert mean.get_ydata().mean() / 100 == pytest.approx(figures.pr_auc, abs=2e-3)
    false, true, _ = roc_curve(evaluation.labels[:, 0], evaluation.scores[:, 0])
    np.testing.assert_allclose(curves.roc[0], np.interp(curves.at, false, true))
    assert len(lines(rocs, "tag")) == 6
    assert len(lines(rocs, "named tag")) == 3
    texts = [text.get_text() for text in rocs.get_legend().get_texts()]
    assert texts[0] == "mean of 6 tags"
    assert [text.split(":")[0] for text in texts[1:]] == ["best", "middle", "worst"]


@pytest.mark.parametrize("count", [1, 3, 50])
def test_any_number_of_tags(count: int) -> None:
    figure = drawn(plot_evaluation(of_tags([f"tag {index}" for index in range(count)])))
    assert len(lines(figure.axes[0], "figure")) == count
    assert len(lines(figure.axes[2], "named tag")) == min(count, 3)
    height = figure.get_size_inches()[1]
    boxes = [label.get_window_extent().padded(-1) for label in figure.axes[0].get_yticklabels()]
    assert all(not a.overlaps(b) for a, b in pairwise(boxes))
    assert height <= 14


def test_tags_that_cannot_be_told_are_listed_below() -> None:
    evaluation = of_tags(("a", "b", "c"))
    labels = evaluation.labels.copy()
    labels[:, 1] = False
    figures = evaluate_scores(labels, evaluation.scores, ("a", "$b", "c"), bootstrap=0)
    figure = drawn(plot_evaluation(made(figures, ("a", "$b", "c"), labels, evaluation.scores)))
    assert len(lines(figure.axes[0], "figure")) == 2
    assert lines(figure.axes[0], "interval") == []
    assert figure.get_supxlabel().endswith("on no track or on all: $b")


def test_odd_names_are_drawn_as_they_are() -> None:
    for evaluation in (of_tags(ODD), of_classes(ODD)):
        figure = drawn(plot_evaluation(evaluation))
        names = {label.get_text() for label in figure.axes[0].get_yticklabels()}
        assert {"_hidden", "$x^2$ and $y", "<b>&amp;", r"emoji \U0001f3b8"} <= names
        assert r"a\nb\x1b[2J" in names
        assert all(len(name) <= 28 for name in names)
        assert figure.get_suptitle() == "a_model on $data$, test"


def test_long_names_keep_both_ends() -> None:
    assert drawable("instrument---electricguitar", 15) == "instrum…cguitar"
    assert len(drawable("x" * 100, 20)) == 20
    assert drawable("täg – „♪“") == "täg – „♪“"


def test_a_confusion_matrix_has_its_numbers_and_f1() -> None:
    evaluation = of_classes(("cello", "flute", "organ"))
    figure = drawn(plot_evaluation(evaluation))
    matrix, f1 = figure.axes[:2]
    confusion = np.array(evaluation.figures.confusion)
    shown = np.asarray(matrix.images[0].get_array())
    np.testing.assert_allclose(shown, 100 * confusion / confusion.sum(axis=1, keepdims=True))
    texts = {text.get_position(): text.get_text() for text in matrix.texts}
    assert texts == {
        (column, row): str(confusion[row, column]) for row, column in np.argwhere(confusion)
    }
    dots = [dot.get_xdata()[0] for dot in lines(f1, "figure")]
    assert dots == pytest.approx([100 * one.f1 for one in evaluation.figures.per_class])
    assert [text.get_text() for text in f1.texts] == [f"{dot:.1f}" for dot in dots]
    assert "accuracy" in figure.get_supxlabel()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "PNG"])
def test_a_picture_is_saved_by_its_ending(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{ending}"
    of_tags(ODD).plot(path)
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending.lower()]
    assert path.read_bytes().startswith(magic)
    if ending == "svg":
        import xml.etree.ElementTree as ElementTree

        ElementTree.parse(path)


def test_other_endings_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"must end in \.png, \.svg, \.pdf; received '.*jpg'"):
        of_tags(("a", "b")).plot(tmp_path / "p.jpg")
    with pytest.raises(ArgumentError, match="there is no folder"):
        of_tags(("a", "b")).plot(tmp_path / "gone" / "p.png")


def test_without_matplotlib_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ArgumentError, match="plots need matplotlib: pip install matplotlib"):
        of_tags(("a", "b")).plot()


def test_no_window_system_is_touched_and_nothing_loaded_before_it_is_used() -> None:
    code = (
        "import sys, musicnn_zoo.plots, musicnn_zoo.evaluation\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from musicnn_zoo.plots.drawing import new_figure, save\n"
        "new_figure(1, 1)\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
