"""The library file: one SQLite database of files, their sounds, tags and vectors.

A file is a place with a size and a time. What it sounds like belongs to its sound, known by a
digest of the audio in it (``musicnn_zoo.sound.contents``), so that files that are moved,
copied or given other titles keep it. Tables, all of which any tool reads:

``files``
    ``path`` (absolute, without links; as :func:`musicnn_zoo.text.path_to_text` writes it),
    ``size`` in bytes, ``mtime_ns``, ``sound``, ``state`` (present, gone or failed), ``reason`` of
    a failure, ``crashed`` (1 if it ended the decoder), ``title``, ``artist``, ``album``, ``genre``.
``sounds``
    ``id``, ``digest``, ``duration_s``.
``analyses``
    A model and its settings: ``model``, ``place`` (what loads it), ``weights`` (digest),
    ``settings`` (JSON), ``tags`` (JSON, in order). ``chosen`` is 1 for that of the latest run.
    Settings with ``compatible`` are of vectors as another program computes them, whose name is the
    ``model``; they are chosen only where there are no others.
``spaces``
    Vectors that may be compared: ``analysis``, ``layer``, ``dimensions``.
``tags_1``, ``tags_2``, …
    Of an analysis, a row for each ``sound``, a column for each tag: its score from 0 to 1.
``vectors_1``, ``vectors_2``, …
    Of a space, a row for each ``sound``: ``length``, and ``vector``, which is the vector divided
    by its length, in little-endian float16.
``failures``
    ``path`` and ``reason`` of what could not be used in the last runs that came to their end, files
    and folders.
``folders``
    What ``musicnn-zoo index`` looks through: ``path``, and ``selection``, which files (JSON).

The view ``library`` has a row for each present file, with its titles, ``duration_s`` and the tags
of the chosen analysis.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from musicnn_zoo.errors import ArgumentError, OutputError, UnknownNameError
from musicnn_zoo.files import kind_of, mode_at
from musicnn_zoo.text import folded, path_from_text, path_to_text

ENVIRONMENT_VARIABLE = "MUSICNN_ZOO_LIBRARY"
LIBRARY_NAME = "library.sqlite"
_APPLICATION = 0x6D757A6F
_MARK = slice(68, 72)
"""Where SQLite's header has it."""
_VERSION = 1
_PATIENCE_S = 60.0
_COMMIT_S = 2.0
_MOST_TAGS = 1900
"""SQLite's tables have at most 2,000 columns."""

_SCHEMA = """
CREATE TABLE folders (path TEXT PRIMARY KEY, selection TEXT NOT NULL);
CREATE TABLE sounds (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, duration_s REAL NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, sound INTEGER REFERENCES sounds (id),
    state TEXT NOT NULL CHECK (state IN ('present', 'gone', 'failed')), reason TEXT,
    crashed INTEGER NOT NULL DEFAULT 0, title TEXT NOT NULL DEFAULT '',
    artist TEXT NOT NULL DEFAULT '', album TEXT NOT NULL DEFAULT '',
    genre TEXT NOT NULL DEFAULT '');
CREATE INDEX files_of_sounds ON files (sound, state);
CREATE TABLE analyses (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, place TEXT NOT NULL, weights TEXT NOT NULL,
    settings TEXT NOT NULL, tags TEXT NOT NULL, chosen INTEGER NOT NULL DEFAULT 0,
    UNIQUE (weights, settings));
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, analysis INTEGER NOT NULL REFERENCES analyses (id),
    layer TEXT NOT NULL, dimensions INTEGER NOT NULL, UNIQUE (analysis, layer));
"""


class Analysis(NamedTuple):
    """A model with its settings, as the library knows it."""

    id: int
    model: str
    place: str
    weights: str
    settings: dict[str, Any]
    tags: tuple[str, ...]

    @property
    def compatible(self) -> str | None:
        """The program whose vectors it has, if they are not this package's own."""
        return self.settings.get("compatible")

    @property
    def table(self) -> str:
        """Table of its tags."""
        return f"tags_{self.id}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of its tags, quoted, in order."""
        return columns_of(self.tags)


class Space(NamedTuple):
    """Vectors of one layer of one analysis."""

    id: int
    layer: str
    dimensions: int

    @property
    def table(self) -> str:
        """Table of its vectors."""
        return f"vectors_{self.id}"


class FileRow(NamedTuple):
    """What the library knows of a file."""

    id: int
    size: int
    mtime_ns: int
    sound: int | None
    state: str
    reason: str | None
    crashed: int


def default_library() -> Path:
    r"""Where the library is if nothing is said: ``MUSICNN_ZOO_LIBRARY``, or the user's data folder.

    That is ``~/.local/share/musicnn-zoo`` (``XDG_DATA_HOME``) on Linux, ``~/Library/Application
    Support/musicnn-zoo`` on macOS, ``%LOCALAPPDATA%\musicnn-zoo`` on Windows.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs

    return platformdirs.user_data_path("musicnn-zoo", appauthor=False) / LIBRARY_NAME


def columns_of(tags: Sequence[str]) -> tuple[str, ...]:
    """Return quoted names of columns for tags; capitals do not tell columns from each other."""
    taken = {"sound"}
    columns = []
    for tag in tags:
        name, number = tag, 1
        while name.lower() in taken:
            number += 1
            name = f"{tag} ({number})"
        taken.add(name.lower())
        columns.append(quoted(name))
    return tuple(columns)


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    plain = name.replace("\0", "").replace('"', '""')
    return f'"{plain}"'


class LibraryFile:
    """An open library file; safe to use from several threads.

    Parameters
    ----------
    path : Path
    write : bool
        Make it if it is not there, and allow changes.

    Raises
    ------
    ArgumentError
        If there is none, or it is something else.
    OutputError
        If it cannot be opened or made; all methods raise it if the file cannot be written.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._committed = time.monotonic()
        self._depth = 0
        self._spaces: dict[int, list[Space]] = {}
        mode = mode_at(path)
        if mode is not None and not stat.S_ISREG(mode):
            raise ArgumentError(
                f"library {str(path)!r} is {kind_of(mode)}; name a file, such as "
                f"{str(path / LIBRARY_NAME)!r}"
            )
        if mode is None and not write:
            raise ArgumentError(
                f"there is no library at {str(path)!r}; make one with 'musicnn-zoo index FOLDER', "
                "or name another with --library"
            )
        with self.reporting():
            if write:
                path.parent.mkdir(parents=True, exist_ok=True)
            # Also for questions: what a run that was killed left must be cleared away.
            access = "rwc" if write else "rw"
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={access}", uri=True, timeout=_PATIENCE_S,
                check_same_thread=False, isolation_level=None,
            )  # fmt: skip
        self._connection.create_function("fold", 1, folded, deterministic=True)
        try:
            self._check(write=write)
        except BaseException:
            self._connection.close()
            raise

    def _check(self, *, write: bool) -> None:
        no_library = ArgumentError(f"{str(self.path)!r} is no library of musicnn-zoo")
        try:
            tables = self.value("SELECT count(*) FROM sqlite_master")
        except OutputError as error:
            if isinstance(error.__cause__, sqlite3.OperationalError) or self._is_marked():
                raise
            raise no_library from error
        if tables == 0 and write:  # new, or a run ended just then
            self._make()
        elif not self.path.stat().st_size:
            raise ArgumentError(self._empty())
        elif self.value("PRAGMA application_id") != _APPLICATION:
            raise no_library
        version = self.value("PRAGMA user_version")
        if version > _VERSION:
            raise ArgumentError(
                f"library {str(self.path)!r} was made by a newer musicnn-zoo (its version is "
                f"{version}, this one knows {_VERSION}); update musicnn-zoo"
            )

    def _is_marked(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(100)[_MARK] == _APPLICATION.to_bytes(4, "big")

    def _empty(self) -> str:
        return f"library {str(self.path)!r} is empty; fill it with 'musicnn-zoo index FOLDER'"

    def damaged(self, reason: object) -> OutputError:
        """Return the error that says that the file is damaged."""
        return OutputError(
            f"library {str(self.path)!r} is damaged ({reason}); take a copy of it that is whole, "
            "or delete it, and run 'musicnn-zoo index FOLDER'"
        )

    def _make(self) -> None:
        marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
        with self.reporting():
            self._connection.executescript(f"BEGIN; {_SCHEMA} {marks} COMMIT;")

    def __enter__(self) -> LibraryFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not written yet, and close the file."""
        with self._lock:
            try:
                self.commit()
            finally:
                self._connection.close()

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn what SQLite says into an error of this package."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise OutputError(
                f"library {str(self.path)!r} cannot be used ({error}); what was written to it is "
                "safe"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(error) from error

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query."""
        with self._lock, self.reporting():
            return self._connection.execute(query, values).fetchall()

    def value(self, query: str, values: Sequence[Any] = ()) -> Any:
        """Return the first value of the first row, or None."""
        with self._lock, self.reporting():
            found = self._connection.execute(query, values).fetchone()
        return None if found is None else found[0]

    def blocks(self, query: str, size: int, values: Sequence[Any] = ()) -> Iterator[list[Any]]:
        """Yield the rows of a query by the block; the file must not be changed meanwhile."""
        with self.reporting():
            cursor = self._connection.execute(query, values)
            while block := cursor.fetchmany(size):
                yield block

    @contextlib.contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction, which :meth:`commit` ends, or 2 s."""
        with self._lock, self.reporting():
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SAVEPOINT change")
            self._depth += 1
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it
                    self._connection.execute("ROLLBACK TO change")
                raise
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("RELEASE change")
                self._depth -= 1
            if self._depth == 0 and time.monotonic() - self._committed >= _COMMIT_S:
                self.commit()

    def commit(self) -> None:
        """Make what was changed safe."""
        with self._lock, self.reporting():
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
            self._committed = time.monotonic()

    def change(self, query: str, values: Sequence[Any] = ()) -> int:
        """Change rows; return how many."""
        with self.changing() as connection:
            return connection.execute(query, values).rowcount

    # Analyses and spaces

    def analyses(self) -> list[Analysis]:
        """Return all analyses, the chosen one first."""
        return [
            Analysis(number, model, place, weights, json.loads(settings), tuple(json.loads(tags)))
            for number, model, place, weights, settings, tags in self.rows(
                "SELECT id, model, place, weights, settings, tags FROM analyses "
                "ORDER BY chosen DESC, id DESC"
            )
        ]

    def analysis(self, model: str | None = None) -> Analysis:
        """Return the chosen analysis, or the latest of a model."""
        known = self.analyses()
        if not known:
            raise ArgumentError(self._empty())
        if model is None:
            return known[0]
        for each in known:
            if model == each.model or (model == each.place and each.compatible is None):
                return each
        raise UnknownNameError("model of this library", model, [each.model for each in known])

    def make_analysis(
        self,
        *,
        model: str,
        place: str,
        weights: str,
        settings: Mapping[str, Any],
        tags: Sequence[str],
    ) -> Analysis:
        """Return the analysis that is like this; make it if it is new.

        The first is chosen at once, a later one by :meth:`choose`.
        """
        if len(tags) > _MOST_TAGS:
            raise ArgumentError(
                f"a library holds models of at most {_MOST_TAGS} tags; {model} has {len(tags)}"
            )
        listed = json.dumps(dict(settings), sort_keys=True)
        with self.changing() as connection:
            same = (weights, listed)
            where = "WHERE weights = ? AND settings = ?"
            (known,) = connection.execute(f"SELECT count(*) FROM analyses {where}", same).fetchone()
            if not known:
                number = connection.execute(
                    "INSERT INTO analyses (model, place, weights, settings, tags) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (model, place, *same, json.dumps(list(tags))),
                ).lastrowid
                columns = ", ".join(f"{column} REAL NOT NULL" for column in columns_of(tags))
                connection.execute(
                    f"CREATE TABLE tags_{number} (sound INTEGER PRIMARY KEY, {columns})"
                )
            connection.execute(f"UPDATE analyses SET place = ? {where}", (place, *same))
        made = next(
            each
            for each in self.analyses()
            if (each.weights, each.settings) == (weights, json.loads(listed))
        )
        if len(self.analyses()) == 1:
            self.choose(made)
        self.commit()
        return made

    def choose(self, analysis: Analysis) -> None:
        """Let queries, and the view, take an analysis from now on."""
        columns = ", ".join(f"t.{column}" for column in analysis.columns)
        with self.changing() as connection:
            connection.execute("UPDATE analyses SET chosen = (id = ?)", (analysis.id,))
            connection.execute("DROP VIEW IF EXISTS library")
            connection.execute(
                "CREATE VIEW library AS SELECT f.path, f.title, f.artist, f.album, f.genre, "
                f"s.duration_s, {columns} FROM files f JOIN sounds s ON s.id = f.sound "
                f"JOIN {analysis.table} t ON t.sound = f.sound WHERE f.state = 'present'"
            )

    def spaces(self, analysis: Analysis) -> list[Space]:
        """Return the layers of an analysis, in the order in which they were asked for."""
        if analysis.id not in self._spaces:
            found = self.rows(
                "SELECT id, layer, dimensions FROM spaces WHERE analysis = ? ORDER BY id",
                (analysis.id,),
            )
            self._spaces[analysis.id] = [Space(*row) for row in found]
        return self._spaces[analysis.id]

    def space(self, analysis: Analysis, layer: str | None = None) -> Space:
        """Return the vectors of a layer; by default of the first."""
        known = self.spaces(analysis)
        if not known:
            raise ArgumentError(
                f"library {str(self.path)!r} holds no tracks yet; fill it with "
                "'musicnn-zoo index FOLDER'"
            )
        if layer is None:
            return known[0]
        for each in known:
            if each.layer == layer:
                return each
        listed = ", ".join(each.layer for each in known)
        compatible = analysis.compatible is not None
        then = "" if compatible else f"; add them with 'musicnn-zoo index --layer {layer}'"
        raise ArgumentError(f"the library has no vectors of layer {layer!r}, but of {listed}{then}")

    def make_space(self, analysis: Analysis, layer: str, dimensions: int) -> Space:
        """Return the vectors of a layer; make a place for them if there is none."""
        with self.changing() as connection:
            number = connection.execute(
                "INSERT OR IGNORE INTO spaces (analysis, layer, dimensions) VALUES (?, ?, ?)",
                (analysis.id, layer, dimensions),
            )
            if number.rowcount:
                connection.execute(
                    f"CREATE TABLE vectors_{number.lastrowid} (sound INTEGER PRIMARY KEY, "
                    "length REAL NOT NULL, vector BLOB NOT NULL)"
                )
                self._spaces.clear()
        return self.space(analysis, layer)

    # Files and sounds

    def file(self, path: str) -> FileRow | None:
        """Look up a file by its absolute path."""
        found = self.rows(
            "SELECT id, size, mtime_ns, sound, state, reason, crashed FROM files WHERE path = ?",
            (path_to_text(path),),
        )
        return FileRow(*found[0]) if found else None

    def all_files(self) -> Iterator[tuple[int, str, int | None, str]]:
        """Yield number, path as text, sound and state of each file, which may be changed then."""
        last = 0
        query = "SELECT id, path, sound, state FROM files WHERE id > ? ORDER BY id LIMIT 10000"
        while block := self.rows(query, (last,)):
            yield from block
            last = block[-1][0]

    def sound(self, digest: str) -> int | None:
        """Return the sound with a digest."""
        found: int | None = self.value("SELECT id FROM sounds WHERE digest = ?", (digest,))
        return found

    def is_complete(self, sound: int | None, analysis: Analysis, layers: Collection[str]) -> bool:
        """Whether a sound has tags and vectors of an analysis."""
        if sound is None:
            return False
        spaces = {space.layer: space.table for space in self.spaces(analysis)}
        if not spaces.keys() >= set(layers):
            return False
        tables = [analysis.table, *(spaces[layer] for layer in layers)]
        return all(
            self.value(f"SELECT 1 FROM {table} WHERE sound = ?", (sound,)) for table in tables
        )

    def put_file(self, path: str, size: int, mtime_ns: int, **columns: Any) -> None:
        """Write what is known of a file, in place of what was known."""
        row = {
            "path": path_to_text(path), "size": size, "mtime_ns": mtime_ns, "state": "present",
            "reason": None, "crashed": 0, **columns,
        }  # fmt: skip
        updates = ", ".join(f"{name} = excluded.{name}" for name in row)
        self.change(
            f"INSERT INTO files ({', '.join(row)}) VALUES ({', '.join('?' * len(row))}) "
            f"ON CONFLICT (path) DO UPDATE SET {updates}",
            tuple(row.values()),
        )

    def put_sound(
        self,
        digest: str,
        duration_s: float,
        analysis: Analysis,
        scores: Sequence[float],
        vectors: Mapping[int, tuple[float, bytes]],
    ) -> int:
        """Write a sound with its tags, and by the spaces' numbers the lengths and unit vectors."""
        with self.changing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO sounds (digest, duration_s) VALUES (?, ?)",
                (digest, duration_s),
            )
            number = self.sound(digest)
            assert number is not None
            places = ", ".join("?" * (1 + len(scores)))
            connection.execute(
                f"INSERT OR REPLACE INTO {analysis.table} VALUES ({places})", (number, *scores)
            )
            for space, (length, vector) in vectors.items():
                connection.execute(
                    f"INSERT OR REPLACE INTO vectors_{space} VALUES (?, ?, ?)",
                    (number, length, vector),
                )
        return number

    def drop_unheard(self) -> None:
        """Drop the sounds that no file has any more."""
        unheard = [
            row
            for block in self.blocks(
                "SELECT id FROM sounds s WHERE NOT EXISTS "
                "(SELECT 1 FROM files f WHERE f.sound = s.id)", 1024,
            )
            for row in block
        ]  # fmt: skip
        if not unheard:
            return
        with self.changing() as connection:
            for analysis in self.analyses():
                for table in (analysis.table, *(each.table for each in self.spaces(analysis))):
                    connection.executemany(f"DELETE FROM {table} WHERE sound = ?", unheard)
            connection.executemany("DELETE FROM sounds WHERE id = ?", unheard)

    def remember_folders(self, folders: Mapping[str, Sequence[Any]]) -> None:
        """Note folders, and which files of them, for later runs."""
        rows = [(path_to_text(path), json.dumps(chosen)) for path, chosen in folders.items()]
        with self.changing() as connection:
            connection.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?)", rows)

    def folders(self) -> dict[str, list[Any]]:
        """Return the folders of earlier runs, and which files of them."""
        rows = self.rows("SELECT path, selection FROM folders ORDER BY path")
        return {path_from_text(path): json.loads(chosen) for path, chosen in rows}

    def told_failures(self) -> list[tuple[str, str]]:
        """Return what could not be used in the runs that came to their end, and why."""
        found = "files WHERE state = 'failed'"  # before there was a table
        if self.value("SELECT count(*) FROM sqlite_master WHERE name = 'failures'"):
            found = "failures"
        rows = self.rows(f"SELECT path, reason FROM {found} ORDER BY path")
        return [(path_from_text(path), reason) for path, reason in rows]

    def tell_failures(self, folders: Collection[str], failures: Sequence[tuple[str, str]]) -> None:
        """Note what a run over folders that comes to its end could not use, and why."""
        from musicnn_zoo.sound.find import is_below

        kept = [each for each in self.told_failures() if not is_below(each[0], folders)]
        rows = [(path_to_text(path), reason) for path, reason in (*kept, *failures)]
        with self.changing() as connection:
            connection.execute("DROP TABLE IF EXISTS failures")
            connection.execute("CREATE TABLE failures (path TEXT NOT NULL, reason TEXT NOT NULL)")
            connection.executemany("INSERT INTO failures VALUES (?, ?)", rows)

    def forget_gone(self, *, unmounted: bool) -> int:
        """Forget files that are gone, and with ``unmounted`` folders that are; return how many.

        Without, all stays that is below a folder that is not there or has no file that is, since
        its disk may not be mounted.
        """
        from musicnn_zoo.sound.find import is_below

        folders = set(self.folders())
        kept: set[str] = set()
        if unmounted:
            for folder in folders:
                if not os.path.lexists(folder):
                    self.forget_folder(folder)
        else:
            kept = set(folders)
            for _, text, _, state in self.all_files():
                if state == "present" and kept:
                    kept -= {each for each in kept if is_below(path_from_text(text), [each])}
        forgotten = [
            (number,)
            for number, text, _, state in self.all_files()
            if state == "gone" and not is_below(path_from_text(text), kept)
        ]
        with self.changing() as connection:
            connection.executemany("DELETE FROM files WHERE id = ?", forgotten)
        self.drop_unheard()
        return len(forgotten)

    def forget_folder(self, path: str) -> None:
        """Do not look through a folder any more."""
        self.change("DELETE FROM folders WHERE path = ?", (path_to_text(path),))

    def counts(self) -> dict[str, int]:
        """Return how many files there are in each state."""
        return dict(self.rows("SELECT state, count(*) FROM files GROUP BY state"))
