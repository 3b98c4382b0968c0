"""A library: what index writes, and what one asks of it."""

import csv
import importlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import soxr
from click.testing import CliRunner
from conftest import ROOT
from helpers_audio import HARPSICHORD, STRINGS, TECHNO, encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import musicnn_zoo
from musicnn_zoo import Library, Track, TrackList
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import ArgumentError, AudioError, OutputError, UnknownNameError
from musicnn_zoo.library.indexing import run_index
from musicnn_zoo.library.library_file import LibraryFile, columns_of, default_library
from musicnn_zoo.library.neighbours import find_way, unit
from musicnn_zoo.library.playlists import Entry, write_playlist
from musicnn_zoo.sound.contents import read_contents
from musicnn_zoo.sound.find import Selection
from musicnn_zoo.tagging.pipeline import EmbeddedTags
from musicnn_zoo.tagging.results import Clip, Embedding, FileResult, Tags, TagScore
from musicnn_zoo.zoo.catalogue import MTT_TAGS

RATE = 16000
TAGS = ("low", "high")


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


# Files whose sound is known without a model


def write_sound(path, number, title=""):
    """Write a file whose sound is a number."""
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="WAV") as file:
        if title:
            file.title = title
        file.write(np.full(400, number / 100))


class Analyst:
    """Stands for the tagger: a score and a vector of the number that a file sounds like."""

    def __init__(self, *, ends_after=None):
        self.asked = []
        self._left = ends_after

    def __call__(self, paths):
        for path in paths:
            if self._left == 0:
                raise KeyboardInterrupt
            self._left = None if self._left is None else self._left - 1
            self.asked.append(path)
            try:
                number = round(100 * float(soundfile.read(path)[0].mean()))
            except soundfile.LibsndfileError:
                yield FileResult(path, None, AudioError(f"{path}: broken"))
                continue
            clip = Clip(path, 1.0)
            ranked = tuple(
                TagScore(tag, score)
                for tag, score in zip(TAGS, (number / 100, 1 - number / 100), strict=True)
            )
            vector = np.array([number, 1.0, 0.0], np.float32)
            embedding = Embedding(vector, np.zeros(1), "penultimate", "mean", 3.0, 3.0, "m", clip)
            yield FileResult(path, EmbeddedTags((embedding,), Tags(ranked, "m", clip)))


def index(place, folder, analyst, selection=Selection()):  # noqa: B008 (it does not change)
    with LibraryFile(place, write=True) as library:
        analysis = library.make_analysis(
            model="m", place="m", weights="w", settings={"hop_s": 3.0}, tags=TAGS
        )
        folders = {str(folder): selection}
        if folder.is_dir():
            library.remember_folders({str(folder): list(selection[:3])})
        try:
            return run_index(library, folders, analysis, ("penultimate",), analyst, jobs=2)
        except KeyboardInterrupt:
            library._connection.rollback()  # as if it had been killed
            raise


def rows_of(place):
    """What a tool that knows nothing of this package reads."""
    with closing(sqlite3.connect(place)) as connection:
        return {
            Path(path).name: (state, title, score)
            for path, state, title, score in connection.execute(
                "SELECT f.path, f.state, f.title, t.low FROM files f "
                "LEFT JOIN tags_1 t ON t.sound = f.sound"
            )
        }


class Histories(RuleBasedStateMachine):
    """What happens to a folder between runs, which may be interrupted."""

    root: Path

    def __init__(self):
        super().__init__()
        self.folder = self.root / str(len(list(self.root.iterdir())))
        self.folder.mkdir()
        (self.folder / "a").mkdir()
        self.music = self.folder / "a"
        self.place = self.folder / "library.sqlite"
        self.sounds = {}
        self.titles = {}
        self.known = set()
        self.clock = 10**18

    names = st.sampled_from(["1.wav", "2.wav", "3.wav", "4.wav", "5.wav"])
    numbers = st.integers(1, 3)

    def touch(self, name):
        self.clock += 10**9
        os.utime(self.music / name, ns=(self.clock, self.clock))

    @rule(name=names, number=numbers)
    def add_or_change(self, name, number):
        write_sound(self.music / name, number)
        self.sounds[name], self.titles[name] = number, ""
        self.touch(name)

    @rule(name=names)
    def spoil(self, name):
        (self.music / name).write_bytes(b"no audio " * len(self.sounds))
        self.sounds[name], self.titles[name] = None, ""
        self.touch(name)

    @rule(name=names, title=st.sampled_from(["", "Song", "Élan"]))
    def retag(self, name, title):
        if self.sounds.get(name):
            write_sound(self.music / name, self.sounds[name], title)
            self.titles[name] = title
            self.touch(name)

    @rule(name=names)
    def delete(self, name):
        if name in self.sounds:
            (self.music / name).unlink()
            del self.sounds[name], self.titles[name]

    @rule(old=names, new=names)
    def move(self, old, new):
        if old in self.sounds and old != new:
            (self.music / old).replace(self.music / new)
            for held in (self.sounds, self.titles):
                held[new] = held.pop(old)

    @rule(one=names, other=names)
    def change_places(self, one, other):
        if one in self.sounds and other in self.sounds and one != other:
            self.move(one, "5.tmp")
            self.move(other, one)
            self.move("5.tmp", other)

    @rule(old=names, new=names)
    def copy(self, old, new):
        if old in self.sounds and old != new:
            shutil.copy(self.music / old, self.music / new)
            self.sounds[new], self.titles[new] = self.sounds[old], self.titles[old]
            self.touch(new)

    @rule(after=st.integers(0, 2))
    def interrupt(self, after):
        try:
            index(self.place, self.music, Analyst(ends_after=after))
        except KeyboardInterrupt:
            self.known = None  # what it got to know is not known here
        else:
            self.look()

    @rule()
    def look(self):
        analyst = Analyst()
        summary = index(self.place, self.music, analyst)
        rows = rows_of(self.place)
        here = {name: row for name, row in rows.items() if row[0] != "gone"}
        assert here == {
            name: ("failed", "", None)
            if number is None
            else ("present", self.titles[name], number / 100)
            for name, number in self.sounds.items()
        }
        asked = Counter(self.sounds[Path(path).name] for path in analyst.asked)
        assert all(times == 1 for number, times in asked.items() if number is not None)
        if self.known is not None:
            assert not self.known & set(asked)
        held = {round(100 * row[2]) for row in rows.values() if row[2] is not None}
        self.known = held
        assert summary.failed == sum(number is None for number in self.sounds.values())
        with closing(sqlite3.connect(self.place)) as connection:
            for table in ("sounds", "tags_1", "vectors_1")[: 3 if held else 2]:
                (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert number == len(held)
        again = Analyst()
        summary = index(self.place, self.music, again)
        assert [path for path in again.asked if self.sounds[Path(path).name]] == []
        assert summary.unchanged == sum(number is not None for number in self.sounds.values())
        assert (summary.done, summary.gone, summary.moved, summary.copied) == (0, 0, 0, 0)

    @invariant()
    def the_file_is_whole(self):
        if self.place.exists():
            with closing(sqlite3.connect(self.place)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    "examples", [8, pytest.param(150, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_the_library_says_the_truth_after_any_history_of_a_folder(tmp_path, examples):
    class Here(Histories):
        root = tmp_path

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples, stateful_step_count=20, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck), database=None,
        ),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    music = tmp_path / "music"
    (music / "deep").mkdir(parents=True)
    write_sound(music / "1.wav", 1, "One")
    write_sound(music / "deep" / "2.wav", 2, "Two")
    return music


def test_what_becomes_of_files_is_counted(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    assert index(place, folder, Analyst()).done == 2
    (folder / "1.wav").rename(folder / "deep" / "one.wav")
    shutil.copy(folder / "deep" / "2.wav", folder / "two.wav")
    analyst = Analyst()
    summary = index(place, folder, analyst)
    assert analyst.asked == []
    assert str(summary) == "0 done, 1 unchanged, 1 copied, 1 moved"
    assert rows_of(place).keys() == {"one.wav", "2.wav", "two.wav"}
    (folder / "two.wav").rename(tmp_path / "two.wav")
    assert str(index(place, folder, Analyst())) == "0 done, 2 unchanged, 1 gone"
    assert rows_of(place)["two.wav"] == ("gone", "Two", 0.02)
    (tmp_path / "two.wav").rename(folder / "two.wav")
    assert str(index(place, folder, Analyst())) == "0 done, 2 unchanged, 1 returned"
    write_sound(folder / "two.wav", 2, "Another title")
    assert str(index(place, folder, Analyst())) == "0 done, 2 unchanged, 1 retagged"
    assert rows_of(place)["two.wav"] == ("present", "Another title", 0.02)


def test_a_file_that_moved_to_another_folder_is_known_there(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    (folder / "1.wav").rename(tmp_path / "one.wav")
    shutil.copy(folder / "deep" / "2.wav", tmp_path / "two.wav")
    assert str(index(place, tmp_path / "one.wav", Analyst())) == "0 done, 0 unchanged, 1 moved"
    assert str(index(place, tmp_path / "two.wav", Analyst())) == "0 done, 0 unchanged, 1 copied"
    assert rows_of(place).keys() == {"one.wav", "2.wav", "two.wav"}
    (folder / "deep" / "2.wav").unlink()
    assert str(index(place, tmp_path / "two.wav", Analyst())) == "0 done, 1 unchanged"
    assert rows_of(place)["2.wav"][0] == "present"  # nobody has looked


def test_copies_that_are_found_in_one_run_are_computed_once(folder, tmp_path):
    shutil.copy(folder / "1.wav", folder / "deep" / "copy.wav")
    analyst = Analyst()
    summary = index(tmp_path / "library.sqlite", folder, analyst)
    assert len(analyst.asked) == 2
    assert (summary.done, summary.copied) == (2, 1)


def test_only_files_below_the_folders_are_said_to_be_gone(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    shutil.rmtree(folder / "deep")
    (folder / "1.wav").unlink()
    (folder / "other").mkdir()
    assert index(place, folder / "other", Analyst()).gone == 0
    assert index(place, folder, Analyst()).gone == 2


def test_files_that_are_left_out_now_are_gone_until_they_are_taken_again(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    write_sound(folder / "3.audio", 3)
    index(place, folder, Analyst())
    index(place, folder / "3.audio", Analyst())  # named, whatever its ending
    without = Selection(exclude=("deep",))
    assert str(index(place, folder, Analyst(), without)) == "0 done, 1 unchanged, 1 gone"
    assert Library(place).find("low > 0").paths == (
        str(folder / "3.audio"), str(folder / "1.wav"),
    )  # fmt: skip
    assert index(place, folder / "deep", Analyst()).returned == 1
    assert index(place, folder, Analyst(), without).gone == 0  # the other folder has it
    assert index(place, folder, Analyst(), Selection(include=("2.*",))).gone == 2


def test_files_elsewhere_are_gone_if_their_folder_is_there(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_sound(tmp_path / name / "linked.wav", 3 + len(name))
        (folder / f"{name}.wav").symlink_to(tmp_path / name / "linked.wav")
    assert index(place, folder, Analyst()).done == 4
    (tmp_path / "one" / "linked.wav").unlink()
    shutil.rmtree(tmp_path / "other")  # as if its disk were not mounted
    assert index(place, folder, Analyst()).gone == 1


def test_a_file_that_is_replaced_while_it_is_read_is_left_to_the_next_run(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    kept = tmp_path / "kept.wav"
    shutil.copy(folder / "1.wav", kept)

    def replacing(paths):
        for result in Analyst()(paths):
            if result.source.endswith("1.wav") and kept.exists():
                kept.rename(folder / "old.wav")
                write_sound(folder / "1.wav", 3)
                os.utime(folder / "1.wav", ns=(10**18, 10**18))
                (result,) = Analyst()([result.source])
            yield result

    summary = index(place, folder, replacing)
    assert (summary.done, summary.failed) == (1, 1)
    assert "it changed while it was read" in summary.failures[0][1]
    assert index(place, folder, Analyst()).done == 2
    assert rows_of(place)["1.wav"][2] == 0.03
    assert rows_of(place)["old.wav"][2] == 0.01


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root lists every folder")
def test_files_in_a_folder_that_cannot_be_listed_are_not_gone(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    (folder / "deep").chmod(0)
    try:
        summary = index(place, folder, Analyst())
    finally:
        (folder / "deep").chmod(0o755)
    assert (summary.gone, summary.failed) == (0, 1)


def test_a_name_that_is_no_text_is_kept(folder, tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        shutil.copy(folder / "1.wav", folder / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    place = tmp_path / "library.sqlite"
    assert index(place, folder, Analyst()).failed == 0
    assert index(place, folder, Analyst()).unchanged == 3
    found = Library(place).find("low < 0.015")
    assert str(folder / name) in found.paths
    left_out = found.to_m3u(tmp_path / "list.m3u8")
    assert left_out == [str(folder / name)]
    assert "1.wav" in (tmp_path / "list.m3u8").read_text()


def test_what_is_no_library_is_refused(tmp_path):
    place = tmp_path / "library.sqlite"
    with pytest.raises(ArgumentError, match=r"no library at .*musicnn-zoo index FOLDER"):
        Library(place).find("low")
    place.write_text("text " * 400)
    with pytest.raises(ArgumentError, match="is no library of musicnn-zoo"):
        Library(place).find("low")
    place.write_text("")
    with pytest.raises(ArgumentError, match="is empty; fill it with 'musicnn-zoo index FOLDER'"):
        Library(place).find("low")
    assert index(place, tmp_path, Analyst()).done == 0
    place.unlink()
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("CREATE TABLE other (one)")
    for ask in (Library(place).counts, lambda: index(place, tmp_path, Analyst())):
        with pytest.raises(ArgumentError, match="is no library of musicnn-zoo"):
            ask()
    with LibraryFile(tmp_path / "new.sqlite", write=True) as library:
        library._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ArgumentError, match="made by a newer musicnn-zoo"):
        Library(tmp_path / "new.sqlite").counts()
    LibraryFile(tmp_path / "fresh.sqlite", write=True).close()
    with pytest.raises(ArgumentError, match="is empty; fill it with 'musicnn-zoo index FOLDER'"):
        Library(tmp_path / "fresh.sqlite").find("low")
    with pytest.raises(ArgumentError, match=r"is a folder; name a file, such as .*library\.sqlite"):
        Library(tmp_path).find("low")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be"):
        LibraryFile(tmp_path / "file" / "library.sqlite", write=True)


@pytest.mark.parametrize("spoil", ["cut", "header", "vectors", "tags", "scores"])
def test_a_damaged_library_is_said_to_be_damaged(folder, tmp_path, spoil):
    for number in range(3, 60):
        write_sound(folder / f"{number}.wav", number)
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    with closing(sqlite3.connect(place)) as connection:
        if spoil == "scores":
            connection.execute("DELETE FROM tags_1 WHERE sound > 3")
            connection.commit()
        pages = dict(connection.execute("SELECT name, rootpage FROM sqlite_master"))
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    held = bytearray(place.read_bytes())
    if spoil == "cut":
        del held[len(held) // 2 :]
    elif spoil == "header":
        held[100:size] = bytes(size - 100)
    elif spoil != "scores":
        start = size * (pages[f"{spoil}_1"] - 1)
        held[start : start + size] = b"\xff" * size
    place.write_bytes(held)
    library = Library(place)
    asked = {
        "vectors": lambda: library.similar(folder / "1.wav"),
        "tags": lambda: library.find("low > 0"),
        "scores": lambda: library.similar(folder / "1.wav", like="low"),
    }
    with pytest.raises(OutputError, match=r"is damaged \(.*delete it, and run 'musicnn-zoo index"):
        asked.get(spoil, library.counts)()
    if spoil == "scores":
        with pytest.raises(OutputError, match="is damaged"):
            library.clusters(2)


def test_a_full_disk_is_said(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    with LibraryFile(place, write=True) as library:
        (pages,) = library.rows("PRAGMA page_count")[0]
        library.rows(f"PRAGMA max_page_count = {pages + 2}")
        analysis = library.make_analysis(
            model="m", place="m", weights="w", settings={}, tags=TAGS
        )  # fmt: skip

        def fill():
            for number in range(999):
                library.put_sound(f"{number}" * 99, 1.0, analysis, (0, 1), {})

        with pytest.raises(OutputError, match="database or disk is full"):
            fill()
    assert index(place, folder, Analyst()).done == 2


def test_a_library_without_tracks_says_so(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    for path in list(folder.rglob("*.wav")):
        path.unlink()
    index(place, folder, Analyst())
    for forget in (False, True):
        if forget:
            assert Library(place).forget_gone() == 2
        assert len(Library(place).find("low > 0")) == 0
        assert Library(place).clusters(3) == []
        result = run("find", "low > 0", "--library", place)
        assert "holds no tracks: fill it with 'musicnn-zoo index FOLDER'" in result.stderr
    (tmp_path / "nothing").mkdir()
    result = run("index", tmp_path / "nothing", "--library", tmp_path / "new.sqlite")
    assert "there is no audio in what was looked through" in result.stderr
    with pytest.raises(ArgumentError, match="holds no tracks yet; fill it with"):
        Library(tmp_path / "new.sqlite").similar(TECHNO)


def test_letters_count_whatever_their_unicode_form(folder, tmp_path):
    for number, form in enumerate(("NFC", "NFD"), 3):
        name = unicodedata.normalize(form, f"Élan {form}.wav")
        write_sound(folder / name, number, unicodedata.normalize(form, "ÉLAN"))
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    for form in ("NFC", "NFD"):
        for query in ("path ~ 'élan'", "title = élan", "low > 0 and title ~ É"):
            assert len(Library(place).find(unicodedata.normalize(form, query))) == 2


def test_huge_numbers_are_answered(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    library, huge = Library(place), 10**30
    assert len(library.find("low > 0", limit=huge)) == 2
    assert len(library.similar(folder / "1.wav", k=huge)) == 1
    assert len(library.clusters(1000)) == 2
    for ask, said in (
        (lambda: library.clusters(huge), "k must be at most 1000"),
        (lambda: library.playlist("a", "b", n=huge), "n must be at most 500"),
    ):
        with pytest.raises(ArgumentError, match=said):
            ask()


def test_tags_that_differ_in_capitals_have_columns_of_their_own():
    assert columns_of(["House", "house", 'a"b', "sound"]) == (
        '"House"', '"house (2)"', '"a""b"', '"sound (2)"',
    )  # fmt: skip


def test_the_library_is_where_the_system_keeps_data(monkeypatch, tmp_path):
    monkeypatch.delenv("MUSICNN_ZOO_LIBRARY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert default_library() == tmp_path / "musicnn-zoo" / "library.sqlite"
    monkeypatch.setenv("MUSICNN_ZOO_LIBRARY", str(tmp_path / "mine"))
    assert Library().path == tmp_path / "mine"


def test_vectors_of_other_models_and_settings_are_not_mixed(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    with LibraryFile(place, write=True) as library:
        other = library.make_analysis(
            model="other", place="other", weights="w2", settings={"hop_s": 3.0}, tags=("x",)
        )
        with pytest.raises(ArgumentError, match="holds no tracks yet; fill it"):
            library.space(other)
        library.choose(other)
        assert [each.model for each in library.analyses()] == ["other", "m"]
        hop = library.make_analysis(
            model="m", place="m", weights="w", settings={"hop_s": 1.0}, tags=TAGS
        )
        assert hop.id not in (other.id, library.analyses()[-1].id)
    with pytest.raises(UnknownNameError, match="unknown model of this library 'mm'; did you mean"):
        Library(place).find("low", model="mm")
    with pytest.raises(UnknownNameError, match="unknown tag 'low'"):
        Library(place).find("low", model="other")


# Ways


def test_a_way_is_monotone_and_nearly_even():
    random = np.random.default_rng(0)
    middle = np.linspace(0, np.pi / 2, 400)
    circle = np.stack([np.cos(middle), np.sin(middle), 0 * middle], axis=1)
    sounds = unit(circle + random.normal(0, 0.05, circle.shape))
    way = find_way(sounds[:, 0], sounds[:, 1], 0.0, 8)
    assert len(way) == 8
    angles = np.degrees(np.arctan2(sounds[way, 1], sounds[way, 0]))
    np.testing.assert_allclose(angles, np.arange(1, 9) * 10, atol=3)


def longest_of_all(to_start, to_end, between):
    """Length of the longest monotone way, by trying all pairs."""
    inside = sorted(
        (-one, other)
        for one, other in zip(to_start.tolist(), to_end.tolist(), strict=True)
        if one >= between and other >= between
    )
    lengths = []
    for place, (_, end) in enumerate(inside):
        before = (lengths[i] for i in range(place) if inside[i][1] <= end)
        lengths.append(1 + max(before, default=0))
    return max(lengths, default=0)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 12), st.floats(-1, 1, width=32),
    st.sampled_from([1, 3, 24]),
)  # fmt: skip
def test_a_way_is_monotone_and_as_long_as_there_can_be_one(seed, count, steps, between, digits):
    random = np.random.default_rng(seed)
    to_start, to_end = random.uniform(-1, 1, (2, count)).round(digits).astype(np.float32)
    way = find_way(to_start, to_end, between, steps)
    assert len(way) == len(set(way)) == min(steps, longest_of_all(to_start, to_end, between))
    for values, sign in ((to_start[way], -1), (to_end[way], 1)):
        assert (values >= between).all()
        assert (sign * np.diff(values) >= 0).all()


def test_a_way_is_found_among_many_sounds_of_which_few_are_in_order():
    random = np.random.default_rng(0)
    part = random.uniform(0.3, 0.6, 3000)
    crowd = np.stack([part, part + 0.3])  # the closer to one, the closer to the other
    chain = np.stack([np.linspace(0.29, 0.01, 40), np.linspace(0.01, 0.29, 40)])
    to_start, to_end = np.concatenate([crowd, chain], axis=1).astype(np.float32)
    way = find_way(to_start, to_end, 0.0, 30)
    assert len(way) == 30
    assert sum(place >= 3000 for place in way) >= 29
    assert (np.diff(to_start[way]) <= 0).all()
    assert (np.diff(to_end[way]) >= 0).all()


def test_a_way_takes_what_there_is():
    to_start, to_end = np.array([0.9, 0.1], np.float32), np.array([0.2, 0.8], np.float32)
    assert find_way(to_start, to_end, 0.0, 5) == [0, 1]
    assert find_way(to_start[:0], to_end[:0], 0.0, 5) == []
    assert find_way(to_start, to_end, 0.0, 0) == []
    away = (np.array([0.5, 0.6], np.float32), np.array([0.1, 0.9], np.float32))
    assert find_way(*away, 0.0, 2) == [1]


# Playlists


def test_a_playlist_has_relative_paths_titles_and_lengths(tmp_path):
    entries = [
        Entry(str(tmp_path / "Music" / "a b.mp3"), 61.6, "Bach - Air\n#EXTINF:1"),
        Entry(str(tmp_path / "#1.mp3"), 3, "Élan\u3000\u200d"),
        Entry(str(tmp_path / "new\nline.mp3"), 3, "x"),
    ]
    (tmp_path / "lists").mkdir()
    left_out = write_playlist(entries, tmp_path / "lists" / "x.m3u8", name="Calm")
    assert left_out == [entries[2].path]
    assert (tmp_path / "lists" / "x.m3u8").read_text(encoding="utf-8").split("\n") == [
        "#EXTM3U", "#PLAYLIST:Calm", "#EXTINF:62,Bach - Air\\n#EXTINF:1", "../Music/a b.mp3",
        "#EXTINF:3,Élan\u3000\u200d", "../#1.mp3", "",
    ]  # fmt: skip
    write_playlist(entries[:1], tmp_path / "x.m3u8", absolute=True)
    assert (tmp_path / "x.m3u8").read_text(encoding="utf-8").splitlines()[2] == entries[0].path
    with pytest.raises(ArgumentError, match=r"must end in \.m3u8, \.m3u"):
        write_playlist(entries, tmp_path / "x.pls")


def read_playlist(path):
    """Read M3U as its descriptions say: lines without spaces around them, # begins a comment."""
    entries, told = [], None
    for line in path.read_bytes().decode("utf-8").split("\n"):
        text = line.strip(" \t\r")
        if text.startswith("#EXTINF:"):
            seconds, _, title = text.removeprefix("#EXTINF:").partition(",")
            told = (int(seconds), title)
        elif text and not text.startswith("#"):
            assert re.match("[A-Za-z][A-Za-z0-9+.-]*:", text) is None  # no address
            entries.append((os.path.normpath(path.parent / text), *told))
    return entries


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/\n\r"), min_size=1, max_size=20
) | st.text(st.sampled_from(" #:.\\%'\"?&;,=-\t\u3000\u2028\x85aé"), min_size=1, max_size=8)


@settings(max_examples=100)
@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4), st.booleans())
def test_what_reads_playlists_finds_the_files(tmp_path_factory, names, absolute):
    root = tmp_path_factory.getbasetemp()
    entries = [
        Entry(str(root / f"{folder}" / f"{name}.mp3"), 3, name) if folder.strip(".") else
        Entry(str(root / f"{name}.mp3"), 3, name) for folder, name in names
    ]  # fmt: skip
    assert write_playlist(entries, root / "x.m3u8", name=names[0][0], absolute=absolute) == []
    read = read_playlist(root / "x.m3u8")
    assert [path for path, *_ in read] == [entry.path for entry in entries]
    assert [seconds for _, seconds, _ in read] == [3] * len(entries)


def test_lists_of_clusters_have_names_of_their_own(tmp_path, monkeypatch):
    lists = [
        TrackList((Track(str(tmp_path / f"{number}.mp3"), 3.0),), "cluster", name, "m")
        for number, name in enumerate(["a/b", "a:b", "A_b", "x" * 100, "x" * 99, "???"])
    ]
    monkeypatch.setattr(Library, "clusters", lambda self, k, **options: lists)
    assert run("playlist", "--cluster", 6, "-o", tmp_path / "lists").exit_code == 0
    written = sorted((tmp_path / "lists").iterdir())
    assert len({path.name.lower() for path in written}) == 6
    read = {entry[0] for path in written for entry in read_playlist(path)}
    assert read == {track.path for each in lists for track in each}


# What a file holds


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.opus", "libopus")],
)
def test_the_digest_is_of_the_sound_and_not_of_titles(tmp_path, name, codec):
    import av

    signal = np.sin(np.arange(48000) / 20)[None].astype(np.float32)
    plain = encode(tmp_path / name, signal, 48000, codec)
    titled = tmp_path / f"titled_{name}"
    with av.open(str(plain)) as source, av.open(str(titled), "w") as target:
        target.metadata.update(title="Air", artist="Bach", album="Suite", genre="Baroque")
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    one, other = read_contents(str(plain)), read_contents(str(titled))
    assert plain.read_bytes() != titled.read_bytes()
    assert one.digest == other.digest
    assert other[1:] == ("Air", "Bach", "Suite", "Baroque")
    again = encode(tmp_path / f"again_{name}", 0.5 * signal, 48000, codec)
    assert read_contents(str(again)).digest != one.digest


# Tracks of known classes, made by the examples' own maker

sys.path.insert(0, str(ROOT))
likeness = importlib.import_module("benchmarks.likeness")
MAKER = likeness.MAKER


@pytest.mark.parametrize(
    ("songs", "seconds", "k"), [(5, 3, 4), pytest.param(50, 6, 10, marks=pytest.mark.slow)]
)
def test_similar_tracks_are_of_the_same_style_and_ways_are_monotone(tmp_path, songs, seconds, k):
    likeness.make_styles(tmp_path / "music", songs, seconds)
    library = Library(tmp_path / "library.sqlite")
    library.index(tmp_path / "music")
    paths = sorted((tmp_path / "music").rglob("*.flac"))
    same = [
        Path(found).parent == path.parent
        for path in paths
        for found in library.similar(path, k=k).paths
    ]
    assert len(same) == k * 6 * songs
    assert np.mean(same) >= (0.85 if songs == 50 else 0.7)
    clusters = library.clusters(6)
    largest = [
        Counter(Path(path).parent for path in each.paths).most_common(1)[0][1] for each in clusters
    ]
    assert sum(largest) >= 0.7 * len(paths)
    random = np.random.default_rng(0)
    lengths = []
    for _ in range(10):
        start, end = random.choice(len(paths), 2, replace=False)
        way = library.playlist(paths[start], paths[end], n=8)
        to_start, to_end = (
            np.array([track.values[name] for track in way]) for name in ("to_start", "to_end")
        )
        assert 2 <= len(way) == len(set(way.paths)) <= 8
        assert (np.diff(to_start) <= 0).all()
        assert (np.diff(to_end) >= 0).all()
        lengths.append(len(way))
    assert np.mean(lengths) >= (7 if songs == 50 else 4)


@pytest.mark.parametrize(
    ("songs", "seconds"), [(3, 6), pytest.param(50, 20, marks=pytest.mark.slow)]
)
def test_transcodes_are_nearest_and_told_as_duplicates(tmp_path, songs, seconds):
    music = tmp_path / "music"
    music.mkdir()
    for number in range(songs):
        random = np.random.default_rng([5, number])
        sound = MAKER["play"](MAKER["draw_song"](number, 1), seconds, random)
        signal = soxr.resample(sound.astype(np.float32), RATE, 48000)[None].clip(-1, 1)
        for ending, codec, bit_rate in (
            ("mp3", "libmp3lame", 128_000), ("opus", "libopus", 64_000), ("m4a", "aac", 96_000),
        ):  # fmt: skip
            encode(music / f"{number}.{ending}", signal, 48000, codec, bit_rate=bit_rate)
        soundfile.write(music / f"{number}.flac", signal[0], 48000)
    library = Library(tmp_path / "library.sqlite")
    assert library.index(music).done == 4 * songs
    nearest, told = [], []
    for path in music.iterdir():
        found = library.similar(path, k=4)
        same = [Path(track.path).stem == path.stem for track in found]
        nearest.append(same[0])
        told += [
            (track.duplicate_of is not None) == one for track, one in zip(found, same, strict=True)
        ]
    assert np.mean(nearest) >= 0.99
    assert np.mean(told) >= 0.99


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_a_hundred_thousand_tracks_are_asked_in_little_time_and_memory(tmp_path):
    from benchmarks.collection import SEED, ask, make_library

    place = tmp_path / "library.sqlite"
    make_library(place, 100_000)
    for name in ("find", "similar", "playlist", "clusters"):
        assert ask(place, name, 1)["peak_mb"] < 300
    library = Library(place)
    begun = time.process_time()
    assert len(library.similar(SEED)) == 20
    assert time.process_time() - begun < 0.6


# The real model


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A library of the examples, one of them twice, indexed by the command line."""
    root = tmp_path_factory.mktemp("collection")
    folder = root / "Music"
    folder.mkdir()
    for path in (HARPSICHORD, STRINGS, TECHNO):
        shutil.copy(path, folder)
    signal, rate = soundfile.read(TECHNO, dtype="float32", always_2d=True)
    encode(folder / "techno.mp3", signal.T.copy(), rate, "libmp3lame", bit_rate=128_000)
    (folder / "notes.mp3").write_text("no audio")
    place = root / "library.sqlite"
    result = run("index", folder, "--library", place, "--progress", "json", "-f", "json")
    return folder, place, result


def test_index_says_what_it_did_in_json(music):
    folder, place, result = music
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert (summary["kind"], summary["library"]) == ("index", str(place))
    assert (summary["done"], summary["failed"]) == (4, 1)
    assert summary["failures"][0]["path"] == str(folder / "notes.mp3")
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["looked_at"] for line in lines] == [1, 2, 3, 4, 5]
    again = run("index", "--library", place)
    assert again.stdout.startswith(f"{place}: 0 done, 4 unchanged, 1 failed")
    assert again.exit_code == 1


def test_scores_and_vectors_are_those_of_the_model(music):
    folder, place, _ = music
    path = str(folder / TECHNO.name)
    tags, embedding = musicnn_zoo.tag(path), musicnn_zoo.embed(path)
    with closing(sqlite3.connect(place)) as connection:
        (row,) = connection.execute(
            "SELECT t.* FROM tags_1 t JOIN files f ON f.sound = t.sound WHERE path = ?", (path,)
        )
        length, vector = connection.execute(
            "SELECT length, vector FROM vectors_1 v JOIN files f ON f.sound = v.sound "
            "WHERE path = ?", (path,),
        ).fetchone()  # fmt: skip
        (techno,) = connection.execute("SELECT techno FROM library WHERE path = ?", (path,))
    np.testing.assert_allclose(row[1:], [tags[tag] for tag in MTT_TAGS], atol=1e-5)
    stored = length * np.frombuffer(vector, "<f2").astype(float)
    np.testing.assert_allclose(stored, embedding.values, atol=2e-3 * length)
    assert techno[0] == pytest.approx(tags["techno"], abs=1e-5)


def test_find_is_the_same_filter_in_pandas(music):
    _, place, _ = music
    with closing(sqlite3.connect(place)) as connection:
        table = pandas.read_sql("SELECT * FROM library", connection)
    query = "(strings > 0.2 or techno > 0.5) and not strings > 0.35"
    expected = table.query("(strings > 0.2 or techno > 0.5) and not strings > 0.35")
    found = Library(place).find(query).to_pandas()
    assert list(found.path) == list(expected.sort_values("strings", ascending=False).path)
    assert dict(zip(found.path, found.techno, strict=True)) == dict(
        zip(expected.path, expected.techno, strict=True)
    )
    assert len(found) == 3


def test_a_library_whose_tracks_are_forgotten_has_none_that_are_similar(music, tmp_path):
    place = tmp_path / "library.sqlite"
    shutil.copy(music[1], place)
    with LibraryFile(place, write=True) as library:
        library.change("UPDATE files SET state = 'gone'")
    library = Library(place)
    library.forget_gone()
    assert len(library.similar(TECHNO, like="techno", unlike="slow")) == 0
    assert library.more_like(TECHNO).paths == (str(TECHNO.resolve()),)


def test_a_track_that_has_changed_since_is_not_like_itself(music, tmp_path):
    folder = tmp_path / "Music"
    shutil.copytree(music[0], folder)
    library = Library(tmp_path / "library.sqlite")
    library.index(folder)
    os.utime(folder / TECHNO.name, ns=(10**18, 10**18))
    assert library.similar(folder / TECHNO.name).paths[0] == str(folder / "techno.mp3")
    shutil.copy(STRINGS, folder / TECHNO.name)
    found = library.similar(folder / TECHNO.name)
    assert found[0].duplicate_of == str(folder / TECHNO.name)
    assert {Path(path).stem for path in found.paths} == {
        STRINGS.stem, HARPSICHORD.stem, "techno"
    }  # fmt: skip
    way = library.playlist(folder / TECHNO.name, folder / HARPSICHORD.name)
    assert len(set(way.paths)) == len(way)


def test_similar_tells_duplicates_and_leaves_them_out(music):
    folder, place, _ = music
    library = Library(place)
    found = library.similar(folder / TECHNO.name)
    assert found.paths[0] == str(folder / "techno.mp3")
    assert found[0].values["similarity"] > 0.99
    assert found[0].duplicate_of == str(folder / TECHNO.name)
    assert [track.duplicate_of for track in found[1:]] == [None, None]
    distinct = library.similar(folder / TECHNO.name, distinct=True)
    assert distinct.paths == found.paths[1:]
    outside = library.similar(TECHNO, k=2)
    assert outside[0].values["similarity"] == pytest.approx(1, abs=1e-5)
    assert {track.duplicate_of for track in outside} == {str(TECHNO.resolve())}
    both = library.similar([folder / STRINGS.name, folder / HARPSICHORD.name], k=2)
    assert {Path(path).stem for path in both.paths} == {"techno", "techno_loop"}
    liked = library.similar(folder / TECHNO.name, like=["strings"], unlike="harpsichord", k=3)
    scores = {track.path: track.values for track in library.find("strings >= 0 < harpsichord")}
    order = [
        track.values["similarity"]
        + 0.25 * (scores[track.path]["strings"] - scores[track.path]["harpsichord"])
        for track in liked
    ]
    assert order == sorted(order, reverse=True)
    json.dumps(found.to_dict())
    assert list(found.to_pandas().columns)[-2:] == ["similarity", "duplicate_of"]


def test_known_tracks_are_looked_up_and_chosen_among(music, tmp_path):
    folder, place, _ = music
    library = Library(place)
    outside = tmp_path / "outside.ogg"
    shutil.copy(TECHNO, outside)
    paths = [folder / STRINGS.name, outside, folder / "notes.mp3", folder / TECHNO.name]
    known = library.look_up(paths)
    assert known.paths == (str(paths[0]), str(paths[3]))
    assert known[1].values == {
        tag: pytest.approx(score, abs=1e-5) for tag, score in musicnn_zoo.tag(TECHNO, threshold=0)
    }
    assert library.models() == {"MTT_musicnn": MTT_TAGS}
    assert Library(tmp_path / "none.sqlite").models() == {}
    found = library.similar(folder / TECHNO.name, among=paths, k=9)
    assert found.paths == (str(paths[0]),)
    link = tmp_path / "linked"
    link.symlink_to(folder)
    assert library.similar(TECHNO, among=link / "techno.mp3").paths == (str(folder / "techno.mp3"),)


def test_playlists_of_each_kind(music, tmp_path, monkeypatch):
    folder, place, _ = music
    library = Library(place)
    start, end = folder / TECHNO.name, folder / STRINGS.name
    way = library.playlist(start, end, n=4)
    assert (way.paths[0], way.paths[-1], len(way)) == (str(start), str(end), 3)
    more = library.more_like(start, n=3)
    assert len(more) == 3
    assert str(folder / "techno.mp3") not in more.paths
    twice = library.more_like([start, folder / "techno.mp3", start], n=4)
    assert sum("techno" in path for path in twice.paths) == 1
    outside = Path(shutil.copy(HARPSICHORD, tmp_path / "outside.ogg"))
    computed = []
    compute = Library._analysed
    monkeypatch.setattr(
        Library, "_analysed", lambda *asked: computed.append(asked[1]) or compute(*asked)
    )
    more = library.more_like(outside, n=9).paths
    assert (more[0], len(more), str(folder / HARPSICHORD.name) in more) == (str(outside), 3, False)
    assert computed == [str(outside)]
    lists = library.clusters(2)
    assert sorted(path for each in lists for path in each.paths) == sorted(
        str(path) for path in folder.iterdir() if path.name != "notes.mp3"
    )
    assert any({"techno.mp3", TECHNO.name} <= {Path(p).name for p in each.paths} for each in lists)
    assert len({each.name for each in lists}) == 2
    output = tmp_path / "lists"
    result = run("playlist", "--cluster", 2, "-o", output, "--library", place)
    assert result.exit_code == 0
    assert len(list(output.glob("*.m3u8"))) == 2
    result = run("playlist", "--from", start, "--to", end, "-n", 9, "--library", place)
    assert "a smooth way of 3 tracks, not of 9" in result.stderr
    assert len(result.stdout.splitlines()) == 3  # one of the two that are the same is enough


def test_describe_speaks_the_words_of_acousticbrainz(music):
    folder, place, _ = music
    result = run("describe", folder / TECHNO.name, HARPSICHORD, "--library", place)
    inside, outside = map(json.loads, result.stdout.splitlines())
    assert inside["highlevel"]["genre"]["value"] == "techno"
    assert outside["highlevel"]["instrument"]["value"] == "harpsichord"
    assert outside["metadata"]["audio_properties"]["length"] == pytest.approx(32, abs=0.5)
    result = run("describe", "missing.mp3", HARPSICHORD, "--library", place)
    assert json.loads(result.stdout) == outside
    assert (result.exit_code, "1 of 2 could not be used" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [["find", "techno"], ["similar", TECHNO], ["playlist", "--similar-to", TECHNO]],
    ids=lambda arguments: arguments[0],
)
def test_the_commands_print_text_json_csv_and_playlists(music, tmp_path, arguments):
    folder, place, _ = music
    text, as_json, as_csv = (
        run(*arguments, "--library", place, "-f", form).stdout for form in ("text", "json", "csv")
    )
    listed = json.loads(as_json)
    rows = list(csv.DictReader(io.StringIO(as_csv)))
    paths = [track["path"] for track in listed["tracks"]]
    assert paths == [row["path"] for row in rows]
    assert all(
        line.split("  ")[-2 if "(the" in line else -1] in paths for line in text.splitlines()
    )
    assert {"kind", "name", "model"} <= listed.keys()
    output = tmp_path / "x.m3u8"
    result = run(*arguments, "--library", place, "-o", output)
    assert (result.stdout, result.exit_code) == ("", 0)
    lines = [line for line in output.read_text().splitlines() if not line.startswith("#")]
    assert [os.path.realpath(tmp_path / line) for line in lines] == paths
    assert folder.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["find", "pino > 0.4"], "unknown tag 'pino'; did you mean piano"),
        (["find", "techno", "--sort", "pianno"], "unknown tag 'pianno'; did you mean piano"),
        (["find", "techno", "-m", "MSD"], "unknown model of this library 'MSD'"),
        (["find", "techno", "-o", "x.txt"], "must end in .m3u8, .m3u"),
        (["similar", "missing.mp3"], "missing.mp3: is neither a file nor in the library"),
        (["similar", TECHNO, "--layer", "timbral"], "of penultimate; add them with"),
        (["similar", TECHNO, "--like", "pino"], "unknown tag 'pino'"),
        (["playlist"], "give --from and --to, or --similar-to, or --cluster"),
        (["playlist", "--from", TECHNO], "give --from and --to"),
        (["playlist", "--cluster", "2", "-o", "x.m3u8"], "name a folder, not 'x.m3u8'"),
        (["index", ""], "the path is empty"),
        (["index", "no_such_folder"], "no such folder (is its disk mounted?)"),
        (["index", "x" * 300], "no such folder (is its disk mounted?)"),
        (["index", "s3://bucket/music"], "a library is of files of this machine; mount the store"),
        (["similar", "x" * 300], "is neither a file nor in the library"),
        (["similar", TECHNO, "--like", "duration"], "unknown tag 'duration'; known are: ambient"),
        (["find", "happy > 0.2"], "'happy', but MSD_musicnn has: ask it with"),
        (["playlist", "--from", TECHNO, "--to", TECHNO], "a way leads to another track"),
        (["playlist", "--cluster", 10**12], "1000"),
        pytest.param(["index", "--layer", "no_such_layer", "-m", "MTT_vgg", TECHNO.parent],
                     "layer of MTT_vgg", marks=pytest.mark.slow),
        (["index", "-m", "MTT_musicn"], "unknown model 'MTT_musicn'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_line(music, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "library.sqlite"
    shutil.copy(music[1], place)
    result = run(*arguments, "--library", place)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert len(Library(place).find("techno")) == 2  # as before


def test_an_empty_answer_is_no_failure(music):
    result = run("find", "techno > 1", "--library", music[1], "-f", "json")
    assert (json.loads(result.stdout)["tracks"], result.exit_code) == ([], 0)
    assert "nothing fits; many scores are low" in result.stderr
    result = run("find", "title = nothing", "--library", music[1])
    assert result.stderr == "Warning: nothing fits\n"


def test_python_says_what_is_wrong(music):
    library = Library(music[1])
    for call, said in [
        (lambda: library.similar([]), "name at least one track"),
        (lambda: library.similar(3), "a track must be a path; received 3"),
        (lambda: library.similar(TECHNO, k=0), "k must be at least 1"),
        (lambda: library.playlist(TECHNO, STRINGS, n=1), "n must be at least 2"),
        (lambda: library.index(music[0], layer=()), "at least one layer"),
        (lambda: library.index(music[0], model=object()), "name or the place of a model"),
        (lambda: Library(3), "a library must be a path; received 3"),
        (lambda: library.find("techno", sort=3), "sort must be the name of a tag or a field"),
        (lambda: library.similar("a\0b"), "a track must be a path"),
        (lambda: library.similar(TECHNO, like=3), "like must be a text, or a list of texts"),
        (lambda: library.clusters(2, seed=-1), "seed must be at least 0"),
        (lambda: library.describe([TECHNO, TECHNO]), "describe takes one track"),
        (lambda: library.index(""), "a folder must be a path; received ''"),
        (lambda: library.index(None), "a folder must be a path; received None"),
        (lambda: library.index(music[0], include=3), "include must be a text, or a list"),
        (lambda: library.index(music[0], damaged="x"), "damaged must be one of refuse, use"),
        (lambda: library.index(music[0], engine="x"), "engine must be one of auto"),
        (lambda: library.index(music[0], jobs=0), "jobs must be at least 1"),
    ]:
        with pytest.raises(ArgumentError, match=said):
            call()
    with pytest.raises(TypeError, match="did you mean"):
        library.find("techno", limt=3)
    assert isinstance(library.find("techno"), TrackList)
    assert library.counts() == {"present": 4, "failed": 1}
    ((path, reason),) = library.failures()
    assert Path(path).name == "notes.mp3"
    assert "not audio" in reason


def test_asking_loads_nothing_that_decodes_or_computes(music):
    folder, place, _ = music
    code = (
        "import sys\nfrom musicnn_zoo.cli import cli\n"
        "try: cli(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'onnxruntime', 'av', 'soundfile', 'soxr', 'pandas', "
        "'sklearn', 'librosa', 'pyarrow', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    for arguments, loaded in (
        (["find", "techno"], "[]"),
        (["similar", folder / TECHNO.name], "['numpy']"),
    ):
        command = [sys.executable, "-c", code, *map(str, arguments), "--library", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr.strip() == loaded


@pytest.mark.skipif(os.name == "nt", reason="not on Windows")
def test_a_run_that_is_killed_is_continued(tmp_path):
    music = tmp_path / "Music"
    music.mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        soundfile.write(music / f"{number}.wav", random.normal(0, 0.1, 4 * RATE), RATE)
    place = tmp_path / "library.sqlite"
    command = [
        sys.executable, "-m", "musicnn_zoo", "index", str(music), "--library", str(place),
        "--progress", "json", "--jobs", "1", "--engine", "onnxruntime",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    done = 0
    for line in process.stderr:
        done = json.loads(line)["done"]
        if done == 3:
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    process.wait()
    safe = Library(place).counts()["present"]
    assert safe >= 3
    summary = Library(place).index()
    assert (summary.unchanged, summary.done) == (safe, 12 - safe)
    assert Library(place).counts() == {"present": 12}


@pytest.mark.skipif(os.name == "nt", reason="not on Windows")
def test_a_change_that_was_killed_is_undone_by_the_next_question(folder, tmp_path):
    place = tmp_path / "library.sqlite"
    index(place, folder, Analyst())
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from musicnn_zoo.library.library_file import LibraryFile\n"
        "library = LibraryFile(Path(sys.argv[1]), write=True)\n"
        "library._connection.execute('PRAGMA cache_size = 2')\n"
        "with library.changing() as connection:\n"
        "    connection.executemany('INSERT INTO sounds VALUES (NULL, ?, 1.0)', "
        "((f'{n:0500}',) for n in range(2000)))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(place)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert Path(f"{place}-journal").exists()
    assert Library(place).counts() == {"present": 2}
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("SELECT count(*) FROM sounds").fetchone() == (2,)


@pytest.mark.skipif(os.name == "nt", reason="not on Windows")
def test_watching_finds_what_is_new(tmp_path):
    music = tmp_path / "Music"
    music.mkdir()
    random = np.random.default_rng(0)
    soundfile.write(music / "1.wav", random.normal(0, 0.1, 4 * RATE), RATE)
    command = [
        sys.executable, "-m", "musicnn_zoo", "index", str(music), "--watch", "0.01", "-f", "json",
        "--library", str(tmp_path / "library.sqlite"),
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what runs in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["done"] == 1
    soundfile.write(music / "2.wav", random.normal(0, 0.1, 4 * RATE), RATE)
    done = 0
    while not done:
        done = json.loads(process.stdout.readline())["done"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_later_run_does_as_the_first(tmp_path):
    music, other = tmp_path / "Music", tmp_path / "Other"
    (music / "Podcasts").mkdir(parents=True)
    other.mkdir()
    for path in (music / "1.wav", music / "Podcasts" / "2.wav", other / "3.wav"):
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 5 * RATE), RATE)
    (other / "3.wav").write_bytes((music / "1.wav").read_bytes() + b"no matter")
    library = Library(tmp_path / "library.sqlite")
    first = library.index(music, exclude="Podcasts", hop_s=1.0, layer="mean_pool", tail="pad")
    library.index(other)
    again = library.index()
    assert (first.done, again.unchanged, again.done) == (1, 2, 0)
    with LibraryFile(library.path) as file:
        (analysis,) = file.analyses()
        assert [space.layer for space in file.spaces(analysis)] == ["mean_pool"]
        assert (analysis.settings["tail"], analysis.settings["silence"]) == ("pad", "skip")
        assert (analysis.settings["hop_s"], analysis.settings["hop_frames"]) == (1.0, 61)
    other.rename(tmp_path / "away")
    missing = library.index()
    assert [path for path, _ in missing.failures] == [str(other)]
    assert (missing.unchanged, missing.gone) == (1, 0)
    assert library.counts() == {"present": 2}
    shutil.rmtree(tmp_path / "away")
    library.forget_gone()
    assert library.index().failed == 0


def test_another_run_on_the_same_library_is_refused(music, tmp_path):
    from filelock import FileLock

    place = tmp_path / "library.sqlite"
    shutil.copy(music[1], place)
    with (
        FileLock(f"{place}.lock"),
        pytest.raises(ArgumentError, match="another run is filling it"),
    ):
        Library(place).index()


def test_two_layers_are_kept_and_gone_files_forgotten(music, tmp_path):
    folder = tmp_path / "Music"
    folder.mkdir()
    shutil.copy(TECHNO, folder)
    shutil.copy(STRINGS, folder)
    place = tmp_path / "library.sqlite"
    library = Library(place)
    library.index(folder, layer=["penultimate", "mean_pool"])
    one = library.similar(folder / TECHNO.name)[0].values["similarity"]
    other = library.similar(folder / TECHNO.name, layer="mean_pool")[0].values["similarity"]
    vectors = [musicnn_zoo.embed(path, layer="mean_pool").values for path in (TECHNO, STRINGS)]
    cosine = float(np.prod(unit(np.stack(vectors)), axis=0).sum())
    assert other == pytest.approx(cosine, abs=1e-3)
    assert one != pytest.approx(other, abs=1e-3)
    (folder / TECHNO.name).unlink()
    result = run("index", "--forget-gone", "--library", place)
    assert re.search("1 unchanged, 1 gone", result.stdout)
    assert library.counts() == {"present": 1}
