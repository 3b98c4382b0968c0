"""Live sound, from a pipe or a microphone."""

from __future__ import annotations

import contextlib
import logging
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError, DeviceError, check_choice, check_whole
from musicnn_zoo.sound.decoders import Block, Decoded, decoded_by_ffmpeg

_log = logging.getLogger(__name__)

RawSamples = Literal["u8", "s16le", "s16be", "s24le", "s32le", "f32le", "f64le"]
RAW_SAMPLES: tuple[RawSamples, ...] = get_args(RawSamples)

_BUFFER = 4096
"""Bytes that FFmpeg reads of a pipe at once."""

_MICROPHONE_BLOCK_S = 0.1
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class RawFormat:
    """What sound without a header is.

    Parameters
    ----------
    samples : {"u8", "s16le", "s16be", "s24le", "s32le", "f32le", "f64le"}
        As FFmpeg names them.
    sample_rate : int
        In Hz.
    channels : int
        Interleaved.
    """

    samples: RawSamples = "s16le"
    sample_rate: int = 44_100
    channels: int = 2

    def __post_init__(self) -> None:
        check_choice("samples", self.samples, RAW_SAMPLES)
        check_whole("sample_rate", self.sample_rate)
        check_whole("channels", self.channels)


@contextlib.contextmanager
def piped_audio(
    pipe: BinaryIO, *, raw: RawFormat | None = None, label: str = "standard input"
) -> Iterator[Decoded]:
    """Decode sound from a pipe as it comes; the blocks are as short as they come.

    The pipe is only read, never rewound. Without ``raw``, which says what sound without a header
    is, FFmpeg finds out: wav, flac, mp3, ogg, … Messages call it ``label``. An AudioError is raised
    if it is not sound, or empty.
    """
    # FFmpeg looks at as little of the sound as it can before it decodes: it is live.
    options = {"analyzeduration": "0", "probesize": "32768"}
    if raw is not None:
        options |= {"sample_rate": str(raw.sample_rate), "ch_layout": f"{raw.channels}c"}
    with decoded_by_ffmpeg(
        cast("BinaryIO", _Pipe(pipe)), label, block_s=0.0, buffer_size=_BUFFER,
        options=options, form=raw.samples if raw else None,
    ) as decoded:  # fmt: skip
        yield decoded


class _Pipe:
    """A file that can only be read, and gives what is there instead of waiting for more."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._read = getattr(pipe, "read1", pipe.read)

    def read(self, size: int) -> bytes:
        content: bytes = self._read(size)
        return content


@contextlib.contextmanager
def microphone_audio(device: str | int | None = None) -> Iterator[Decoded]:
    """Open a microphone; its blocks never end by themselves.

    Parameters
    ----------
    device : str or int, optional
        Name or number of an input, as ``python -m sounddevice`` lists them; by default the
        system's.

    Raises
    ------
    ArgumentError
        If sounddevice or PortAudio is not installed.
    DeviceError
        If there is no such microphone, or it cannot be opened.
    AudioError
        From the blocks, if the microphone falls silent for 10 s, as when it is unplugged.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise ArgumentError(
            "a microphone needs sounddevice: pip install sounddevice, and on Linux "
            f"PortAudio (libportaudio2) ({error})"
        ) from error
    blocks: queue.Queue[NDArray[np.float32]] = queue.Queue()

    def heard(block: NDArray[np.float32], frames: int, time: Any, status: Any) -> None:
        del frames, time
        if status:
            _log.warning("microphone: %s", status)
        blocks.put(block.mean(axis=1))

    try:
        rate = int(sounddevice.query_devices(device, "input")["default_samplerate"])
        stream = sounddevice.InputStream(
            samplerate=rate, device=device, dtype="float32", callback=heard,
            blocksize=round(rate * _MICROPHONE_BLOCK_S),
        )  # fmt: skip
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise DeviceError(
            f"no microphone {'' if device is None else repr(device) + ' '}can be opened ({error}); "
            "'python -m sounddevice' lists the inputs"
        ) from error

    def received() -> Iterator[Block]:
        while True:
            try:
                yield Block(blocks.get(timeout=_TIMEOUT_S), rate)
            except queue.Empty:
                raise AudioError("microphone: no sound came for 10 s; is it plugged in?") from None

    try:
        yield Decoded(rate, received())
    finally:
        stream.close()
