"""Which files below a folder are audio, and that what has the name of audio decodes."""

import os
import socket
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from musicnn_zoo.sound.find import AUDIO_SUFFIXES, find_audio, walk_audio
from musicnn_zoo.sound.read import load_audio

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows")


def found_in(folder):
    problems = []
    paths = list(find_audio(folder, on_problem=lambda *problem: problems.append(problem)))
    assert all(path.is_relative_to(folder) for path in paths)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return names, {path.relative_to(folder).as_posix(): why for path, why in problems}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@on_posix
def test_only_files_are_audio_and_a_pipe_is_named_without_opening_it(tmp_path):
    touch(tmp_path, "a.mp3")
    os.mkfifo(tmp_path / "pipe.mp3")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.mp3").symlink_to("nowhere")
    (tmp_path / "loop.mp3").symlink_to("loop.mp3")
    (tmp_path / "link.mp3").symlink_to("a.mp3")
    (tmp_path / "null.mp3").symlink_to(os.devnull)
    names, problems = found_in(tmp_path)
    assert names == ["a.mp3", "link.mp3"]
    assert problems == {
        "gone.mp3": "is a link to a file that is not there",
        "loop.mp3": "cannot be read (Too many levels of symbolic links)",
        "null.mp3": "is a device, not a file",
        "pipe.mp3": "is a pipe, not a file",
    }
    with pytest.warns(UserWarning, match=r"mp3: ") as caught:
        assert len(list(find_audio(tmp_path))) == 2
    assert f"{tmp_path / 'pipe.mp3'}: is a pipe, not a file" in [str(one.message) for one in caught]
    assert {one.filename for one in caught} == {__file__}


@on_posix
def test_a_socket_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s.mp3")
        assert found_in(tmp_path)[1] == {"s.mp3": "is a socket, not a file"}


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp3", "locked/b.mp3", "open/c.mp3")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert found_in(tmp_path) == (
        ["a.mp3", "open/c.mp3"], {"locked": "cannot be listed (Permission denied)"},
    )  # fmt: skip


def test_what_systems_leave_among_music_is_left_out_unless_it_is_named(tmp_path):
    folders = [
        "@eaDir", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "__MACOSX", ".Trash-1000",
        "lost+found", ".AppleDouble", "System Volume Information", "Album/@eaDir",
    ]  # fmt: skip
    touch(tmp_path, *(f"{folder}/x.mp3" for folder in folders), "._a.mp3", "Album/a.mp3")
    assert found_in(tmp_path) == (["Album/a.mp3"], {})
    for folder in folders:
        assert found_in(tmp_path / folder) == (["x.mp3"], {})


@on_posix
def test_links_to_folders_are_not_followed_so_that_none_is_endless(tmp_path):
    touch(tmp_path, "a/a.mp3")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert found_in(tmp_path) == (["a/a.mp3"], {})
    assert [one.kind for one in walk_audio(tmp_path)] == ["audio", "linked_folder"]


def test_typescript_is_no_audio(tmp_path):
    touch(tmp_path, "index.ts", "module.mts")
    assert found_in(tmp_path) == ([], {})


ENCODED = {
    ".3g2": ("3g2", "aac"), ".3gp": ("3gp", "aac"), ".aac": ("adts", "aac"), ".ac3": ("ac3", "ac3"),
    ".aif": "AIFF", ".aifc": "AIFF", ".aiff": "AIFF", ".alac": ("ipod", "alac"),
    ".amr": ("amr", "libopencore_amrnb"), ".asf": ("asf", "wmav2"), ".au": "AU",
    ".avi": ("avi", "mp2"), ".bwf": "WAV", ".caf": "CAF", ".eac3": ("eac3", "eac3"),
    ".ec3": ("eac3", "eac3"), ".f4v": ("f4v", "aac"), ".flac": "FLAC", ".flv": ("flv", "aac"),
    ".m2ts": ("mpegts", "aac"), ".m4a": ("ipod", "aac"), ".m4b": ("ipod", "aac"),
    ".m4r": ("ipod", "aac"), ".m4v": ("mp4", "aac"), ".mka": ("matroska", "aac"),
    ".mkv": ("matroska", "aac"), ".mov": ("mov", "aac"), ".mp2": ("mp2", "mp2"), ".mp3": "MP3",
    ".mp4": ("mp4", "aac"), ".mpa": ("mp2", "mp2"), ".mpeg": ("mpeg", "mp2"),
    ".mpg": ("mpeg", "mp2"), ".oga": "OGG", ".ogg": "OGG", ".ogv": "OGG", ".ogx": "OGG",
    ".opus": ("opus", "libopus"), ".rf64": "RF64", ".snd": "AU", ".sph": "NIST",
    ".tta": ("tta", "tta"), ".voc": "VOC", ".vob": ("vob", "ac3"), ".w64": "W64", ".wav": "WAV",
    ".wave": "WAV", ".weba": ("webm", "libopus"), ".webm": ("webm", "libopus"),
    ".wma": ("asf", "wmav2"), ".wmv": ("asf", "wmav2"), ".wv": ("wv", "wavpack"),
}  # fmt: skip
"""How a file of each ending is made: a format of libsndfile, or of FFmpeg with a codec."""

DECODED_ONLY = {
    ".ape": "ape", ".dff": "dsd_msbf", ".dsf": "dsd_lsbf", ".dts": "dca", ".mpc": "mpc8",
    ".spx": "speex",
}  # fmt: skip
"""Endings of what nothing here encodes, with FFmpeg's decoder; test_audio_clips.py has DSD."""


def encode(path, form, codec):
    rate = 8000 if codec.endswith("amrnb") else 48000
    signal = np.sin(np.arange(rate) * (440 * 2 * np.pi / rate)).astype(np.float32)[None] / 4
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        stream.bit_rate = 12200 if rate == 8000 else 96000
        stream.codec_context.open()
        resampler = av.AudioResampler(
            stream.codec_context.format.name, "mono", rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )  # fmt: skip
        frame = av.AudioFrame.from_ndarray(signal, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(part))


@pytest.mark.parametrize("ending", sorted(AUDIO_SUFFIXES))
def test_what_a_search_finds_can_be_decoded(tmp_path, ending):
    if ending in DECODED_ONLY:
        assert av.Codec(DECODED_ONLY[ending], "r").name == DECODED_ONLY[ending]
        return
    path = tmp_path / f"a{ending}"
    if isinstance(ENCODED[ending], str):
        soundfile.write(path, np.full(48000, 0.25), 48000, format=ENCODED[ending])
    else:
        form, codec = ENCODED[ending]
        try:
            av.Codec(codec, "w")
        except ValueError:
            pytest.skip(f"this FFmpeg does not encode {codec}")
        encode(path, form, codec)
    assert load_audio(path).duration_s == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a.mp3", "b.flac", "Live/c.flac", "Live/d.mp3", "Podcasts/e.mp3"]),
        ({"include": "*.flac"}, ["b.flac", "Live/c.flac"]),
        ({"include": ["*.flac", "d.*"]}, ["b.flac", "Live/c.flac", "Live/d.mp3"]),
        ({"exclude": "Podcasts"}, ["a.mp3", "b.flac", "Live/c.flac", "Live/d.mp3"]),
        ({"exclude": "Podcasts/"}, ["a.mp3", "b.flac", "Live/c.flac", "Live/d.mp3"]),
        ({"exclude": ["Live/*.mp3", "Podcasts"]}, ["a.mp3", "b.flac", "Live/c.flac"]),
        ({"include": "*.flac", "exclude": "Live"}, ["b.flac"]),
        ({"include": "Live/*"}, ["Live/c.flac", "Live/d.mp3"]),
        ({"include": "*.MP3"}, []),
        ({"hidden": True, "include": "*.mp3", "exclude": "Podcasts"},
         [".f.mp3", "a.mp3", ".Archive/g.mp3", "Live/d.mp3"]),
    ],
)  # fmt: skip
def test_patterns_choose_files_and_folders(tmp_path, options, expected):
    touch(
        tmp_path, "a.mp3", "b.flac", "Live/c.flac", "Live/d.mp3", "Podcasts/e.mp3", ".f.mp3",
        ".Archive/g.mp3", "@eaDir/h.mp3", "notes.txt",
    )  # fmt: skip
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path, **options)]
    assert found == expected
