"""What the picture of filters shows, read off its artists."""

from pathlib import Path

import numpy as np
import pytest
from helpers_pictures import check_readable, check_saved, lines

from musicnn_zoo.zoo.filters import FilterGroup, LearnedFilters

GENERATOR = np.random.default_rng(0)


def group_of(kind, shape, *, layer="frontend_layer", n_filters=200, window_s=None, step_s=0.016):
    values = GENERATOR.normal(size=shape).astype(np.float32)
    indices = GENERATOR.permutation(n_filters)[: len(values)]
    return FilterGroup(layer, kind, values, indices, n_filters, step_s, window_s)


def filters_of(*groups):
    return LearnedFilters(groups, "a_model", "a_frontend")


def test_images_are_drawn_bands_up_time_across_each_to_its_own_scale() -> None:
    group = group_of("image", (5, 7, 38))
    figure = check_readable(filters_of(group).plot())
    (axes,) = figure.axes
    assert len(axes.images) == 5
    for image, values in zip(axes.images, group.values, strict=True):
        np.testing.assert_array_equal(image.get_array(), values.T)
        assert image.origin == "lower"
        assert image.norm.vmax == -image.norm.vmin == np.abs(values).max()
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        str(index) for index in group.indices
    ]
    assert axes.get_title(loc="left") == "frontend_layer: 5 of 200, 112 ms"
    assert figure.get_suptitle() == "a_model: filters of the front-end a_frontend"
    assert "orange: above zero" in figure.get_supxlabel()
    positive, negative = axes.images[0].cmap([1.0, 0.0])
    assert positive[0] > positive[2]
    assert negative[2] > negative[0]


def test_two_rows_of_a_single_group_one_of_several() -> None:
    single = check_readable(filters_of(group_of("image", (32, 3, 3))).plot())
    assert [len(axes.images) for axes in single.axes] == [16, 16]
    assert single.axes[0].get_title(loc="left") == "frontend_layer: 32 of 200, 48 ms"
    several = filters_of(*[group_of("image", (32, 7, 38)) for _ in range(2)]).plot()
    assert [len(axes.images) for axes in check_readable(several).axes] == [16, 16]


@pytest.mark.parametrize(("count", "shown"), [(6, 8), (12, 5)])
def test_many_groups_stand_beside_each_other(count: int, shown: int) -> None:
    groups = [group_of("image", (15, 7, 40), layer=f"layer_{n}_76x7") for n in range(count)]
    figure = check_readable(filters_of(*groups).plot())
    assert [len(axes.images) for axes in figure.axes] == [shown] * count
    assert figure.get_size_inches()[1] < 16


def test_curves_are_drawn_over_seconds() -> None:
    group = group_of("curve", (8, 128))
    figure = check_readable(filters_of(group).plot())
    (axes,) = figure.axes
    curves = lines(axes, "filter")
    assert len(curves) == 8
    for row, (curve, values) in enumerate(zip(curves, group.values, strict=True)):
        np.testing.assert_allclose(curve.get_xdata(), 0.016 * np.arange(128))
        heights = row - curve.get_ydata()
        np.testing.assert_allclose(heights, 0.46 * values / np.abs(values).max(), atol=1e-6)
    assert axes.yaxis_inverted()
    assert axes.get_xlabel() == "time (s)"


def test_waveforms_are_drawn_as_spectra_and_some_as_curves() -> None:
    times = np.arange(512) / 16000
    tones = np.sin(2 * np.pi * np.linspace(500, 7500, 40)[:, np.newaxis] * times)
    group = FilterGroup(
        "frontend_bank", "waveform", tones.astype(np.float32), np.arange(40), 40, 1 / 16000
    )
    figure = check_readable(filters_of(group).plot())
    spectra, curves = figure.axes
    (image,) = spectra.images
    shown = np.asarray(image.get_array())
    assert shown.shape == (128, 40)
    assert shown.max(axis=0) == pytest.approx(np.ones(40))
    low, high = image.get_extent()[2:]
    peaks = low + (shown.argmax(axis=0) + 0.5) * (high - low) / 128
    np.testing.assert_allclose(peaks, np.linspace(0.5, 7.5, 40), atol=0.07)
    assert len(lines(curves, "filter")) == 8
    assert curves.get_xlabel() == "time (ms)"


def test_inputs_are_drawn_as_spectra_and_said_to_be_found() -> None:
    groups = [group_of("input", (32, 729), step_s=1 / 22050) for _ in range(6)]
    figure = check_readable(filters_of(*groups).plot())
    assert [np.asarray(axes.images[0].get_array()).shape[1] for axes in figure.axes] == [32] * 6
    assert "found by gradient ascent" in figure.get_supxlabel()


def test_dead_filters_are_drawn_as_nothing() -> None:
    for kind, shape in (("image", (1, 3, 3)), ("curve", (1, 9)), ("waveform", (1, 64))):
        group = group_of(kind, shape)
        group.values[:] = 0
        check_readable(filters_of(group).plot())


def test_several_windows_are_named_and_odd_names_drawn_as_they_are(tmp_path: Path) -> None:
    group = group_of("image", (3, 7, 3), layer="$x^2$<b>\n", window_s=0.0232, n_filters=10)
    found = LearnedFilters((group,), "$a$<img src=x onerror=alert(1)>", "f")
    figure = check_readable(found.plot())
    assert figure.axes[0].get_title(loc="left") == r"$x^2$<b>\n: 3 of 10, 112 ms, window 23 ms"
    check_saved(found.plot, tmp_path)
