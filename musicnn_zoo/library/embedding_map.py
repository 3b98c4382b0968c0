"""A map of a music collection: embeddings of many files, reduced to two dimensions."""

from __future__ import annotations

import importlib.util
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError, check_choice
from musicnn_zoo.files import check_ending, replacing
from musicnn_zoo.machine.installation import provide_writable_caches
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.runtimes.engine import EngineName
from musicnn_zoo.sound.find import find_audio
from musicnn_zoo.sound.read import OnDamage
from musicnn_zoo.sound.remote import Address
from musicnn_zoo.tagging.functions import ModelLike, shared_tagger
from musicnn_zoo.tagging.pipeline import EmbeddedTags
from musicnn_zoo.tagging.results import FileResult, plain_floats, require_pandas
from musicnn_zoo.tagging.tagger import Paths
from musicnn_zoo.text import count, csv_lines, path_cell, path_to_text, printable, safe_tag
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Method = Literal["pca", "umap"]
WhichMethod = Literal["auto", "pca", "umap"]
ColourBy = Literal["folder", "tag"]
METHODS: tuple[WhichMethod, ...] = get_args(WhichMethod)
COLOURS_BY: tuple[ColourBy, ...] = get_args(ColourBy)
MAP_ENDINGS = (".json", ".csv")

_KEYS = ("source", "folder", "tag", "x", "y")
_FEWEST = 3
_FEWEST_FOR_UMAP = 10
_MOST_REASONS = 3


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Files as points in a plane; what sounds alike to the model lies close together.

    Parameters
    ----------
    points : ndarray, shape (files, 2), float32
    sources : tuple of str
        The file of each point.
    folders : tuple of str
        The folder of each file, below the folder that all of them are in.
    tags : tuple of str
        The strongest tag of each file.
    colour_by : {"folder", "tag"}
    method : {"pca", "umap"}
    explained_variance : tuple of float or None
        Of PCA, the part of the variance that each of the two dimensions has.
    model, layer : str
    errors : dict of str to str
        Files that could not be used, and why.
    """

    points: NDArray[np.float32]
    sources: tuple[str, ...]
    folders: tuple[str, ...]
    tags: tuple[str, ...]
    colour_by: ColourBy
    method: Method
    explained_variance: tuple[float, float] | None
    model: str
    layer: str
    errors: dict[str, str]

    def __len__(self) -> int:
        return len(self.points)

    @property
    def groups(self) -> tuple[str, ...]:
        """What the points are coloured by, one for each."""
        return self.folders if self.colour_by == "folder" else self.tags

    def describe_method(self) -> str:
        """Return one line on how the points were computed."""
        if self.explained_variance is None:
            return "UMAP"
        first, second = (100 * part for part in self.explained_variance)
        return f"PCA, {first:.0f} % + {second:.0f} % of the variance"

    def to_dict(self) -> dict[str, Any]:
        """Return the points with what they are, ready for JSON."""
        sources, folders = map(path_to_text, self.sources), map(path_to_text, self.folders)
        files = zip(sources, folders, self.tags, *plain_floats(self.points.T), strict=True)
        return {
            "model": self.model,
            "layer": self.layer,
            "method": self.method,
            "explained_variance": self.explained_variance and list(self.explained_variance),
            "colour_by": self.colour_by,
            "files": [dict(zip(_KEYS, file, strict=True)) for file in files],
            "errors": {path_to_text(path): path_to_text(why) for path, why in self.errors.items()},
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def to_pandas(self) -> pandas.DataFrame:
        """Return a DataFrame of x, y, folder and tag, indexed by source (needs pandas)."""
        columns = {
            "x": self.points[:, 0], "y": self.points[:, 1],
            "folder": list(self.folders), "tag": list(self.tags),
        }  # fmt: skip
        pandas = require_pandas()
        return pandas.DataFrame(columns, index=pandas.Index(list(self.sources), name="source"))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the map, and save it if ``path`` is given.

        See :func:`musicnn_zoo.plots.plot_map`.
        """
        from musicnn_zoo.plots.drawing import picture
        from musicnn_zoo.plots.results import draw_map

        return picture(
            path,
            lambda: draw_map(
                self.points,
                self.groups,
                names=[PurePath(source).name for source in self.sources],
                group_title="folder" if self.colour_by == "folder" else "strongest tag",
                method=self.method,
                explained_variance=self.explained_variance,
                model=self.model,
                layer=self.layer,
                n_errors=len(self.errors),
            ),
        )

    def __str__(self) -> str:
        head = f"{count(len(self), 'file')}, {self.model} {self.layer}, {self.describe_method()}"
        groups = Counter(map(printable, self.groups)).most_common()
        width = max(len(name) for name, _ in groups)
        return "\n".join([printable(head), *(f"  {name:{width}}  {n}" for name, n in groups)])

    def __repr__(self) -> str:
        return (
            f"<EmbeddingMap of {count(len(self), 'file')}: {self.model} {self.layer}, "
            f"{self.describe_method()}>"
        )


def map_embeddings(
    paths: str | os.PathLike[str] | Paths,
    *,
    model: ModelLike = DEFAULT_MODEL,
    layer: str = "penultimate",
    method: WhichMethod = "auto",
    colour_by: ColourBy = "folder",
    seed: int = 0,
    patch_s: float | None = None,
    hop_s: float | None = None,
    tail: Tail = "drop",
    damaged: OnDamage = "refuse",
    engine: EngineName = "auto",
    device: str | None = None,
    jobs: int | None = None,
    progress: bool = False,
) -> EmbeddingMap:
    """Reduce the embeddings of a music collection to points in a plane.

    Every file is read and computed once, for its mean embedding and its strongest tag. Files that
    cannot be used are left out and listed.

    Parameters
    ----------
    paths : path, or iterable of path
        A folder, which means all audio files below it, or files.
    model : str, path, TaggingModel or Tagger
        As in :func:`musicnn_zoo.tag`.
    layer : str
        Any layer of the model.
    method : {"auto", "pca", "umap"}
        Principal component analysis, which keeps large distances and says how much of the
        variance it keeps; or UMAP, which keeps neighbours together and says nothing about large
        distances (``pip install umap-learn``). By default UMAP if it is installed and there are
        at least 10 files, else PCA.
    colour_by : {"folder", "tag"}
        What the groups are: the folders that the files are in, or their strongest tags.
    seed : int
        Of UMAP.
    patch_s, hop_s, tail, damaged, engine, device, jobs, progress
        As in :func:`musicnn_zoo.tag_files`.

    Raises
    ------
    ArgumentError
        If fewer than three files can be used, or an argument cannot.
    UnknownNameError
        If there is no such model or layer.

    References
    ----------
    McInnes, Healy, Melville. "UMAP: Uniform manifold approximation and projection for dimension
    reduction." 2018.

    Examples
    --------
    >>> import musicnn_zoo
    >>> found = musicnn_zoo.map_embeddings("examples/audio", method="pca", colour_by="tag")
    >>> found.points.shape, found.groups
    ((3, 2), ('classical', 'harpsichord', 'techno'))
    """
    check_map(method, colour_by)
    unread: list[FileResult[EmbeddedTags]] = []

    def note(path: Path | Address, reason: str) -> None:
        unread.append(FileResult(os.fspath(path), None, AudioError(f"{path}: {reason}")))

    if isinstance(paths, str | os.PathLike):
        paths = list(find_audio(paths, on_problem=note))
    tagger = shared_tagger(model, engine, device)
    results = tagger.embedded_tags_files(
        paths, layer=layer, patch_s=patch_s, hop_s=hop_s, tail=tail, damaged=damaged,
        jobs=jobs, progress=progress,
    )  # fmt: skip
    return make_map([*results, *unread], method=method, colour_by=colour_by, seed=seed)


def make_map(
    results: Iterable[FileResult[EmbeddedTags]],
    *,
    method: WhichMethod = "auto",
    colour_by: ColourBy = "folder",
    seed: int = 0,
) -> EmbeddingMap:
    """Make a map of what :meth:`musicnn_zoo.Tagger.embedded_tags_files` gives."""
    chosen: Any = check_map(method, colour_by)
    results = list(results)
    values = [result.value for result in results if result.value is not None]
    errors = {str(result.source): str(result.error) for result in results if result.value is None}
    if len(values) < _FEWEST:
        raise ArgumentError(
            f"a map needs at least {_FEWEST} files that can be used; received {len(values)}"
            + _reasons(errors)
        )
    vectors = np.stack([one.embedding.values for one in values])
    if chosen == "umap" and len(values) < _FEWEST_FOR_UMAP:
        if method == "umap":
            raise ArgumentError(
                f"UMAP needs at least {_FEWEST_FOR_UMAP} files that can be used; received "
                f"{len(values)}: take method='pca'{_reasons(errors)}"
            )
        chosen = "pca"
    explained = None
    if chosen == "pca":
        points, explained = _by_pca(vectors)
    else:
        points = _by_umap(vectors, seed)
    sources = tuple(str(one.tags.clip.source) for one in values)
    return EmbeddingMap(
        points=points,
        sources=sources,
        folders=_folders(sources),
        tags=tuple(one.tags.names[0] for one in values),
        colour_by=colour_by,
        method=chosen,
        explained_variance=explained,
        model=values[0].tags.model,
        layer=values[0].embedding.layer,
        errors=errors,
    )


def save_map(found: EmbeddingMap, path: str | os.PathLike[str]) -> None:
    """Write a map; the file appears whole or not at all.

    ``.json`` has all of :meth:`EmbeddingMap.to_dict`; ``.csv`` a row for each file: ``source``,
    ``x``, ``y``, ``folder``, ``tag``.
    """
    place = check_ending(path, MAP_ENDINGS)
    if place.suffix.lower() == ".json":
        text = found.to_json() + "\n"
    else:
        rows = zip(found.sources, found.points, found.folders, found.tags, strict=True)
        cells = (
            (path_cell(source), f"{x:.6g}", f"{y:.6g}", safe_tag(folder), safe_tag(tag))
            for source, (x, y), folder, tag in rows
        )
        text = csv_lines([("source", "x", "y", "folder", "tag"), *cells])
    with replacing(place, failure="cannot be written") as file:
        file.write(text.encode())


def check_map(method: str, colour_by: str) -> str:
    """Check the options of a map before any work, and choose between PCA and UMAP."""
    check_choice("method", method, METHODS)
    check_choice("colour_by", colour_by, COLOURS_BY)
    has_umap = importlib.util.find_spec("umap") is not None
    if method == "umap" and not has_umap:
        raise ArgumentError("method='umap' needs UMAP: pip install umap-learn, or take 'pca'")
    if method == "auto":
        return "umap" if has_umap else "pca"
    return method


def _by_pca(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Project on the first two principal components, their signs as in scikit-learn."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    if not centred.any():
        return np.zeros((len(vectors), 2), np.float32), (0.0, 0.0)
    if centred.shape[1] == 1:
        centred = np.pad(centred, ((0, 0), (0, 1)))
    _, deviations, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    largest = np.abs(axes).argmax(axis=1, keepdims=True)
    points = centred @ (axes * np.sign(np.take_along_axis(axes, largest, axis=1))).T
    first, second = map(float, deviations[:2] ** 2 / np.sum(deviations**2))
    return points.astype(np.float32), (first, second)


def _by_umap(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    provide_writable_caches()
    from umap import UMAP

    neighbours = min(15, len(vectors) - 1)
    reducer = UMAP(n_components=2, n_neighbors=neighbours, random_state=seed, n_jobs=1)
    points: NDArray[np.float32] = np.asarray(reducer.fit_transform(vectors), np.float32)
    return points


def _folders(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the folder of each file, relative to the folder that all of them are in."""
    parents = [Path(os.path.abspath(source)).parent for source in sources]  # noqa: PTH100
    try:
        root = Path(os.path.commonpath(parents))
    except ValueError:  # on several drives
        return tuple(map(str, parents))
    below = [parent.relative_to(root).as_posix() for parent in parents]
    return tuple((root.name or str(root)) if name == "." else name for name in below)


def _reasons(errors: dict[str, str]) -> str:
    if not errors:
        return ""
    first = "; ".join(map(printable, list(errors.values())[:_MOST_REASONS]))
    return f" ({first}{'; …' if len(errors) > _MOST_REASONS else ''})"
