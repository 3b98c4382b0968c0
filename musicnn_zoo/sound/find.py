"""Which files below a folder are audio, and whether they have changed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from musicnn_zoo.errors import ArgumentError, AudioError, RemoteError, shown
from musicnn_zoo.files import kind_of, sha256_of
from musicnn_zoo.sound.remote import (
    ASKED_AT_ONCE,
    TWO_COLONS,
    Address,
    as_address,
    fetched,
    list_folder,
    look,
)
from musicnn_zoo.sound.sources import local_path
from musicnn_zoo.text import path_to_text

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

OnProblem = Callable[[Path | Address, str], None]


class Found(NamedTuple):
    """Something that a walk met.

    Parameters
    ----------
    path : Path or Address
    kind : {"audio", "not_audio", "not_regular", "linked_folder", "unread_folder"}
        A file that its name says to be audio; another file; something with the name of audio that
        is no file; a link to a folder, which is not followed; a folder that cannot be listed.
    reason : str
        Of the last three, what is wrong.
    """

    path: Path | Address
    kind: Literal["audio", "not_audio", "not_regular", "linked_folder", "unread_folder"]
    reason: str = ""


@dataclass(frozen=True)
class Shard:
    """A share of a library: files that belong to one of several machines.

    A file belongs to the share that a hash (BLAKE2b) of its path below the directory chooses, so
    that it is the same wherever the directory is mounted, whatever else is in it, and in whatever
    order it is listed. A file that was named itself counts by the name that was given.

    Parameters
    ----------
    number : int
        From 1.
    count : int
        How many shares there are.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"3/16"``; raise an ArgumentError for what is none."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ArgumentError(
                "shard must be K/N with K from 1 to N, such as 3/16 for the third of sixteen; "
                f"received {shown(text)}"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Whether it has the file of that path below the directory."""
        if self.count == 1:
            return True
        text = unicodedata.normalize("NFC", path_to_text(path)).replace("\\", "/")
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


WHOLE = Shard()
"""The only share: all files."""


class Selection(NamedTuple):
    """Which of the files and folders below a directory a search takes.

    A pattern is one of shells (``*.flac``, ``Live*``). One without a slash is compared with each
    name, one with a slash with the path below the directory; capitals count.

    Parameters
    ----------
    include : tuple of str
        Take only files that fit one of these patterns; all, if there are none.
    exclude : tuple of str
        Leave out files and folders that fit one of these.
    hidden : bool
        Take those whose names begin with a dot, too.
    shard : Shard
        Take the files of this share only.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    shard: Shard = WHOLE

    def leaves_out(self, name: str, below: str, *, folder: bool) -> bool:
        """Whether it leaves out a file or a folder, ``below`` being its path."""
        hidden = name.startswith(".") and not (self.hidden and name not in (".", ".."))
        if hidden or name.casefold() in SYSTEM_FOLDERS or _fits(name, below, self.exclude):
            return True
        if folder:
            return False
        unfit = bool(self.include) and not _fits(name, below, self.include)
        return unfit or not self.shard.holds(below)


def _fits(name: str, below: str, patterns: tuple[str, ...]) -> bool:
    return any(
        fnmatchcase(below if "/" in pattern else name, pattern.strip("/")) for pattern in patterns
    )


def find_audio(
    directory: str | os.PathLike[str],
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    hidden: bool = False,
    shard: str | None = None,
    on_problem: OnProblem | None = None,
) -> Iterator[Path | Address]:
    """Yield all audio files below a directory, sorted, by the endings of their names.

    Hidden files and folders are left out, and the ``SYSTEM_FOLDERS``; links to folders are not
    followed. The directory itself is searched whatever its name is.

    Parameters
    ----------
    directory : path
        ``~`` is the home folder. An address of fsspec, such as ``s3://bucket/music`` or
        ``s3://bucket/**/*.flac``, is listed folder by folder, and its files are addresses.
    include, exclude : str or sequence of str
        Patterns such as ``"*.flac"``, ``"Podcasts"`` or ``"Live/*"`` of what to take only and what
        to leave out; see :class:`musicnn_zoo.sound.find.Selection`.
    hidden : bool
        Search hidden files and folders, too.
    shard : str, optional
        Take only one share of the files: ``"3/16"`` is the third of sixteen, which together have
        each file once. See :class:`musicnn_zoo.sound.find.Shard`.
    on_problem : callable, optional
        Receives each folder that cannot be listed, and each pipe, device or broken link with the
        name of an audio file; and what is wrong with it. By default they are warned of.

    Warns
    -----
    UserWarning
        Of each of these, if ``on_problem`` is not given.

    Raises
    ------
    ArgumentError
        If ``shard`` is none.
    """
    if not isinstance(directory, str | os.PathLike):
        raise ArgumentError(f"directory must be one path; received {shown(directory)}")
    share = WHOLE if shard is None else Shard.parse(shard)
    selection = Selection(_patterns(include), _patterns(exclude), hidden, share)
    place: str | os.PathLike[str] = as_address(directory) or directory
    if not isinstance(place, Address) and not os.path.lexists(place):
        place = local_path(directory)
    for path, kind, reason in walk_audio(place, selection):
        if kind == "audio":
            yield path
        elif kind in ("not_regular", "unread_folder"):
            if on_problem is None:
                warnings.warn(f"{path}: {reason}", stacklevel=2)
            else:
                on_problem(path, reason)


def _patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


_ORDINARY = Selection()


def walk_audio(
    directory: str | os.PathLike[str], selection: Selection = _ORDINARY
) -> Iterator[Found]:
    """Yield all that is below a directory and not left out, sorted: files before folders."""
    if isinstance(directory, Address):
        yield from _walk_address(directory, selection)
        return
    waiting = [Path(directory)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(folder, "unread_folder", f"cannot be listed ({error.strerror or error})")
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            is_folder = _is_folder(entry)
            below = path.relative_to(directory).as_posix()
            if selection.leaves_out(entry.name, below, folder=is_folder):
                continue
            if not is_folder:
                yield _judge_file(entry, path)
            elif entry.is_symlink():
                yield Found(path, "linked_folder", "is a link to a folder")
            else:
                folders.append(path)
        waiting += reversed(folders)


_MAGIC = re.compile(r"[*?\[]")


def is_pattern(place: Path | Address) -> bool:
    """Whether an address has the characters of a pattern."""
    return isinstance(place, Address) and not place.is_web and bool(_MAGIC.search(place))


def _walk_address(address: Address, selection: Selection) -> Iterator[Found]:
    """Walk a folder of a store, or take the file, or what fits a pattern."""
    try:
        root, pattern = _parted(address)
        state = None if pattern else look(address)
    except RemoteError as error:
        yield Found(address, "unread_folder", _reason(error, address))
        return
    if state is not None:
        if selection.shard.holds(address):
            yield Found(Address(address, state=state), "audio")
        return
    fits = _Pattern(pattern) if pattern else None
    waiting = [(root, "")]
    while waiting:
        folder, place = waiting.pop()
        folders = []
        try:
            for name, path, is_folder in list_folder(folder):
                below = f"{place}{name}"
                if selection.leaves_out(name, below, folder=is_folder):
                    continue
                if is_folder:
                    if fits is not None and not fits.may_hold(below):
                        continue
                    if "::" in name:
                        yield Found(path, "unread_folder", TWO_COLONS)
                    else:
                        folders.append((path, f"{below}/"))
                elif fits is None or fits.match(below):
                    if not _has_ending(Path(name)):
                        yield Found(path, "not_audio")
                    elif "::" in name:
                        yield Found(path, "not_regular", TWO_COLONS)
                    else:
                        yield Found(path, "audio")
        except RemoteError as error:
            yield Found(folder, "unread_folder", _reason(error, folder))
        waiting += reversed(folders)


def _reason(error: RemoteError, address: Address) -> str:
    return str(error).removeprefix(f"{address}: ")


def _parted(address: Address) -> tuple[Address, str]:
    """Return a folder and the pattern of what is meant in it, which is empty if it is no pattern.

    A file or a folder may have the characters of a pattern in its name.
    """
    first, chain, rest = address.whole.partition("::")
    scheme, slashes, path = first.partition("://")
    magic = _MAGIC.search(path)
    if address.is_web or magic is None:
        return address, ""
    with suppress(RemoteError):
        look(address)
        return address, ""
    fixed = path[: path[: magic.start()].rfind("/") + 1]
    root = Address(f"{scheme}{slashes}{fixed}{chain}{rest}", **address.storage_options)
    return root, path[len(fixed) :].strip("/")


class _Pattern:
    """A pattern of paths below a folder, as of shells: ``**`` is any number of folders."""

    def __init__(self, pattern: str) -> None:
        self._parts = pattern.split("/")

    def match(self, below: str) -> bool:
        """Whether a file fits."""
        return _fit_parts(below.split("/"), self._parts)

    def may_hold(self, below: str) -> bool:
        """Whether files in a folder may fit."""
        for position, name in enumerate(below.split("/")):
            if position >= len(self._parts) - 1:
                return False
            if self._parts[position] == "**":
                return True
            if not fnmatchcase(name, self._parts[position]):
                return False
        return True


def _fit_parts(names: list[str], parts: list[str]) -> bool:
    if not parts:
        return not names
    if parts[0] == "**":
        return any(_fit_parts(names[at:], parts[1:] or ["*"]) for at in range(len(names)))
    return bool(names) and fnmatchcase(names[0], parts[0]) and _fit_parts(names[1:], parts[1:])


def is_left_out(name: str) -> bool:
    """Whether a search leaves out files and folders of this name, if it is not asked for them."""
    return _ORDINARY.leaves_out(name, name, folder=True)


def has_audio_name(path: Path) -> bool:
    """Whether the name of a file says that it is audio."""
    return _has_ending(path) and not path.name.startswith(".")


def _has_ending(path: Path | Address) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES


def irregularity(mode: int) -> str | None:
    """Say what something is that is neither a file nor a folder, from its ``st_mode``."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return f"is {kind_of(mode)}, not a file"


def _judge_file(entry: os.DirEntry[str], path: Path) -> Found:
    if not _has_ending(path):
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


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it was when its result was computed: its size in bytes, and its last change."""

    source: str
    """The path as the caller gave it."""
    size: int
    mtime_ns: int
    sha256: str | None = None
    """Of the content, if it was asked for."""
    path: str = ""
    """Absolute, without links: what tells the file from others. By default ``source``."""
    etag: str | None = None
    """Of a file at an address, what its store says of its content."""

    def __post_init__(self) -> None:
        if not self.path:
            object.__setattr__(self, "path", self.source)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Stamp:
        """Return the stamp in a record; one of an earlier release has no path but the source."""
        source: str = fields["source"]
        path = fields.get("path") or os.path.realpath(source)
        etag = fields.get("etag")
        path = source if path == source else path
        stamp = cls(source, fields["size"], fields["mtime_ns"], fields["sha256"], path, etag)
        texts = (source, path, stamp.sha256 or "", etag or "")
        numbers = (stamp.size, stamp.mtime_ns)
        if not (
            all(isinstance(each, str) for each in texts) and all(type(n) is int for n in numbers)
        ):
            raise TypeError(f"this is no stamp: {shown(stamp)}")
        return stamp


def take_stamp(path: str, *, content_hash: bool = False) -> Stamp:
    """Return the stamp of a file as it is now; ``content_hash`` reads it all.

    An :class:`AudioError` says if it is not there, not a file, or cannot be read. What a listing
    said of a file at an address is taken as it is.
    """
    address = as_address(path)
    if address is not None:
        return _take_remote_stamp(address, content_hash=content_hash)
    try:
        status = Path(path).stat()
        irregular = irregularity(status.st_mode)
        if irregular is not None:
            raise AudioError(f"{path}: {irregular}")
        digest = sha256_of(Path(path)) if content_hash else None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{path}: there is no such file") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error
    real = os.path.realpath(path)
    # One string where both are equal: there may be a million.
    place = path if real == path else real
    return Stamp(path, status.st_size, status.st_mtime_ns, digest, place)


def _take_remote_stamp(address: Address, *, content_hash: bool) -> Stamp:
    state = address.state or look(address)
    if state is None:
        raise AudioError(f"{address}: is a directory, not an audio file")
    digest = None
    if content_hash:
        with fetched(address) as place:
            digest = sha256_of(place)
    return Stamp(address, state.size, state.mtime_ns, digest, str(address), state.etag)


def take_stamps(
    paths: Iterable[str], *, content_hash: bool = False
) -> Iterator[tuple[str, Stamp | AudioError]]:
    """Yield each path with its stamp, or what is wrong with it; stores are asked by threads."""

    def stamp_of(path: str) -> Stamp | AudioError:
        try:
            return take_stamp(path, content_hash=content_hash)
        except AudioError as error:
            return error

    waiting = iter(paths)
    while batch := list(islice(waiting, _STAMPS_AT_ONCE)):
        if any(map(as_address, batch)):
            with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
                yield from zip(batch, pool.map(stamp_of, batch), strict=True)
        else:
            yield from zip(batch, map(stamp_of, batch), strict=True)


_STAMPS_AT_ONCE = 256


def is_there(path: str) -> bool:
    """Whether there is something at a path or an address."""
    address = as_address(path)
    if address is None:
        return os.path.lexists(path)
    try:
        look(address)
    except RemoteError:
        return False
    return True


def is_below(path: str, places: Collection[str]) -> bool:
    """Whether a path or an address is one of some places, or below one."""
    while path not in places and f"{path}/" not in places:
        above = os.path.dirname(path)  # noqa: PTH120
        if above == path:
            return False
        path = above
    return True


def unchanged(old: Stamp, new: Stamp) -> bool:
    """Compare size and content if ``new`` has a hash, else size and ETag or time.

    Without any of these, a file at an address counts as changed.
    """
    if new.sha256 is not None:
        return (old.size, old.sha256) == (new.size, new.sha256)
    if None not in (old.etag, new.etag):
        return (old.size, old.etag) == (new.size, new.etag)
    if new.mtime_ns < 0 and new.etag is None and isinstance(new.source, Address):
        return False
    return (old.size, old.mtime_ns) == (new.size, new.mtime_ns)
