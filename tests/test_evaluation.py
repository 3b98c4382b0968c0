"""Models on small data sets: figures against scikit-learn's, tags against their names."""

import csv
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import CLIPS
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    roc_auc_score,
)

import musicnn_zoo
from musicnn_zoo import ArgumentError, Tagger, block, build_model
from musicnn_zoo.datasets import Dataset, DatasetError, DatasetWarning, Report
from musicnn_zoo.evaluation.evaluate import (
    SCORE_COLUMNS,
    evaluate_model,
    match_tags,
    save_evaluation,
    save_scores,
    with_thresholds,
)
from musicnn_zoo.evaluation.results import CLASS_COLUMNS, EVALUATION_COLUMNS
from musicnn_zoo.networks.config import TagThresholds
from musicnn_zoo.zoo.catalogue import MTT_TAGS

SECONDS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pieces of the example clips, four seconds long."""
    place = tmp_path_factory.mktemp("clips")
    for clip in sorted(CLIPS.glob("*.ogg")):
        samples, rate = soundfile.read(clip)
        for piece in range(4):
            start = piece * SECONDS * rate
            soundfile.write(
                place / f"{clip.stem}_{piece}.wav", samples[start : start + SECONDS * rate], rate
            )
    return place


def dataset(folder, tags=MTT_TAGS, seed=0, **changes):
    """Every piece with random tags, so that no figure is 0 or 1."""
    paths = sorted(str(path) for path in folder.glob("*.wav"))
    labels = np.random.default_rng(seed).random((len(paths), len(tags))) < 0.4
    labels[0], labels[1] = False, True
    made = {"name": "pieces", "tags": tags, "paths": paths, "labels": labels}
    return Dataset(**(made | changes))


@pytest.fixture(scope="module")
def pieces(folder):
    return dataset(folder)


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_musicnn")


@pytest.fixture(scope="module")
def scores(pieces):
    """The scores by another way: all tags of musicnn_zoo.tag_files."""
    table = []
    for result in musicnn_zoo.tag_files(pieces.paths, model="MTT_musicnn", top_k=50):
        score = dict(result.unwrap())
        table.append([score[tag] for tag in MTT_TAGS])
    return np.array(table)


def evaluated(model, data, **options):
    return evaluate_model(model, data, **{"split": None, "bootstrap": 0, **options})


@pytest.fixture(scope="module")
def plain(tagger, pieces):
    """The evaluation by default."""
    return evaluated(tagger, pieces)


def small(tags, activation="sigmoid", seed=0):
    model = build_model(
        replace(
            build_model("vgg").zoo_config,
            frontend=block("vgg", filters=2),
            activation=activation,
        ),
        tags=tags,
        name="small",
    )
    random = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return model


# Figures


def test_figures_are_scikit_learns_on_the_scores_of_tag_files(plain, pieces, scores):
    np.testing.assert_array_equal(plain.labels, pieces.labels)
    np.testing.assert_allclose(plain.scores, scores, rtol=0, atol=1e-6)
    assert plain.figures.roc_auc == pytest.approx(roc_auc_score(pieces.labels, plain.scores))
    expected = average_precision_score(pieces.labels, plain.scores)
    assert plain.figures.pr_auc == pytest.approx(expected)
    for index, tag in enumerate(plain.figures.per_tag):
        assert tag.roc_auc == pytest.approx(
            roc_auc_score(pieces.labels[:, index], scores[:, index]), abs=1e-12
        )
    assert (plain.model, plain.dataset, plain.split) == ("MTT_musicnn", "pieces", None)
    assert (plain.tags, plain.paths) == (MTT_TAGS, pieces.paths)
    assert plain.hours == pytest.approx(12 * SECONDS / 3600)
    assert (len(plain), plain.errors, plain.report.counts) == (12, {}, {})


def test_patches_are_averaged_and_the_cutting_is_said(tagger, pieces):
    found = evaluated(tagger, pieces, hop_s=0.5, tail="pad")
    for path, row in zip(found.paths[:3], found.scores, strict=False):
        taggram = tagger.taggram(path, hop_s=0.5, tail="pad")
        assert len(taggram) > 2
        np.testing.assert_allclose(row, taggram.scores.mean(axis=0), atol=1e-6)
    said = found.figures.conventions["patches"]
    assert said.startswith(f"2.992 s every {taggram.hop_s:.3f} s, their scores averaged per track")
    assert "repeated until it does" in said


def test_short_tracks_are_counted(tagger, folder, tmp_path):
    paths = []
    for seconds in (1, 4):
        samples, rate = soundfile.read(folder / "techno_loop_0.wav")
        paths.append(tmp_path / f"{seconds}.wav")
        soundfile.write(paths[-1], samples[: seconds * rate], rate)
    data = Dataset("two", ("techno",), tuple(map(str, paths)), np.array([[1], [0]]))
    said = evaluated(tagger, data, tags="common").figures.conventions["patches"]
    assert said.endswith("1 track shorter than a patch repeated to fill one")


def test_a_keras_model_and_its_tagger_give_the_same(pieces):
    model = small(MTT_TAGS)
    one, other = evaluated(model, pieces), evaluated(Tagger(model, engine="tensorflow"), pieces)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    assert one.model == "small"


def test_intervals_are_drawn_over_groups_if_there_are_some(tagger, pieces):
    artists = tuple(Path(path).stem[:-2] for path in pieces.paths)
    grouped = pieces.with_groups(artists)
    of_groups = evaluated(tagger, grouped, bootstrap=20)
    of_tracks = evaluated(tagger, grouped, bootstrap=20, resample="tracks")
    assert "20 resamples of 3 groups" in of_groups.figures.conventions["bootstrap"]
    assert of_groups.groups == artists
    assert "20 resamples of 12 tracks" in of_tracks.figures.conventions["bootstrap"]
    assert of_tracks.figures == evaluated(tagger, pieces, bootstrap=20).figures
    with pytest.raises(ArgumentError, match="pieces has no groups to resample"):
        evaluated(tagger, pieces, resample="groups")


def test_thresholds_are_the_best_or_given_or_the_models_own(tagger, pieces, scores, plain):
    best = plain.figures
    assert "optimistic" in best.conventions["thresholds"]
    given = evaluated(tagger, pieces, thresholds=np.full(50, 0.1)).figures
    expected = f1_score(pieces.labels, scores >= 0.1, average="macro")
    assert given.f1 == pytest.approx(expected)
    assert given.f1 < best.f1
    with pytest.raises(ArgumentError, match="MTT_musicnn has no calibrated thresholds"):
        evaluated(tagger, pieces, thresholds="calibrated")
    model = small(MTT_TAGS)
    values = (0.5,) * 49 + (None,)
    own = with_thresholds(model, TagThresholds(values, "a guess"))
    found = evaluated(own, pieces, thresholds="calibrated")
    assert found.figures.per_tag[0].threshold == 0.5
    assert found.figures.per_tag[49].threshold is None
    said = found.figures.conventions["thresholds"]
    assert said == "the model's own, for 49 of 50 tags, a guess"


# Splits


def test_a_split_is_evaluated_and_said(tagger, pieces):
    splits = ("train",) * 4 + ("validation",) * 3 + ("test",) * 5
    artists = tuple("aabbbbbcccdd")
    parted = replace(pieces, splits=splits, groups=artists)
    found = evaluate_model(tagger, parted, bootstrap=0)
    alone = evaluated(tagger, pieces.subset(range(7, 12)))
    assert (found.split, found.paths) == ("test", pieces.paths[7:])
    assert found.figures.roc_auc == alone.figures.roc_auc
    assert found.figures.conventions["split"] == "test of pieces"
    val = evaluate_model(tagger, parted, split="val", bootstrap=0)
    assert (val.split, len(val)) == ("validation", 3)
    assert val.figures.conventions["split"] == (
        "validation of pieces; 1 of its 1 groups (such as artists) are in other splits, too"
    )
    every = evaluated(tagger, parted).figures.conventions["split"]
    assert every == ("all tracks of pieces, whatever their split (train 4, validation 3, test 5)")


def test_without_splits_all_tracks_are_asked_for(tagger, pieces, plain):
    with pytest.raises(ArgumentError, match=r"pieces has no splits, .* pass split=None"):
        evaluate_model(tagger, pieces)
    said = plain.figures.conventions["split"]
    assert said == "all tracks of pieces, which has no splits"


# Tags


def test_the_order_of_the_tags_does_not_matter(tagger, pieces, plain):
    order = np.random.default_rng(1).permutation(50)
    other = replace(pieces, tags=tuple(MTT_TAGS[i] for i in order), labels=pieces.labels[:, order])
    turned = evaluated(tagger, other)
    assert turned.figures == plain.figures
    assert turned.tags == MTT_TAGS
    np.testing.assert_array_equal(turned.labels, plain.labels)


def test_spellings_are_matched_and_said(tagger, pieces, plain):
    spelled = tuple(
        {"no vocals": "No-Vocals", "new age": "new_age"}.get(tag, tag) for tag in MTT_TAGS
    )
    found = evaluated(tagger, replace(pieces, tags=spelled))
    assert found.figures.roc_auc == plain.figures.roc_auc
    assert found.figures.conventions["tags"] == (
        "50, matched by name; spelled differently in the data set: 'No-Vocals' is 'no vocals', "
        "'new_age' is 'new age'"
    )


def test_tags_that_one_side_lacks_are_named(tagger, pieces, plain):
    other = replace(pieces, tags=("zither", *MTT_TAGS[1:]))
    with pytest.raises(ArgumentError) as caught:
        evaluated(tagger, other)
    assert str(caught.value) == (
        "pieces and the model differ in their tags, only the model knows 1: 'guitar'; only the "
        "data set knows 1: 'zither'. tags='common' (--tags common) evaluates the 49 that both know"
    )
    found = evaluated(tagger, other, tags="common")
    assert found.figures.per_tag == plain.figures.per_tag[1:]
    assert found.report["unused_tags"] == ("zither",)
    assert "1 left out that only the model knows: 'guitar'" in found.figures.conventions["tags"]


def test_nothing_in_common(tagger, pieces):
    strange = replace(pieces, tags=tuple(f"x{i}" for i in range(50)))
    with pytest.raises(ArgumentError, match="have no tag in common: the model knows 'guitar', 'cl"):
        evaluated(tagger, strange, tags="common")


def test_ambiguous_spellings_are_not_matched():
    data = Dataset("d", ("Hip-Hop", "hip hop", "ROCK"), ("a",), np.ones((1, 3)))
    with pytest.raises(ArgumentError, match="no tag in common"):
        match_tags(("hip_hop", "rock", "Rock"), data, which="common")
    exact = match_tags(("hip hop", "rock"), data, which="common")
    assert (exact.in_data, exact.data_only) == (("hip hop", "ROCK"), ("Hip-Hop",))


# Untagged tracks


def test_untagged_tracks_are_kept_or_dropped(tagger, pieces, scores, plain):
    dropped = evaluated(tagger, pieces, untagged="drop")
    assert (len(plain), len(dropped)) == (12, 11)
    assert (plain.figures.untagged, dropped.figures.untagged) == (1, 1)
    has = pieces.labels.any(axis=1)
    told = ~pieces.labels[has].all(axis=0)
    expected = average_precision_score(pieces.labels[has][:, told], scores[has][:, told])
    assert dropped.figures.pr_auc == pytest.approx(expected)
    assert dropped.report["untagged_by_request"] == (pieces.paths[0],)
    assert dropped.figures.conventions["untagged"] == "1 track without any tag dropped"
    assert plain.figures.conventions["untagged"].startswith("1 track without any tag kept")
    read = replace(pieces, report=Report({"untagged": ("a", "b")}))
    assert (
        evaluated(tagger, read)
        .figures.conventions["untagged"]
        .endswith("; 2 more left out when the data set was read")
    )


# Files that cannot be used


def test_broken_and_missing_files_are_skipped_and_listed(tagger, pieces, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF no sound")
    paths = list(pieces.paths)
    paths[3], paths[8] = str(broken), str(tmp_path / "gone.wav")
    says = r"pieces: 1 missing file .* The evaluation's \.errors"
    with pytest.warns(DatasetWarning, match=says) as caught:
        found = evaluated(tagger, replace(pieces, paths=paths))
    assert {warning.filename for warning in caught} == {__file__}
    rest = [index for index in range(12) if index not in (3, 8)]
    alone = evaluated(tagger, pieces.subset(rest))
    assert found.figures == replace(alone.figures, conventions=found.figures.conventions)
    np.testing.assert_array_equal(found.scores, alone.scores)
    assert found.report.counts == {"missing_files": 1, "broken_files": 1}
    assert found.report["broken_files"] == (str(broken),)
    assert set(found.errors) == {paths[3], paths[8]}
    assert "broken.wav" in found.errors[str(broken)]
    assert found.to_dict()["left_out"]["missing_files"] == [paths[8]]
    assert "1 file that cannot be decoded left out" in str(found).replace("\n  ", " ")


def test_if_all_files_are_broken_there_is_nothing_to_evaluate(tagger, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"no sound")
    paths = [str(tmp_path / f"{name}.wav") for name in "ab"]
    data = Dataset("mine", ("techno", "rock"), paths, np.eye(2))
    with pytest.raises(
        DatasetError, match=r"mine: none of the 2 files can be used; the first: .*a"
    ):
        evaluated(tagger, data, tags="common")


# Classes

KINDS = ("bach_chorale_strings", "bach_prelude_harpsichord", "techno_loop")


@pytest.fixture(scope="module")
def classed(pieces):
    labels = np.array([[kind in path for kind in KINDS] for path in pieces.paths])
    return replace(pieces, name="kinds", tags=KINDS, labels=labels)


@pytest.fixture(scope="module")
def softmax():
    return small(KINDS, "softmax")


def test_a_softmax_model_names_one_class_a_track(softmax, classed):
    found = evaluated(softmax, classed, bootstrap=20)
    truth, taken = classed.labels.argmax(axis=1), found.scores.argmax(axis=1)
    assert found.figures.accuracy == accuracy_score(truth, taken)
    np.testing.assert_array_equal(found.figures.confusion, confusion_matrix(truth, taken))
    assert found.columns == CLASS_COLUMNS
    assert found.to_dict()["kind"] == "classes"
    assert found.figures.conventions["kind"] == "classes, one a track"


def test_a_sigmoid_model_tells_tags_unless_asked(softmax, classed, pieces):
    model = small(KINDS)
    assert evaluated(model, classed).columns == EVALUATION_COLUMNS
    asked = evaluated(model, classed, as_classes=True)
    assert asked.columns == CLASS_COLUMNS
    assert evaluated(softmax, classed, as_classes=False).columns == EVALUATION_COLUMNS
    several = replace(classed, labels=np.ones((12, 3), bool) & (np.arange(12) > 2)[:, None])
    with pytest.raises(ArgumentError, match="12 of the 12 tracks of kinds have several or none"):
        evaluated(model, several, as_classes=True)
    with pytest.raises(ArgumentError, match="thresholds go with tags"):
        evaluated(softmax, classed, thresholds=[0.5] * 3)


def test_tracks_of_classes_that_the_model_lacks_are_left_out(classed):
    model = small((*KINDS[:2], "piano"), "softmax")
    found = evaluated(model, classed, tags="common")
    assert (len(found), found.tags) == (8, KINDS[:2])
    assert found.figures.conventions["untagged"] == "4 tracks of none of the classes left out"
    assert len(found.report["untagged_by_request"]) == 4


# What is refused before anything is computed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "has no splits"),
        ({"tags": "some"}, "tags must be 'all' or 'common'; received 'some'"),
        ({"untagged": "no"}, "untagged must be one of keep, drop"),
        ({"thresholds": "best"}, "thresholds must be 'calibrated', .*received 'best'"),
        ({"thresholds": [0.5]}, "one number for each of the 50 tags"),
        ({"resample": "artists"}, "resample must be 'tracks' or 'groups'"),
        ({"bootstrap": 1}, "bootstrap must be"),
        ({"level": 95}, "level must be between"),
        ({"hop_s": -1}, "hop_s must be"),
        ({"engine": "tensorflow"}, "engine and device are chosen when a Tagger is made"),
    ],
)
def test_arguments_are_checked_first(tagger, pieces, options, message, monkeypatch):
    monkeypatch.setattr(Tagger, "taggram_files", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(ArgumentError, match=message):
        evaluated(tagger, pieces, **options)


def test_labels_that_tell_nothing_apart_are_refused_first(tagger, pieces, monkeypatch):
    monkeypatch.setattr(Tagger, "taggram_files", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(ArgumentError, match="no tag tells apart"):
        evaluated(tagger, replace(pieces, labels=np.ones((12, 50), bool)))


# What is said and written


def test_an_evaluation_prints_and_converts(tagger, pieces):
    found = evaluated(tagger, pieces, bootstrap=20)
    lines = str(found).splitlines()
    assert lines[0] == "MTT_musicnn on pieces, all tracks, 0.01 hours of audio"
    assert lines[1:-1] == str(found.figures).splitlines()
    assert lines[-1] == "report: nothing was left out."
    plain = json.loads(found.to_json())
    assert plain["figures"]["roc_auc"] == found.figures.roc_auc
    assert list(plain["figures"]["conventions"]) == [
        "split", "seen in training", "tags", "kind", "patches", "figures", "averages", "untagged",
        "thresholds", "bootstrap",
    ]  # fmt: skip
    assert found.rows() == found.figures.rows()
    assert repr(found) == "<ModelEvaluation of MTT_musicnn on pieces, all tracks: 12 tracks>"


def test_figures_can_be_computed_again_from_the_files(tagger, pieces, tmp_path):
    found = evaluated(tagger, pieces.with_groups(lambda path: Path(path).stem[:-2]))
    save_scores(found, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as stored:
        assert sorted(stored) == [
            "dataset", "groups", "labels", "model", "paths", "scores", "split", "tags",
        ]  # fmt: skip
        np.testing.assert_array_equal(stored["scores"], found.scores)
        assert tuple(stored["paths"]) == found.paths
        again = roc_auc_score(stored["labels"], stored["scores"])
    assert again == pytest.approx(found.figures.roc_auc)
    save_scores(found, tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert tuple(head) == SCORE_COLUMNS
    assert len(rows) == 12 * 50
    assert [row[1] for row in rows[:50]] == list(MTT_TAGS)
    table = np.array([float(row[3]) for row in rows], np.float32).reshape(12, 50)
    np.testing.assert_array_equal(table, found.scores)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.npz"]


def test_reports_are_written_by_their_ending(plain, tmp_path):
    save_evaluation(plain, tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text()) == plain.to_dict()
    save_evaluation(plain, tmp_path / "f.txt")
    assert (tmp_path / "f.txt").read_text() == f"{plain}\n"
    save_evaluation(plain, tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(EVALUATION_COLUMNS)
    with pytest.raises(ArgumentError, match=r"must end in \.json, \.csv, \.txt"):
        save_evaluation(plain, tmp_path / "f.xml")
    with pytest.raises(ArgumentError, match="there is no folder"):
        save_scores(plain, tmp_path / "gone" / "s.csv")


def test_paths_that_are_no_text_are_written(tagger, folder, tmp_path):
    odd = tmp_path / "caf\udce9.wav"
    odd.write_bytes((folder / "techno_loop_0.wav").read_bytes())
    paths = [str(odd), str(folder / "techno_loop_1.wav")]
    found = evaluated(tagger, Dataset("odd", ("techno",), paths, [[1], [0]]), tags="common")
    save_scores(found, tmp_path / "s.csv")
    assert r"caf\udce9.wav" in (tmp_path / "s.csv").read_text()
    save_evaluation(found, tmp_path / "s.json")


def test_nothing_is_warned_of_if_nothing_is_wrong(tagger, pieces):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluated(tagger, pieces)
