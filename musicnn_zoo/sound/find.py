"""Which files below a folder are audio."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from musicnn_zoo.files import irregularity

AUDIO_SUFFIXES = frozenset(
    {
        ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".alac", ".amr", ".ape", ".asf",
        ".au", ".avi", ".bwf", ".caf", ".dff", ".dsf", ".dts", ".eac3", ".ec3", ".f4v", ".flac",
        ".flv", ".m2ts", ".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3",
        ".mp4", ".mpa", ".mpc", ".mpeg", ".mpg", ".oga", ".ogg", ".ogv", ".ogx", ".opus", ".rf64",
        ".snd", ".sph", ".spx", ".tta", ".vob", ".voc", ".w64", ".wav", ".wave", ".weba", ".webm",
        ".wma", ".wmv", ".wv",
    }
)  # fmt: skip
"""File name endings that a search of a folder takes for audio.

``.ts`` and ``.mts`` are not among them, since TypeScript has them too. Such a file is decoded when
it is named.
"""

SYSTEM_FOLDERS = frozenset(
    {
        "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recently-snapshot", "@recycle", "@tmp",
        "__macosx", "lost+found", "network trash folder", "recycler", "system volume information",
        "temporary items",
    }
)  # fmt: skip
"""Folders, in lower case, in which a system or a NAS keeps thumbnails, snapshots and rubbish."""

OnProblem = Callable[[Path, str], None]


class Found(NamedTuple):
    """Something that a walk met.

    Parameters
    ----------
    path : Path
    kind : {"audio", "not_audio", "not_regular", "linked_folder", "unread_folder"}
        A file that its name says to be audio; another file; something with the name of audio that
        is no file; a link to a folder, which is not followed; a folder that cannot be listed.
    reason : str
        Of the last three, what is wrong.
    """

    path: Path
    kind: Literal["audio", "not_audio", "not_regular", "linked_folder", "unread_folder"]
    reason: str = ""


def find_audio(
    directory: str | os.PathLike[str], *, on_problem: OnProblem | None = None
) -> Iterator[Path]:
    """Yield all audio files below a directory, sorted, by the endings of their names.

    Hidden files and folders are left out, and the ``SYSTEM_FOLDERS``; links to folders are not
    followed. The directory itself is searched whatever its name is.

    Parameters
    ----------
    directory : path
    on_problem : callable, optional
        Receives each folder that cannot be listed, and each pipe, device or broken link with the
        name of an audio file; and what is wrong with it. By default they are warned of.

    Warns
    -----
    UserWarning
        Of each of these, if ``on_problem`` is not given.
    """
    for path, kind, reason in walk_audio(directory):
        if kind == "audio":
            yield path
        elif kind in ("not_regular", "unread_folder"):
            if on_problem is None:
                warnings.warn(f"{path}: {reason}", stacklevel=2)
            else:
                on_problem(path, reason)


def walk_audio(directory: str | os.PathLike[str]) -> Iterator[Found]:
    """Yield all that is below a directory and not left out, sorted: files before folders."""
    waiting = [Path(directory)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(folder, "unread_folder", f"cannot be listed ({error.strerror or error})")
            continue
        below = []
        for entry in entries:
            path = folder / entry.name
            if is_left_out(entry.name):
                continue
            if not _is_folder(entry):
                yield _judge_file(entry, path)
            elif entry.is_symlink():
                yield Found(path, "linked_folder", "is a link to a folder")
            else:
                below.append(path)
        waiting += reversed(below)


def is_left_out(name: str) -> bool:
    """Whether a search leaves out files and folders of this name."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def has_audio_name(path: Path) -> bool:
    """Whether the name of a file says that it is audio."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def _judge_file(entry: os.DirEntry[str], path: Path) -> Found:
    if not has_audio_name(path):
        return Found(path, "not_audio")
    try:
        if entry.is_file():
            return Found(path, "audio")
        reason = irregularity(entry.stat().st_mode)
    except FileNotFoundError:
        reason = "is a link to a file that is not there"
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
    return Found(path, "not_regular", reason or "cannot be read")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
