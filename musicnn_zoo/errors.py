"""Errors that this package raises on purpose.

Every one derives from :class:`MusicnnZooError`, so a caller that wants to go on after a
bad file or a bad argument catches that one class. The command line shows the message
alone; a message therefore says what was wrong, what was received and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MusicnnZooError(Exception):
    """Base of all errors raised by musicnn_zoo."""


class ArgumentError(MusicnnZooError, ValueError):
    """An argument has a value that cannot be used."""


class UnknownNameError(ArgumentError):
    """A model, block, layer or option name that does not exist.

    Parameters
    ----------
    what : str
        What the name should have named, for instance ``"model"``.
    name : str
        The name received.
    known : iterable of str
        The names that exist; the nearest ones are suggested.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        candidates = sorted(known)
        by_lower = {candidate.lower(): candidate for candidate in candidates}
        near = difflib.get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(by_lower[match] for match in near) + "?"
        elif candidates:
            hint = "known are: " + ", ".join(candidates)
        else:
            hint = "there are none here"
        super().__init__(f"unknown {what} {name!r}; {hint}")


class AudioError(MusicnnZooError):
    """A file, file object or array that cannot be used as audio."""


class DecoderCrashError(AudioError):
    """A file that ended the process which decoded it, twice."""


class DecoderTimeoutError(AudioError):
    """A file of which the decoder gave nothing for a long time."""


class WeightsError(MusicnnZooError):
    """A weights file that is missing, damaged or does not fit its model."""


class DownloadError(MusicnnZooError):
    """A file that cannot be had from the Hugging Face Hub or from another address."""


class UploadError(MusicnnZooError):
    """A model that the Hugging Face Hub does not take."""


class ExportError(MusicnnZooError):
    """A model that cannot be converted to another format."""


class MissingPackageError(MusicnnZooError, ImportError):
    """A package that is needed and not installed; the message has the command that brings it."""


class TrainingError(MusicnnZooError):
    """Training that cannot go on."""


class OutputError(MusicnnZooError):
    """An output that cannot be written or read any more, for instance on a full disk."""


class DeviceError(ArgumentError):
    """A device that is not there, or cannot compute in this process."""
