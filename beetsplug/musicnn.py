"""The plugin ``musicnn`` of beets: what tracks sound like, in attributes and in a command.

Tags and embeddings are kept in the library file of ``musicnn-zoo index``, so that a sound is
analysed once, whoever asked for it. beets holds the best of the scores as attributes such as
``musicnn_rock``. The files themselves are never written.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from beets import ui
from beets.dbcore import types
from beets.library import Item
from beets.library import Library as Beets
from beets.plugins import BeetsPlugin

from musicnn_zoo.errors import MusicnnZooError, check_whole
from musicnn_zoo.library.collection import Library
from musicnn_zoo.library.tracks import Track
from musicnn_zoo.text import count

if TYPE_CHECKING:
    from musicnn_zoo.library.indexing import Progress

PREFIX = "musicnn_"
MODEL = f"{PREFIX}model"
TAGS = f"{PREFIX}tags"
SIMILARITY = f"{PREFIX}similarity"
_SEPARATOR = "; "
_TOLD_EVERY_S = 30.0


def attribute(tag: str) -> str:
    """Return the attribute that holds the score of a tag: ``musicnn_female_vocal``."""
    name = PREFIX + re.sub(r"\W+", "_", tag.lower()).strip("_")
    return f"{name}_" if name in (MODEL, TAGS, SIMILARITY) else name


def file_of(item: Item) -> str:
    """Return where the file of an item is, without links."""
    return os.path.realpath(os.fsdecode(item.path))


class Choice(NamedTuple):
    """What is kept of the scores of a track: those from a threshold on, and the names of the best.

    Parameters
    ----------
    top_k : int
    threshold : float
    """

    top_k: int
    threshold: float

    def attributes(self, track: Track, model: str) -> dict[str, Any]:
        """Return the attributes of an item, by name."""
        ranked = sorted(track.values.items(), key=lambda each: -each[1])
        kept = [(tag, score) for tag, score in ranked if score >= self.threshold]
        best = kept[: self.top_k]
        scores = {attribute(tag): round(score, 4) for tag, score in reversed(kept)}
        return {**scores, TAGS: _SEPARATOR.join(tag for tag, _ in best), MODEL: model}


class MusicnnPlugin(BeetsPlugin):
    """Tag tracks by what they sound like, and find those that sound alike."""

    def __init__(self) -> None:
        super().__init__("musicnn")
        self.config.add(
            {
                "auto": False,
                "force": False,
                "model": None,
                "top_k": 5,
                "threshold": 0.1,
                "library": None,
            }
        )
        self._one_at_a_time = threading.Lock()
        self.register_listener("import_begin", self._begin_import)
        self.register_listener("import_task_files", self._imported)

    @cached_property
    def _library(self) -> Library:
        given = self.config["library"]
        return Library(given.as_filename() if given.get() else None)

    @cached_property
    def item_types(self) -> dict[str, types.Type]:
        """The types of the attributes: scores are numbers, so that ranges of them can be asked."""
        from musicnn_zoo.zoo.catalogue import PRESETS

        tags = {tag for preset in PRESETS.values() for tag in preset.tags}
        try:
            tags.update(*self._library.models().values())
        except MusicnnZooError as error:
            self._log.debug("{}", error)
        return {
            **dict.fromkeys(map(attribute, tags), types.Float(2)),
            SIMILARITY: types.Float(3),
            TAGS: types.STRING,
            MODEL: types.STRING,
        }

    def commands(self) -> list[ui.Subcommand]:
        """Return the commands of ``beet``."""
        tag = ui.Subcommand("musicnn", help="tag tracks by what they sound like")
        tag.parser.add_option(
            "-f", "--force", action="store_true",
            help="set the attributes of tracks that have them, too",
        )  # fmt: skip
        tag.parser.add_option(
            "-p", "--pretend", action="store_true", help="show what would be done, and do nothing"
        )
        tag.parser.add_option("-m", "--model", help="model to tag with")
        tag.parser.add_option(
            "-k", "--top-k", type="int", metavar="K", help="name the K best tags in musicnn_tags"
        )
        tag.parser.add_option(
            "-t", "--threshold", type="float", metavar="T", help="keep scores of at least T"
        )
        tag.func = self._told(self._tag)
        similar = ui.Subcommand("musicnn-similar", help="list tracks that sound like others")
        similar.parser.add_option(
            "-k", "--top-k", type="int", metavar="K", default=10, help="list K tracks (default: 10)"
        )
        similar.parser.add_path_option()
        similar.parser.add_format_option()
        similar.func = self._told(self._similar)
        return [tag, similar]

    @staticmethod
    def _told(command: Callable[..., None]) -> Callable[..., None]:
        """Have a command say in a line what people can mend."""

        def run(*args: Any) -> None:
            try:
                command(*args)
            except MusicnnZooError as error:
                raise ui.UserError(str(error)) from error

        return run

    def _choice(self) -> Choice:
        from musicnn_zoo.tagging.results import check_threshold

        top_k = check_whole("top_k", self.config["top_k"].get(int))
        return Choice(top_k, check_threshold(self.config["threshold"].get(float)))

    def _model(self) -> str | None:
        """Return the model that was asked for; otherwise the library file goes on with its own."""
        given = self.config["model"]
        name: str | None = given.as_str() if given.get() else None
        return name

    def _model_name(self, model: str | None) -> str:
        from musicnn_zoo import model_info
        from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

        if model is None:
            return next(iter(self._library.models()), DEFAULT_MODEL)
        return model_info(model).name

    # beet musicnn

    def _tag(self, beets: Beets, opts: Any, args: list[str]) -> None:
        self.config.set_args(opts)
        choice, model = self._choice(), self._model()
        name = self._model_name(model)
        items = list(beets.items(args))
        lacking = [
            item for item in items if self.config["force"].get(bool) or item.get(MODEL) != name
        ]
        if opts.pretend:
            self._pretend(lacking, name, choice)
        else:
            self._bring_up_to_date(beets, items, lacking, model, choice)

    def _begin_import(self, session: Any) -> None:
        """Say what is wrong with the settings before anything is imported."""
        del session
        if self.config["auto"].get(bool):
            self._told(self._check_settings)()

    def _check_settings(self) -> None:
        self._choice()
        self._model_name(self._model())

    def _imported(self, session: Any, task: Any) -> None:
        """Tag what was imported, now that it is where it stays; no error ends an import."""
        if not self.config["auto"].get(bool):
            return
        items = list(task.imported_items())
        try:
            self._bring_up_to_date(session.lib, items, items, self._model(), self._choice())
        except MusicnnZooError as error:
            self._log.error("{}", error)

    def _pretend(self, items: Sequence[Item], name: str, choice: Choice) -> None:
        known = self._known(items, name)
        for item in items:
            track = known.get(file_of(item))
            said = _described(choice.attributes(track, name)) if track else "would be analysed"
            ui.print_(f"{item}: {said}")

    def _bring_up_to_date(
        self, beets: Beets, items: Sequence[Item], lacking: Sequence[Item], model: str | None,
        choice: Choice,
    ) -> None:  # fmt: skip
        """Let the library file know all items, and set the attributes of those that lack them."""
        name = self._model_name(model)
        try:
            with self._one_at_a_time:
                self._index(items, model)
        finally:  # Ctrl+C loses nothing of what was done
            known = self._known(lacking, name)
            with beets.transaction():
                for item in lacking:
                    track = known.get(file_of(item))
                    if track is not None:
                        self._set(item, choice.attributes(track, name))

    def _index(self, items: Sequence[Item], model: str | None) -> None:
        files = {file_of(item): item for item in items}
        present = [file for file in files if Path(file).is_file()]
        for file in files.keys() - set(present):
            self._log.warning("{}: there is no such file", file)
        if present:
            done = self._library.index(present, model=model, on_progress=self._teller())
            for file, reason in done.failures:
                self._log.warning("{}: {}", file, reason)
            self._log.info("{}", done)

    def _teller(self) -> Callable[[Progress], None]:
        told = time.monotonic()

        def tell(progress: Progress) -> None:
            nonlocal told
            if time.monotonic() - told >= _TOLD_EVERY_S:
                told = time.monotonic()
                self._log.info("{} files, {} analysed", progress.looked_at, progress.done)

        return tell

    def _known(self, items: Sequence[Item], model: str) -> dict[str, Track]:
        """Return what the library file knows of items as they are now, by their files."""
        if not items or model not in self._library.models():
            return {}
        found = self._library.look_up([file_of(item) for item in items], model=model)
        return {track.path: track for track in found}

    def _set(self, item: Item, new: Mapping[str, Any]) -> None:
        for name in list(item.keys(with_album=False)):
            if name.startswith(PREFIX) and name not in new:
                del item[name]
        item.update(new)
        item.store()
        self._log.info("{}: {}", item, _described(new))

    # beet musicnn-similar

    def _similar(self, beets: Beets, opts: Any, args: list[str]) -> None:
        check_whole("top-k", opts.top_k)
        if not args:
            raise ui.UserError("say which track: beet musicnn-similar QUERY")
        wanted = list(beets.items(args))
        if not wanted:
            raise ui.UserError("no track fits this query")
        name = self._model_name(self._model())
        seeds = self._known(wanted, name)
        if not seeds:
            raise ui.UserError(f"not analysed by {name} yet: run beet musicnn {' '.join(args)}")
        if len(seeds) < len(wanted):
            self._log.warning("{} of {} are analysed", len(seeds), count(len(wanted), "track"))
        items = {file_of(item): item for item in beets.items()}
        alike = self._library.similar(list(seeds), k=opts.top_k, among=list(items), model=name)
        for track in alike:
            item = items[track.path]
            item[SIMILARITY] = track.values["similarity"]
            ui.print_(format(item))


def _described(attributes: Mapping[str, Any]) -> str:
    tags = filter(None, attributes[TAGS].split(_SEPARATOR))
    return ", ".join(f"{tag} {attributes[attribute(tag)]:.2f}" for tag in tags) or "no tags"
