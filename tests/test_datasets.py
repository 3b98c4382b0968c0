import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import musicnn_zoo.datasets as package
from musicnn_zoo import ArgumentError, UnknownNameError
from musicnn_zoo.datasets import (
    Dataset,
    DatasetError,
    DatasetWarning,
    Report,
    from_folder,
)
from musicnn_zoo.datasets.dataset import KINDS


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")


def make(labels, **changes) -> Dataset:
    labels = np.array(labels, bool)
    made = {
        "name": "toy",
        "tags": tuple("abcdefgh"[: labels.shape[1]]),
        "paths": tuple(f"{row}.wav" for row in range(len(labels))),
        "labels": labels,
    }
    return Dataset(**(made | changes))


MULTI = [[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0]]
SINGLE = [[1, 0], [0, 1], [1, 0], [1, 0]]


# --- the data set


def test_no_public_function_is_hidden_by_a_module_of_its_name() -> None:
    for name in package.__all__:
        assert type(getattr(package, name)) is not type(package), name


def test_a_data_set_knows_its_size_and_its_kind() -> None:
    multi, single = make(MULTI), make(SINGLE)
    assert (len(multi), multi.positives.tolist()) == (4, [2, 1, 2])
    assert (multi.single_label, single.single_label) == (False, True)
    assert not make([[1, 0], [0, 0]]).single_label
    assert repr(make(SINGLE, splits=("train", "test", "train", "train"))) == (
        "<Dataset toy: 4 tracks; 2 tags, one a track; train 3; test 1>"
    )


def test_labels_are_a_copy_that_cannot_be_written_to() -> None:
    labels = np.array(SINGLE, bool)
    dataset = make(labels)
    labels[:] = False
    assert dataset.positives.tolist() == [3, 1]
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0, 0] = False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": ("a", "a")}, "tag 'a' is there twice"),
        ({"paths": ("0", "1", "0", "3")}, "path '0' is there twice"),
        ({"tags": ("a",)}, r"labels must be \(tracks, tags\) = \(4, 1\); received \(4, 2\)"),
        ({"paths": ()}, "no track is left"),
        ({"tags": ()}, "there are no tags"),
        ({"groups": ("x",)}, "every track needs a group: 1 for 4 tracks"),
        ({"splits": ("train",) * 3}, "every track needs a split"),
        ({"splits": ("train", "test", "train", "val")}, "must be one of .* received 'val'"),
    ],
)
def test_refuses_what_does_not_fit_together(changes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make(SINGLE, **changes)


def test_subsets_by_split_by_index_and_by_mask() -> None:
    dataset = make(
        MULTI, groups=("x", "y", "x", "z"), splits=("train", "test", "train", "validation")
    )
    train = dataset.subset("train")
    assert (train.paths, train.groups, train.splits) == (
        ("0.wav", "2.wav"), ("x", "x"), ("train", "train"),
    )  # fmt: skip
    assert train.labels.tolist() == [MULTI[0], MULTI[2]]
    assert dataset.subset([3, 0]).paths == ("3.wav", "0.wav")
    assert dataset.subset(np.array([False, True, False, True])).paths == ("1.wav", "3.wav")
    assert dataset.split_sizes == {"train": 2, "validation": 1, "test": 1}


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("train", "no splits"),
        ([4], "from 0 to 3"),
        ([-1], "from 0 to 3"),
        ([[0]], "from 0 to 3"),
        ([0, 0], "each track once"),
        ([0.5], "whole numbers"),
        (np.array([True]), "a mask must have 4 entries"),
        ([], "no track is left"),
    ],
)
def test_subsets_refuse_what_is_no_part(which, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make(MULTI).subset(which)


def test_an_unknown_split_is_named_with_those_that_there_are() -> None:
    dataset = make(SINGLE, splits=("train", "train", "train", "test"))
    with pytest.raises(UnknownNameError, match=r"unknown split 'valid'; known are: test, train"):
        dataset.subset("valid")


def test_tags_may_be_chosen_and_put_in_another_order() -> None:
    changed = make(MULTI).with_tags(["c", "b"])
    assert changed.tags == ("c", "b")
    assert changed.labels.tolist() == [[1, 0], [0, 0], [1, 1], [0, 0]]
    assert changed.report["unused_tags"] == ("a",)


def test_tracks_without_the_chosen_tags_may_be_dropped_and_are_listed() -> None:
    changed = make(MULTI).with_tags(["b"], untagged="drop")
    assert changed.paths == ("2.wav",)
    assert changed.report["untagged_by_request"] == ("0.wav", "1.wav", "3.wav")
    with pytest.raises(UnknownNameError, match="unknown tag 'z'"):
        make(MULTI).with_tags(["a", "z"])
    with pytest.raises(ArgumentError, match="untagged must be one of keep, drop"):
        make(MULTI).with_tags(["a"], untagged="lose")


def test_broken_files_are_left_out_and_listed() -> None:
    left = make(MULTI).without([2, 0, 2])
    assert left.paths == ("1.wav", "3.wav")
    assert left.report["broken_files"] == ("0.wav", "2.wav")
    assert left.without([0]).report["broken_files"] == ("0.wav", "2.wav", "1.wav")
    assert make(MULTI).without([]).report.counts == {}
    with pytest.raises(ArgumentError, match="from 0 to 3"):
        make(MULTI).without([4])


def test_nothing_left_says_why() -> None:
    with pytest.raises(DatasetError, match=r"4 files that cannot be decoded left out \(0\.wav, "):
        make(MULTI).without(range(4))


def test_groups_may_be_read_off_the_paths() -> None:
    dataset = make(MULTI, paths=("x_1.wav", "x_2.wav", "y_1.wav", "y_2.wav"))
    grouped = dataset.with_groups(lambda path: path.split("_")[0])
    assert grouped.groups == ("x", "x", "y", "y")
    assert grouped.with_groups(["1", "2", "3", "4"]).groups == ("1", "2", "3", "4")
    assert grouped.with_groups(None).groups is None


def test_groups_in_two_splits_leak() -> None:
    splits = ("train", "test", "train", "validation")
    assert make(MULTI, groups=("x", "y", "x", "z"), splits=splits).leaking_groups == ()
    assert make(MULTI, groups=("x", "x", "z", "z"), splits=splits).leaking_groups == ("x", "z")
    assert make(MULTI, splits=splits).leaking_groups == ()


def test_class_weights_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    classes = random.choice(4, 50, p=[0.1, 0.2, 0.3, 0.4])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=classes)
    np.testing.assert_allclose(make(np.eye(4)[classes]).class_weights(), expected)


def test_a_class_without_tracks_leaves_the_weights_of_the_others_alone() -> None:
    with_empty = [[*row, 0] for row in SINGLE]
    assert make(with_empty).class_weights().tolist() == [*make(SINGLE).class_weights(), 1.0]
    with pytest.raises(ArgumentError, match="label_weights"):
        make(MULTI).class_weights()


def test_label_weights_balance_each_tag() -> None:
    dataset = make([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0]])
    absent, present = dataset.label_weights().T
    labels = dataset.labels
    for tag in (0, 1):
        weights = np.where(labels[:, tag], present[tag], absent[tag])
        assert weights.mean() == pytest.approx(1)
        assert weights[labels[:, tag]].sum() == pytest.approx(weights[~labels[:, tag]].sum())
    assert dataset.label_weights()[2:].tolist() == [[1, 1], [1, 1]]


def test_a_data_set_can_be_sent_to_another_process() -> None:
    dataset = make(MULTI, report=Report({"missing_files": ("x.wav",)}))
    revived = pickle.loads(pickle.dumps(dataset))
    assert revived.paths == dataset.paths
    assert revived.report["missing_files"] == ("x.wav",)
    assert not revived.labels.flags.writeable


# --- the report


def test_a_report_reads_as_one_paragraph() -> None:
    report = Report(
        {"merged_spellings": ("'hip hop' → 'Hip-Hop'",), "missing_files": tuple("abcd")}
    )
    assert str(report) == (
        "4 missing files left out (a, b, c, …); 1 tag in several spellings, merged into the most "
        "frequent ('hip hop' → 'Hip-Hop')."
    )
    assert str(Report()) == "nothing was left out."


def test_a_report_counts_and_lists() -> None:
    report = Report({"missing_files": ["a"], "duplicates": []}).adding("missing_files", ["b"])
    assert list(report) == ["missing_files"]
    assert report.counts == {"missing_files": 2}
    assert (report["missing_files"], report["duplicates"]) == (("a", "b"), ())
    assert ("missing_files" in report, "duplicates" in report) == (True, False)
    assert json.loads(json.dumps(report.to_dict())) == {"missing_files": ["a", "b"]}


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean missing_files"):
        Report({"missing_file": ("a",)})
    with pytest.raises(UnknownNameError):
        Report()["missing"]


def test_what_was_asked_for_does_not_alarm() -> None:
    report = Report({"unused_tags": ("a",), "missing_files": ("b",)})
    assert report.alarming.counts == {"missing_files": 1}
    assert not KINDS["unused_tags"].warns


def test_names_of_files_cannot_command_the_terminal() -> None:
    assert "\x1b" not in str(Report({"missing_files": ("\x1b[2J.wav",)}))


# --- a folder of classes


def test_subfolders_are_the_classes(tmp_path: Path) -> None:
    touch(
        tmp_path / "rock" / "a.wav",
        tmp_path / "rock" / "deep" / "er" / "b.FLAC",
        tmp_path / "jazz" / "c.mp3",
        tmp_path / "jazz" / "d.ogg",
        tmp_path / "jazz" / ".hidden.wav",
        tmp_path / ".cache" / "e.wav",
        tmp_path / "rock" / ".trash" / "f.wav",
    )
    dataset = from_folder(tmp_path)
    assert dataset.name == tmp_path.name
    assert dataset.tags == ("jazz", "rock")
    assert dataset.paths == tuple(
        str(tmp_path / name)
        for name in ("jazz/c.mp3", "jazz/d.ogg", "rock/a.wav", "rock/deep/er/b.FLAC")
    )
    assert dataset.labels.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert dataset.single_label
    assert (dataset.splits, dataset.groups, dataset.report.counts) == (None, None, {})


def test_what_cannot_be_used_is_counted_listed_and_told(tmp_path: Path) -> None:
    touch(
        tmp_path / "rock" / "a.wav",
        tmp_path / "rock" / "b.wav",
        tmp_path / "rock" / "cover.jpg",
        tmp_path / "solo" / "c.wav",
        tmp_path / "notes" / "d.txt",
        tmp_path / "e.wav",
        tmp_path / "f.csv",
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "g.wav").touch()
    (tmp_path / "rock" / "more").symlink_to(tmp_path / "solo")
    with pytest.warns(DatasetWarning) as caught:
        dataset = from_folder(tmp_path, name="mine")
    assert [Path(warning.filename).name for warning in caught] == ["test_datasets.py"]
    message = str(caught[0].message)
    assert message.startswith("mine: 1 file of zero bytes left out")
    assert "1 class with a single file, which cannot be split (solo)" in message
    assert "3 classes without usable audio left out (empty, notes, hollow)" in message
    assert dataset.tags == ("rock", "solo")
    expected = {
        "empty_files": ["hollow/g.wav"],
        "not_audio": ["f.csv", "notes/d.txt", "rock/cover.jpg"],
        "unclassed_files": ["e.wav"],
        "unread_folders": ["rock/more"],
    }
    for kind, names in expected.items():
        assert dataset.report[kind] == tuple(str(tmp_path / name) for name in names), kind
    assert dataset.report["empty_classes"] == ("empty", "notes", "hollow")
    assert set(dataset.report) == {*expected, "empty_classes", "single_file_classes"}


def test_class_names_that_differ_in_spelling_are_one_class(tmp_path: Path) -> None:
    touch(
        tmp_path / "Hip-Hop" / "a.wav",
        tmp_path / "hip hop" / "b.wav",
        tmp_path / "hip hop" / "c.wav",
        tmp_path / "jazz" / "d.wav",
        tmp_path / "jazz" / "e.wav",
    )
    with pytest.warns(DatasetWarning, match="'Hip-Hop' → 'hip hop'"):
        dataset = from_folder(tmp_path)
    assert dataset.tags == ("hip hop", "jazz")
    assert dataset.positives.tolist() == [3, 2]


def test_folders_called_after_splits_are_splits(tmp_path: Path) -> None:
    for part in ("train", "Valid", "test"):
        for kind in ("rock", "jazz"):
            touch(tmp_path / part / kind / f"{part}.wav")
    dataset = from_folder(tmp_path)
    assert dataset.tags == ("jazz", "rock")
    assert dataset.split_sizes == {"train": 2, "validation": 2, "test": 2}
    assert {Path(path).parts[-3] for path in dataset.subset("validation").paths} == {"Valid"}


def test_folders_called_after_splits_that_hold_audio_are_classes(tmp_path: Path) -> None:
    touch(*(tmp_path / kind / f"{n}.wav" for kind in ("train", "test") for n in range(2)))
    dataset = from_folder(tmp_path)
    assert (dataset.tags, dataset.splits) == (("test", "train"), None)


def test_one_folder_called_after_a_split_is_one_too(tmp_path: Path) -> None:
    touch(*(tmp_path / "train" / kind / f"{n}.wav" for kind in ("a", "b") for n in range(2)))
    dataset = from_folder(tmp_path)
    assert (dataset.tags, dataset.split_sizes) == (("a", "b"), {"train": 4})


def test_audio_beside_the_folders_in_a_folder_called_after_a_split_makes_it_a_class(
    tmp_path: Path,
) -> None:
    touch(*(tmp_path / kind / "deep" / f"{n}.wav" for kind in ("train", "test") for n in range(2)))
    touch(tmp_path / "train" / "2.wav")
    assert from_folder(tmp_path).tags == ("test", "train")


def test_subfolders_of_classes_may_be_groups(tmp_path: Path) -> None:
    touch(
        tmp_path / "pop" / "Queen" / "a.wav",
        tmp_path / "rock" / "Queen" / "live" / "b.wav",
        tmp_path / "rock" / "Kiss" / "c.wav",
        tmp_path / "pop" / "d.wav",
    )
    dataset = from_folder(tmp_path, group_by="subfolder")
    assert dataset.groups == (str(tmp_path / "pop" / "d.wav"), "Queen", "Kiss", "Queen")
    with pytest.raises(ArgumentError, match="group_by"):
        from_folder(tmp_path, group_by="artist")


def test_a_single_class_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    touch(tmp_path / "rock" / "a.wav", tmp_path / "rock" / "b.wav")
    with pytest.warns(DatasetWarning, match=r"1 class and no other: .* \(rock\)"):
        assert from_folder(tmp_path).tags == ("rock",)


def test_a_folder_that_cannot_be_opened_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(*(tmp_path / kind / f"{n}.wav" for kind in ("a", "b") for n in range(2)))
    touch(tmp_path / "a" / "locked" / "x.wav")
    real = package.folder.os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.warns(DatasetWarning, match="links or cannot be opened|is a link or cannot be"):
        dataset = from_folder(tmp_path)
    assert dataset.report["unread_folders"] == (str(tmp_path / "a" / "locked"),)
    assert len(dataset) == 4


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in folders on Windows")
def test_a_folder_of_classes_is_searched_as_a_library_is(tmp_path: Path) -> None:
    touch(*(tmp_path / kind / f"{n}.wav" for kind in ("a", "b") for n in range(2)))
    touch(*(tmp_path / name / "x.wav" for name in ("@eaDir", "a/@eaDir", "#recycle")))
    os.mkfifo(tmp_path / "a" / "pipe.wav")
    with pytest.warns(DatasetWarning, match="1 pipe, device or broken link left out"):
        dataset = from_folder(tmp_path)
    assert dataset.report["not_regular"] == (str(tmp_path / "a" / "pipe.wav"),)
    assert (len(dataset), dataset.tags) == (4, ("a", "b"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no subfolders; each class needs one"),
        (["a.wav"], "has no subfolders"),
        (["rock/a.txt", "jazz/b.pdf"], "nothing is left: 2 files that are no audio"),
    ],
)
def test_a_folder_without_classes_is_an_error(tmp_path: Path, files, message: str) -> None:
    touch(*(tmp_path / name for name in files))
    with pytest.raises(DatasetError, match=message):
        from_folder(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such folder"):
        from_folder(tmp_path / "none")


def test_a_folder_of_empty_files_only_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rock").mkdir()
    (tmp_path / "rock" / "a.wav").touch()
    with pytest.raises(DatasetError, match="nothing is left: 1 file of zero bytes"):
        from_folder(tmp_path)
