import json
from collections import Counter
from pathlib import Path

import pytest
from conftest import SHARED

from musicnn_zoo import ArgumentError
from musicnn_zoo.datasets import (
    BROKEN_CLIPS,
    MTT_SYNONYMS,
    Dataset,
    DatasetError,
    DatasetWarning,
    jamendo,
    magnatagatune,
    million_song,
)
from musicnn_zoo.datasets.mtt import _group
from musicnn_zoo.zoo.catalogue import JAMENDO_TAGS, MSD_TAGS, MTT_TAGS

FILES = SHARED / "datasets"
needs_files = pytest.mark.skipif(
    not FILES.is_dir(), reason=f"{FILES} is absent: the published split files are not ours to ship"
)


def tags_of(dataset, path: str) -> set[str]:
    row = dataset.labels[[Path(known).name for known in dataset.paths].index(path)]
    return {tag for tag, has in zip(dataset.tags, row, strict=True) if has}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"sound")


# --- MagnaTagATune


def clip(folder: str, number: int, artist: str = "bach") -> str:
    return f"{folder}/{artist}-album-{number:02}-title_of_it-30-59.mp3"


def annotations(place: Path, rows: list[tuple[str, str, set[str]]], tags: list[str]) -> Path:
    lines = [["clip_id", *tags, "mp3_path"]]
    lines += [[i, *("1" if tag in has else "0" for tag in tags), path] for i, path, has in rows]
    path = place / "annotations_final.csv"
    path.write_text("".join("\t".join(f'"{cell}"' for cell in line) + "\n" for line in lines))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Sixteen folders with two clips each; all have "drum", one in folder b has nothing else."""
    rows = []
    for at, folder in enumerate("0123456789abcdef"):
        rows.append((str(2 * at), clip(folder, 1), {"drum", "rock"} if at % 2 else {"drum"}))
        rows.append((str(2 * at + 1), clip(folder, 2, "brahms"), {"drums", "weird"}))
    rows[-1] = (rows[-1][0], rows[-1][1], set())
    return annotations(tmp_path, rows, ["weird", "drums", "rock", "drum", "never"])


@pytest.fixture(scope="module")
def published() -> Dataset:
    with pytest.warns(DatasetWarning, match=r"1 split without its file \(train\)"):
        return magnatagatune(FILES, check_files=False)


@needs_files
def test_mtt_files_of_musicnn_training_give_the_published_counts(published: Dataset) -> None:
    assert published.split_sizes == {"validation": 1825, "test": 5329}
    assert published.report.counts == {"known_broken": 3, "absent_splits": 1, "unlabelled": 18706}
    assert (~published.subset("test").labels.any(axis=1)).sum() == 997


@needs_files
@pytest.mark.parametrize(
    ("tag", "artist"),
    [
        ("harpsichord", "katherine_roberts_perl"),
        ("sitar", "jay_kishor"),
        ("metal", "utopia_banished"),
        ("choir", "kyiv_chamber_choir"),
        ("techno", "strojovna_07"),
        ("flute", "tilopa"),
        ("cello", "vito_paternoster"),
    ],
)
def test_mtt_tags_are_in_the_order_of_the_labels(published: Dataset, tag: str, artist: str) -> None:
    assert published.tags == MTT_TAGS
    players = Counter(
        group
        for group, has in zip(
            published.groups, published.labels[:, published.tags.index(tag)], strict=True
        )
        if has
    )
    assert players.most_common(1)[0][0] == artist


@needs_files
def test_mtt_without_untagged_clips_is_the_other_convention() -> None:
    with pytest.warns(DatasetWarning):
        dataset = magnatagatune(FILES, check_files=False, untagged="drop", group_by="album")
    assert dataset.split_sizes == {"validation": 1825 - 296, "test": 5329 - 997}
    assert dataset.report.counts["untagged_by_request"] == 296 + 997
    assert "untagged_by_request" not in dataset.report.alarming
    assert dataset.leaking_groups == ()


@needs_files
def test_mtt_tests_on_artists_that_it_validates_on(published: Dataset) -> None:
    assert len(published.leaking_groups) == 8


def test_mtt_groups_are_read_off_the_file_names() -> None:
    path = "9/american_baroque-dances_and_suites-25-le_petit_rien-88-117.mp3"
    assert _group(path, "artist") == "american_baroque"
    assert _group(path, "album") == "american_baroque-dances_and_suites"
    assert _group(path, "recording") == "american_baroque-dances_and_suites-25-le_petit_rien"


def test_mtt_folders_are_split_12_to_1_to_3(small: Path) -> None:
    dataset = magnatagatune(small, top=3, check_files=False)
    assert dataset.split_sizes == {"train": 24, "validation": 2, "test": 6}
    folders = {
        split: "".join(sorted({Path(path).parts[-2] for path in dataset.subset(split).paths}))
        for split in dataset.split_sizes
    }
    assert folders == {"train": "0123456789ab", "validation": "c", "test": "def"}


def test_mtt_keeps_the_most_frequent_tags_in_their_order(small: Path) -> None:
    dataset = magnatagatune(small, top=3, check_files=False)
    assert dataset.tags == ("drum", "weird", "drums")
    assert dataset.positives.tolist() == [16, 15, 15]
    assert dataset.report["unused_tags"] == ("rock", "never")
    with pytest.warns(DatasetWarning, match=r"1 tag that no track has \(never\)"):
        every = magnatagatune(small, top=None, check_files=False)
    assert every.tags == ("weird", "drums", "rock", "drum", "never")
    with pytest.raises(ArgumentError, match="top"):
        magnatagatune(small, top=0)


def test_mtt_counts_tags_over_all_clips_before_any_is_left_out(tmp_path: Path) -> None:
    rows = [(BROKEN_CLIPS[n], clip("6", n), {"b"}) for n in range(3)]
    rows += [(str(n), clip("0", 10 + n), {"a", "b"} if n else {"a"}) for n in range(4)]
    dataset = magnatagatune(annotations(tmp_path, rows, ["a", "b"]), check_files=False)
    assert dataset.tags == ("b", "a")
    assert dataset.positives.tolist() == [3, 4]
    assert dataset.report["known_broken"] == tuple(path for _, path, _ in rows[:3])


def test_mtt_top_50_come_in_the_order_of_the_models(tmp_path: Path) -> None:
    tags = [*sorted(MTT_TAGS), "rare"]
    rows = [(str(n), clip("0", n), set(MTT_TAGS)) for n in range(2)]
    rows.append(("9", clip("1", 1), {"rare"}))
    dataset = magnatagatune(annotations(tmp_path, rows, tags), check_files=False)
    assert dataset.tags == MTT_TAGS
    assert dataset.report["unused_tags"] == ("rare",)
    assert dataset.labels.any(axis=1).tolist() == [True, True, False]


def test_mtt_synonyms_are_merged_before_the_most_frequent_are_chosen(small: Path) -> None:
    merge = {"drum": ("drums",), "odd": ("weird", "strange")}
    with pytest.warns(DatasetWarning, match=r"not in the vocabulary \(strange\)"):
        dataset = magnatagatune(small, top=2, merge=merge, check_files=False)
    assert dataset.tags == ("drum", "odd")
    assert dataset.positives.tolist() == [31, 15]
    assert dataset.report["merged_tags"] == ("'drums' → 'drum'", "'weird' → 'odd'")
    with pytest.raises(ArgumentError, match="'drums' under both 'drum' and 'beat'"):
        magnatagatune(small, merge={"drum": ("drums",), "beat": ("drums",)})


def test_mtt_synonyms_in_use_are_consistent() -> None:
    names = [name for tag, synonyms in MTT_SYNONYMS.items() for name in (tag, *synonyms)]
    assert len(names) == len(set(names))
    assert {"classic", "choral", "weird", "no vocals"} <= set(names)


def test_mtt_untagged_clips_are_kept_or_dropped(small: Path) -> None:
    assert len(magnatagatune(small, top=3, check_files=False)) == 32
    dropped = magnatagatune(small, top=3, untagged="drop", check_files=False)
    assert len(dropped) == 31
    assert [Path(path).parts[-2] for path in dropped.report["untagged_by_request"]] == ["f"]


def test_mtt_missing_audio_is_counted(small: Path, tmp_path: Path) -> None:
    audio = tmp_path / "mp3"
    touch(audio, clip("0", 1), clip("c", 1), clip("f", 1))
    with pytest.warns(DatasetWarning, match="29 missing files left out"):
        dataset = magnatagatune(small, audio_root=audio, top=2)
    assert dataset.split_sizes == {"train": 1, "validation": 1, "test": 1}


def test_mtt_bad_rows_are_listed(tmp_path: Path) -> None:
    path = annotations(
        tmp_path,
        [("1", clip("0", 1), {"a"}), ("2", clip("g", 1), {"a"}), ("3", clip("0", 1), {"b"})],
        ["a", "b"],
    )
    path.write_text(path.read_text() + '"4"\t"1"\t"x"\t"0/y.mp3"\n"5"\t"1"\n')
    with pytest.warns(DatasetWarning, match="3 unreadable rows"):
        dataset = magnatagatune(path, check_files=False)
    assert len(dataset) == 1
    assert dataset.report["duplicates"] == (f"annotations_final.csv line 4: {clip('0', 1)}",)


def mtt_index(place: Path, **ground_truth: dict[str, list[float]]) -> None:
    (place / "index_mtt.tsv").write_text("".join(f"{n}\t{clip('0', n)}\n" for n in range(5)))
    for part, labels in ground_truth.items():
        lines = [f"{identity}\t{json.dumps(row)}\n" for identity, row in labels.items()]
        (place / f"{part}_gt_mtt.tsv").write_text("".join(lines))


def one_hot(*columns: int) -> list[float]:
    return [float(at in columns) for at in range(50)]


def test_mtt_index_and_ground_truth_that_disagree_are_told(tmp_path: Path) -> None:
    mtt_index(
        tmp_path,
        train={"0": one_hot(0), "1": one_hot(1, 2), "99": one_hot(3), "2": [1.0, 0.5]},
        val={"1": one_hot(4)},
        test={"3": one_hot(), "5": [1.0]},
    )
    with pytest.warns(DatasetWarning) as caught:
        dataset = magnatagatune(tmp_path, check_files=False)
    assert dataset.report.counts["unindexed"] == 1
    assert dataset.report["conflicts"] == ("val_gt_mtt.tsv line 1: 1",)
    assert dataset.report["unlabelled"] == (clip("0", 2), clip("0", 4))
    assert dataset.report["unreadable_rows"] == (
        "train_gt_mtt.tsv line 4: not an id and a list of 0 and 1",
        "test_gt_mtt.tsv line 2: 1 labels for 50 tags",
    )
    assert dataset.split_sizes == {"train": 2, "test": 1}
    assert tags_of(dataset, Path(clip("0", 1)).name) == {MTT_TAGS[1], MTT_TAGS[2]}
    assert len(caught) == 1


def test_mtt_ground_truth_is_no_code(tmp_path: Path) -> None:
    mtt_index(tmp_path, train={"0": one_hot(0)})
    (tmp_path / "test_gt_mtt.tsv").write_text("1\t__import__('pathlib').Path('x').touch() or [0]\n")
    with pytest.warns(DatasetWarning, match="1 unreadable row"):
        magnatagatune(tmp_path, check_files=False)


def test_mtt_files_of_musicnn_training_have_their_50_tags_only(tmp_path: Path) -> None:
    mtt_index(tmp_path, train={"0": one_hot(0)})
    with pytest.raises(ArgumentError, match="50 most frequent tags, unmerged"):
        magnatagatune(tmp_path, top=10)
    with pytest.raises(ArgumentError, match="50 most frequent tags, unmerged"):
        magnatagatune(tmp_path, merge=MTT_SYNONYMS)


def test_mtt_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither annotations_final\.csv nor index_mtt\.tsv"):
        magnatagatune(tmp_path)
    with pytest.raises(DatasetError, match="no such file or folder"):
        magnatagatune(tmp_path / "none")
    mtt_index(tmp_path)
    with pytest.raises(DatasetError, match="but no ground truth"):
        magnatagatune(tmp_path)
    annotations(tmp_path, [("1", clip("0", 1), {"a"})], ["a"])
    with pytest.raises(DatasetError, match="has both"):
        magnatagatune(tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="is not annotations_final"):
        magnatagatune(other)
    with pytest.raises(ArgumentError, match="group_by must be one of artist, album, recording"):
        magnatagatune(other, group_by="track")


# --- MTG-Jamendo

HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"


def jamendo_row(number: int, *tags: str, artist: int = 1) -> str:
    cells = [f"track_{number}", f"artist_{artist}", "album_9", f"15/{number}.mp3", "99.9", *tags]
    return "\t".join(cells) + "\r\n"


@needs_files
def test_jamendo_has_the_published_counts_tags_and_no_artist_twice() -> None:
    dataset = jamendo(FILES, check_files=False)
    assert dataset.split_sizes == {"train": 32136, "validation": 10888, "test": 11356}
    assert dataset.tags == JAMENDO_TAGS
    assert dataset.leaking_groups == ()
    assert len(set(dataset.groups)) == 702 + 2110 + 705
    assert tags_of(dataset, "382.mp3") == {"genre---classical", "instrument---voice"}
    assert dataset.report.counts == {}


def test_jamendo_takes_the_smaller_files_where_the_full_ones_are_missing(tmp_path: Path) -> None:
    table = tmp_path / "autotagging_top50tags-train.tsv"
    tag = JAMENDO_TAGS[0]
    table.write_text(HEADER + "".join(jamendo_row(n, tag) for n in range(3)))
    touch(tmp_path / "audio", "15/0.mp3", "15/0.low.mp3", "15/1.low.mp3")
    with pytest.warns(DatasetWarning) as caught:
        dataset = jamendo(table, audio_root=tmp_path / "audio")
    assert [Path(path).name for path in dataset.paths] == ["0.mp3", "1.low.mp3"]
    assert dataset.report["missing_files"] == (str(tmp_path / "audio" / "15" / "2.mp3"),)
    assert dataset.splits == ("train", "train")
    assert dataset.tags == JAMENDO_TAGS
    assert "49 tags that no track has" in str(caught[0].message)


def test_jamendo_reads_other_subsets_and_groups_by_album(tmp_path: Path) -> None:
    for split, number in (("train", 1), ("test", 2)):
        (tmp_path / f"autotagging_moodtheme-{split}.tsv").write_text(
            HEADER + jamendo_row(number, "mood/theme---sad", "mood/theme---epic", artist=number)
        )
    with pytest.warns(DatasetWarning, match=r"1 split without its file \(validation\)"):
        dataset = jamendo(
            tmp_path, subset="autotagging_moodtheme", group_by="album", check_files=False
        )
    assert dataset.tags == ("mood/theme---epic", "mood/theme---sad")
    assert dataset.leaking_groups == ("album_9",)
    with pytest.raises(DatasetError, match=r"has none of autotagging_top50tags-train\.tsv"):
        jamendo(tmp_path)
    with pytest.raises(ArgumentError, match="group_by must be one of artist, album; received"):
        jamendo(tmp_path, group_by="track")


def test_jamendo_without_splits_and_with_bad_rows(tmp_path: Path) -> None:
    table = tmp_path / "autotagging.tsv"
    table.write_text(HEADER + jamendo_row(1, "genre---x") + jamendo_row(2) + jamendo_row(3, "") * 2)
    with pytest.warns(DatasetWarning) as caught:
        dataset = jamendo(table, check_files=False)
    assert (dataset.splits, dataset.tags, len(dataset)) == (None, ("genre---x",), 1)
    assert dataset.report.counts == {"unreadable_rows": 1, "duplicates": 1, "untagged": 1}
    assert len(caught) == 1
    table.write_text("TRACK_ID\tPATH\tTAGS\n1\ta.mp3\tx\n")
    with pytest.raises(DatasetError, match="must have the columns TRACK_ID, ARTIST_ID"):
        jamendo(table)


# --- Million Song Dataset

IDS = ("TRAAAAW128F429D538", "TRYOGXX128F42483A6", "TRZZZZD128F4236844")


def check_msd(dataset, place: Path) -> None:
    assert dataset.tags == MSD_TAGS
    assert dataset.paths == tuple(
        str(place / identity[2] / identity[3] / identity[4] / f"{identity}.mp3") for identity in IDS
    )
    assert dataset.splits == ("train", "validation", "test")
    assert [
        {tag for tag, has in zip(dataset.tags, row, strict=True) if has} for row in dataset.labels
    ] == [{"rock", "Hip-Hop"}, {"happy"}, {"female vocalist"}]


TABLES = {
    "msd.csv": (
        "track_id,tags,split\n{0},rock;Hip-Hop,train\n{1},happy,valid\n{2},female vocalist,test\n"
    ),
    "msd.tsv": (
        "MSD_ID\tTags\tSplit\n{0}\trock,hip hop\ttrain\n{1}\thappy\tval\n"
        "{2}\tfemale vocalist\ttest\n"
    ),
    "msd.json": (
        '{"{0}": {"tags": ["rock", "Hip-Hop"], "split": "train"}, '
        '"{1}": {"tags": ["happy"], "split": "validation"}, '
        '"{2}": {"tags": ["female vocalist"], "split": "test"}}'
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_msd_reads_tables_and_json(tmp_path: Path, name: str) -> None:
    text = TABLES[name]
    for at, identity in enumerate(IDS):
        text = text.replace(f"{{{at}}}", identity)
    (tmp_path / name).write_text(text)
    with pytest.warns(DatasetWarning) as caught:
        dataset = million_song(tmp_path / name, check_files=False)
    check_msd(dataset, tmp_path)
    assert "46 tags that no track has" in str(caught[0].message)
    assert ("merged_spellings" in dataset.report) == (name == "msd.tsv")


def test_msd_reads_the_files_of_musicnn_training(tmp_path: Path) -> None:
    (tmp_path / "index_MSD.tsv").write_text(
        "".join(f"{i}\t{i[2]}/{i[3]}/{i[4]}/{i}.mp3\n" for i in IDS)
    )
    wanted = ({"rock", "Hip-Hop"}, {"happy"}, {"female vocalist"})
    for part, identity, tags in zip(("train", "val", "test"), IDS, wanted, strict=True):
        row = [int(tag in tags) for tag in MSD_TAGS]
        (tmp_path / f"{part}_gt_msd.tsv").write_text(f"{identity}\t{row}\n")
    with pytest.warns(DatasetWarning, match="46 tags that no track has"):
        check_msd(million_song(tmp_path, check_files=False), tmp_path)


def test_msd_paths_artists_and_other_tags(tmp_path: Path) -> None:
    (tmp_path / "msd.csv").write_text(
        "track_id,tags,path,artist\nTR1,rock;favourite songs,x/1.mp3,Queen\nTRA2,seen live,,Kiss\n"
        "TRAAAAW128F429D538,pop,,Kiss\nTRB,pop,,Kiss\n"
    )
    touch(tmp_path, "x/1.mp3", "A/A/A/TRAAAAW128F429D538.mp3")
    with pytest.warns(DatasetWarning) as caught:
        dataset = million_song(tmp_path / "msd.csv")
    assert [Path(path).name for path in dataset.paths] == ["1.mp3", "TRAAAAW128F429D538.mp3"]
    assert dataset.groups == ("Queen", "Kiss")
    assert dataset.report["unknown_tags"] == ("favourite songs",)
    assert dataset.report["unreadable_rows"] == (
        "msd.csv line 3: 'TRA2' is no track id", "msd.csv line 5: 'TRB' is no track id",
    )  # fmt: skip
    assert len(caught) == 1


@pytest.mark.parametrize("name", ["msd_id_to_tag_vector.cP", "7D_id_to_path.pkl", "test_y.npy"])
def test_msd_opens_no_pickle(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(DatasetError, match="must be converted first"):
        million_song(tmp_path / name)
    with pytest.raises(DatasetError, match="pickles are not opened"):
        million_song(tmp_path)


def test_msd_bad_json(tmp_path: Path) -> None:
    path = tmp_path / "msd.json"
    path.write_text("{")
    with pytest.raises(DatasetError, match="is not JSON"):
        million_song(path)
    path.write_text("[]")
    with pytest.raises(DatasetError, match="must be an object"):
        million_song(path)
    path.write_text(json.dumps({IDS[0]: {"tags": ["rock"]}, "x": ["rock"], "y": {"tags": "rock"},
                                "z": {"tags": ["rock"], "path": 3}}))  # fmt: skip
    with pytest.warns(DatasetWarning, match="3 unreadable rows"):
        assert len(million_song(path, check_files=False)) == 1
    (tmp_path / "msd.csv").write_text("track_id\nTRAAAAW128F429D538\n")
    with pytest.raises(DatasetError, match="needs a column 'tags'"):
        million_song(tmp_path / "msd.csv")
    with pytest.raises(DatasetError, match="cannot be read"):
        million_song(tmp_path / "none.json")
