import csv
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.files import check_writable
from musicnn_zoo.library.text_store import FORMATS, Writer
from musicnn_zoo.tagging.results import Clip, Event, Events, Taggram, Tags, TagScore
from musicnn_zoo.text import path_from_text, path_to_text, printable

LATIN1 = os.fsdecode(b"caf\xe9.mp3")
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="not a file name on Windows")


def tags_of(source="song.mp3", **scores):
    ranked = tuple(TagScore(tag, score) for tag, score in (scores or {"rock": 0.5}).items())
    return Tags(ranked, "M", Clip(source, 12.0))


def taggram_of(source="song.mp3"):
    scores = np.array([[0.1, 0.9], [0.25, 0.5]], np.float32)
    return Taggram(scores, ("rock", "pop"), np.array([0, 1.5]), 3, 1.5, "M", Clip(source, 12.0))


def events_of(source="song.mp3", *tags):
    events = tuple(Event(tag, 0.0, 1.5, 0.25) for tag in tags or ("rock",))
    return Events(events, "M", Clip(source, 12.0))


def write(path, form, *results):
    with Writer(path, form) as writer:
        for result in results:
            writer.write(result)
    return path.read_bytes().decode("utf-8", "surrogateescape")


def rows_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_text_of_tags_is_their_str_with_a_line_between(out):
    first, second = tags_of("a.mp3"), tags_of("b.mp3", pop=0.25)
    assert write(out, "text", first, second) == f"{first}\n\n{second}\n"


def test_text_of_a_taggram_is_its_str(out):
    assert write(out, "text", taggram_of()) == f"{taggram_of()}\n"


def test_text_of_events_is_their_str(out):
    assert write(out, "text", events_of()) == f"{events_of()}\n"


@pytest.mark.parametrize(
    "result", [tags_of(), taggram_of(), events_of()], ids=["tags", "taggram", "events"]
)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_a_list_of_all_results(out, result, count):
    assert json.loads(write(out, "json", *[result] * count)) == [result.to_dict()] * count


@pytest.mark.parametrize(
    "result", [tags_of(), taggram_of(), events_of()], ids=["tags", "taggram", "events"]
)
def test_json_lines_are_one_result_a_line(out, result):
    text = write(out, "jsonl", result, result)
    assert [json.loads(line) for line in text.splitlines()] == [result.to_dict()] * 2
    assert text.endswith("}\n")


def test_csv_of_tags_is_a_row_a_tag_under_one_heading(out):
    text = write(out, "csv", tags_of("a.mp3", rock=0.5, pop=0.25), tags_of("b.mp3"))
    assert rows_of(text) == [
        ["source", "rank", "tag", "score"],
        ["a.mp3", "1", "rock", "0.500000"],
        ["a.mp3", "2", "pop", "0.250000"],
        ["b.mp3", "1", "rock", "0.500000"],
    ]


def test_csv_of_a_taggram_is_a_row_a_patch_under_one_heading(out):
    text = write(out, "csv", taggram_of("a.mp3"), taggram_of("b.mp3"))
    assert rows_of(text) == [
        ["source", "time_s", "rock", "pop"],
        ["a.mp3", "0.000", "0.100000", "0.900000"],
        ["a.mp3", "1.500", "0.250000", "0.500000"],
        ["b.mp3", "0.000", "0.100000", "0.900000"],
        ["b.mp3", "1.500", "0.250000", "0.500000"],
    ]


def test_csv_of_events_is_a_row_an_event_under_one_heading(out):
    text = write(out, "csv", events_of("a.mp3", "rock", "pop"), events_of("b.mp3"))
    assert rows_of(text) == [
        ["source", "tag", "start_s", "end_s", "score"],
        ["a.mp3", "rock", "0.000", "1.500", "0.250000"],
        ["a.mp3", "pop", "0.000", "1.500", "0.250000"],
        ["b.mp3", "rock", "0.000", "1.500", "0.250000"],
    ]


def test_csv_of_an_array_has_no_source(out):
    assert rows_of(write(out, "csv", tags_of(None)))[1] == ["", "1", "rock", "0.500000"]


def test_standard_output_is_the_default_and_stays_open(capsys):
    with Writer(None) as writer:
        writer.write(tags_of())
    assert capsys.readouterr().out == f"{tags_of()}\n"
    assert not sys.stdout.closed


def test_an_empty_json_list_goes_to_standard_output_too(capsys):
    with Writer(None, "json"):
        pass
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("form", ["text", "jsonl", "csv"])
def test_without_results_nothing_is_printed(capsys, form):
    with Writer(None, form):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.json", "json"),
        ("a.JSONL", "jsonl"),
        ("a.Csv", "csv"),
        ("a.txt", "text"),
        ("a.text", "text"),
        ("json", "text"),
    ],
)
def test_the_ending_of_the_name_chooses_the_format(tmp_path, name, form):
    expected = write(tmp_path / "expected", form, tags_of())
    assert write(tmp_path / name, None, tags_of()) == expected


@pytest.mark.parametrize("name", ["a.xlsx", "a.m3u", "a.csv.bak", "a.parquet"])
def test_an_ending_that_is_no_format_is_refused_and_nothing_written(tmp_path, name):
    with pytest.raises(ArgumentError, match=r"\.jsonl, \.csv or \.parquet|tag, taggram, events"):
        Writer(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_ending_of_any_kind_goes_with_a_format_but_parquet(tmp_path):
    assert rows_of(write(tmp_path / "a.bak", "csv", tags_of()))[0][0] == "source"
    with pytest.raises(ArgumentError, match="Parquet is not one of the formats text, json"):
        Writer(tmp_path / "a.parquet", "csv")


def test_a_format_that_is_given_goes_before_the_ending(tmp_path):
    assert json.loads(write(tmp_path / "a.csv", "json", tags_of())) == [tags_of().to_dict()]


@pytest.mark.parametrize("form", FORMATS)
def test_a_result_is_in_the_file_before_the_next_comes(out, form):
    with Writer(out, form) as writer:
        writer.write(tags_of("first.mp3"))
        before = out.read_text()
        writer.write(tags_of("second.mp3"))
        assert "first.mp3" in before
        assert out.read_text().startswith(before)
        assert "second.mp3" in out.read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_finished_is_readable_when_the_rest_fails(out, form):
    expected = write(out, form, tags_of("a.mp3"), tags_of("b.mp3"))

    def fail_after_two(path):
        with Writer(path, form) as writer:
            writer.write(tags_of("a.mp3"))
            writer.write(tags_of("b.mp3"))
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        fail_after_two(out)
    assert out.read_text() == expected


@pytest.mark.parametrize("form", FORMATS)
def test_an_old_file_is_left_alone_until_there_is_a_result(out, form):
    out.write_text("old")
    with Writer(out, form) as writer:
        assert out.read_text() == "old"
        writer.write(tags_of())
    assert "old" not in out.read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_an_old_file_survives_a_failure_before_the_first_result(out, form):
    out.write_text("old")
    with pytest.raises(RuntimeError), Writer(out, form):
        raise RuntimeError
    assert out.read_text() == "old"


@on_posix
def test_text_takes_no_command_of_a_terminal_from_a_name(out):
    text = write(out, "text", tags_of("\x1b[2Jred\x07\x9b\r\u202e.mp3"))
    assert text.splitlines()[0] == r"\x1b[2Jred\x07\x9b\r\u202e.mp3, 12.0 s (M)"


@on_posix
def test_text_keeps_a_name_on_one_line(out):
    forged = "a.mp3, 9.0 s (M)\n  techno  0.999"
    assert len(write(out, "text", tags_of(forged)).splitlines()) == 2
    assert len(write(out, "text", taggram_of(forged)).splitlines()) == 3


def test_text_keeps_letters_of_all_scripts(out):
    assert "Dvořák – 新世界.mp3" in write(out, "text", tags_of("Dvořák – 新世界.mp3"))


@pytest.mark.parametrize("form", FORMATS)
@on_posix
def test_a_name_of_any_bytes_can_be_written(out, form):
    text = write(out, form, tags_of(LATIN1))
    if form == "text":
        assert r"caf\udce9.mp3" in text
        return
    if form == "csv":
        source = rows_of(text)[1][0]
    elif form == "jams":
        source = json.loads(text)["sandbox"]["source"]
    else:
        source = json.loads(text.splitlines()[-1 if form == "jsonl" else 1])["source"]
    assert source == r"caf\udce9.mp3"
    assert os.fsencode(path_from_text(source)) == b"caf\xe9.mp3"


NAMES = st.text(
    st.one_of(st.characters(exclude_characters="\0"), st.sampled_from("\\u005cdce9\udce9\ud800"))
)


@given(NAMES, NAMES)
def test_the_text_of_a_path_is_utf8_and_of_no_other_path(name, other):
    text = path_to_text(name)
    assert path_from_text(text.encode().decode()) == name
    assert (path_to_text(other) == text) is (other == name)


def test_only_what_is_no_text_or_looks_like_its_escape_is_escaped():
    for name in ("Dvořák – 新世界.mp3", r"C:\users\a.mp3", r"\\nas\udder.mp3"):
        assert path_to_text(name) == name
    assert path_to_text(r"caf\udce9.mp3") == r"caf\u005cudce9.mp3"
    assert path_to_text(r"\u005c") == r"\u005cu005c"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("name", ["新世界.mp3", LATIN1])
def test_standard_output_takes_names_that_its_encoding_does_not_know(
    monkeypatch, form, encoding, name
):
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding=encoding))
    with Writer(None, form) as writer:
        writer.write(tags_of(name))
    sys.stdout.flush()
    assert b"rock" in terminal.getvalue()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_gives_a_spreadsheet_no_formula(out, start):
    cell = rows_of(write(out, "csv", tags_of(f"{start}1+1.mp3")))[1][0]
    assert not cell.startswith(start)
    assert Path(cell) == Path(f"{start}1+1.mp3")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_takes_no_formula_from_a_tag_either(out, start):
    tag = f"{start}1+1"
    # A tab and a carriage return are escaped, and then begin no formula.
    cell = f"'{tag}" if start.isprintable() else printable(tag)
    clip = Clip("a.mp3", 12.0)
    scores = np.ones((1, 1), np.float32)
    tags = rows_of(write(out, "csv", Tags((TagScore(tag, 0.5),), "M", clip)))
    taggram = rows_of(write(out, "csv", Taggram(scores, (tag,), np.zeros(1), 3, 3, "M", clip)))
    events = rows_of(write(out, "csv", events_of("a.mp3", tag)))
    assert [tags[1][2], taggram[0][2], events[1][1]] == [cell] * 3
    assert json.loads(write(out, "json", events_of("a.mp3", tag)))[0]["events"][0]["tag"] == tag


def test_csv_takes_no_command_of_a_terminal_from_a_tag(out):
    tag = "\x1b[2Jred\nblue"
    scores = np.ones((1, 1), np.float32)
    taggram = Taggram(scores, (tag,), np.zeros(1), 3, 3, "M", Clip("a.mp3", 12.0))
    for result in (tags_of("a.mp3", **{tag: 0.5}), events_of("a.mp3", tag), taggram):
        text = write(out, "csv", result)
        assert r"\x1b[2Jred\nblue" in text
        assert "\x1b" not in text


def test_no_two_columns_of_a_taggram_have_one_name(out):
    scores = np.ones((1, 3), np.float32)
    tags = ("time_s", "rock", "rock")
    taggram = Taggram(scores, tags, np.zeros(1), 3, 3, "M", Clip("a.mp3", 12.0))
    assert rows_of(write(out, "csv", taggram))[0] == [
        "source", "time_s", "time_s (tag)", "rock", "rock (tag)",
    ]  # fmt: skip


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_csv_and_json_give_back_every_name(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("names") / "out"
    written = rows_of(write(path, "csv", tags_of(name)))[1][0]
    assert path_from_text(written) in (name, f"./{name}")
    source = json.loads(write(path, "json", tags_of(name)))[0]["source"]
    assert path_from_text(source) == name


@given(st.text())
def test_printable_text_is_one_line_that_a_terminal_shows(text):
    assert printable(text).isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_left_as_it_is(text):
    assert printable(text) == text


def test_an_output_in_no_folder_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"there is no folder '.*missing'"):
        Writer(tmp_path / "missing" / "out.json")


def test_an_output_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="is a directory; name a file"):
        Writer(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_output_that_cannot_be_written_is_refused():
    with pytest.raises(ArgumentError, match=r"cannot be written \("):
        Writer(Path("/proc/out.json"))


@on_posix
def test_an_output_behind_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError):
        Writer(tmp_path / "file" / "out.json")


def test_the_check_leaves_no_new_file(out):
    check_writable(out)
    assert not out.exists()


def test_the_check_leaves_an_old_file_as_it_was(out):
    out.write_text("old")
    before = out.stat().st_mtime_ns
    check_writable(out)
    assert out.read_text() == "old"
    assert out.stat().st_mtime_ns == before


@on_posix
def test_the_check_follows_a_link_to_a_file_that_is_not_there_yet(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    check_writable(link)
    assert link.is_symlink()
