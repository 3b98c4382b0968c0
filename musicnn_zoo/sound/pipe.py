"""Decode sound that comes through a pipe, as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from musicnn_zoo.sound.blocks import Decoded
from musicnn_zoo.sound.ffmpeg import decoded_container, open_container

_BUFFER = 4096


@contextlib.contextmanager
def decode_pipe(
    pipe: BinaryIO, label: str, *, form: str | None = None, options: Mapping[str, str] | None = None
) -> Iterator[Decoded]:
    """Decode what comes out of a pipe, in blocks as short as they come.

    Parameters
    ----------
    pipe : binary file object
        Only read, never wound back.
    label : str
        How messages call it.
    form : str, optional
        FFmpeg's name of the format; by default it finds out.
    options : mapping of str to str, optional
        Of that format.

    Raises
    ------
    AudioError
        If it cannot be decoded.
    """
    with decoded_container(
        lambda: open_container(
            _Pipe(pipe),
            {
                **({"format_whitelist": form} if form else {}),
                # The shortest look at the sound before it is decoded: it is live.
                "analyzeduration": "0",
                "probesize": "32768",
                **(options or {}),
            },
            format=form,
            buffer_size=_BUFFER,
        ),
        label,
        block_s=0.0,
    ) as (decoded, _, _):
        yield decoded


class _Pipe:
    """A file that can only be read, and gives what is there instead of waiting for more."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._read = getattr(pipe, "read1", pipe.read)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        content: bytes = self._read(size)
        return content
