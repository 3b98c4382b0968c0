import warnings
from pathlib import Path

import pytest

from musicnn_zoo import ArgumentError
from musicnn_zoo.datasets import (
    LAYOUTS,
    DatasetError,
    DatasetWarning,
    from_folder,
    from_table,
    jamendo,
    magnatagatune,
    million_song,
    open_dataset,
)

MSD_ID = "TRAAAAW128F429D538"
FILES = {
    "folder": [f"classes/{kind}/{n}.wav" for kind in ("a", "b") for n in (1, 2)],
    "table": ["audio/1.wav", "audio/2.wav"],
    "magnatagatune": ["audio/0/bach-album-01-title-30-59.mp3", "audio/d/bach-x-02-t-30-59.mp3"],
    "jamendo": ["audio/15/1.mp3", "audio/15/2.mp3"],
    "million-song": [f"audio/A/A/A/{MSD_ID}.mp3"],
}
TEXTS = {
    "table": "path,tags\n1.wav,rock\n2.wav,jazz;rock\n",
    "magnatagatune": (
        '"clip_id"\t"rock"\t"loud"\t"mp3_path"\n'
        '"1"\t"1"\t"0"\t"0/bach-album-01-title-30-59.mp3"\n'
        '"2"\t"1"\t"1"\t"d/bach-x-02-t-30-59.mp3"\n'
    ),
    "jamendo": (
        "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
        "track_1\tartist_1\talbum_1\t15/1.mp3\t9.9\tgenre---rock\n"
        "track_2\tartist_2\talbum_2\t15/2.mp3\t9.9\tgenre---rock\n"
    ),
    "million-song": f"track_id,tags\n{MSD_ID},rock\n",
}
NAMES = {"magnatagatune": "annotations_final.csv", "jamendo": "autotagging-train.tsv"}
READERS = {
    "table": from_table,
    "magnatagatune": magnatagatune,
    "jamendo": jamendo,
    "million-song": million_song,
}

pytestmark = pytest.mark.filterwarnings("ignore::musicnn_zoo.datasets.DatasetWarning")


def lay(root: Path, layout: str) -> tuple[Path, Path]:
    """Make a data set; return its place and that of the audio."""
    for name in FILES[layout]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")
    if layout == "folder":
        return root / "classes", root / "classes"
    place = root / "tables" / NAMES.get(layout, "table.csv")
    place.parent.mkdir()
    place.write_text(TEXTS[layout])
    return place, root / "audio"


def same(one, other) -> bool:
    return (
        all(
            getattr(one, name) == getattr(other, name)
            for name in ("name", "tags", "paths", "groups", "splits")
        )
        and (one.labels == other.labels).all()
    )


def test_all_layouts_are_tested() -> None:
    assert set(LAYOUTS) == {"folder", *READERS} == set(FILES)


@pytest.mark.parametrize("layout", READERS)
@pytest.mark.parametrize("kind", [str, Path])
def test_each_layout_has_its_reader(tmp_path, layout, kind) -> None:
    place, audio = lay(tmp_path, layout)
    dataset = open_dataset(kind(place), layout=layout, audio_root=kind(audio))
    assert same(dataset, READERS[layout](place, audio_root=audio))
    assert [Path(path) for path in dataset.paths] == [tmp_path / name for name in FILES[layout]]


@pytest.mark.parametrize("layout", ["folder", None])
def test_a_folder_is_one_of_classes(tmp_path, layout) -> None:
    place, _ = lay(tmp_path, "folder")
    dataset = open_dataset(place, layout=layout)
    assert same(dataset, from_folder(place))
    assert dataset.tags == ("a", "b")


def test_a_file_is_a_table(tmp_path) -> None:
    place, audio = lay(tmp_path, "table")
    assert same(open_dataset(place, audio_root=audio), from_table(place, audio_root=audio))


def test_audio_lies_beside_a_table_by_default(tmp_path) -> None:
    place, audio = lay(tmp_path, "table")
    place = place.rename(audio / "table.csv")
    assert [Path(path).parent for path in open_dataset(place).paths] == [audio, audio]


def test_a_folder_may_be_that_of_a_published_data_set(tmp_path) -> None:
    place, audio = lay(tmp_path, "magnatagatune")
    dataset = open_dataset(place.parent, layout="magnatagatune", audio_root=audio)
    assert dataset.splits == ("train", "test")


@pytest.mark.parametrize("layout", ["tables", "", "Folder", "msd", 3])
def test_other_layouts_are_refused(tmp_path, layout) -> None:
    with pytest.raises(ArgumentError, match=f"layout must be one of folder, table, .*{layout!r}"):
        open_dataset(tmp_path, layout=layout)


@pytest.mark.parametrize("layout", [None, "folder"])
def test_a_folder_of_classes_has_its_audio(tmp_path, layout) -> None:
    place, _ = lay(tmp_path, "folder")
    with pytest.raises(
        ArgumentError, match=r"audio_root goes with tables .*audio_root='elsewhere'"
    ):
        open_dataset(place, layout=layout, audio_root=Path("elsewhere"))


@pytest.mark.parametrize("layout", [None, *LAYOUTS])
def test_what_is_not_there_is_named(tmp_path, layout) -> None:
    with pytest.raises(DatasetError, match=r"none\.csv: there is no such folder or table"):
        open_dataset(tmp_path / "none.csv", layout=layout)


def test_a_layout_that_does_not_fit_is_told(tmp_path) -> None:
    place, _ = lay(tmp_path, "table")
    for layout in ("folder", "magnatagatune", "jamendo", "million-song"):
        with pytest.raises(DatasetError):
            open_dataset(place, layout=layout)
    with pytest.raises(DatasetError):
        open_dataset(place.parent, layout="table")


def test_what_was_left_out_is_told(tmp_path) -> None:
    place, audio = lay(tmp_path, "table")
    (audio / "2.wav").unlink()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = open_dataset(place, audio_root=audio)
    assert [warning.category for warning in caught] == [DatasetWarning]
    assert dataset.report["missing_files"] == (str(audio / "2.wav"),)


@pytest.mark.parametrize("layout", [None, "folder"])
def test_subfolders_of_classes_are_groups_where_there_are_any(tmp_path, layout) -> None:
    place, _ = lay(tmp_path, "folder")
    assert open_dataset(place, layout=layout).groups is None
    for kind in ("a", "b"):
        for name in ("1.wav", "2.wav"):
            file = place / kind / f"artist of {kind}" / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"sound")
    dataset = open_dataset(place, layout=layout)
    assert len(dataset) == 8
    assert len(set(dataset.groups)) == 4 + 2
    assert same(dataset, from_folder(place, group_by="subfolder"))
    assert open_dataset(place, layout=layout, group_by=None).groups is None
