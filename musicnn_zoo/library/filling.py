"""What a run of ``index`` takes: a library file for itself, folders, a model and its settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from musicnn_zoo.errors import ArgumentError, OutputError, check_choice, check_whole, shown
from musicnn_zoo.files import locked, mode_at, raising
from musicnn_zoo.library.indexing import (
    NOT_THERE,
    Analyse,
    IndexSummary,
    OnProgress,
    run_index,
)
from musicnn_zoo.library.library_file import Analysis, LibraryFile
from musicnn_zoo.runtimes.engine import ENGINES, EngineName
from musicnn_zoo.sound.find import Selection
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.sound.remote import as_address, place_of
from musicnn_zoo.sound.sources import local_path
from musicnn_zoo.tagging.pipeline import EmbeddedTags
from musicnn_zoo.tagging.results import FileResult

DEFAULT_LAYER = "penultimate"
Compatible = Literal["audiomuse"]
"""Programs whose vectors can be computed as they do."""


class Wanted(NamedTuple):
    """What a run is asked for; what is not said (None, no layers) is as in the run before.

    Parameters
    ----------
    model : str or path or None
    layers : tuple of str
    cut : dict
        ``patch_s``, ``hop_s``, ``tail`` and ``silence``.
    damaged, engine, device, jobs
        As in :func:`musicnn_zoo.tag_files`.
    compatible : str or None
        As in :meth:`musicnn_zoo.Library.index`.
    """

    model: str | os.PathLike[str] | None
    layers: tuple[str, ...]
    cut: dict[str, Any]
    damaged: OnDamage
    engine: EngineName
    device: str | None
    jobs: int | None
    compatible: Compatible | None = None


def fill(
    path: Path,
    folders: Sequence[str | os.PathLike[str]],
    selection: Selection,
    wanted: Wanted,
    on_progress: OnProgress | None = None,
) -> IndexSummary:
    """Bring the library file at ``path`` up to date with folders, by default with those it knows.

    Raises
    ------
    ArgumentError
        If a folder is not there, another run is filling the file, or what is wanted cannot be.
    OutputError
        If the file cannot be written.
    """
    check_choice("damaged", wanted.damaged, get_args(OnDamage))
    check_choice("engine", wanted.engine, ENGINES)
    if wanted.jobs is not None:
        check_whole("jobs", wanted.jobs)
    if not (on_progress is None or callable(on_progress)):
        raise ArgumentError(f"on_progress must be a function; received {shown(on_progress)}")
    places = dict.fromkeys(_present(folders), selection)
    with _alone(path), LibraryFile(path, write=True) as library:
        if not places:
            places = {
                place: Selection(tuple(included), tuple(excluded), with_hidden)
                for place, (included, excluded, with_hidden) in library.folders().items()
            }
        if not places:
            raise ArgumentError("name a folder to index; the library has none yet")
        filling = _as_audiomuse(library, wanted) if wanted.compatible else _ours(library, wanted)
        library.remember_folders(
            {
                place: (one.include, one.exclude, one.hidden)
                for place, one in places.items()
                if Path(place).is_dir()
            }
        )
        return run_index(
            library, places, filling.analysis, filling.layers, filling.analyse,
            jobs=wanted.jobs, on_progress=on_progress,
        )  # fmt: skip


class _Filling(NamedTuple):
    """An analysis, the layers whose vectors it has, and what computes them."""

    analysis: Analysis
    layers: tuple[str, ...]
    analyse: Analyse


def _ours(library: LibraryFile, wanted: Wanted) -> _Filling:
    chosen = _chosen_model(library, wanted.model)
    cut, layers = _settled(library, wanted, chosen.weights)
    usual = chosen.spec.config.grid
    grid = usual.of_lengths(cut["patch_s"], cut["hop_s"])
    if grid == usual.of_lengths(None, None):
        cut |= {"patch_s": None, "hop_s": None}
    settings = {
        **cut, "patch_frames": grid.patch, "hop_frames": grid.hop,
        "sample_rate": grid.sample_rate, "pooling": "mean",
    }  # fmt: skip
    analysis = library.make_analysis(
        model=chosen.spec.name, place=chosen.place, weights=chosen.weights,
        settings=settings, tags=chosen.spec.tags,
    )  # fmt: skip

    def analyse(paths: Iterable[str]) -> Iterator[FileResult[EmbeddedTags]]:
        from musicnn_zoo.tagging.tagger import Tagger

        tagger = Tagger(chosen.pretrained, engine=wanted.engine, device=wanted.device)
        return tagger.embedded_tags_files(
            paths, layer=layers, **cut, damaged=wanted.damaged, jobs=wanted.jobs
        )

    return _Filling(analysis, layers, analyse)


def _as_audiomuse(library: LibraryFile, wanted: Wanted) -> _Filling:
    from musicnn_zoo.library import audiomuse

    check_choice("compatible", wanted.compatible, get_args(Compatible))
    decided = {
        "model": wanted.model, "layer": wanted.layers or None, **wanted.cut,
        "device": wanted.device, "engine": None if wanted.engine == "auto" else wanted.engine,
    }  # fmt: skip
    for name, value in decided.items():
        if value is not None:
            raise ArgumentError(
                f"compatible={wanted.compatible!r} decides on {name} itself; leave it out"
            )
    chosen = _Chosen(audiomuse.MODEL)
    analysis = library.make_analysis(
        model=audiomuse.NAME, place=chosen.place, weights=chosen.weights,
        settings=audiomuse.settings(chosen.spec.config), tags=chosen.spec.tags,
    )  # fmt: skip

    def analyse(paths: Iterable[str]) -> Iterator[FileResult[EmbeddedTags]]:
        analyst = audiomuse.AudioMuseAnalyst(chosen.pretrained)
        return analyst(paths, damaged=wanted.damaged, jobs=wanted.jobs)

    return _Filling(analysis, (audiomuse.LAYER,), analyse)


def _present(folders: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the absolute paths of folders, all of which must be there.

    An unmounted disk is then an error and not a folder whose files are all gone.
    """
    found = []
    for given in folders:
        if as_address(given) is not None:
            raise ArgumentError(
                f"{place_of(given)}: a library is of files of this machine; mount the store, or "
                "'musicnn-zoo tag' and 'embed' write tables of what lies at addresses"
            )
        folder = local_path(given)
        if mode_at(folder) is None:
            raise ArgumentError(f"{folder}: {NOT_THERE}")
        found.append(os.path.realpath(folder))
    return list(dict.fromkeys(found))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """See that no other run fills a library meanwhile."""
    failure = f"library {str(path)!r} cannot be written"
    with raising(OutputError, failure):
        path.parent.mkdir(parents=True, exist_ok=True)
    busy = f"library {str(path)!r}: another run is filling it; let it end"
    with locked(Path(f"{path}.lock"), busy=busy, failure=failure):
        yield


class _Chosen:
    """A model that a library is filled by."""

    def __init__(self, place: str) -> None:
        from musicnn_zoo.zoo.load import find_pretrained, looks_like_place

        self.pretrained = find_pretrained(place)
        self.spec = self.pretrained.spec
        self.weights = self.pretrained.digest()
        is_folder = looks_like_place(place) and not place.startswith("hf://")
        self.place = str(Path(place).expanduser().absolute()) if is_folder else place


def _chosen_model(library: LibraryFile, model: str | os.PathLike[str] | None) -> _Chosen:
    from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

    if model is None:
        known = _own_analyses(library)
        model = known[0].place if known else DEFAULT_MODEL
    if not isinstance(model, str | os.PathLike):
        raise ArgumentError(
            "model must be the name or the place of a model, since later runs load it again; "
            f"received {shown(model)}: save it by save_pretrained"
        )
    return _Chosen(os.fspath(model))


def _own_analyses(library: LibraryFile) -> list[Analysis]:
    return [each for each in library.analyses() if each.compatible is None]


def _settled(
    library: LibraryFile, wanted: Wanted, weights: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return how patches are cut, and the layers, with those of the run before for what is open."""
    cut, layers = wanted.cut, wanted.layers
    before = _own_analyses(library)[:1]
    if before and (wanted.model is None or before[0].weights == weights):
        old = before[0].settings
        cut = {name: old[name] if value is None else value for name, value in cut.items()}
        layers = layers or tuple(each.layer for each in library.spaces(before[0]))
    cut = {**cut, "tail": cut["tail"] or "drop", "silence": cut["silence"] or "skip"}
    return cut, layers or (DEFAULT_LAYER,)
