"""Taggers that are kept between calls, for models however they are named."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.machine.processes import ForkedLock
from musicnn_zoo.runtimes.engine import EngineName
from musicnn_zoo.tagging.tagger import Tagger
from musicnn_zoo.zoo.folder import folder_stamp

if TYPE_CHECKING:
    from musicnn_zoo.networks.models import TaggingModel

ModelLike: TypeAlias = "str | os.PathLike[str] | TaggingModel | Tagger"

_KEPT = 4
_KEPT_WITH_MODEL = "_musicnn_zoo_taggers"


class _Place:
    """A Tagger to come; whoever needs it waits here, and for no other."""

    def __init__(self, kept: object) -> None:
        self.lock = ForkedLock()
        self.tagger: Tagger | None = None
        self.kept = kept


class _Taggers:
    """The Taggers that were used last."""

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._places: OrderedDict[tuple[object, ...], _Place] = OrderedDict()

    def get(
        self,
        model: str | TaggingModel,
        version: tuple[object, ...],
        engine: EngineName,
        device: str | None,
        *,
        kept: object = None,
    ) -> Tagger:
        """Return the Tagger of a model as it is now; make it, if there is none.

        ``kept`` stays alive as long, so that nothing else gets its identity.
        """
        key = (*version, engine, device)
        with self._lock:
            place = self._places.setdefault(key, _Place(kept))
            self._places.move_to_end(key)
            if len(self._places) > _KEPT:
                self._places.popitem(last=False)
        with place.lock:
            if place.tagger is None:
                try:
                    place.tagger = Tagger(model, engine=engine, device=device)
                except BaseException:
                    with self._lock:
                        self._places.pop(key, None)
                    raise
            return place.tagger


_of_places = _Taggers()


def shared_tagger(model: ModelLike, engine: EngineName, device: str | None) -> Tagger:
    """Return a Tagger that is kept between calls, for a model however it is named.

    That of a model object is kept with the model and ends with it. It has the weights that the
    model has at each call; a model that was given other variables or another spec gets a new one.
    """
    if isinstance(model, str | os.PathLike):
        place = os.fspath(model)
        return _of_places.get(place, (place, *folder_stamp(place)), engine, device)
    if isinstance(model, Tagger):
        if device is not None or engine != "auto":
            raise ArgumentError(
                "engine and device are chosen when a Tagger is made: pass them to it"
            )
        return model
    # Past Keras, which would take it for a part of the model.
    taggers: _Taggers = model.__dict__.setdefault(_KEPT_WITH_MODEL, _Taggers())
    parts = (model.thresholds, *model.weights)
    version = (repr(model.spec), *map(id, parts))
    return taggers.get(model, version, engine, device, kept=parts)
