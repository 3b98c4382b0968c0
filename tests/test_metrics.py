import json
import time
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.evaluation.metrics import (
    Ranking,
    best_f1_thresholds,
    evaluate_classes,
    evaluate_scores,
)
from musicnn_zoo.evaluation.results import CLASS_COLUMNS, EVALUATION_COLUMNS

NAMES = ("rock", "pop", "jazz", "folk", "soul")


@st.composite
def tables(draw, max_tracks=30):
    """Labels and scores, with ties among the scores and tags that cannot be told."""
    shape = draw(st.tuples(st.integers(2, max_tracks), st.integers(1, len(NAMES))))
    labels = draw(hnp.arrays(bool, shape))
    assume((labels.any(axis=0) & ~labels.all(axis=0)).any())
    return labels, draw(hnp.arrays(np.float64, shape, elements=st.integers(-6, 6))) / 7


def tracks(n_tracks, prevalences=(0.3, 0.1, 0.5), distance=1.2, seed=0):
    """Tags whose scores are normal, ``distance`` standard deviations higher with the tag."""
    generator = np.random.default_rng(seed)
    labels = generator.random((n_tracks, len(prevalences))) < prevalences
    return labels, generator.normal(size=labels.shape) + distance * labels


def evaluate(labels, scores, **options):
    options.setdefault("bootstrap", 0)
    return evaluate_scores(labels, scores, NAMES[: np.shape(scores)[1]], **options)


def holds(interval, figure):
    return interval.low <= figure <= interval.high


# Figures


@pytest.mark.platform
@given(tables())
@settings(max_examples=20)
def test_figures_are_those_of_scikit_learn(table):
    labels, scores = table
    found = evaluate(labels, scores)
    told = labels.any(axis=0) & ~labels.all(axis=0)
    for index, tag in enumerate(found.per_tag):
        column = labels[:, index], scores[:, index]
        assert (tag.tag, tag.positives) == (NAMES[index], column[0].sum())
        if told[index]:
            assert tag.roc_auc == roc_auc_score(*column)
            assert tag.average_precision == average_precision_score(*column)
        else:
            assert tag.tag in found.tags_left_out
            assert (tag.roc_auc, tag.average_precision) == (None, None)
    assert len(found.tags_left_out) == (~told).sum()
    columns = labels[:, told], scores[:, told]
    assert found.roc_auc == pytest.approx(roc_auc_score(*columns), abs=1e-12)
    assert found.pr_auc == pytest.approx(average_precision_score(*columns), abs=1e-12)


@given(tables(), st.data())
@settings(max_examples=40)
def test_weighted_figures_are_those_of_scikit_learn(table, data):
    labels, scores = (array[:, 0] for array in table)
    assume(labels.any() and not labels.all())
    shape = (len(labels), 3)
    weights = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 4)))
    roc_auc, average_precision = Ranking.of(labels, scores).figures(weights)
    for column, weight in enumerate(weights.T):
        if weight[labels].any() and weight[~labels].any():
            known = {"sample_weight": weight}
            expected = roc_auc_score(labels, scores, **known)
            assert roc_auc[column] == pytest.approx(expected, abs=1e-12)
            expected = average_precision_score(labels, scores, **known)
            assert average_precision[column] == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan([roc_auc[column], average_precision[column]]).all()


def test_weighted_figures_of_many_tracks_are_those_of_scikit_learn():
    labels, scores = (array[:, 1] for array in tracks(3000))
    scores = scores.round(2)
    weights = np.random.default_rng(1).poisson(1, (3000, 5)).astype(np.int32)
    both = Ranking.of(labels, scores).figures(weights)
    for figures, metric in zip(both, (roc_auc_score, average_precision_score), strict=True):
        expected = [metric(labels, scores, sample_weight=weight) for weight in weights.T]
        np.testing.assert_allclose(figures, expected, rtol=0, atol=1e-12)


@given(tables(), st.sampled_from([np.exp, np.cbrt, lambda scores: 100 * scores - 7]))
@settings(max_examples=15)
def test_only_the_order_of_the_scores_matters(table, transform):
    labels, scores = table
    one, other = (evaluate(labels, each, bootstrap=20) for each in (scores, transform(scores)))
    assert (one.roc_auc, one.pr_auc, one.f1) == (other.roc_auc, other.pr_auc, other.f1)
    assert one.roc_auc_interval == other.roc_auc_interval
    assert one.pr_auc_interval == other.pr_auc_interval


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_order_of_the_tracks_does_not_matter(table, random):
    labels, scores = table
    order = random.sample(range(len(labels)), len(labels))
    assert evaluate(labels[order], scores[order]) == evaluate(labels, scores)


def test_numbers_and_lists_do_as_labels():
    labels, scores = tracks(30)
    expected = evaluate(labels, scores)
    assert evaluate(labels.astype(int), scores) == expected
    assert evaluate(labels.astype(np.float32).tolist(), scores.tolist()) == expected


@pytest.mark.parametrize("value", [False, True])
def test_a_tag_that_cannot_be_told_is_left_out_and_said_to_be(value):
    labels, scores = tracks(200)
    labels[:, 1] = value
    found = evaluate(labels, scores, bootstrap=50)
    alone = evaluate_scores(labels[:, ::2], scores[:, ::2], ("rock", "jazz"), bootstrap=50)
    assert found.tags_left_out == ("pop",)
    assert found.conventions["averages"].endswith("left out: pop")
    assert (found.roc_auc, found.pr_auc, found.f1) == (alone.roc_auc, alone.pr_auc, alone.f1)
    assert found.pr_auc_interval == alone.pr_auc_interval
    assert found.per_tag[1].average_precision_interval is None


def test_tracks_without_any_tag_are_kept_or_dropped():
    labels, scores = tracks(300)
    artists = np.arange(300) // 4
    has_tag = labels.any(axis=1)
    n_untagged = 300 - has_tag.sum()
    options = {"groups": artists, "bootstrap": 50}
    kept = evaluate(labels, scores, **options)
    dropped = evaluate(labels, scores, untagged="drop", **options)
    by_hand = evaluate(labels[has_tag], scores[has_tag], groups=artists[has_tag], bootstrap=50)
    assert (kept.tracks, kept.untagged) == (300, n_untagged)
    assert (dropped.tracks, dropped.untagged) == (has_tag.sum(), n_untagged)
    assert dropped.per_tag == by_hand.per_tag
    assert dropped.pr_auc_interval == by_hand.pr_auc_interval
    assert dropped.pr_auc > kept.pr_auc
    assert kept.conventions["untagged"].startswith(f"{n_untagged} tracks without any tag kept")
    assert dropped.conventions["untagged"] == f"{n_untagged} tracks without any tag dropped"


# Intervals


def documented_interval(figure, replicates):
    """The formula of the docstring, at the level 0.9."""
    slope = figure * (1 - figure)
    centre = np.log(figure / (1 - figure)) - (np.mean(replicates) - figure) / slope
    reach = 1.6448536269514722 * np.std(replicates, ddof=1) / slope
    return [1 / (1 + np.exp(-end)) for end in (centre - reach, centre + reach)]


def test_intervals_are_the_documented_ones_of_resampled_tracks():
    labels, scores = tracks(80, (0.2, 0.4))
    found = evaluate(labels, scores, bootstrap=70, level=0.9, seed=5)
    generator = np.random.default_rng(5)
    draws = [generator.integers(80, size=80) for _ in range(70)]
    for metric, interval in (
        (roc_auc_score, found.roc_auc_interval),
        (average_precision_score, found.pr_auc_interval),
    ):
        replicates = [metric(labels[draw], scores[draw]) for draw in draws]
        expected = documented_interval(metric(labels, scores), replicates)
        assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


def test_intervals_hold_the_figures_and_widen_with_the_level():
    labels, scores = tracks(400)
    narrow, wide = (evaluate(labels, scores, bootstrap=200, level=each) for each in (0.8, 0.99))
    pairs = [(narrow.roc_auc_interval, wide.roc_auc_interval, narrow.roc_auc)]
    pairs += [(narrow.pr_auc_interval, wide.pr_auc_interval, narrow.pr_auc)]
    for one, other in zip(narrow.per_tag, wide.per_tag, strict=True):
        pairs += [(one.roc_auc_interval, other.roc_auc_interval, one.roc_auc)]
        pairs += [
            (one.average_precision_interval, other.average_precision_interval,
             one.average_precision)
        ]  # fmt: skip
    for inner, outer, figure in pairs:
        assert 0 < outer.low < inner.low < figure < inner.high < outer.high < 1
        assert (inner.level, outer.level) == (0.8, 0.99)


def test_four_times_the_tracks_halve_the_interval():
    widths = []
    for n_tracks in (500, 2000):
        found = evaluate(*tracks(n_tracks, seed=3), bootstrap=400).roc_auc_interval
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def test_the_standard_error_is_that_of_hanley_and_mcneil():
    labels, scores = tracks(1500, prevalences=(0.4,))
    found = evaluate(labels, scores, bootstrap=500)
    auc, n_positive = found.roc_auc, int(labels.sum())
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2)
    variance += (1500 - n_positive - 1) * (q2 - auc**2)
    error = (variance / (n_positive * (1500 - n_positive))) ** 0.5
    width = found.roc_auc_interval.high - found.roc_auc_interval.low
    assert width / (2 * 1.96) == pytest.approx(error, rel=0.15)


def test_intervals_hold_the_true_roc_auc_as_often_as_they_say():
    truth = NormalDist().cdf(1.2 / 2**0.5)
    intervals = [
        evaluate(*tracks(150, (0.3,), seed=seed), bootstrap=100, level=0.9).roc_auc_interval
        for seed in range(120)
    ]
    held = sum(holds(interval, truth) for interval in intervals)
    assert 0.82 <= held / 120 <= 0.97  # about 2.7 standard errors around 0.9


def test_intervals_hold_the_true_macro_average_precision_as_often_as_they_say():
    """The plain percentile interval holds it in 40 % of these trials."""
    prevalences = np.geomspace(0.1, 0.02, 10)
    grid = np.linspace(-8, 9, 4001)
    normal = np.vectorize(NormalDist().cdf)
    recall, fall_out = normal(1.2 - grid), normal(-grid)
    truth = 0.0
    for prevalence in prevalences:
        true, false = prevalence * recall, (1 - prevalence) * fall_out
        precision = true / (true + false)
        truth += np.sum((precision[1:] + precision[:-1]) / 2 * -np.diff(recall)) / 10
    names = [str(index) for index in range(10)]
    intervals = [
        evaluate_scores(*tracks(600, prevalences, seed=seed), names, bootstrap=60).pr_auc_interval
        for seed in range(30)
    ]
    assert sum(holds(interval, truth) for interval in intervals) / 30 >= 0.84


def test_the_seed_decides_the_intervals():
    labels, scores = tracks(100)
    one, same, other = (evaluate(labels, scores, bootstrap=70, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.roc_auc_interval != other.roc_auc_interval
    assert one.roc_auc == other.roc_auc


def test_groups_are_drawn_whole():
    labels, scores = tracks(120)
    single = evaluate(labels, scores, bootstrap=80)
    copies = [np.repeat(array, 3, axis=0) for array in (labels, scores)]
    artists = [f"artist {index}" for index in np.repeat(np.arange(120), 3)]
    grouped = evaluate(*copies, bootstrap=80, groups=artists)
    apart = evaluate(*copies, bootstrap=80)
    for name in ("low", "high"):
        expected = getattr(single.pr_auc_interval, name)
        assert getattr(grouped.pr_auc_interval, name) == pytest.approx(expected, abs=1e-12)
    width = single.pr_auc_interval.high - single.pr_auc_interval.low
    assert apart.pr_auc_interval.high - apart.pr_auc_interval.low < 0.7 * width
    assert "resamples of 120 groups" in grouped.conventions["bootstrap"]
    assert "resamples of 360 tracks" in apart.conventions["bootstrap"]


def test_without_a_bootstrap_there_are_no_intervals():
    found = evaluate(*tracks(50))
    assert found.roc_auc_interval is None
    assert all(tag.roc_auc_interval is None for tag in found.per_tag)
    assert found.conventions["bootstrap"] == "none, so no intervals"


def test_where_all_replicates_agree_there_is_no_interval():
    labels, scores = tracks(60)
    perfect = evaluate(labels, labels.astype(float), bootstrap=30)
    assert (perfect.roc_auc, perfect.pr_auc, perfect.f1) == (1, 1, 1)
    assert (perfect.roc_auc_interval, perfect.pr_auc_interval) == (None, None)
    constant = evaluate(labels, np.zeros_like(scores), bootstrap=30)
    assert (constant.roc_auc, constant.roc_auc_interval) == (0.5, None)
    assert holds(constant.pr_auc_interval, constant.pr_auc)


def test_a_tag_missing_from_resamples_has_the_interval_of_the_others():
    labels, scores = tracks(60)
    labels[:, 1] = np.arange(60) == 30
    scores[30, 1] = np.median(scores[:, 1])
    found = evaluate(labels, scores, bootstrap=40)
    assert holds(found.per_tag[1].roc_auc_interval, found.per_tag[1].roc_auc)
    assert holds(found.roc_auc_interval, found.roc_auc)


@pytest.mark.slow
def test_a_thousand_replicates_of_the_size_of_magnatagatune_are_quick():
    labels, scores = tracks(5329, np.geomspace(0.2, 0.007, 50))
    begin = time.process_time()
    evaluate_scores(labels, scores, [str(index) for index in range(50)])
    assert time.process_time() - begin < 30


# Thresholds


def f1_at(labels, scores, threshold):
    given = scores >= threshold
    return 2 * (given & labels).sum() / (given.sum() + labels.sum())


@given(tables(max_tracks=15))
@settings(max_examples=50)
def test_thresholds_are_the_highest_of_the_best(table):
    labels, scores = table
    for index, threshold in enumerate(best_f1_thresholds(labels, scores)):
        column = labels[:, index], scores[:, index]
        if not column[0].any():
            assert np.isnan(threshold)
            continue
        candidates = np.unique(column[1])
        figures = np.array([f1_at(*column, candidate) for candidate in candidates])
        assert f1_at(*column, threshold) == pytest.approx(figures.max(), abs=1e-12)
        higher = candidates[candidates >= threshold][1:]
        assert all(f1_at(*column, each) < figures.max() - 1e-12 for each in higher)


def test_a_threshold_is_in_the_middle_of_the_scores_that_it_parts():
    labels = np.array([[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 1, 0]])
    scores = np.array([0.125, 0.25, 0.5, 0.75])[:, np.newaxis].repeat(3, axis=1)
    np.testing.assert_array_equal(best_f1_thresholds(labels, scores), [0.375, 0.125, 0.1875])


def test_of_equally_good_thresholds_the_highest_is_taken():
    labels, scores = [[1], [0], [0], [1]], [[0.75], [0.5], [0.25], [0]]
    assert best_f1_thresholds(labels, scores).tolist() == [0.625]  # F1 is 2/3 at 0 too


@given(hnp.arrays(np.float32, 12, elements=st.floats(0, 1, width=32)), hnp.arrays(bool, 12))
@settings(max_examples=50)
def test_thresholds_decide_the_same_in_single_and_double_precision(scores, labels):
    assume(labels.any())
    (threshold,) = best_f1_thresholds(labels[:, np.newaxis], scores[:, np.newaxis])
    assert np.float32(threshold) == threshold
    assert ((scores >= np.float32(threshold)) == (scores.astype(float) >= threshold)).all()


def test_scores_closer_than_single_precision_are_parted():
    scores = np.array([[0.5], [0.5 + 1e-15]])
    assert best_f1_thresholds([[0], [1]], scores).tolist() == [scores[1, 0]]


def test_scores_beyond_single_precision_are_parted():
    assert best_f1_thresholds([[0], [1]], [[-1e308], [1e308]]).tolist() == [0]
    assert best_f1_thresholds([[0], [1]], [[1e300], [1e308]]).tolist() == [1e308]


def test_f1_is_at_the_best_thresholds_unless_others_are_given():
    labels, scores = tracks(100)
    best = best_f1_thresholds(labels, scores)
    found = evaluate(labels, scores)
    assert [tag.threshold for tag in found.per_tag] == best.tolist()
    assert found.f1 == pytest.approx(f1_score(labels, scores >= best, average="macro"))
    assert "optimistic" in found.conventions["thresholds"]
    given = [0.5, float("nan"), 1.0]
    found = evaluate(labels, scores, thresholds=given)
    assert found.per_tag[1].threshold is found.per_tag[1].f1 is found.per_tag[1].recall is None
    figures = []
    for index in (0, 2):
        tag = found.per_tag[index]
        expected = precision_recall_fscore_support(
            labels[:, index], scores[:, index] >= given[index], average="binary"
        )[:3]
        assert (tag.precision, tag.recall, tag.f1) == pytest.approx(expected)
        figures.append(tag.f1)
    assert found.f1 == np.mean(figures)
    assert "as given" in found.conventions["thresholds"]


def test_a_score_equal_to_the_threshold_gives_the_tag():
    labels, scores = [[1], [1], [0]], [[0.75], [0.5], [0.25]]
    tag = evaluate(labels, scores, thresholds=[0.5]).per_tag[0]
    assert (tag.precision, tag.recall, tag.f1) == (1, 1, 1)


def test_a_threshold_that_no_track_reaches_has_no_precision():
    labels, scores = tracks(50)
    tag = evaluate(labels, scores, thresholds=[99, 0, 0]).per_tag[0]
    assert (tag.precision, tag.recall, tag.f1) == (None, 0, 0)


# What is refused


def with_value(array, value):
    changed = np.array(array, dtype=float)
    changed[2, 1] = value
    return changed


LABELS, SCORES = tracks(20)


@pytest.mark.parametrize(
    ("labels", "scores", "options", "message"),
    [
        (
            with_value(LABELS, 0.5),
            SCORES,
            {},
            "labels must be 0 or 1; received 0.5 at track 2, tag",
        ),
        (with_value(LABELS, np.nan), SCORES, {}, "labels must be 0 or 1; received nan"),
        (LABELS.astype(str), SCORES, {}, "labels must be an array of numbers; received dtype <U5"),
        (LABELS[:-1], SCORES, {}, r"same shape .*received \(19, 3\) and \(20, 3\)"),
        ([[0, 1], [1]], SCORES, {}, "labels must be one array; received rows of different"),
        (LABELS, with_value(SCORES, np.nan), {}, r"received nan at track 2, column 1 \(1 such"),
        (LABELS, with_value(SCORES, np.inf), {}, "scores must be finite; received inf"),
        (LABELS, SCORES + 1j, {}, "scores must be an array of numbers; received dtype complex"),
        (LABELS[:, 0], SCORES[:, :1].ravel(), {"tags": ["a"]}, r"received \(20,\)"),
        (LABELS[:0], SCORES[:0], {}, r"at least one of each; received \(0, 3\)"),
        (LABELS[:, :0], SCORES[:, :0], {}, r"at least one of each; received \(20, 0\)"),
        (LABELS, SCORES, {"tags": ["a", "b"]}, "each of the 3 columns of the scores; received 2"),
        (LABELS, SCORES, {"tags": "abc"}, "each of the 3 columns of the scores; received 'abc'"),
        (LABELS, SCORES, {"tags": ["a", "b", "a"]}, "different names; received 'a' twice"),
        (np.zeros_like(LABELS), SCORES, {}, "received 20 tracks that no tag tells apart"),
        (np.ones_like(LABELS), SCORES, {}, "received 20 tracks that no tag tells apart"),
        (np.zeros_like(LABELS), SCORES, {"untagged": "drop"}, "received 0 tracks"),
        (LABELS, SCORES, {"untagged": "no"}, "must be one of keep, drop; received 'no'"),
        (LABELS, SCORES, {"groups": [1, 2]}, "groups must .*; received 2 for 20 tracks"),
        (LABELS, SCORES, {"bootstrap": -1}, "bootstrap must .*; received -1"),
        (LABELS, SCORES, {"bootstrap": 1}, "bootstrap must .*; received 1"),
        (LABELS, SCORES, {"level": 95}, "level must be between 0 and 1, .*; received 95"),
        (LABELS, SCORES, {"level": float("nan")}, "level must .*; received nan"),
        (LABELS, SCORES, {"seed": -3}, "seed must be at least 0; received -3"),
        (LABELS, SCORES, {"seed": "3"}, "seed must be a whole number"),
        (LABELS, SCORES, {"thresholds": [0.5]}, r"each of the 3 tags .*received shape \(1,\)"),
    ],
)
def test_refuses_what_it_cannot_use_in_one_line(labels, scores, options, message):
    tags = options.pop("tags", NAMES[:3])
    with pytest.raises(ArgumentError, match=message) as caught:
        evaluate_scores(labels, scores, tags, **{"bootstrap": 0, **options})
    assert "\n" not in str(caught.value)


def test_thresholds_refuse_the_same():
    with pytest.raises(ArgumentError, match=r"labels must be 0 or 1; received 0\.5"):
        best_f1_thresholds(with_value(LABELS, 0.5), SCORES)


# What is said


def test_conventions_say_what_the_figures_are_of():
    found = evaluate(*tracks(50), split="MTT, 5,329 clips", patches="mean", bootstrap=20, seed=7)
    assert found.conventions["split"] == "MTT, 5,329 clips"
    assert found.conventions["patches"] == "mean"
    assert "95 % intervals from 20 resamples of 50 tracks, seed 7" in found.conventions["bootstrap"]
    unsaid = evaluate(*tracks(50)).conventions
    assert (unsaid["split"], unsaid["patches"]) == ("not stated", "not stated")
    assert list(unsaid) == list(found.conventions)


def strict_json(text):
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))


def test_an_evaluation_converts_to_json():
    labels, scores = tracks(50)
    labels[:, 1] = False
    found = evaluate(labels, scores, bootstrap=20)
    plain = strict_json(found.to_json())
    assert plain == found.to_dict()
    assert plain["pr_auc"] == found.pr_auc
    assert plain["pr_auc_interval"]["low"] == found.pr_auc_interval.low
    assert plain["tags_left_out"] == ["pop"]
    assert plain["per_tag"][1] == {
        "tag": "pop", "positives": 0, "roc_auc": None, "average_precision": None,
        "roc_auc_interval": None, "average_precision_interval": None, "threshold": None,
        "precision": None, "recall": None, "f1": None,
    }  # fmt: skip


def test_an_evaluation_gives_the_rows_of_a_csv():
    labels, scores = tracks(50)
    labels[:, 1] = False
    found = evaluate_scores(labels, scores, ("=A1", "pop", "jazz"), bootstrap=20)
    formula, pop, jazz = (dict(zip(EVALUATION_COLUMNS, row, strict=True)) for row in found.rows())
    assert formula["tag"] == "'=A1"
    assert pop == {**dict.fromkeys(EVALUATION_COLUMNS, ""), "tag": "pop", "positives": "0"}
    tag = found.per_tag[2]
    assert float(jazz["roc_auc"]) == pytest.approx(tag.roc_auc, abs=1e-8)
    interval = tag.average_precision_interval
    assert float(jazz["average_precision_low"]) == pytest.approx(interval.low, abs=1e-8)
    assert float(jazz["average_precision_high"]) == pytest.approx(interval.high, abs=1e-8)
    assert float(jazz["f1"]) == pytest.approx(tag.f1, abs=1e-8)


def test_an_evaluation_prints_as_a_table_in_percent():
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    scores = np.array([[0.75, 0], [0.25, 0], [0.5, 0], [0.0, 0]])
    lines = str(evaluate_scores(labels, scores, ("rock", "pop"), bootstrap=0)).splitlines()
    assert lines[:8] == [
        "4 tracks, 1 tag, figures in percent",
        "ROC-AUC 75.00",
        "PR-AUC  83.33",
        "F1      80.00",
        "",
        "  tag   tracks  ROC-AUC  PR-AUC  threshold    F1",
        "  rock       2     75.0    83.3      0.125  80.0",
        "  pop        0        –       –          –     –",
    ]
    assert "split: not stated" in lines


def test_an_evaluation_fits_eighty_columns_and_its_names_stay_distinct():
    labels, scores = tracks(300, (0.3, 0.1, 0.5, 0.2))
    endings = ("acousticguitar", "electricguitar", "electricpiano", "bass\x1b[2J")
    tags = [f"instrument---{ending}" for ending in endings]
    text = str(evaluate_scores(labels, scores, tags, bootstrap=50, split="a " * 60))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text
    names = [line.split()[0] for line in lines[6:10]]
    assert len(set(names)) == 4
    assert all(name.startswith("instr…") for name in names)
    assert names[2].endswith("tricpiano")


# Classes


@pytest.mark.platform
@given(st.data(), st.integers(2, 30), st.integers(2, len(NAMES)))
@settings(max_examples=30)
def test_figures_of_classes_are_those_of_scikit_learn(data, n_tracks, n_classes):
    labels = data.draw(hnp.arrays(np.int64, n_tracks, elements=st.integers(0, n_classes - 1)))
    shape = (n_tracks, n_classes)
    scores = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(0, 5)))
    found = evaluate_classes(labels, scores, NAMES[:n_classes], bootstrap=0)
    taken_for = np.array([max(range(n_classes), key=lambda i: row[i]) for row in scores])
    known = {"labels": range(n_classes)}
    assert found.accuracy == accuracy_score(labels, taken_for)
    assert found.confusion == tuple(
        map(tuple, confusion_matrix(labels, taken_for, **known).tolist())
    )
    *figures, support = precision_recall_fscore_support(
        labels, taken_for, zero_division=np.nan, **known
    )
    for i, one in enumerate(found.per_class):
        assert (one.name, one.tracks) == (NAMES[i], support[i])
        received = [np.nan if value is None else value for value in (one.precision, one.recall)]
        np.testing.assert_allclose(received, [figures[0][i], figures[1][i]], atol=1e-12)
        if support[i] and one.precision is not None:
            assert one.f1 == pytest.approx(figures[2][i], abs=1e-12)
    assert found.classes_left_out == tuple(NAMES[i] for i in range(n_classes) if not support[i])
    present = support > 0
    assert found.balanced_accuracy == pytest.approx(figures[1][present].mean(), abs=1e-12)
    if set(taken_for) <= set(labels) and present.sum() > 1:  # else scikit-learn warns
        expected = balanced_accuracy_score(labels, taken_for)
        assert found.balanced_accuracy == pytest.approx(expected, abs=1e-12)


def classified(n_tracks, seed=0):
    """Three classes, about 70 % of the tracks taken for theirs."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=n_tracks)
    return labels, generator.random((n_tracks, 3)) + 0.5 * np.eye(3)[labels]


def test_the_interval_of_the_accuracy_is_that_of_a_proportion():
    labels, scores = classified(1000)
    found = evaluate_classes(labels, scores, NAMES[:3], bootstrap=500)
    error = (found.accuracy * (1 - found.accuracy) / 1000) ** 0.5
    for interval in (found.accuracy_interval, found.balanced_accuracy_interval):
        assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(error, rel=0.15)
    assert holds(found.accuracy_interval, found.accuracy)
    assert holds(found.balanced_accuracy_interval, found.balanced_accuracy)


def test_intervals_of_classes_are_the_documented_ones_of_resampled_tracks():
    labels, scores = classified(60)
    scores[labels == 1, 0] += 0.5
    found = evaluate_classes(labels, scores, NAMES[:3], bootstrap=70, level=0.9, seed=5)
    taken_for = scores.argmax(axis=1)
    generator = np.random.default_rng(5)
    draws = [generator.integers(60, size=60) for _ in range(70)]
    for metric, interval in (
        (accuracy_score, found.accuracy_interval),
        (balanced_accuracy_score, found.balanced_accuracy_interval),
    ):
        replicates = [metric(labels[draw], taken_for[draw]) for draw in draws]
        expected = documented_interval(metric(labels, taken_for), replicates)
        assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_an_accuracy_near_one_does_not_pass_one():
    labels = np.arange(100) % 2
    scores = np.eye(2)[np.where(np.arange(100) == 7, 0, labels)]
    found = evaluate_classes(labels, scores, NAMES[:2])
    assert found.accuracy == 0.99
    assert 0.9 < found.accuracy_interval.low < 0.97  # Wilson: 0.946 to 0.998
    assert 0.995 < found.accuracy_interval.high < 1


def test_groups_of_classified_tracks_are_drawn_whole():
    labels, scores = classified(100)
    single = evaluate_classes(labels, scores, NAMES[:3], bootstrap=80)
    copies = labels.repeat(3), scores.repeat(3, axis=0)
    grouped = evaluate_classes(
        *copies, NAMES[:3], bootstrap=80, groups=np.arange(100).repeat(3).tolist()
    )
    expected = single.accuracy_interval.low, single.accuracy_interval.high
    received = grouped.accuracy_interval.low, grouped.accuracy_interval.high
    assert received == pytest.approx(expected, abs=1e-12)


def test_a_class_that_is_not_there_has_no_recall():
    labels, scores = classified(60)
    labels[labels == 1] = 0
    found = evaluate_classes(labels, scores, NAMES[:3], bootstrap=20)
    assert found.classes_left_out == ("pop",)
    assert found.per_class[1].recall is None
    assert found.per_class[1].precision == 0
    assert "classes without tracks left out: pop" in found.conventions["averages"]


def test_an_evaluation_of_classes_converts_and_prints():
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = np.eye(4)[[0, 0, 1, 1, 1, 1]]
    names = ("=rock", "pop", "jazz", "folk")
    found = evaluate_classes(labels, scores, names, bootstrap=20, split="mine", patches="mean")
    assert strict_json(found.to_json()) == found.to_dict()
    assert found.to_dict()["confusion"][0] == [2, 1, 0, 0]
    rows = [dict(zip(CLASS_COLUMNS, row, strict=True)) for row in found.rows()]
    assert rows[0]["class"] == "'=rock"
    assert rows[1] == {"class": "pop", "tracks": "2", "precision": "0.5", "recall": "1",
                       "f1": "0.666666667"}  # fmt: skip
    assert rows[2]["precision"] == ""
    lines = str(found).splitlines()
    assert lines[0] == "6 tracks, 3 classes, figures in percent"
    assert lines[1].startswith("accuracy          66.67 (")
    assert lines[4:9] == [
        "  class  tracks  precision  recall    F1  mistaken for",
        "  =rock       3      100.0    66.7  80.0         pop 1",
        "  pop         2       50.0   100.0  66.7             –",
        "  jazz        1          –     0.0   0.0         pop 1",
        "  folk        0          –       –     –             –",
    ]
    assert "split: mine" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1], {}, r"each of the 3 tracks; received shape \(2,\)"),
        ([0.0, 1.0, 1.0], {}, "received shape .*dtype float64"),
        ([0, 2, 1], {}, "labels must be from 0 to 1, .*; received 2 at track 1"),
        ([0, -1, 1], {}, "labels must be from 0 to 1, .*; received -1 at track 1"),
        ([0, 1, 1], {"classes": ["a"]}, "classes must name each of the 2 columns"),
        ([0, 0, 0], {"classes": ["a"], "scores": np.ones((3, 1))}, "at least two .*received 1"),
        ([0, 1, 1], {"scores": [0.1, 0.2, 0.3]}, r"shape \(tracks, classes\)"),
        ([0, 1, 1], {"groups": "a"}, "groups must .*received 1 for 3 tracks"),
    ],
)
def test_classes_refuse_what_they_cannot_use(labels, options, message):
    scores = options.pop("scores", np.eye(2)[[0, 1, 1]])
    classes = options.pop("classes", NAMES[:2])
    with pytest.raises(ArgumentError, match=message):
        evaluate_classes(labels, scores, classes, **options)
