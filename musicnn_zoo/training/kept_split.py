"""The split of a training run, kept beside its settings: what a model has seen of other data."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from musicnn_zoo.datasets.dataset import SPLITS, Dataset
from musicnn_zoo.errors import AudioError, WeightsError, shown
from musicnn_zoo.files import replacing
from musicnn_zoo.machine.processes import usable_cores
from musicnn_zoo.sound.contents import read_contents
from musicnn_zoo.sound.remote import as_address, fetched, without_secrets
from musicnn_zoo.text import path_to_text
from musicnn_zoo.training.recipes import FOLDER

SPLIT_FILE = "split.json"
_FORMAT = 1


class KeptTrack(NamedTuple):
    """A track of a run.

    Parameters
    ----------
    path : str
        Below the folder that all tracks of the run have in common.
    split : str
        ``"train"``, ``"validation"`` or ``"test"``.
    sound : str
        Digest of its sound, see :class:`musicnn_zoo.sound.contents.Contents`.
    """

    path: str
    split: str
    sound: str


@dataclass(frozen=True, eq=False)
class KeptSplit:
    """What a model was trained, validated and tested on.

    Tracks are known by their sound, so that they may be moved, renamed or given other titles.

    Parameters
    ----------
    dataset : str
        Its name.
    tracks : tuple of KeptTrack
    earlier : mapping of str to str
        Split by sound of the runs before, where the model was fine-tuned from one that was
        trained itself.
    """

    dataset: str
    tracks: tuple[KeptTrack, ...]
    earlier: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def seen(self) -> dict[str, str]:
        """The split of each sound; of one that is in several, the first of ``SPLITS``."""
        found: dict[str, str] = {}
        pairs = [*self.earlier.items(), *((track.sound, track.split) for track in self.tracks)]
        for sound, split in sorted(pairs, key=lambda pair: -SPLITS.index(pair[1])):
            found[sound] = split
        return found

    def splits_of(self, paths: Sequence[str], *, jobs: int | None = None) -> list[str | None]:
        """Return for each file in which split its sound was; None if in none, or not readable."""
        return [
            None if sound is None else self.seen.get(sound) for sound in sounds_of(paths, jobs=jobs)
        ]

    def namesakes(self, paths: Sequence[str]) -> list[str | None]:
        """Return for each file the split of the track that has its place and name.

        Endings, and the folders above, may differ; None if no track is called so.
        """
        worst_last = sorted(self.tracks, key=lambda track: -SPLITS.index(track.split))
        named = {PurePath(track.path).with_suffix("").parts: track.split for track in worst_last}
        lengths = sorted({len(parts) for parts in named}, reverse=True)
        return [
            next((named[tail] for length in lengths if (tail := parts[-length:]) in named), None)
            for parts in (
                Path(path_to_text(path)).absolute().with_suffix("").parts for path in paths
            )
        ]

    @classmethod
    def read(cls, model_folder: Path) -> KeptSplit | None:
        """Read what the folder of a model keeps; None if it keeps no split.

        A WeightsError is raised if the file is damaged.
        """
        path = model_folder / FOLDER / SPLIT_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if (form := stored["format"]) != _FORMAT:
                raise WeightsError(
                    f"{path}: has the form {shown(form)}, and this musicnn-zoo knows {_FORMAT}; "
                    "update musicnn-zoo"
                )
            tracks = tuple(
                KeptTrack(str(each["path"]), str(each["split"]), str(each["sound"]))
                for each in stored["tracks"]
            )
            earlier = {str(sound): str(split) for sound, split in stored["earlier"].items()}
            if {*earlier.values(), *(track.split for track in tracks)} - set(SPLITS):
                raise ValueError
            return cls(str(stored["dataset"]), tracks, earlier)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = (error.strerror or error) if isinstance(error, OSError) else "it is damaged"
            raise WeightsError(
                f"{path}: cannot be read ({why}), so that nobody can say what the model was "
                "trained on; delete it to evaluate without"
            ) from error

    def write(self, model_folder: Path) -> None:
        """Write it into the folder of a model, whole or not at all."""
        stored: dict[str, Any] = {
            "format": _FORMAT,
            "dataset": self.dataset,
            "tracks": [track._asdict() for track in self.tracks],
            "earlier": dict(self.earlier),
        }
        with replacing(model_folder / FOLDER / SPLIT_FILE, failure="cannot be written") as file:
            file.write(json.dumps(stored, indent=0).encode())


def keep_split(
    model_folder: Path,
    dataset: Dataset,
    used: Collection[str],
    *,
    base: Path | None = None,
    jobs: int | None = None,
) -> KeptSplit:
    """Keep the split of a run in the folder of its model, unless it is there.

    Parameters
    ----------
    model_folder : Path
    dataset : Dataset
        With splits.
    used : collection of str
        The paths of train and validation that could be decoded.
    base : Path, optional
        Folder of the model that the run began with; what that has seen is kept, too.
    jobs : int, optional
        Threads that read files; by default one a core.
    """
    splits = dict(zip(dataset.paths, dataset.splits or (), strict=True))
    paths = [path for path in dataset.paths if path in used or splits[path] == "test"]
    names = _below_their_folder(paths)
    before = KeptSplit.read(model_folder)
    if base is None or base == model_folder:
        earlier = dict(before.earlier) if before is not None else {}
    else:
        of_base = KeptSplit.read(base)
        earlier = {} if of_base is None else of_base.seen
    wanted = [(name, splits[path]) for name, path in zip(names, paths, strict=True)]
    if (
        before is not None
        and before.earlier == earlier
        and [(track.path, track.split) for track in before.tracks] == wanted
    ):
        return before
    kept = KeptSplit(
        dataset.name,
        tuple(
            KeptTrack(name, split, sound)
            for (name, split), sound in zip(wanted, sounds_of(paths, jobs=jobs), strict=True)
            if sound is not None
        ),
        earlier,
    )
    kept.write(model_folder)
    return kept


def sounds_of(paths: Iterable[str], *, jobs: int | None = None) -> list[str | None]:
    """Return the digest of the sound of each file; None of one that cannot be read."""
    with ThreadPoolExecutor(jobs or usable_cores()) as pool:
        return list(pool.map(_sound_of, paths))


def _sound_of(path: str) -> str | None:
    address = as_address(path)
    try:
        if address is None:
            return read_contents(path, size=Path(path).stat().st_size).digest
        with fetched(address) as place:
            return read_contents(str(place), size=place.stat().st_size).digest
    except (AudioError, OSError):
        return None


def _below_their_folder(paths: Sequence[str]) -> list[str]:
    """Return the paths below the folder that all have in common; addresses as they are."""
    if any(as_address(path) is not None for path in paths):
        return [path_to_text(without_secrets(path)) for path in paths]
    whole = [Path(path).absolute() for path in paths]
    try:
        root = os.path.commonpath([path.parent for path in whole])
    except ValueError:  # several drives of Windows
        return [path_to_text(path) for path in whole]
    return [path_to_text(path.relative_to(root).as_posix()) for path in whole]
