"""Tags written into files: nothing else changes, and all of it can be undone."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import audio_bytes as by_hand
import audio_clips as clips
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import CLIPS, ROOT
from hypothesis import given
from hypothesis import strategies as st

import musicnn_zoo
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import (
    ArgumentError,
    MissingPackageError,
    OutputError,
    UnknownNameError,
)
from musicnn_zoo.library.descriptors import descriptors
from musicnn_zoo.library.restoring import describe_old, write_old
from musicnn_zoo.library.tag_fields import TagFile
from musicnn_zoo.library.write_back import PlanFile
from musicnn_zoo.library.writing_rules import WritingRules
from musicnn_zoo.sound.decoders import open_container
from musicnn_zoo.tagging.results import Clip, FileResult, Tags, TagScore

mutagen = pytest.importorskip("mutagen")
id3 = pytest.importorskip("mutagen.id3")
for module in ("apev2", "asf", "flac", "mp4"):
    pytest.importorskip(f"mutagen.{module}")

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9
LYRICS = "Zeile eins\nline two – Ω\n第三行"
FOREIGN = {"title": "Ä = B; C", "artist": ["Björk", "第二"], "date": "1999"}
SCORES = (("rock", 0.91), ("happy", 0.8), ("metal", 0.7))
OWN = {"MUSICNN_TAGS": ("rock:0.91", "happy:0.80", "metal:0.70"), "MUSICNN_MODEL": ("MTT_musicnn",)}
SHORT = 0.8
PADDINGS = (0, 1, 4000, 70_000)


# Files


def id3_frames(encoding):
    latin = encoding == id3.Encoding.LATIN1
    title = "Ä = B; C" if latin else "Ä = B; C Ω"
    return [
        id3.TIT2(encoding=encoding, text=[title]),
        id3.TPE1(encoding=encoding, text=["Björk", "Second"]),
        id3.TYER(encoding=encoding, text=["1999"]),
        id3.TXXX(encoding=encoding, desc="replaygain_track_gain", text=["-6.54 dB"]),
        id3.TXXX(encoding=encoding, desc="MusicBrainz Album Id", text=["5b11f4ce"]),
        id3.USLT(encoding=encoding, lang="deu", desc="", text="eins\nzwei"),
        id3.COMM(encoding=encoding, lang="eng", desc="iTunNORM", text=[" 00000A"]),
        id3.APIC(encoding=encoding, mime="image/png", type=3, desc="Cover", data=PICTURE),
        id3.PRIV(owner="AverageLevel", data=b"\0\1\2\xff"),
        id3.POPM(email="a@b", rating=196, count=7),
        id3.UFID(owner="http://musicbrainz.org", data=b"abc"),
        id3.GEOB(encoding=encoding, mime="x/y", filename="f", desc="Serato", data=b"\0" * 30),
        id3.WOAR(url="http://example.org/ü"),
    ]


def with_id3(path, version=4, encoding=id3.Encoding.UTF8, padding=0, v1=0, genre=None):
    kind = type(mutagen.File(path))
    file = kind(path)
    if file.tags is None:
        file.add_tags()
    file.tags.clear()
    for frame in id3_frames(encoding):
        file.tags.add(frame)
    if genre:
        file.tags.add(id3.TCON(encoding=encoding, text=[genre]))
    options = {"v1": v1} if v1 else {}
    file.tags.save(path, v2_version=version, v23_sep=None, padding=lambda info: padding, **options)


def id3_of_one_byte(version, frames, flags=0):
    """A tag by hand: mutagen writes no experimental frames, and none in a form of its own."""
    size = len(frames)
    packed = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, flags]) + packed + frames


def odd_frames(version):
    def frame(name, body):
        size = struct.pack(">I", len(body))
        return name + size + b"\0\0" + body

    return (
        frame(b"TIT2", b"\0" + "café".encode("latin-1"))
        + frame(b"TALB", b"\1" + "Ω album".encode("utf-16"))
        + frame(b"XSOP", b"\0Sort")
        + frame(b"ZZZZ", b"whatever\0\xff")
        + frame(b"TENC", b"\3" + "utf-8 where none is allowed: ü".encode())
    ) + bytes(0 if version == 3 else 20)


def with_comments(path, padding=0, genre=None):
    file = mutagen.File(path)
    file["title"], file["artist"], file["date"] = FOREIGN["title"], FOREIGN["artist"], "1999"
    file["Lyrics"], file["REPLAYGAIN_TRACK_GAIN"] = LYRICS, "-6.54 dB"
    picture = mutagen.flac.Picture()
    picture.data, picture.mime, picture.type, picture.desc = PICTURE, "image/png", 3, "Ümlaut"
    if isinstance(file, mutagen.flac.FLAC):
        file.add_picture(picture)
    else:
        import base64

        file["METADATA_BLOCK_PICTURE"] = base64.b64encode(picture.write()).decode()
    if genre:
        file["GENRE"] = [genre]
    file.save(padding=lambda info: padding)


def with_atoms(path, padding=0, genre=None):
    file = mutagen.mp4.MP4(path)
    if file.tags is None:
        file.add_tags()
    file["\xa9nam"], file["\xa9ART"] = [FOREIGN["title"]], FOREIGN["artist"]
    file["trkn"], file["cpil"], file["\xa9lyr"] = [(3, 11)], True, [LYRICS]
    file["covr"] = [mutagen.mp4.MP4Cover(PICTURE, mutagen.mp4.MP4Cover.FORMAT_PNG)]
    file["----:com.apple.iTunes:iTunNORM"] = [mutagen.mp4.MP4FreeForm(b" 00000A")]
    file["----:org.example:Odd"] = [mutagen.mp4.MP4FreeForm(b"\0\1\2", dataformat=0)]
    if genre:
        file["\xa9gen"] = [genre]
    file.save(padding=lambda info: padding)


def with_items(path, genre=None):
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    file["Title"], file["Artist"], file["Lyrics"] = FOREIGN["title"], FOREIGN["artist"], LYRICS
    file["Cover Art (Front)"] = mutagen.apev2.APEValue(b"c.png\0" + PICTURE, mutagen.apev2.BINARY)
    if genre:
        file["Genre"] = genre
    file.save()


def with_attributes(path, padding=0, genre=None):
    file = mutagen.asf.ASF(path)
    file["Title"], file["Author"] = [FOREIGN["title"]], FOREIGN["artist"]
    file["WM/Lyrics"], file["WM/TrackNumber"] = [LYRICS], [7]
    file["WM/Picture"] = [
        mutagen.asf.ASFByteArrayAttribute(struct.pack("<BI", 3, len(PICTURE)) + b"\0" * 4 + PICTURE)
    ]
    file["WM/IsCompilation"] = [True]
    if genre:
        file["WM/Genre"] = [genre]
    file.save(padding=lambda info: padding)


def _dsf():
    samples = np.zeros((2, 2016 * 8), np.float32) + np.float32(0.1)
    return by_hand.dsf(samples)


def _dff():
    return by_hand.dff(np.zeros((2, 2016 * 8), np.float32) + np.float32(0.1))


def _with_moov_first():
    """MPEG-4 whose offsets change with the size of its tags."""
    parts = dict(by_hand.atoms(sound_of("m4a")))
    moov = parts.pop(b"moov")
    return parts.pop(b"ftyp") + by_hand.moved(moov, len(moov)) + b"".join(parts.values())


def _sound(codec, form, **more):
    return clips.Sound(codec, form, seconds=SHORT, **more)


SOUNDS = {
    "mp3": replace(clips.MP3, seconds=SHORT),
    "flac": replace(clips.FLAC, seconds=SHORT),
    "ogg": replace(clips.VORBIS, seconds=SHORT),
    "opus": replace(clips.OPUS, seconds=SHORT),
    "oga": _sound("flac", "ogg", sample_format="s16"),
    "m4a": replace(clips.M4A, seconds=SHORT),
    "m4b": _sound("alac", "ipod"),
    "m4r": replace(clips.FRAGMENTS, seconds=SHORT),
    "wma": _sound("wmav2", "asf", bit_rate=128_000),
    "aiff": _sound("pcm_s16be", "aiff"),
    "wav": replace(clips.PCM, seconds=SHORT),
    "wv": _sound("wavpack", "wv"),
    "tta": _sound("tta", "tta"),
}
MAKERS = {"dsf": _dsf, "dff": _dff, "mp4": _with_moov_first}
WITH_ID3 = ("mp3", "tta", "aiff", "wav", "dsf", "dff")
WITH_COMMENTS = ("flac", "ogg", "opus", "oga")
WITH_ATOMS = ("m4a", "mp4", "m4b", "m4r")


@cache
def sound_of(suffix):
    return MAKERS[suffix]() if suffix in MAKERS else clips.encode(SOUNDS[suffix])


def make(folder):
    """Files of every format, with foreign tags in many forms; some hold a genre."""
    genres = itertools.cycle([None, "Folk", "Rock/Pop; Live"])
    number = 0

    def add(suffix, dress=None, **options):
        nonlocal number
        number += 1
        path = folder / f"{number:03d} ü{'.flac' if suffix == 'flac' else '.' + suffix}"
        path.write_bytes(sound_of(suffix))
        if dress:
            dress(path, genre=next(genres), **options)
        return path

    for suffix in [*SOUNDS, *MAKERS]:
        add(suffix)
    encodings = {3: (0, 1), 4: (0, 1, 2, 3)}
    for suffix in WITH_ID3:
        for version in (3, 4):
            for encoding, padding in itertools.product(encodings[version], PADDINGS):
                v1 = 2 if suffix in ("mp3", "tta") and padding else 0
                add(suffix, with_id3, version=version, encoding=id3.Encoding(encoding),
                    padding=padding, v1=v1)  # fmt: skip
    for suffix, padding in itertools.product(WITH_COMMENTS, PADDINGS):
        add(suffix, with_comments, padding=padding)
    for suffix, padding in itertools.product(WITH_ATOMS, PADDINGS):
        add(suffix, with_atoms, padding=padding)
    for padding in (0, 1, 4000):
        add("wma", with_attributes, padding=padding)
    for _ in range(3):
        add("wv", with_items)
    for version in (3, 4):
        path = add("mp3")
        path.write_bytes(id3_of_one_byte(version, odd_frames(version)) + path.read_bytes()[:])
    bare = replace(SOUNDS["mp3"], form_options=(("id3v2_version", "0"),))
    for sound in (sound_of("mp3"), clips.encode(bare)):
        path = add("mp3")
        path.write_bytes(sound + b"TAG" + b"Title".ljust(124, b"\0") + b"\x11")
    path = add("mp3")
    items = mutagen.apev2.APEv2()
    items["Title"] = "of APE"
    items.save(path)
    return sorted(folder.iterdir())


# What is in them


def by_mutagen(path):
    """All tags by mutagen, as plain text; what is ours and the genre and mood apart."""
    file = mutagen.File(path)
    held = {}
    for key in file.tags.keys() if file.tags is not None else ():
        values = file.tags[key]
        if isinstance(values, id3.Frame):
            text = {n: v for n, v in vars(values).items() if n not in ("encoding",)}
            held[key] = repr({n: str(v) if n == "text" else v for n, v in text.items()})
        else:
            held[key] = repr(values)
    pictures = [(one.data, one.desc) for one in getattr(file, "pictures", [])]
    return held, pictures, getattr(file.tags, "unknown_frames", None) or []


def named_by_us(key):
    return any(word in key.upper() for word in ("MUSICNN", "GENRE", "MOOD", "TCON", "TMOO", "GEN"))


def without_ours(held):
    return {key: text for key, text in held.items() if not named_by_us(key)}


def by_av(path):
    """Tags, pictures, packets and decoded sound as FFmpeg has them."""
    with open_container(str(path)) as container:
        tags = dict(container.metadata)
        for stream in container.streams:
            tags |= {f"{stream.type}:{key}": value for key, value in stream.metadata.items()}
        pictures, packets = [], hashlib.sha256()
        for packet in container.demux():
            if packet.stream.type == "audio":
                packets.update(bytes(packet))
            else:
                pictures.append(bytes(packet))
    with open_container(str(path)) as container:
        sound = hashlib.sha256()
        for frame in container.decode(audio=0):
            sound.update(frame.to_ndarray().tobytes())
    left = {key: value for key, value in tags.items() if not named_by_us(key)}
    return left, pictures, packets.hexdigest(), sound.hexdigest()


def result_of(path, scores=SCORES, threshold=0.5):
    ranked = tuple(TagScore(*each) for each in scores)
    tags = Tags(ranked, "MTT_musicnn", Clip(str(path), SHORT), threshold=threshold)
    return FileResult(str(path), value=tags)


def plan_of(paths, **options):
    return list(musicnn_zoo.plan_writing(map(result_of, paths), **options))


def contents(paths):
    return {path: path.read_bytes() for path in paths}


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.flac"
    path.write_bytes(sound_of("flac"))
    with_comments(path, genre="Folk")
    return path


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal.jsonl"


# Every format


def test_only_the_named_fields_of_every_format_change_and_undo_is_byte_for_byte(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    paths = make(folder)
    assert len(paths) >= 200
    before = contents(paths)
    seen = {path: (by_mutagen(path), by_av(path)) for path in paths}
    plan = plan_of(paths, fields="custom,genre,mood")
    assert [one.error for one in plan] == [None] * len(paths)
    journal = tmp_path / "journal.jsonl"
    done = musicnn_zoo.apply_plan(plan, journal=journal)
    assert str(done) == f"{len(paths)} written"
    for path, one in zip(paths, plan, strict=True):
        (held, pictures, unknown), heard = seen[path]
        after, *rest = by_mutagen(path)
        assert without_ours(after) == without_ours(held), path
        assert rest == [pictures, unknown], path
        assert by_av(path) == heard, path
        if one.kept:
            assert {k: v for k, v in after.items() if "gen" in k.lower() or k == "TCON"} == {
                k: v for k, v in held.items() if "gen" in k.lower() or k == "TCON"
            }
        if path.suffix in (".mp3", ".tta") and before[path][-128:-125] == b"TAG":
            assert path.read_bytes()[-128:] == before[path][-128:]
    again = plan_of(paths, fields="custom,genre,mood")
    assert not any(one.changes for one in again)
    assert str(musicnn_zoo.apply_plan(plan, journal=journal)) == f"{len(paths)} unchanged"
    assert str(musicnn_zoo.undo_writing(journal)) == f"{len(paths)} restored"
    assert contents(paths) == before
    assert journal.stat().st_size < 20_000 * len(paths)
    assert set(folder.iterdir()) == set(paths)


NAMES = {
    "mp3": ("TXXX:MUSICNN_TAGS", "TCON", "TMOO"),
    "flac": ("MUSICNN_TAGS", "GENRE", "MOOD"),
    "opus": ("MUSICNN_TAGS", "GENRE", "MOOD"),
    "m4a": ("----:com.apple.iTunes:MUSICNN_TAGS", "\xa9gen", "----:com.apple.iTunes:MOOD"),
    "wma": ("MUSICNN/TAGS", "WM/Genre", "WM/Mood"),
    "wv": ("MUSICNN_TAGS", "Genre", "Mood"),
    "wav": ("TXXX:MUSICNN_TAGS", "TCON", "TMOO"),
}


@pytest.mark.parametrize("suffix", NAMES)
def test_fields_have_the_names_of_picard_and_several_values(tmp_path, journal, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(sound_of(suffix))
    musicnn_zoo.apply_plan(plan_of([path], fields="custom,genre,mood"), journal=journal)
    tags = mutagen.File(path).tags

    def texts(key):
        return [each.decode() if isinstance(each, bytes) else str(each) for each in tags[key]]

    own, genre, mood = NAMES[suffix]
    assert texts(own) == list(OWN["MUSICNN_TAGS"])
    assert texts(genre) == ["Rock", "Metal"]
    assert texts(mood) == ["Happy"]


def test_version_2_3_keeps_its_version_and_has_its_mood_in_txxx(tmp_path, journal):
    path = tmp_path / "a.mp3"
    path.write_bytes(sound_of("mp3"))
    with_id3(path, version=3, encoding=id3.Encoding.UTF16)
    (plan,) = plan_of([path], fields="genre,mood")
    assert plan.form == "ID3v2.3"
    assert musicnn_zoo.apply_plan([plan], journal=journal).number("written") == 1
    tags = id3.ID3(path, translate=False)
    assert tags.version == (2, 3, 0)
    assert tags["TXXX:MOOD"].text == ["Happy"]
    assert "TMOO" not in tags
    assert tags["TCON"].text == ["Rock", "Metal"]


def test_version_2_2_is_left_alone(tmp_path):
    path = tmp_path / "a.mp3"
    frame = b"TT2" + (6).to_bytes(3, "big") + b"\0Title"
    path.write_bytes(id3_of_one_byte(2, frame) + sound_of("mp3"))
    (plan,) = plan_of([path])
    assert "ID3v2.2" in plan.error


@pytest.mark.parametrize("suffix", ["aac", "mka", "txt"])
def test_formats_that_are_not_written_are_named(tmp_path, suffix):
    sounds = {"aac": replace(clips.ADTS, seconds=SHORT), "mka": replace(clips.MKA, seconds=SHORT)}
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(clips.encode(sounds[suffix]) if suffix in sounds else b"text")
    (plan,) = plan_of([path])
    assert plan.error.startswith(f"{path}: tags of this format are not written")


V1 = b"TAG" + b"Title".ljust(30, b"\0") + b"\0" * 64 + b"said".ljust(30, b"\0") + b"\x11"
LYRICS3 = b"LYRICSBEGININD0000210ETT00005Title000034LYRICS200"


@pytest.mark.parametrize(
    ("suffix", "behind"), [("wv", b""), ("mp3", b""), ("mp3", V1), ("tta", LYRICS3 + V1)]
)
def test_a_tag_of_ape_is_written_and_what_is_behind_it_stays(tmp_path, journal, suffix, behind):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(by_hand.without_id3v2(sound_of(suffix)))
    items = mutagen.apev2.APEv2()
    items["Title"], items["Genre"] = "of APE", "Jazz"
    items.save(path)
    with path.open("ab") as file:
        file.write(behind)
    old, heard = path.read_bytes(), by_av(path)
    (plan,) = plan_of([path], fields="custom,genre")
    assert (plan.form, plan.kept) == ("APE", {"genre": ("Jazz",)})
    assert musicnn_zoo.apply_plan([plan], journal=journal).number("written") == 1
    tags = mutagen.apev2.APEv2(path)
    assert list(tags["MUSICNN_TAGS"]) == list(OWN["MUSICNN_TAGS"])
    assert str(tags["Title"]) == "of APE"
    new = path.read_bytes()
    assert new.endswith(behind)
    assert new.count(b"APETAGEX") == 2
    assert new.startswith(old[: old.index(b"APETAGEX")])
    assert by_av(path)[2:] == heard[2:]
    assert musicnn_zoo.undo_writing(journal).number("restored") == 1
    assert path.read_bytes() == old


def test_an_ape_tag_is_put_before_one_of_id3v1(tmp_path):
    path = tmp_path / "a.wv"
    path.write_bytes(sound_of("wv") + V1)
    tags = TagFile(path)
    tags.set("genre", ["Rock"])
    tags.save()
    assert path.read_bytes().endswith(V1)
    assert TagFile(path).get("genre") == ("Rock",)


def test_a_comment_of_id3v1_keeps_its_name(tmp_path, journal):
    path = tmp_path / "a.mp3"
    path.write_bytes(by_hand.without_id3v2(sound_of("mp3")) + V1)
    before = by_av(path)
    assert before[0]["comment"] == "said"
    assert musicnn_zoo.apply_plan(plan_of([path]), journal=journal).number("written") == 1
    assert by_av(path) == before


def test_a_tag_after_which_less_would_be_heard_is_not_written(tmp_path, journal):
    """mutagen takes the footer of such a tag for sound, and the frame behind it is found late."""
    path = tmp_path / "a.mp3"
    tagged = by_hand.id3v2(b"\3Title", footer=True)
    path.write_bytes(tagged + by_hand.without_id3v2(sound_of("mp3")))
    (failure,) = musicnn_zoo.apply_plan(plan_of([path]), journal=journal).failures
    assert "the sound would change; nothing was written" in failure.reason


# What is written


def test_a_genre_that_is_there_stays_unless_it_is_to_be_replaced(song, journal):
    (plan,) = plan_of([song], fields="genre,mood")
    assert plan.kept == {"genre": ("Folk",)}
    assert plan.changes == {"mood": ((), ("Happy",))}
    assert "  genre: kept Folk" in plan.describe()
    (plan,) = plan_of([song], fields="genre", overwrite=True)
    assert plan.changes == {"genre": (("Folk",), ("Rock", "Metal"))}
    musicnn_zoo.apply_plan([plan], journal=journal)
    assert mutagen.File(song)["genre"] == ["Rock", "Metal"]


def test_a_genre_in_the_info_chunk_of_a_wav_is_there_too(tmp_path):
    path = tmp_path / "song.wav"
    info = b"INFOIGNR" + struct.pack("<I", 5) + b"Jazz\0\0"
    content = sound_of("wav") + b"LIST" + struct.pack("<I", len(info)) + info
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    (plan,) = plan_of([path], fields="genre,mood")
    assert plan.kept == {"genre": ("Jazz",)}
    assert plan.changes == {"mood": ((), ("Happy",))}
    (plan,) = plan_of([path], fields="genre", overwrite=True)
    assert plan.changes == {"genre": ((), ("Rock", "Metal"))}


def test_by_default_only_fields_of_our_own_are_written(song):
    (plan,) = plan_of([song])
    assert {name: new for name, (_, new) in plan.changes.items()} == OWN
    with pytest.raises(UnknownNameError, match="did you mean genre"):
        plan_of([song], fields="custom,genres")


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"rock": 0.6, "metal": 0.55}, ("Rock",)),
        ({"rock": 0.3, "metal": 0.2}, ("Rock",)),
        ({"rock": 0.3, "metal": 0.29}, ()),
        ({"rock": 0.1}, ()),
        ({"electronica": 0.6}, ("Electronic",)),
        ({"guitar": 0.9}, ()),
    ],
)
def test_without_a_threshold_a_genre_is_written_if_it_is_clear(scores, words):
    tags = result_of("a.mp3", scores.items(), threshold=0.0).unwrap()
    assert WritingRules.built_in().chosen("genre", tags) == words


def test_rules_give_the_words_of_the_user(tmp_path, song):
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[genre]\n"Heavy & Co" = ["metal", "hard rock"]\nGitarre = ["rock"]\n', "utf-8"
    )
    (plan,) = plan_of([song], fields="genre,mood", rules=rules, overwrite=True)
    assert plan.changes["genre"].new == ("Gitarre", "Heavy & Co")
    assert plan.changes["mood"].new == ("Happy",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[genre]\nRock = 'rock'", "must be a list"),
        ("[genre]\nRock = ['rokc']", "did you mean rock"),
        ("[gender]\nRock = ['rock']", "did you mean genre"),
        ("genre = 1", "must be a table"),
        ("[genre", "cannot be read"),
        ("[genre]\n'' = ['rock']", "must be text"),
        (None, "cannot be read"),
    ],
)
def test_rules_that_cannot_be_used_are_refused(tmp_path, text, said):
    rules = tmp_path / "rules.toml"
    if text is not None:
        rules.write_text(text, "utf-8")
    with pytest.raises(ArgumentError, match=said):
        WritingRules.load(rules)


def test_built_in_words_are_distinct():
    for field, words in WritingRules.built_in().words.items():
        assert len(words) == len(descriptors().groups[field])


# Files that are special


def test_links_are_followed_and_names_are_parted_only_on_request(tmp_path, song, journal):
    link, other = tmp_path / "link.flac", tmp_path / "other.flac"
    link.symlink_to(song)
    (plan,) = plan_of([link])
    assert any("a link to" in note for note in plan.notes)
    assert musicnn_zoo.apply_plan([plan], journal=journal).number("written") == 1
    assert link.is_symlink()
    os.link(song, other)
    (plan,) = plan_of([song], fields="mood")
    assert any("2 names" in note for note in plan.notes)
    done = musicnn_zoo.apply_plan([plan], journal=journal)
    assert "2 names" in done.failures[0].reason
    old = other.read_bytes()
    assert song.read_bytes() == old
    done = musicnn_zoo.apply_plan([plan], journal=journal, links="part")
    assert done.number("written") == 1
    assert other.read_bytes() == old != song.read_bytes()


def test_a_file_that_may_not_be_written_is_told(song, journal):
    (plan,) = plan_of([song])
    song.chmod(0o444)
    (refused,) = plan_of([song])
    assert "is read-only" in refused.error
    done = musicnn_zoo.apply_plan([plan], journal=journal)
    assert "is read-only" in done.failures[0].reason
    song.chmod(0o640)
    assert musicnn_zoo.apply_plan([plan], journal=journal).number("written") == 1
    assert song.stat().st_mode & 0o777 == 0o640


def test_times_are_kept_on_request_and_come_back(song, journal):
    os.utime(song, ns=(10**18, 10**18 + 7))
    plan = plan_of([song])
    musicnn_zoo.apply_plan(plan, journal=journal, keep_times=True)
    assert song.stat().st_mtime_ns == 10**18 + 7
    musicnn_zoo.undo_writing(journal)
    plan = plan_of([song])
    musicnn_zoo.apply_plan(plan, journal=journal)
    assert song.stat().st_mtime_ns > 10**18 + 7
    musicnn_zoo.undo_writing(journal)
    assert song.stat().st_mtime_ns == 10**18 + 7


def test_files_that_have_changed_are_refused(song, journal):
    plan = plan_of([song])
    with_comments(song, padding=99)
    changed = song.read_bytes()
    done = musicnn_zoo.apply_plan(plan, journal=journal)
    assert "has changed since the plan was made" in done.failures[0].reason
    assert song.read_bytes() == changed
    musicnn_zoo.apply_plan(plan_of([song]), journal=journal)
    with song.open("ab") as file:
        file.write(b"x")
    changed = song.read_bytes()
    done = musicnn_zoo.undo_writing(journal)
    assert "has changed since it was written" in done.failures[0].reason
    assert song.read_bytes() == changed


def test_all_writings_are_undone(song, journal):
    old = song.read_bytes()
    musicnn_zoo.apply_plan(plan_of([song]), journal=journal)
    musicnn_zoo.apply_plan(plan_of([song], fields="genre", overwrite=True), journal=journal)
    assert str(musicnn_zoo.undo_writing(journal)) == "1 restored"
    assert song.read_bytes() == old
    assert str(musicnn_zoo.undo_writing(journal)) == "1 unchanged"


def test_a_change_between_two_writings_is_not_undone(song, journal):
    musicnn_zoo.apply_plan(plan_of([song]), journal=journal)
    with_comments(song, padding=99)
    between = song.read_bytes()
    musicnn_zoo.apply_plan(plan_of([song], fields="mood"), journal=journal)
    done = musicnn_zoo.undo_writing(journal)
    assert "it is as it was before that" in done.failures[0].reason
    assert song.read_bytes() == between


def test_a_writer_that_harms_the_file_is_found_out(monkeypatch, song, journal):
    save = mutagen.flac.FLAC.save
    old = song.read_bytes()

    def loses_a_title(self, *args, **options):
        del self.tags["title"]
        save(self, *args, **options)

    def harms_the_sound(self, *args, **options):
        save(self, *args, **options)
        with Path(self.filename).open("r+b") as file:
            file.seek(-50, os.SEEK_END)
            file.write(b"harm")

    for harm, said in ((loses_a_title, "title would change"), (harms_the_sound, "sound would")):
        monkeypatch.setattr(mutagen.flac.FLAC, "save", harm)
        done = musicnn_zoo.apply_plan(plan_of([song]), journal=journal)
        assert said in done.failures[0].reason
        assert song.read_bytes() == old
    assert sorted(path.suffix for path in song.parent.iterdir()) == [".flac", ".jsonl", ".lock"]


def test_messages_name_the_file_and_not_its_copy(monkeypatch, song, journal):
    def fails(self, *args, **options):
        raise mutagen.MutagenError("no room")

    monkeypatch.setattr(mutagen.flac.FLAC, "save", fails)
    (failure,) = musicnn_zoo.apply_plan(plan_of([song]), journal=journal).failures
    assert failure.reason == f"{song}: tags cannot be written (no room)"


def damaged(content, chance):
    """Change, take out or put in bytes, most near the ends, where tags are."""
    made = bytearray(content)
    for _ in range(chance.choice([1, 2, 20])):
        near = min(len(made) - 1, int(chance.expovariate(1 / 400)))
        at = chance.choice([near, len(made) - 1 - near, chance.randrange(len(made))])
        what = chance.randrange(3)
        made[at : at + (1, 30, 0)[what]] = (chance.randbytes(1), b"", chance.randbytes(30))[what]
    return bytes(made)


def test_damaged_files_are_written_and_restored_or_left_as_they_are(tmp_path, journal):
    folder = tmp_path / "music"
    folder.mkdir()
    chance = random.Random(0)
    made = [path for path in make(folder) for _ in range(2) if chance.random() < 0.2]
    outcomes = set()
    for number, whole in enumerate(made):
        path = tmp_path / f"{number}{whole.suffix}"
        path.write_bytes(damaged(whole.read_bytes(), chance))
        before = path.read_bytes()
        plan = plan_of([path], fields="custom,genre,mood")
        (done,) = musicnn_zoo.apply_plan(plan, journal=journal).files
        outcomes.add(done.outcome)
        if done.outcome == "failed":
            assert path.read_bytes() == before
    assert outcomes == {"written", "failed"}
    assert not musicnn_zoo.undo_writing(journal).failures


# The way back


@given(
    st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300), st.binary(max_size=90),
    st.booleans(),
)  # fmt: skip
def test_old_files_are_made_of_new_ones(tmp_path_factory, old, first, last, put, swapped):
    new = old[:first] + put + old[last:]
    old, new = (new, old) if swapped else (old, new)
    folder = tmp_path_factory.mktemp("ways")
    for name, content in (("old", old), ("new", new)):
        (folder / name).write_bytes(content)
    described = json.loads(json.dumps(describe_old(folder / "old", folder / "new")))
    write_old(described, folder / "new", folder / "made")
    assert (folder / "made").read_bytes() == old


def test_the_way_back_is_small_where_only_tags_change(tmp_path):
    sound = random.Random(0).randbytes(3_000_000)
    (tmp_path / "old").write_bytes(b"tag" * 50 + sound)
    (tmp_path / "new").write_bytes(b"longer tag" * 500 + sound)
    described = describe_old(tmp_path / "old", tmp_path / "new")
    assert len(json.dumps(described)) < 50_000


def test_two_runs_do_not_work_with_one_journal(song, journal):
    def begin_another(done):
        with pytest.raises(ArgumentError, match="another run works with this journal"):
            musicnn_zoo.undo_writing(journal)

    done = musicnn_zoo.apply_plan(plan_of([song]), journal=journal, told=begin_another)
    assert done.number("written") == 1
    assert musicnn_zoo.undo_writing(journal).number("restored") == 1


@pytest.mark.parametrize("damage", ["torn", "foreign", "missing", "middle"])
def test_a_journal_that_is_damaged_is_told_or_goes_on(song, journal, damage):
    old = song.read_bytes()
    musicnn_zoo.apply_plan(plan_of([song]), journal=journal)
    if damage == "torn":
        with journal.open("ab") as file:
            file.write(b'{"path": "/tmp/x", "bef')
        musicnn_zoo.apply_plan(plan_of([song], fields="mood"), journal=journal)
        assert str(musicnn_zoo.undo_writing(journal)) == "1 restored"
        assert song.read_bytes() == old
        return
    if damage == "missing":
        journal.unlink()
    elif damage == "foreign":
        journal.write_text('{"path": 1}\n', "utf-8")
    else:
        lines = journal.read_text("utf-8").splitlines(keepends=True)
        journal.write_text(lines[0] + "what\n" + lines[1], "utf-8")
    said = {"missing": "no such journal", "foreign": "no journal of", "middle": "line 2 cannot be"}
    with pytest.raises(ArgumentError, match=said[damage]):
        musicnn_zoo.undo_writing(journal)


def store(plan, path):
    with contextlib.closing(PlanFile(path, {"top_k": 5})) as stored:
        for one in plan:
            stored.add(one)
    return path


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"\n{text}\n\n",
        lambda text: f"\ufeff{text}",
        lambda text: f'{text}{{"source": "torn',
    ],
)
def test_a_plan_that_went_through_an_editor_is_read_and_continued(tmp_path, song, journal, edit):
    others = [str(shutil.copy(song, tmp_path / f"{number}.flac")) for number in range(2)]
    place = store(plan_of([song, others[0]]), tmp_path / "plan.jsonl")
    place.write_text(edit(place.read_text("utf-8")), "utf-8", newline="")
    assert [one.source for one in musicnn_zoo.read_plan(place)] == [str(song), others[0]]
    store(plan_of([others[1]]), place)
    assert str(musicnn_zoo.apply_plan(place, journal=journal)) == "3 written"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("MUSICNN_TAGS", "title", "a field is genre, mood or MUSICNN_…; received 'title'"),
        ("MUSICNN_TAGS", "MUSICNN_=", "a field is genre"),
        ('"rock:0.91"', "0.91", "these are no texts"),
        ("rock:0.91", "rock\\nall", "must be text of one line"),
        ("rock:0.91", "\\ud800", "must be text of one line"),
        ("rock:0.91", " ", "must be text of one line"),
        ('"changes": {', '"changes": [{', "JSONDecodeError"),
        ('"source"', '"sauce"', "KeyError: 'source'"),
        ('"path": "', '"path": ".', "a path must be absolute"),
        ('"path": "', '"path": "/\\u0000', "a path must be absolute"),
    ],
)
def test_a_plan_that_was_edited_badly_is_told_by_its_line(tmp_path, song, journal, old, new, said):
    before = song.read_bytes()
    place = store(plan_of([song]), tmp_path / "plan.jsonl")
    place.write_text(place.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(ArgumentError, match=rf"line 2 cannot be read \(.*{re.escape(said)}"):
        musicnn_zoo.apply_plan(place, journal=journal)
    assert song.read_bytes() == before


def test_a_journal_tells_which_file_wherever_it_is_used(tmp_path, song, journal):
    musicnn_zoo.apply_plan(plan_of([song]), journal=journal)
    journal.write_text(journal.read_text("utf-8").replace('"path": "', '"path": ".'), "utf-8")
    with pytest.raises(ArgumentError, match=r"line 2 cannot be read .* a path must be absolute"):
        musicnn_zoo.undo_writing(journal)


def test_a_plan_and_a_journal_are_told_from_each_other(tmp_path, song, journal):
    place = store(plan_of([song]), tmp_path / "plan.jsonl")
    musicnn_zoo.apply_plan(place, journal=journal)
    with pytest.raises(ArgumentError, match="this is a plan, and no journal"):
        musicnn_zoo.undo_writing(place)
    with pytest.raises(ArgumentError, match="this is a journal, and no plan"):
        musicnn_zoo.read_plan(journal)


def test_two_runs_do_not_make_one_plan(tmp_path, song):
    place = tmp_path / "plan.jsonl"
    with contextlib.closing(PlanFile(place, {})):
        with pytest.raises(ArgumentError, match="another run works with this plan"):
            PlanFile(place, {})
        with pytest.raises(ArgumentError, match="another run works with this plan"):
            PlanFile(place, {"top_k": 2})
    store(plan_of([song]), place)  # with other settings, as there is nothing in it yet
    with pytest.raises(ArgumentError, match="other settings"):
        PlanFile(place, {})


def test_a_folder_is_no_plan_and_nothing_is_left_of_the_attempt(tmp_path):
    with pytest.raises(ArgumentError, match="is a folder; name a file for the plan"):
        PlanFile(tmp_path, {})
    assert not tmp_path.with_name(f"{tmp_path.name}.lock").exists()


def test_a_journal_that_cannot_be_made_is_told_before_anything_is_written(tmp_path, song):
    old = song.read_bytes()
    with pytest.raises(OutputError, match="the journal cannot be locked"):
        musicnn_zoo.apply_plan(plan_of([song]), journal=tmp_path / "none" / "journal.jsonl")
    assert song.read_bytes() == old


# Kills

KILLED = """
import sys
import musicnn_zoo
done = getattr(musicnn_zoo, sys.argv[1])
options = {"journal": sys.argv[3]} if sys.argv[1] == "apply_plan" else {}
done(sys.argv[2], told=lambda one: print(one.outcome, flush=True), **options)
"""


def kill(folder, plan, journal, what, after):
    """Apply or undo in a process of its own, and kill it some files later."""
    place = plan if what == "apply_plan" else journal
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, what, place, journal], stdout=subprocess.PIPE, cwd=ROOT
    )
    files, pause = after
    for _ in range(files):
        process.stdout.readline()
    time.sleep(pause)
    process.kill()
    process.communicate()


def killed_often(tmp_path, times):
    folder = tmp_path / "music"
    folder.mkdir()
    paths = []
    for number, suffix in enumerate(["mp3", "flac", "ogg", "opus", "m4a", "wma", "wav", "wv"] * 5):
        path = folder / f"{number:02d}.{suffix}"
        path.write_bytes(sound_of(suffix))
        paths.append(path)
    old = contents(paths)
    plan, journal = tmp_path / "plan.jsonl", tmp_path / "journal.jsonl"
    stored = PlanFile(plan, {})
    for one in plan_of(paths):
        stored.add(one)
    stored.close()
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    musicnn_zoo.apply_plan(
        plan_of(sorted(whole.iterdir())), journal=tmp_path / "other.jsonl"
    )  # fmt: skip
    new = {folder / path.name: path.read_bytes() for path in whole.iterdir()}
    chance = random.Random(times)
    for number in range(times):
        what = "undo_writing" if number % 3 == 2 else "apply_plan"
        kill(folder, plan, journal, what, (chance.randrange(12), chance.random() * 0.03))
        for path in paths:
            assert path.read_bytes() in (old[path], new[path]), path
    for path in paths:
        by_av(path)
    assert not musicnn_zoo.undo_writing(journal).failures
    assert contents(paths) == old
    assert not musicnn_zoo.apply_plan(plan_of(paths), journal=journal).failures
    assert contents(paths) == new
    assert set(folder.iterdir()) == set(paths)


def test_a_kill_leaves_each_file_old_or_new(tmp_path):
    killed_often(tmp_path, 3)


@pytest.mark.slow
def test_many_kills_leave_each_file_old_or_new(tmp_path):
    killed_often(tmp_path, 30)


# The command


def run(*arguments):
    return CliRunner().invoke(cli, ["write", *map(str, arguments)])


def test_the_command_plans_applies_and_undoes(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    for clip in CLIPS.glob("*.ogg"):
        shutil.copy(clip, folder)
    (folder / "broken.mp3").write_bytes(b"no audio")
    paths = sorted(folder.glob("*.ogg"))
    before = contents(paths)
    plan = tmp_path / "plan.jsonl"
    result = run(folder, "--fields", "custom,genre", "--plan", plan)
    assert result.exit_code == 1  # of broken.mp3
    assert "MUSICNN_TAGS: harpsichord:0." in result.stdout
    assert "3 of 4 files would be written" in result.stderr
    assert "broken.mp3: not audio" in result.stderr
    assert contents(paths) == before
    result = run(folder, "--fields", "custom,genre", "--plan", plan)
    assert "0 of 1 files would be written, 3 were there already" in result.stderr
    result = run(folder, "--plan", plan)
    assert result.exit_code == 2
    assert "other settings" in result.stderr
    result = run("--apply", plan)
    assert result.exit_code == 1
    journal = tmp_path / "plan.journal.jsonl"
    assert f"undo: musicnn-zoo write --undo {journal}" in result.stderr
    assert mutagen.File(paths[-1])["genre"] == ["Techno"]
    result = run("--undo", journal)
    assert (result.exit_code, result.stderr) == (0, "3 restored\n")
    assert contents(paths) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs one of --plan, --apply and --undo"),
        (["--plan", "p.jsonl"], "--plan needs FILES"),
        (["a.mp3", "--undo", "j.jsonl"], "take no FILES"),
        (["--undo", "missing.jsonl"], "there is no such journal"),
        (["--apply", "missing.jsonl"], "there is no such plan"),
        (["--apply", __file__], "this is no plan"),
        (["--apply", os.devnull], "is empty"),
        (["x.mp3", "--plan", "p.jsonl", "--overwrite"], "name one by --fields"),
        (["--apply", "p.jsonl", "--overwrite"], "--overwrite does not go with --apply"),
        (["--undo", "j.jsonl", "--keep-times"], "--keep-times does not go with --undo"),
        (["a.mp3", "--plan", "p.jsonl", "--journal", "j"], "--journal does not go with --plan"),
        (["s3://music", "--plan", "p.jsonl"], "only files of this machine"),
    ],
)
def test_a_wrong_command_line_is_told(arguments, said):
    result = run(*arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_rules_for_fields_that_are_not_written_are_told(tmp_path, song):
    rules = tmp_path / "rules.toml"
    rules.write_text("[genre]\nRock = ['rock']\n", "utf-8")
    result = run(song, "--map", rules, "--plan", tmp_path / "plan.jsonl")
    assert (result.exit_code, "--map" in result.stderr) == (2, True)


def test_without_mutagen_the_message_says_how_to_install_it(monkeypatch, song):
    monkeypatch.setitem(sys.modules, "mutagen", None)
    with pytest.raises(MissingPackageError, match=r"musicnn-zoo\[write\]"):
        musicnn_zoo.plan_writing([])
    result = run(song, "--plan", song.with_name("plan.jsonl"))
    assert result.exit_code == 2
    assert "pip install 'musicnn-zoo[write]'" in result.stderr
