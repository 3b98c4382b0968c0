"""A small server of listening pages, for this machine only."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

from musicnn_zoo.errors import AudioError, MusicnnZooError
from musicnn_zoo.listening.listing import Listed, list_page, navigation
from musicnn_zoo.listening.page import ListeningPage
from musicnn_zoo.listening.recording import Recording
from musicnn_zoo.tagging.results import FileResult, Tags
from musicnn_zoo.text import printable
from musicnn_zoo.web.loopback import LoopbackHandler, LoopbackServer

_AT_ONCE = 2
_WAITING = 32
_KEPT = 8
_PAGE_PATIENCE_S = 10.0
_SOUND_PATIENCE_S = 300.0
_AGAIN_S = 5
_PLACE = re.compile(r"/(page|audio)/(\d{1,9})")


TagFiles = Callable[[Sequence[str]], Generator[FileResult[Tags], None, None]]


class NotYet(Exception):  # noqa: N818
    """The work is not finished; ask again later."""


class BackgroundWork:
    """Work in threads; the last results are kept, each under a key.

    Two are done at once, so that a long one does not keep all others waiting. Their threads do not
    keep the process from ending.
    """

    def __init__(self) -> None:
        self._turns = threading.Semaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._begun: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._stopped = False

    def result(self, key: Hashable, work: Callable[[], Any], *, patience_s: float) -> Any:
        """Return the result of the work; start the work if nobody has.

        Raises :class:`NotYet` if it takes longer than ``patience_s``, or too much is waiting
        already. Work that raises an error starts again at the next call.
        """
        with self._lock:
            future = self._begun.get(key)
            if future is None:
                if sum(not each.done() for each in self._begun.values()) >= _WAITING:
                    raise NotYet
                future = Future()
                thread = threading.Thread(target=self._do, args=(key, work, future), daemon=True)
                thread.start()
                self._begun[key] = future
            self._begun.move_to_end(key)
        wait([future], patience_s)
        if not future.done():
            raise NotYet
        return future.result()

    def stop(self) -> None:
        """Start no further work."""
        self._stopped = True

    def _do(self, key: Hashable, work: Callable[[], Any], future: Future[Any]) -> None:
        with self._turns:
            try:
                if self._stopped:
                    raise NotYet
                future.set_result(work())
            except BaseException as error:
                with self._lock:
                    self._begun.pop(key, None)
                future.set_exception(error)
        with self._lock:
            done = [each for each, kept in self._begun.items() if kept.done()]
            for each in done[:-_KEPT]:
                del self._begun[each]


class PageServer(LoopbackServer):
    """Serves listening pages of files on the loopback address, made when they are asked for.

    Pages are made by ``make_page``. The server gives no files but ``paths``; at ``url`` it has the
    list of them. ``tag_files`` gives the tags of the files for the list, one after the other, in a
    thread of its own; without it the list has those of the pages that were made.
    """

    def __init__(
        self,
        paths: Sequence[str],
        make_page: Callable[[str], ListeningPage],
        *,
        port: int = 0,
        tag_files: TagFiles | None = None,
    ) -> None:
        self._tag_files = tag_files
        self._tags: dict[int, Tags] = {}
        self._seen = 0
        self._stopped = threading.Event()
        self._recordings = [Recording(path) for path in paths]
        self._paths = list(paths)
        folders = [Path(path).absolute().parent for path in paths]
        self._root = os.path.commonpath(folders) if folders else ""
        self._places = [Path(path).resolve() for path in paths]
        self._make_page = make_page
        self._works = BackgroundWork()
        self._converted = tempfile.TemporaryDirectory(prefix="musicnn-zoo-")
        try:
            super().__init__(_Handler, port=port)
        except BaseException:
            self._converted.cleanup()
            raise

    def __enter__(self) -> PageServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._works.stop()
        self.close()
        self._converted.cleanup()

    def serve(self) -> None:
        """Answer requests until :meth:`stop`."""
        if self._tag_files is not None:
            threading.Thread(target=self._tag_all, args=(self._tag_files,), daemon=True).start()
        super().serve()

    def _tag_all(self, tag_files: TagFiles) -> None:
        with closing(tag_files(self._paths)) as results:
            for number, result in enumerate(results):
                if result.value is not None:
                    self._tags.setdefault(number, result.value)
                self._seen = number + 1
                if self._stopped.is_set():
                    return

    def _listed(self, number: int) -> Listed | None:
        if not 0 <= number < len(self._paths):
            return None
        name = os.path.relpath(Path(self._paths[number]).absolute(), self._root)
        tags = self._tags.get(number)
        return Listed(f"/page/{number}", name, tags, "" if tags is None else tags.model)

    def index(self) -> str:
        """Return the list of files as HTML."""
        note = "A page is made when it is opened; long recordings take a while."
        if self._tag_files is not None and self._seen < len(self._paths):
            note += f" {len(self._tags)} have their tags so far: reload for more."
        found = (self._listed(number) for number in range(len(self._paths)))
        return list_page([each for each in found if each is not None], note=note)

    def page(self, number: int) -> str:
        """Return the page of a file as HTML, or raise :class:`NotYet` while it is being made."""
        path = self._unmoved(number)
        made: ListeningPage = self._works.result(
            ("page", number), lambda: self._make_page(path), patience_s=_PAGE_PATIENCE_S
        )
        self._tags[number] = made.taggrams[0].rank()
        ways = navigation("/", self._listed(number - 1), self._listed(number + 1))
        return made.html(audio_url=f"/audio/{number}", navigation=ways)

    def sound(self, number: int) -> tuple[Path, str]:
        """Return a file that browsers play, and its MIME type, or raise :class:`NotYet`."""
        self._unmoved(number)
        kind = self._recordings[number].kind
        if kind is not None:
            return self._places[number], kind
        converted = Path(self._converted.name).resolve() / f"{number}.webm"

        def convert() -> Path:
            unfinished = converted.with_suffix(".unfinished")
            unfinished.write_bytes(self._recordings[number].as_opus().content)
            return unfinished.replace(converted)

        if not converted.exists():
            self._works.result(("audio", number), convert, patience_s=_SOUND_PATIENCE_S)
        return converted, "audio/webm"

    def _unmoved(self, number: int) -> str:
        """Return the path of a file, if it still is in the place where it was."""
        path, place = self._paths[number], self._places[number]
        try:
            same = Path(path).resolve() == place and stat.S_ISREG(place.stat().st_mode)
        except FileNotFoundError:
            same = True  # the decoder has a better message for a missing file
        except (OSError, RuntimeError):
            same = False
        if not same:
            raise AudioError(f"{path}: has been replaced since the server started; start it again")
        return path

    def __len__(self) -> int:
        return len(self._paths)


class _Handler(LoopbackHandler):
    local: PageServer

    def respond(self) -> None:
        """Send the list of files, a page or a sound."""
        try:
            if self.path == "/":
                self.answer(self.local.index())
                return
            asked = _PLACE.fullmatch(self.path)
            if asked is None or int(asked[2]) >= len(self.local):
                self.refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            elif asked[1] == "page":
                self.answer(self.local.page(int(asked[2])))
            else:
                path, kind = self.local.sound(int(asked[2]))
                self.stream(path, kind)
        except NotYet:
            self._ask_again()
        except MusicnnZooError as error:
            self.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, printable(str(error)))

    def _ask_again(self) -> None:
        """Tell a browser to come back; it does so by itself."""
        self.answer(
            f'<!doctype html><meta http-equiv="refresh" content="{_AGAIN_S}"><title>Not yet</title>'
            "<p>This is being made, and will be here when it is ready.",
            HTTPStatus.SERVICE_UNAVAILABLE,
            Retry_After=str(_AGAIN_S),
        )
