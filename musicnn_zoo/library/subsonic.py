"""What OpenSubsonic asks of a library: songs, what sounds like them, and the ways between them.

Written from the public description of the API, https://opensubsonic.netlify.app: version 1.16.1 of
Subsonic with the extensions ``sonicSimilarity``, ``formPost`` and ``apiKeyAuthentication``. Here a
request is the name of a method with its parameters, and an answer is a tree, which becomes XML,
JSON or JSONP; :mod:`musicnn_zoo.library.subsonic_server` receives and sends them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import mimetypes
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, get_args
from xml.etree import ElementTree as Xml

from musicnn_zoo.library.collection import Library
from musicnn_zoo.library.library_file import LibraryFile
from musicnn_zoo.library.tracks import Track
from musicnn_zoo.machine import __version__
from musicnn_zoo.text import count, folded, path_from_text, path_to_text

Form = Literal["xml", "json", "jsonp"]
FORMS: tuple[Form, ...] = get_args(Form)
Tree = dict[str, Any]

API_VERSION = "1.16.1"
SERVER_NAME = "musicnn-zoo"
MOST_SONGS = 500
"""Songs in one answer."""
LONGEST_WAY = 100
LONGEST_TEXT = 4096
"""Characters of a parameter."""
_MOST_WORDS = 16
_FARTHEST = 10**9
_AT_ONCE = 2
_PATIENCE_S = 20.0
_XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_ROOT, _NAMESPACE = "subsonic-response", "http://subsonic.org/restapi"
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.\d{1,4})?")
_ID = re.compile(r"[0-9a-f]{64}")
_WHOLE = re.compile(r"-?\d{1,12}", re.ASCII)
_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,99}", re.ASCII)
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Code(IntEnum):
    """Errors that the API knows."""

    OTHER = 0
    MISSING = 10
    CLIENT_TOO_OLD = 20
    SERVER_TOO_OLD = 30
    WRONG_PASSWORD = 40
    NO_TOKENS = 41
    NOT_SUPPORTED = 42
    CONFLICT = 43
    WRONG_KEY = 44
    NOT_FOUND = 70


class FailedError(Exception):
    """A request that is answered by an error of the API."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Request(NamedTuple):
    """The name of a method and its parameters."""

    method: str
    parameters: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return a parameter that must be there."""
        if name not in self.parameters:
            raise FailedError(Code.MISSING, f"required parameter {name!r} is missing")
        return self.parameters[name]

    def whole(self, name: str, default: int, *, least: int = 0, most: int = MOST_SONGS) -> int:
        """Return a whole number, or ``most`` if it is larger."""
        given = self.parameters.get(name)
        if given is None:
            return default
        if not _WHOLE.fullmatch(given) or int(given) < least:
            raise FailedError(Code.OTHER, f"{name} must be a whole number and at least {least}")
        return min(int(given), most)

    @property
    def form(self) -> Form:
        """How it is to be answered: XML, unless something else is asked for and can be given."""
        given = self.parameters.get("f", "xml")
        form: Form = next((each for each in FORMS if each == given), "xml")
        return "xml" if form == "jsonp" and self.callback is None else form

    @property
    def callback(self) -> str | None:
        """The function of JavaScript that takes the answer, if it is the name of one."""
        given = self.parameters.get("callback", "")
        return given if _CALLBACK.fullmatch(given) else None


@dataclass(frozen=True)
class Access:
    """Who may ask: all, or those who know a password or an API key.

    Parameters
    ----------
    user : str
    password, api_key : str or None
    """

    user: str = "music"
    password: str | None = None
    api_key: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing need be known."""
        return self.password is None and self.api_key is None

    def check(self, request: Request) -> str:
        """Return the name of the user who asks."""
        given = request.parameters
        if self.is_open:
            return given.get("u", self.user)
        by_token = "t" in given or "s" in given
        if "apiKey" in given:
            if "u" in given or "p" in given or by_token:
                raise FailedError(Code.CONFLICT, "an API key goes without u, p, t and s")
            if self.api_key is None:
                raise FailedError(Code.NOT_SUPPORTED, "there are no API keys here; use a password")
            if not _same(given["apiKey"], self.api_key):
                raise FailedError(Code.WRONG_KEY, "invalid API key")
            return self.user
        user = request.text("u")
        if "p" in given and by_token:
            raise FailedError(Code.CONFLICT, "give p, or t and s: multiple mechanisms conflict")
        if self.password is None:
            code = Code.NO_TOKENS if by_token else Code.NOT_SUPPORTED
            raise FailedError(code, "passwords and tokens are not supported; use an API key")
        if by_token:
            salted = (self.password + request.text("s")).encode()
            expected = hashlib.md5(salted, usedforsecurity=False).hexdigest()
            known = _same(request.text("t").lower(), expected)
        else:
            known = _same(_plain(request.text("p")), self.password)
        if not (_same(user, self.user) & known):
            raise FailedError(Code.WRONG_PASSWORD, "wrong username or password")
        return self.user


def _same(one: str, other: str) -> bool:
    """Compare texts in a time that tells nothing of the second, nor of its length."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (one, other))
    return hmac.compare_digest(*digests)


def _plain(password: str) -> str:
    """Return a password that may be in hexadecimal."""
    if not password.startswith("enc:"):
        return password
    try:
        encoded = bytes.fromhex(password[4:])
    except ValueError:
        return ""
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError:  # some clients write the numbers of characters
        return encoded.decode("latin-1")


class _Song(NamedTuple):
    """A sound of the library, by the first of its files that is present."""

    digest: str
    path: str
    title: str
    artist: str
    album: str
    genre: str
    size: int
    duration_s: float

    def child(self, folders: Sequence[str]) -> Tree:
        """Return it as the API does; its path is that below the folder of the library."""
        place = PurePath(path_from_text(self.path))
        within = next((each for each in folders if self.path.startswith(each)), "")
        said = {
            "id": self.digest, "isDir": False, "title": self.title or PurePath(self.path).stem,
            "album": self.album, "artist": self.artist, "genre": self.genre, "size": self.size,
            "contentType": mimetypes.guess_type(f"a{place.suffix}")[0],
            "suffix": place.suffix[1:].lower(), "duration": round(self.duration_s),
            "path": self.path[len(within) :], "isVideo": False, "type": "music",
            "mediaType": "song",
        }  # fmt: skip
        return {name: value for name, value in said.items() if value not in ("", None)}


_SEARCHED = (
    "fold(CASE f.title WHEN '' THEN f.path ELSE f.title END || ' ' || f.artist || ' ' || f.album)"
)


class _Shelf:
    """The songs of an open library that can be compared."""

    def __init__(self, library: LibraryFile, model: str | None, layer: str | None) -> None:
        self._library = library
        self.analysis = library.analysis(model)
        space = library.space(self.analysis, layer)
        self._songs = (
            f"FROM files f JOIN {space.table} v ON v.sound = f.sound "
            "JOIN sounds s ON s.id = f.sound WHERE f.state = 'present'"
        )
        folders = (os.path.join(path_to_text(each), "") for each in library.folders())  # noqa: PTH118
        self.folders = sorted(folders, key=len, reverse=True)

    def count(self) -> int:
        """Return how many songs there are."""
        return int(self._library.value(f"SELECT count(DISTINCT f.sound) {self._songs}"))

    def songs(
        self, condition: str, values: Sequence[Any], most: int, start: int = 0
    ) -> list[_Song]:
        """Return songs in the order of their paths."""
        rows = self._library.rows(
            "SELECT s.digest, min(f.path), f.title, f.artist, f.album, f.genre, f.size, "
            f"s.duration_s {self._songs} {condition} "
            "GROUP BY f.sound ORDER BY min(f.path) LIMIT ? OFFSET ?",
            (*values, most, start),
        )
        return [_Song(*row) for row in rows]

    def song(self, asked: str) -> _Song:
        """Return the song of an id, or of a path: absolute, or below a folder of the library."""
        if _ID.fullmatch(asked):
            found = self.songs("AND s.digest = ?", [asked], 1)
        else:
            local = asked.replace("/", os.sep)
            places = [asked, local, *(folder + local for folder in self.folders)]
            listed = ", ".join("?" * len(places))
            found = self.songs(f"AND f.path IN ({listed})", places, 1)
        if not found:
            raise FailedError(Code.NOT_FOUND, "the library has no such song")
        return found[0]

    def children(self, tracks: Sequence[Track]) -> list[Tree]:
        """Return tracks of the library as the API does."""
        return [self.song(path_to_text(track.path)).child(self.folders) for track in tracks]


class OpenSubsonic:
    """Answers requests from a library file, as it is at the time.

    Parameters
    ----------
    place : path, optional
        Of the library file, as of :class:`musicnn_zoo.Library`.
    access : Access, optional
        By default all may ask.
    model, layer : str, optional
        Whose vectors are compared, as in :meth:`musicnn_zoo.Library.similar`.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | None = None,
        *,
        access: Access | None = None,
        model: str | None = None,
        layer: str | None = None,
    ) -> None:
        self.access = access or Access()
        self._library = Library(place, as_indexed=True)
        self._model = model
        self._layer = layer
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    @contextmanager
    def _shelf(self) -> Iterator[_Shelf]:
        with LibraryFile(self._library.path) as library:
            yield _Shelf(library, self._model, self._layer)

    def describe(self) -> str:
        """Say how many songs of which model can be asked for.

        Raises
        ------
        ArgumentError
            If there is no library, or nothing in it.
        """
        with self._shelf() as shelf:
            return f"{count(shelf.count(), 'song')} by {shelf.analysis.model}"

    def answer(self, request: Request) -> Tree:
        """Return what is asked for.

        Raises
        ------
        FailedError
            If it cannot be had.
        """
        if request.method == "getOpenSubsonicExtensions":  # for all, says the API
            return {"openSubsonicExtensions": self._extensions()}
        request.text("c")
        _check_version(request.text("v"))
        user = self.access.check(request)
        if request.method in ("ping", "getLicense"):
            return {} if request.method == "ping" else {"license": {"valid": True}}
        if request.method == "tokenInfo":
            return {"tokenInfo": {"username": user}}
        method = _METHODS.get(request.method)
        if method is None:
            raise FailedError(Code.OTHER, f"{SERVER_NAME} has no such method")
        if not self._turns.acquire(timeout=_PATIENCE_S):
            raise FailedError(Code.OTHER, "too much is asked at once; ask again")
        try:
            return method(self, request)
        finally:
            self._turns.release()

    def _extensions(self) -> list[Tree]:
        names = ["sonicSimilarity", "formPost"]
        if self.access.api_key is not None:
            names.append("apiKeyAuthentication")
        return [{"name": name, "versions": [1]} for name in names]

    def song(self, request: Request) -> Tree:
        """Answer ``getSong``."""
        with self._shelf() as shelf:
            return {"song": shelf.song(request.text("id")).child(shelf.folders)}

    def search(self, request: Request) -> Tree:
        """Answer ``search3``: songs that have all words in their titles, artists and albums."""
        words = folded(request.text("query").replace('"', " ")).split()[:_MOST_WORDS]
        most = request.whole("songCount", 20)
        start = request.whole("songOffset", 0, most=_FARTHEST)
        condition = f"AND instr({_SEARCHED}, ?) " * len(words)
        with self._shelf() as shelf:
            songs = shelf.songs(condition, words, most, start)
            return {"searchResult3": {"song": [song.child(shelf.folders) for song in songs]}}

    def similar(self, request: Request) -> Tree:
        """Answer ``getSonicSimilarTracks``."""
        found = self._like(request, 10)
        return {
            "sonicMatch": [
                {"entry": entry, "similarity": similarity} for entry, similarity in found
            ]
        }

    def similar_songs(self, request: Request) -> Tree:
        """Answer ``getSimilarSongs`` and ``getSimilarSongs2``, of songs."""
        key = request.method[3].lower() + request.method[4:]
        return {key: {"song": [entry for entry, _ in self._like(request, 50)]}}

    def way(self, request: Request) -> Tree:
        """Answer ``findSonicPath``."""
        most = request.whole("count", 25, least=2, most=LONGEST_WAY)
        with self._shelf() as shelf:
            ends = [shelf.song(request.text(name)) for name in ("startSongId", "endSongId")]
            start, end = (path_from_text(song.path) for song in ends)
            tracks = self._library.playlist(
                start, end, n=most, model=self._model, layer=self._layer
            )
            entries = shelf.children(tracks)
        return {
            "sonicMatch": [
                {"entry": entry, "similarity": _normal(track.values["to_start"])}
                for entry, track in zip(entries, tracks, strict=True)
            ]
        }

    def _like(self, request: Request, default: int) -> list[tuple[Tree, float]]:
        most = request.whole("count", default)
        with self._shelf() as shelf:
            seed = path_from_text(shelf.song(request.text("id")).path)
            if most == 0:
                return []
            tracks = self._library.similar(
                seed, k=most, distinct=True, model=self._model, layer=self._layer
            )
            similarities = [_normal(track.values["similarity"]) for track in tracks]
            return list(zip(shelf.children(tracks), similarities, strict=True))


_METHODS: dict[str, Callable[[OpenSubsonic, Request], Tree]] = {
    "getSong": OpenSubsonic.song,
    "search3": OpenSubsonic.search,
    "getSonicSimilarTracks": OpenSubsonic.similar,
    "findSonicPath": OpenSubsonic.way,
    "getSimilarSongs": OpenSubsonic.similar_songs,
    "getSimilarSongs2": OpenSubsonic.similar_songs,
}


def _check_version(given: str) -> None:
    found = _VERSION.fullmatch(given)
    if found is None:
        raise FailedError(Code.OTHER, f"v must be a version of the API, such as {API_VERSION}")
    asked = int(found[1]), int(found[2])
    ours = tuple(map(int, API_VERSION.split(".")))[:2]
    if asked[0] < ours[0]:
        raise FailedError(Code.CLIENT_TOO_OLD, "incompatible version: the client must upgrade")
    if asked > ours:
        raise FailedError(Code.SERVER_TOO_OLD, "incompatible version: the server must upgrade")


def _normal(cosine: float) -> float:
    """Return a cosine as the API does: from 0 to 1, since -1 says there is none."""
    return round(max(0.0, cosine), 6)


def write_answer(request: Request, answer: Tree | FailedError) -> tuple[str, str]:
    """Return the MIME type and the text of an answer in the form that is asked for."""
    failed = isinstance(answer, FailedError)
    whole: Tree = {
        "status": "failed" if failed else "ok", "version": API_VERSION, "type": SERVER_NAME,
        "serverVersion": __version__, "openSubsonic": True,
    }  # fmt: skip
    if isinstance(answer, FailedError):
        whole["error"] = {"code": int(answer.code), "message": str(answer)}
    else:
        whole |= answer
    if request.form == "xml":
        root = Xml.Element(_ROOT, xmlns=_NAMESPACE)
        _fill(root, whole)
        return "application/xml", _XML_HEAD + Xml.tostring(root, encoding="unicode")
    text = json.dumps({_ROOT: whole})
    if request.form == "json":
        return "application/json", text
    return "application/javascript", f"{request.callback}({text});"


def _fill(element: Xml.Element, tree: Tree) -> None:
    """Put scalars into attributes, and all else into elements."""
    for name, value in tree.items():
        if isinstance(value, dict):
            _fill(Xml.SubElement(element, name), value)
        elif isinstance(value, list):
            for each in value:
                inner = Xml.SubElement(element, name)
                if isinstance(each, dict):
                    _fill(inner, each)
                else:
                    inner.text = _in_xml(each)
        else:
            element.set(name, _in_xml(value))


def _in_xml(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _NOT_IN_XML.sub("\ufffd", text)
