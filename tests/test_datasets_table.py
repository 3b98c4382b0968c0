from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicnn_zoo import ArgumentError
from musicnn_zoo.datasets import DatasetError, DatasetWarning, from_table
from musicnn_zoo.datasets.table import normal_form

FILES = tuple(f"{name}.wav" for name in "abcdef")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_bytes(b"sound")
    return tmp_path


def write(place: Path, text: str, name: str = "table.csv", **options) -> Path:
    path = place / name
    path.write_text(text, newline="", **{"encoding": "utf-8", **options})
    return path


def tags_of(dataset) -> dict[str, set[str]]:
    return {
        Path(path).name: {tag for tag, has in zip(dataset.tags, row, strict=True) if has}
        for path, row in zip(dataset.paths, dataset.labels, strict=True)
    }


EXPECTED = {"a.wav": {"rock", "loud"}, "b.wav": {"jazz"}, "c.wav": {"rock", "jazz"},
            "d.wav": {"loud"}}  # fmt: skip

FORMS = {
    "cells.csv": ["path,tags", "a.wav,rock;loud", "b.wav,jazz", "c.wav,rock | jazz", "d.wav,loud"],
    "quoted.csv": [
        '"File","Tag"', '"a.wav","rock;loud;rock"', '"b.wav","jazz"', "c.wav,rock;jazz",
        "d.wav,loud",
    ],
    "cells.tsv": [
        "filename\tlabel", "a.wav\trock, loud", "b.wav\tjazz", "c.wav\trock;jazz", "d.wav\tloud",
    ],
    "really_commas.tsv": [
        "path,class", "a.wav,rock;loud", "b.wav,jazz", "c.wav,rock;jazz", "d.wav,loud",
    ],
    "tabs.csv": [
        "path\ttags", "a.wav\trock,loud", "b.wav\tjazz", "c.wav\trock,jazz", "d.wav\tloud",
    ],
    "semicolons.csv": [
        "path;tags", "a.wav;rock,loud", "b.wav;jazz", "c.wav;rock|jazz", "d.wav;loud",
    ],
    "gaps.csv": [
        "PATH,TAGS", "a.wav,rock;loud", "", "b.wav,jazz", ",", "c.wav,rock;jazz", "d.wav,loud",
    ],
    "pandas.csv": [
        ",path,tags", "0,a.wav,rock;loud", "1,b.wav,jazz", "2,c.wav,rock;jazz", "3,d.wav,loud",
    ],
    "long.csv": [
        "path,tag", "a.wav,rock", "b.wav,jazz", "a.wav,loud", "c.wav,rock", "d.wav,loud",
        "c.wav,jazz",
    ],
    "wide.csv": [
        "path,rock,jazz,loud", "a.wav,1,0,1", "b.wav,0,1,0", "c.wav,1,1,0", "d.wav,0,0,1",
    ],
    "words.csv": [
        "path,rock,jazz,loud", "a.wav,True,False,True", "b.wav,,1.0,", "c.wav,TRUE,1,0.0",
        "d.wav,,,1",
    ],
}  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", FORMS)
def test_all_forms_of_a_table_say_the_same(place: Path, name: str, end: str) -> None:
    dataset = from_table(write(place, end.join(FORMS[name]), name))
    assert tags_of(dataset) == EXPECTED
    assert dataset.name == Path(name).stem
    wide = name in ("wide.csv", "words.csv")
    assert dataset.tags == (("rock", "jazz", "loud") if wide else ("jazz", "loud", "rock"))
    assert dataset.report.alarming.counts == {}


def test_a_byte_order_mark_is_no_part_of_the_first_column(place: Path) -> None:
    path = write(place, "\n".join(FORMS["cells.csv"]), encoding="utf-8-sig")
    assert tags_of(from_table(path)) == EXPECTED


def test_files_on_several_rows_are_put_together_and_repeats_counted(place: Path) -> None:
    text = "path,tag\na.wav,x\nb.wav,x\na.wav,y\nsub/../a.wav,x\nb.wav,x\nc.wav,y\n"
    with pytest.warns(DatasetWarning, match="2 rows left out that repeat earlier ones"):
        dataset = from_table(write(place, text))
    assert tags_of(dataset) == {"a.wav": {"x", "y"}, "b.wav": {"x"}, "c.wav": {"y"}}
    assert dataset.report["merged_rows"] == (str(place / "a.wav"),)
    assert [item.split(":")[0] for item in dataset.report["duplicates"]] == [
        "table.csv line 5", "table.csv line 6",
    ]  # fmt: skip


def test_spellings_become_the_most_frequent_with_a_warning(place: Path) -> None:
    text = (
        "path,tags\na.wav,hip hop;rock\nb.wav,Hip-Hop\nc.wav,hip-hop \nd.wav,Hip-Hop;Rock\n"
        "e.wav,rock\n"
    )
    with pytest.warns(DatasetWarning, match="spellings, merged into the most frequent"):
        dataset = from_table(write(place, text))
    assert dataset.tags == ("Hip-Hop", "rock")
    assert dataset.positives.tolist() == [4, 3]
    assert dataset.report["merged_spellings"] == (
        "'hip hop' and 'hip-hop' → 'Hip-Hop'", "'Rock' → 'rock'",
    )  # fmt: skip


def test_two_spellings_on_one_file_are_one_tag(place: Path) -> None:
    with pytest.warns(DatasetWarning, match="'Rock' → 'rock'"):
        dataset = from_table(write(place, "path,tags\na.wav,rock;Rock\nb.wav,x\nc.wav,x;rock\n"))
    assert tags_of(dataset)["a.wav"] == {"rock"}


def test_columns_of_two_spellings_are_one_tag(place: Path) -> None:
    text = "path,new age,New-Age,x\na.wav,1,0,0\nb.wav,0,1,1\nc.wav,1,0,1\n"
    with pytest.warns(DatasetWarning, match="'New-Age' → 'new age'"):
        dataset = from_table(write(place, text))
    assert dataset.tags == ("new age", "x")
    assert dataset.positives.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hip-Hop", "hip  hop"), ("new_age", "New Age"), ("Café", "cafe\u0301"), ("ROCK ", "rock")],
)
def test_spellings_of_one_tag(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1-2", "12"), ("-1", "1"), ("C#", "C"), ("no vocal", "vocal"), ("-", "")]
)
def test_tags_that_are_not_the_same(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


@given(st.text(st.sampled_from("aBß -_\t#1é"), min_size=1))
def test_a_normal_form_stays_as_it_is(tag: str) -> None:
    form = normal_form(tag)
    assert normal_form(form) == form
    assert normal_form(f" {tag.swapcase()}\t") == form


def test_missing_and_empty_files_are_counted_and_listed(place: Path) -> None:
    (place / "b.wav").write_bytes(b"")
    text = "path,tags\na.wav,x\nb.wav,x\nc.wav,y\ngone.wav,y\nd.wav,x\ne.wav,y\nf.wav,only\n"
    (place / "f.wav").unlink()
    with pytest.warns(DatasetWarning, match=r"2 missing files left out .*gone\.wav"):
        dataset = from_table(write(place, text))
    assert dataset.report["missing_files"] == (str(place / "gone.wav"), str(place / "f.wav"))
    assert dataset.report["empty_files"] == (str(place / "b.wav"),)
    assert dataset.report["empty_classes"] == ("only",)
    assert set(tags_of(dataset)) == {"a.wav", "c.wav", "d.wav", "e.wav"}


def test_a_folder_is_no_file(place: Path) -> None:
    (place / "folder.wav").mkdir()
    with pytest.warns(DatasetWarning, match="1 missing file"):
        from_table(write(place, "path,tags\na.wav,x\nb.wav,x\nc.wav,y\nd.wav,y\nfolder.wav,y\n"))


def test_files_need_not_be_looked_for(tmp_path: Path) -> None:
    text = "path,tags\na.wav,x\nb.wav,y\nc.wav,x\nd.wav,y\n"
    dataset = from_table(write(tmp_path, text), audio_root="/far", check_files=False)
    assert dataset.paths[0] == str(Path("/far/a.wav"))


def test_paths_start_at_the_table_or_at_the_audio_root(place: Path) -> None:
    table = write(place, f"path,tags\na.wav,x\n{place / 'b.wav'},y\nc.wav,x\nd.wav,y\n")
    moved = place / "tables" / "t.csv"
    moved.parent.mkdir()
    table.rename(moved)
    assert len(from_table(moved, audio_root=place)) == 4
    with pytest.warns(DatasetWarning, match="3 missing files"):
        assert from_table(moved).paths == (str(place / "b.wav"),)


def test_tables_written_on_windows_find_their_files(place: Path) -> None:
    (place / "sub").mkdir()
    (place / "a.wav").rename(place / "sub" / "a.wav")
    dataset = from_table(write(place, "path,tags\nsub\\a.wav,x\nb.wav,y\nc.wav,x\nd.wav,y\n"))
    assert Path(dataset.paths[0]).read_bytes() == b"sound"


def test_all_files_missing_is_an_error_that_says_where_it_looked(place: Path) -> None:
    path = write(place, "path,tags\nx/a.wav,x\nx/b.wav,y\n")
    with pytest.raises(
        DatasetError, match=r"nothing is left: 2 missing files .*x/a\.wav.*audio_root"
    ):
        from_table(path)


def test_groups_and_splits_are_read(place: Path) -> None:
    text = (
        "path,tags,Artist,SPLIT\na.wav,x,Bach,train\nb.wav,y,bach ,Training\nc.wav,x,Brahms,val\n"
        "d.wav,y,Brahms,TEST\n"
    )
    dataset = from_table(write(place, text))
    assert dataset.groups == ("Bach", "Bach", "Brahms", "Brahms")
    assert dataset.splits == ("train", "train", "validation", "test")
    assert dataset.leaking_groups == ("Brahms",)


def test_rows_without_group_or_split_are_told(place: Path) -> None:
    text = (
        "path,tags,group,split\na.wav,x,A,train\nb.wav,y,,train\nc.wav,x,A,\nd.wav,y,B,test\n"
        "e.wav,x,B,test\n"
    )
    with pytest.warns(DatasetWarning, match="1 track left out that is in no split"):
        dataset = from_table(write(place, text))
    assert dataset.report["without_split"] == (str(place / "c.wav"),)
    assert dataset.report["without_group"] == (str(place / "b.wav"),)
    assert dataset.groups == ("A", str(place / "b.wav"), "B", "B")


def test_rows_that_contradict_leave_the_first_standing(place: Path) -> None:
    text = (
        "path,tag,split\na.wav,x,train\nb.wav,y,train\na.wav,x,test\nc.wav,x,test\nd.wav,y,test\n"
    )
    with pytest.warns(DatasetWarning, match="1 row that contradicts"):
        dataset = from_table(write(place, text))
    assert dataset.report["conflicts"] == (f"table.csv line 4: {place / 'a.wav'}",)
    assert dataset.splits == ("train", "train", "test", "test")


def test_an_unknown_split_is_an_error(place: Path) -> None:
    with pytest.raises(DatasetError, match=r"line 2: a split must be one of .* found 'fold1'"):
        from_table(write(place, "path,tags,split\na.wav,x,fold1\n"))


def test_rows_that_cannot_be_read_are_listed(place: Path) -> None:
    text = "path,tags\na.wav,x\nb.wav\n,x\nc.wav,y,z\nd.wav,y\ne.wav,x\nf.wav,y\n"
    with pytest.warns(DatasetWarning, match="3 unreadable rows"):
        dataset = from_table(write(place, text))
    assert dataset.report["unreadable_rows"] == (
        "table.csv line 3: 1 cells for 2 columns",
        "table.csv line 5: 3 cells for 2 columns",
        "table.csv line 4: no path",
    )


def test_a_wide_row_with_other_than_0_and_1_is_listed(place: Path) -> None:
    text = "path,x,y\na.wav,1,0\nb.wav,0,1\nc.wav,1,?\nd.wav,1,0\ne.wav,0,1\n"
    with pytest.warns(DatasetWarning, match=r"1 unreadable row .*line 4: '\?' is neither 0 nor 1"):
        assert len(from_table(write(place, text))) == 4


def test_files_without_tags_are_dropped_or_kept(place: Path) -> None:
    path = write(place, "path,tags\na.wav,x\nb.wav, ;\nc.wav,y\nd.wav,x\ne.wav,y\n")
    with pytest.warns(DatasetWarning, match="1 track without a tag left out"):
        assert len(from_table(path)) == 4
    kept = from_table(path, untagged="keep")
    assert kept.labels.sum(axis=1).tolist() == [1, 0, 1, 1, 1]
    with pytest.raises(ArgumentError, match="untagged must be one of keep, drop"):
        from_table(path, untagged="maybe")


def test_a_vocabulary_gives_the_order_and_the_spelling(place: Path) -> None:
    text = "path,tags\na.wav,Rock;loud\nb.wav,hip hop\nc.wav,hip hop\nd.wav,rock\ne.wav,loud\n"
    with pytest.warns(DatasetWarning) as caught:
        dataset = from_table(write(place, text), tags=("rock", "jazz", "Hip-Hop"))
    message = str(caught[0].message)
    assert "1 tag ignored that is not in the vocabulary (loud)" in message
    assert "1 tag that no track has (jazz)" in message
    assert dataset.tags == ("rock", "jazz", "Hip-Hop")
    assert dataset.positives.tolist() == [2, 0, 2]
    assert dataset.report["untagged"] == (str(place / "e.wav"),)


def test_a_wide_column_that_nobody_has_stays_and_is_told(place: Path) -> None:
    text = "path,y,x,Never Met\na.wav,1,0,0\nb.wav,0,1,0\nc.wav,1,1,0\n"
    with pytest.warns(DatasetWarning, match=r"1 tag that no track has \(Never Met\)"):
        assert from_table(write(place, text)).tags == ("y", "x", "Never Met")


def test_a_tag_with_a_comma_is_one_tag_in_a_csv_and_told(place: Path) -> None:
    path = write(place, 'path,tags\na.wav,"x,y"\nb.wav,x\nc.wav,"x,y"\nd.wav,x\n')
    with pytest.warns(DatasetWarning, match=r"1 tag with a comma, taken for one tag .*\(x,y\)"):
        assert from_table(path).tags == ("x", "x,y")
    split = from_table(path, separators=",")
    assert split.positives.tolist() == [4, 2]
    assert split.report.alarming.counts == {}


def test_few_tracks_with_several_tags_are_told(place: Path) -> None:
    rows = [f"{n}.wav,{'x' if n % 2 else 'y'}" for n in range(39)]
    path = write(place, "\n".join(["path,tags", *rows, "z.wav,x;y"]))
    with pytest.warns(DatasetWarning, match=r"1 track with several tags where nearly all have one"):
        dataset = from_table(path, check_files=False)
    assert not dataset.single_label
    assert [Path(item).name for item in dataset.report["seldom_several"]] == ["z.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,tags,bpm\na.wav,x,120\n", r"what to do with 'bpm'; its columns are 'path', 'tags'"),
        ("song,tags\na.wav,x\n", "has no column of paths; .* path: path, file, filename"),
        ("path,bpm\na.wav,120\n", "column 'bpm' is no column of a tag: it holds '120'"),
        ("path\na.wav\n", "has no column of tags"),
        ("path,artist\na.wav,Bach\n", "has no column of tags"),
        ("a.wav,rock\nb.wav,jazz\n", "has no column of paths; its columns are 'a.wav', 'rock'"),
        ("path,file,tags\na.wav,b.wav,x\n", "'path' and 'file' both say the path"),
        ("path,tags,album,artist\na.wav,x,1,2\n", "'album' and 'artist' both say the group"),
        ("path,tags,Tags\na.wav,x,y\n", "two columns are called 'tags'"),
        ("path,tags\n", "has no rows below a header"),
        ("", "has no rows below a header"),
        ('path,tags\na.wav,"x\nb.wav,y\n', "line 3 is not a row"),
    ],
)
def test_a_table_that_makes_no_sense_is_an_error(place: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        from_table(write(place, text))


def test_columns_may_be_ignored(place: Path) -> None:
    path = write(place, "path,tags,BPM,album,artist\n" + "".join(
        f"{name},{tag},120,1,{tag}\n" for name, tag in zip(FILES, "xyxyxy", strict=True)
    ))  # fmt: skip
    dataset = from_table(path, ignore=["bpm", "album"])
    assert dataset.groups == tuple("xyxyxy")
    with pytest.raises(DatasetError, match="no column 'key' to ignore"):
        from_table(path, ignore=["key"])


def test_a_table_in_another_encoding_is_an_error(place: Path) -> None:
    path = write(place, "\n".join(FORMS["cells.csv"]), encoding="utf-16")
    with pytest.raises(DatasetError, match="is not UTF-8 text; save it as UTF-8"):
        from_table(path)


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot be read \(No such file"):
        from_table(tmp_path / "none.csv")


def test_non_ascii_names_and_tags(place: Path) -> None:
    (place / "a.wav").rename(place / "Füße — 音.wav")
    text = "path,tags\nFüße — 音.wav,Schlager;été\nb.wav,Schlager\nc.wav,e\u0301te\u0301\n"
    dataset = from_table(write(place, text))
    assert dataset.tags == ("Schlager", "été")
    assert dataset.positives.tolist() == [2, 2]
