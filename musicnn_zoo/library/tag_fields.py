"""Tags of audio files: what a field is called in each format, read and written by mutagen.

The names are those of MusicBrainz Picard. A field of our own, such as ``MUSICNN_TAGS``, is a
``TXXX`` frame of ID3, a comment of Vorbis, a freeform atom of iTunes, an item of APE, or an
attribute ``MUSICNN/TAGS`` of ASF. ID3v2.3 has no frame for a mood; there it is ``TXXX:MOOD``.

mutagen is not among the requirements: its licence is GPL-2.0-or-later.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from musicnn_zoo.errors import AudioError, MissingPackageError
from musicnn_zoo.files import raising
from musicnn_zoo.sound.decoders import open_container

OWN_PREFIX = "MUSICNN_"

_NATIVE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "genre": {
        "ID3v2.3": ("TCON",),
        "ID3v2.4": ("TCON",),
        "Vorbis": ("GENRE",),
        "MP4": ("\xa9gen",),
        "APE": ("Genre",),
        "ASF": ("WM/Genre",),
    },
    "mood": {
        "ID3v2.3": ("TXXX:MOOD", "TMOO"),
        "ID3v2.4": ("TMOO", "TXXX:MOOD"),
        "Vorbis": ("MOOD",),
        "MP4": ("----:com.apple.iTunes:MOOD",),
        "APE": ("Mood",),
        "ASF": ("WM/Mood",),
    },
}
"""Keys of mutagen by field and kind of tag: the first is written, any may be there already."""

_OWN: Mapping[str, Callable[[str], str]] = {
    "ID3v2.3": "TXXX:{}".format,
    "ID3v2.4": "TXXX:{}".format,
    "Vorbis": str,
    "MP4": "----:com.apple.iTunes:{}".format,
    "APE": str,
    "ASF": lambda name: name.replace("_", "/", 1),
}
_NEW_ID3 = 4
"""Version 2.4, for a file that has no ID3v2 tag yet."""
_V1_SIZE = 128


def require_mutagen() -> Any:
    """Import mutagen, which is not among the requirements.

    Raises
    ------
    MissingPackageError
        If it is not installed.
    """
    try:
        import mutagen
    except ImportError as error:
        raise MissingPackageError(
            "writing tags into files needs mutagen: pip install 'musicnn-zoo[write]'"
        ) from error
    return mutagen


class TagFile:
    """The tags of one file.

    A field is ``genre``, ``mood``, or one whose name begins with ``MUSICNN_``. A tag of ID3v1 stays
    as it is; where it is the only one, what it says is in the new ID3v2.4 tag, too, since players
    read one of them only. An MP3 or TTA with an APE tag and none of ID3v2 is written in that.

    Parameters
    ----------
    path : Path
    kind : type, optional
        Of mutagen; by default what the file is.

    Raises
    ------
    AudioError
        If the file cannot be read, or is of a format whose tags are not written.
    """

    def __init__(self, path: Path, kind: Any = None) -> None:
        mutagen = require_mutagen()
        self.path = path
        with _reading(path):
            self.kind = kind or _kind_of(path)
        if self.kind is type(None):
            raise AudioError(f"{path}: tags of this format are not written")
        with _reading(path):
            self._file = self._load()
        if self._file.tags is None:
            kinds = (mutagen.MutagenError, NotImplementedError)
            what = f"{path}: tags of this format are not written"
            with raising(AudioError, what, instead_of=kinds):
                self._file.add_tags()
        self._tags = self._file.tags
        self.form = self._find_form()

    def _load(self) -> Any:
        from mutagen.id3 import ID3FileType

        if not (issubclass(self.kind, ID3FileType) or self.kind.__name__ in _WITH_ID3):
            return self.kind(self.path)
        file = self.kind(self.path, translate=False, load_v1=False)
        if file.tags is None:
            file = self.kind(self.path)
            _name_comment_of_v1(file.tags)
        return file

    def _find_form(self) -> str:
        from mutagen._vorbis import VCommentDict
        from mutagen.apev2 import APEv2
        from mutagen.asf import ASFTags
        from mutagen.id3 import ID3Tags
        from mutagen.mp4 import MP4Tags

        if isinstance(self._tags, ID3Tags):
            version = self._tags.version
            if version[0] == 1:
                return f"ID3v2.{_NEW_ID3}"
            if version[1] not in (3, 4):
                raise AudioError(
                    f"{self.path}: the tag is ID3v2.{version[1]}, which is not written; convert "
                    "it to ID3v2.3 or 2.4 before"
                )
            return f"ID3v2.{version[1]}"
        kinds = {VCommentDict: "Vorbis", MP4Tags: "MP4", APEv2: "APE", ASFTags: "ASF"}
        for kind, form in kinds.items():
            if isinstance(self._tags, kind):
                return form
        raise AudioError(f"{self.path}: tags of this format are not written")

    def get(self, field: str) -> tuple[str, ...]:
        """Return the values of a field; there are none where it is missing."""
        with _reading(self.path):
            for key in self._keys(field):
                values = tuple(text for found in self._present(key) for text in _texts(found))
                if values:
                    return values
        return ()

    def set(self, field: str, values: Iterable[str]) -> None:
        """Give a field these values, or none."""
        written, *_ = keys = self._keys(field)
        for key in keys:
            for there in self._names(key):
                del self._tags[there]
        texts = list(values)
        if not texts:
            return
        if self.form.startswith("ID3"):
            self._tags.add(_frame(written, texts, self.form))
        elif self.form == "MP4" and written.startswith("----"):
            from mutagen.mp4 import AtomDataType, MP4FreeForm

            self._tags[written] = [
                MP4FreeForm(text.encode(), dataformat=AtomDataType.UTF8) for text in texts
            ]
        else:
            self._tags[written] = texts

    def save(self) -> None:
        """Write the tags into the file, by as little as the format allows."""
        with raising(AudioError, f"{self.path}: tags cannot be written", instead_of=Exception):
            if self.form.startswith("ID3"):
                self._save_frames()
            elif self.form == "APE":
                self._save_items()
            else:
                self._file.save()

    def _save_frames(self) -> None:
        """Write a tag of ID3v2, and put back one of ID3v1, which mutagen makes anew from it."""
        end = _end(self.path)
        self._tags.save(self.path, v2_version=int(self.form[-1]), v23_sep=None)
        if end.startswith(b"TAG"):
            with self.path.open("r+b") as file:
                file.seek(-_V1_SIZE, os.SEEK_END)
                file.write(end)

    def _save_items(self) -> None:
        """Write a tag of APE, and put back what was behind it, which mutagen takes out."""
        from mutagen.apev2 import _APEv2Data

        with self.path.open("r+b") as file:
            there = _APEv2Data(file)
            if there.start is not None and not there.is_at_start:
                file.seek(there.end)
            else:
                file.seek(-_V1_SIZE if _end(self.path).startswith(b"TAG") else 0, os.SEEK_END)
            begin, behind = file.tell(), file.read()
            file.truncate(begin)
        self._file.save()
        with self.path.open("ab") as file:
            file.write(behind)

    def others(self, fields: Iterable[str]) -> dict[str, object]:
        """Return all that the tags hold besides some fields, so that it can be compared."""
        left_out = {key.casefold() for field in fields for key in self._keys(field)}
        with _reading(self.path):
            return self._held_without(left_out)

    def _held_without(self, left_out: Collection[str]) -> dict[str, object]:
        held: dict[str, object] = {
            key: _plain(self._tags[key])
            for key in map(str, self._tags.keys())
            if key.casefold() not in left_out
        }
        held["unknown frames"] = _plain(getattr(self._tags, "unknown_frames", []))
        held["vendor"] = getattr(self._tags, "vendor", None)
        blocks = getattr(self._file, "metadata_blocks", [])
        held["blocks"] = [(one.code, one.write()) for one in blocks if one.code not in (1, 4)]
        return held

    def _keys(self, field: str) -> tuple[str, ...]:
        if field.startswith(OWN_PREFIX):
            return (_OWN[self.form](field),)
        return _NATIVE[field][self.form]

    def _names(self, key: str) -> list[str]:
        """Return what a key is called in the file, where capitals do not count."""
        names = dict.fromkeys(map(str, self._tags.keys()))
        return [name for name in names if name.casefold() == key.casefold()]

    def _present(self, key: str) -> list[Any]:
        found = [self._tags[name] for name in self._names(key)]
        return [value for values in found for value in _listed(values)]


_WITH_ID3 = ("WAVE", "AIFF", "DSF", "DSDIFF")


def _kind_of(path: Path) -> Any:
    """Return what mutagen takes a file for; an APE tag is taken where it is that of an MP3."""
    import mutagen
    from mutagen.apev2 import APENoHeaderError, APEv2, APEv2File
    from mutagen.id3 import ID3FileType

    kind = type(mutagen.File(path))
    if not issubclass(kind, ID3FileType):
        return kind
    with path.open("rb") as file:
        if file.read(3) == b"ID3":
            return kind
    with suppress(APENoHeaderError):
        APEv2(path)
        return APEv2File
    return kind


def _name_comment_of_v1(tags: Any) -> None:
    """Give the comment of ID3v1 the name under which players look for it."""
    for key in list(tags or ()):
        if key.startswith("COMM:ID3v1 Comment:"):
            frame = tags.pop(key)
            frame.desc = ""
            tags.add(frame)


def _reading(path: Path) -> Any:
    return raising(AudioError, f"{path}: tags cannot be read", instead_of=Exception)


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _V1_SIZE))
        return file.read()


def _listed(values: Any) -> list[Any]:
    from mutagen.apev2 import APETextValue
    from mutagen.id3 import TCON, TextFrame

    if isinstance(values, TCON):
        return list(values.genres)
    if isinstance(values, TextFrame | APETextValue):
        return list(values)
    return values if isinstance(values, list) else []


def _texts(value: Any) -> list[str]:
    if isinstance(value, bytes):
        return [value.decode("utf-8", "backslashreplace")]
    return [str(value)]


def _frame(key: str, texts: list[str], form: str) -> Any:
    from mutagen import id3

    encoding = id3.Encoding.UTF8 if form == "ID3v2.4" else id3.Encoding.UTF16
    name, _, description = key.partition(":")
    described = {"desc": description} if description else {}
    return getattr(id3, name)(encoding=encoding, text=texts, **described)


def _plain(value: Any) -> object:
    """Turn what mutagen holds into plain data; how a text of ID3 is encoded does not count."""
    if isinstance(value, Mapping) or hasattr(value, "_DictProxy__dict"):
        return {str(key): _plain(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, int):
        return int(value)
    inside = {
        name: _plain(each)
        for name, each in getattr(value, "__dict__", {}).items()
        if name != "encoding"
    }
    if isinstance(value, bytes):
        return (bytes(value), inside)
    return (type(value).__name__, inside) if inside else str(value)


def shown_elsewhere(path: Path, field: str) -> tuple[str, ...]:
    """Return what FFmpeg shows for a field, which may be in a block of the file that mutagen skips.

    Such as the INFO chunk of a WAV file. There are no values where the file cannot be read.
    """
    import av

    with suppress(av.FFmpegError, OSError, ValueError), open_container(str(path)) as container:
        of_streams = (stream.metadata for stream in container.streams.audio)
        for metadata in (container.metadata, *of_streams):
            for name, text in metadata.items():
                if name.casefold() == field and text.strip():
                    return (text.strip(),)
    return ()


def sound_digest(path: Path) -> str:
    """SHA-256 of the packets of sound in a file, as FFmpeg takes them out, before any decoder.

    When each is heard counts, too: it says which samples at the start of an MP3 are left out.

    Raises
    ------
    AudioError
        If there is no sound, or it cannot be read.
    """
    import av

    digest = hashlib.sha256()
    size = 0
    kinds = (av.FFmpegError, OSError, ValueError)
    with (
        raising(AudioError, f"{path}: the sound cannot be read", instead_of=kinds),
        open_container(str(path)) as container,
    ):
        for stream in container.streams.audio:
            digest.update(f"{stream.index} {stream.start_time}".encode())
        for packet in container.demux(container.streams.audio):
            content = bytes(packet)
            when = f"{packet.stream.index} {packet.pts} {packet.duration} {len(content)}"
            digest.update(when.encode())
            digest.update(content)
            size += len(content)
    if not size:
        raise AudioError(f"{path}: there is no sound in it")
    return digest.hexdigest()
