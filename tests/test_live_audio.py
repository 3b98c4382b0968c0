"""Sound from pipes and microphones."""

import io
import itertools
import os
import sys
import threading
import types

import numpy as np
import pytest
import soundfile
from helpers_audio import TECHNO, chirps, encode

from musicnn_zoo import ArgumentError, AudioError, DeviceError
from musicnn_zoo.sound.live import RAW_SAMPLES, RawFormat, microphone_audio, piped_audio
from musicnn_zoo.sound.read import load_audio


def heard(pipe, **options):
    with piped_audio(pipe, **options) as sound:
        return np.concatenate(
            [np.zeros(0, np.float32), *(block.samples for block in sound.blocks)]
        ), sound.sample_rate


class Forward(io.RawIOBase):
    """A pipe: it cannot be wound back, and gives a little at a time."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._file.readinto(memoryview(buffer)[:777])


@pytest.mark.platform
@pytest.mark.parametrize("codec", ["pcm_s16le", "flac", "mp3", "aac"])
def test_a_pipe_gives_what_the_file_does(codec: str, tmp_path) -> None:
    ending = {"pcm_s16le": "wav", "aac": "aac"}.get(codec, codec)
    path = encode(tmp_path / f"x.{ending}", chirps(3), 44_100, codec)
    samples, rate = heard(Forward(path.read_bytes()))
    whole = load_audio(path, target_rate=rate).samples
    assert rate == 44_100
    most = min(len(samples), len(whole))
    assert most > 2.9 * rate
    # MP3: libsndfile leaves out the encoder's start, FFmpeg may not.
    shifts = range(1200) if codec == "mp3" else [0]
    assert (
        min(np.abs(samples[s : most - 1200 + s] - whole[: most - 1200]).max() for s in shifts)
        < 1e-3
    )


def test_an_ogg_comes_through() -> None:
    samples, rate = heard(Forward(TECHNO.read_bytes()))
    whole, _ = soundfile.read(TECHNO, dtype="float32", always_2d=True)
    np.testing.assert_allclose(samples, whole.mean(axis=1), atol=1e-4)
    assert rate == 44_100


@pytest.mark.platform
@pytest.mark.parametrize("samples", RAW_SAMPLES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_raw_samples_of_every_kind(samples: str, channels: int) -> None:
    signal = np.random.default_rng(0).uniform(-0.9, 0.9, (4000, channels))
    kind = {"u8": "u1", "s16le": "<i2", "s16be": ">i2", "s24le": None, "s32le": "<i4",
            "f32le": "<f4", "f64le": "<f8"}[samples]  # fmt: skip
    if samples[0] == "f":
        content = signal.astype(kind).tobytes()
    elif samples == "u8":
        content = np.rint(signal * 127 + 128).astype(kind).tobytes()
    elif samples == "s24le":
        wide = np.rint(signal * 2**23).astype("<i4").tobytes()
        content = b"".join(wide[at : at + 3] for at in range(0, len(wide), 4))
    else:
        content = np.rint(signal * (2.0 ** (8 * int(kind[-1]) - 1) - 1)).astype(kind).tobytes()
    found, rate = heard(Forward(content), raw=RawFormat(samples, 8000, channels))
    assert rate == 8000
    np.testing.assert_allclose(found, signal.mean(axis=1), atol=0.015 if samples == "u8" else 1e-4)


def test_blocks_come_as_they_are_spoken(tmp_path) -> None:
    """A second that was written is heard before the next is."""
    path = encode(tmp_path / "x.wav", chirps(6, 16_000, 1), 16_000, "pcm_s16le")
    content = path.read_bytes()
    reading, writing = os.pipe()
    first = threading.Event()

    def speak() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            pipe.write(content[: len(content) // 2])
            assert first.wait(20), "nothing was heard of the first half"
            pipe.write(content[len(content) // 2 :])

    speaker = threading.Thread(target=speak)
    speaker.start()
    received = 0
    with os.fdopen(reading, "rb") as pipe, piped_audio(pipe) as sound:
        for block in sound.blocks:
            received += len(block.samples)
            if received >= 16_000:
                first.set()
    speaker.join()
    assert received == 96_000


def test_a_stream_that_does_not_say_its_length_is_heard(tmp_path) -> None:
    path = encode(tmp_path / "x.wav", chirps(2), 44_100, "pcm_s16le")
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff" * 4
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff" * 4
    assert len(heard(Forward(bytes(content)))[0]) == 88_200


def test_what_is_no_sound_is_said_to_be_none() -> None:
    for content in (b"", b"words\n" * 1000):
        with pytest.raises(AudioError, match="standard input: not audio that"):
            heard(Forward(content))
    with pytest.raises(ArgumentError, match=r"samples must be one of u8, .*; received 'mp3'"):
        RawFormat("mp3")
    with pytest.raises(ArgumentError, match="channels must be at least 1; received 0"):
        RawFormat(channels=0)
    with pytest.raises(ArgumentError, match="sample_rate must be at least 1; received -1"):
        RawFormat(sample_rate=-1)


def test_playlists_are_not_followed(tmp_path) -> None:
    secret = encode(tmp_path / "secret.wav", chirps(1), 44_100, "pcm_s16le")
    playlist = f"#EXTM3U\n#EXTINF:1\n{secret}\n".encode()
    with pytest.raises(AudioError, match="not audio"):
        heard(Forward(playlist))


# Microphones


class FakeSoundDevice(types.ModuleType):
    """The part of sounddevice that is used, with a microphone that hears what it is given."""

    class PortAudioError(Exception):
        pass

    def __init__(self, blocks, rate=48_000) -> None:
        super().__init__("sounddevice")
        self.blocks, self.rate = blocks, rate
        self.closed = False
        module = self

        class InputStream:
            def __init__(self, *, samplerate, device, dtype, callback, blocksize) -> None:
                assert (samplerate, dtype, blocksize) == (rate, "float32", rate // 10)
                self.callback = callback

            def start(self) -> None:
                for block in module.blocks:
                    self.callback(block, len(block), None, None)

            def close(self) -> None:
                module.closed = True

        self.InputStream = InputStream

    def query_devices(self, device, kind):
        assert kind == "input"
        if device not in (None, 3, "USB"):
            raise ValueError(f"No input device matching {device!r}")
        return {"default_samplerate": float(self.rate)}


def test_a_microphone_is_heard_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = np.random.default_rng(0).normal(size=(5, 4800, 2)).astype(np.float32)
    module = FakeSoundDevice(spoken)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr("musicnn_zoo.sound.live._TIMEOUT_S", 0.05)
    with microphone_audio("USB") as sound:
        assert sound.sample_rate == 48_000
        assert len(list(itertools.islice(sound.blocks, 5))) == 5
        with pytest.raises(AudioError, match="no sound came"):
            next(sound.blocks)
    assert module.closed
    with microphone_audio(3) as sound:
        blocks = list(itertools.islice(sound.blocks, 5))
    assert {block.sample_rate for block in blocks} == {48_000}
    heard_there = [block.samples for block in blocks]
    np.testing.assert_allclose(heard_there, spoken.mean(axis=2), rtol=1e-6)


def test_without_a_microphone_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSoundDevice([]))
    with (
        pytest.raises(DeviceError, match=r"no microphone 'gone' can be opened \(No input device"),
        microphone_audio("gone"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with (
        pytest.raises(ArgumentError, match="pip install sounddevice"),
        microphone_audio(),
    ):
        pass
