"""How good a model is on a data set, and the thresholds that this gives.

Scores are computed as :class:`musicnn_zoo.Tagger` does, averaged over the patches of a track, and
compared with the labels by :mod:`musicnn_zoo.evaluation.metrics`. What decides whether figures can
be compared with others (split, patches, tags, tracks left out) is part of the result.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from musicnn_zoo.datasets.dataset import (
    SPLITS,
    UNTAGGED,
    Dataset,
    DatasetError,
    DatasetWarning,
    Report,
    Untagged,
    check_dataset,
    split_name,
)
from musicnn_zoo.datasets.table import normal_form
from musicnn_zoo.errors import (
    ArgumentError,
    UnknownNameError,
    answered,
    check_choice,
    check_path,
    check_tagging_model,
    no_array,
    shown,
)
from musicnn_zoo.evaluation.metrics import (
    Bootstrap,
    best_f1_thresholds,
    check_thresholds,
    curves_of,
    evaluate_classes,
    evaluate_scores,
    tags_with_figures,
    untagged_statement,
)
from musicnn_zoo.evaluation.results import (
    AUTO,
    UNSEEN,
    ClassEvaluation,
    Evaluation,
    Seen,
    ends,
    percent,
)
from musicnn_zoo.files import check_ending, replacing
from musicnn_zoo.machine.installation import require_sklearn
from musicnn_zoo.networks.config import (
    CALIBRATED,
    Calibrated,
    TagThresholds,
    own_thresholds,
    patch_grid,
)
from musicnn_zoo.networks.patches import PatchGrid, Tail
from musicnn_zoo.runtimes.engine import EngineName
from musicnn_zoo.tagging.functions import ModelLike, shared_tagger
from musicnn_zoo.tagging.results import FileResult, Taggram
from musicnn_zoo.tagging.tagger import Tagger
from musicnn_zoo.text import (
    count,
    csv_lines,
    path_cell,
    path_to_text,
    printable,
    safe_tag,
    statements,
)
from musicnn_zoo.training.kept_split import KeptSplit
from musicnn_zoo.zoo.folder import read_folder, write_thresholds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from musicnn_zoo.networks.build import TaggingModel


WhichTags = Literal["all", "common"]
WHICH_TAGS: tuple[WhichTags, ...] = get_args(WhichTags)

_NAMED = 5


@dataclass(frozen=True)
class TagMatch:
    """The tags that a model and a data set share, in the order of the model's outputs.

    Parameters
    ----------
    tags : tuple of str
        As the model spells them.
    columns : tuple of int
        Their indices among the model's outputs.
    in_data : tuple of str
        As the data set spells them.
    model_only, data_only : tuple of str
        Tags that the other side does not know.
    """

    tags: tuple[str, ...]
    columns: tuple[int, ...]
    in_data: tuple[str, ...]
    model_only: tuple[str, ...]
    data_only: tuple[str, ...]

    def labels_of(self, dataset: Dataset) -> Dataset:
        """Return the data set with these tags only, in this order and spelling."""
        chosen = dataset if dataset.tags == self.in_data else dataset.with_tags(self.in_data)
        return replace(chosen, tags=self.tags)

    def describe(self) -> str:
        """Say in words how the tags were matched."""
        respelled = [
            f"{printable(theirs)!r} is {printable(ours)!r}"
            for ours, theirs in zip(self.tags, self.in_data, strict=True)
            if ours != theirs
        ]
        parts = [f"{len(self.tags)}, matched by name"]
        if respelled:
            parts.append(f"spelled differently in the data set: {', '.join(respelled)}")
        for whose, n, some in self.known_to_one():
            parts.append(f"{n} left out that only {whose} knows: {some}")
        return "; ".join(parts)

    def known_to_one(self) -> list[tuple[str, int, str]]:
        """List which side knows tags that the other does not, how many, and the first of them."""
        sides = (("the model", self.model_only), ("the data set", self.data_only))
        return [(whose, len(names), _some(names)) for whose, names in sides if names]


def match_tags(
    model_tags: Sequence[str], dataset: Dataset, *, which: WhichTags = "all"
) -> TagMatch:
    """Find the tags that a model and a data set share, whatever their order.

    A tag is matched by its name. Of the rest those are matched that differ only in case, or in
    spaces, hyphens and underscores between words, where that leaves no doubt.

    Parameters
    ----------
    model_tags : sequence of str
        In the order of the outputs.
    dataset : Dataset
    which : {"all", "common"}
        Whether both must know all tags, or only the common ones are used.

    Raises
    ------
    ArgumentError
        If ``which`` is "all" and one side knows tags that the other does not, or if no tag is
        common.
    """
    if which not in WHICH_TAGS:
        raise ArgumentError(f"tags must be 'all' or 'common'; received {which!r}")
    theirs = {tag: tag for tag in set(model_tags) & set(dataset.tags)}
    respelled = _by_unique_form(set(dataset.tags) - set(theirs))
    for form, tag in _by_unique_form(set(model_tags) - set(theirs)).items():
        if form in respelled:
            theirs[tag] = respelled[form]
    tags = tuple(tag for tag in model_tags if tag in theirs)
    match = TagMatch(
        tags=tags,
        columns=tuple(column for column, tag in enumerate(model_tags) if tag in theirs),
        in_data=tuple(theirs[tag] for tag in tags),
        model_only=tuple(tag for tag in model_tags if tag not in theirs),
        data_only=tuple(tag for tag in dataset.tags if tag not in theirs.values()),
    )
    if not tags:
        raise ArgumentError(
            f"{dataset.name} and the model have no tag in common: the model knows "
            f"{_some(match.model_only)}, the data set {_some(match.data_only)}"
        )
    only = match.known_to_one()
    if only and which == "all":
        differences = "; ".join(f"only {whose} knows {n}: {some}" for whose, n, some in only)
        raise ArgumentError(
            f"{dataset.name} and the model differ in their tags, {differences}. "
            f"tags='common' (--tags common) evaluates the {len(tags)} that both know"
        )
    return match


def _by_unique_form(tags: set[str]) -> dict[str, str]:
    """Tags by their normal form, without those that share one."""
    forms = Counter(map(normal_form, tags))
    return {normal_form(tag): tag for tag in tags if forms[normal_form(tag)] == 1}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(printable(name)) for name in names[:_NAMED])
    return f"{shown}, …" if len(names) > _NAMED else shown


REPORT_ENDINGS = (".json", ".csv", ".txt")
SCORE_ENDINGS = (".csv", ".npz")
SCORE_COLUMNS = ("path", "tag", "label", "score")
_UNWRITTEN = "the output cannot be written"


def save_evaluation(evaluation: ModelEvaluation, path: str | os.PathLike[str]) -> None:
    """Write the figures of an evaluation, whole or not at all.

    Parameters
    ----------
    evaluation : ModelEvaluation
    path : path
        ``.json`` has all, also conventions and what was left out; ``.csv`` a row for each tag or
        class; ``.txt`` what the evaluation prints as.

    Raises
    ------
    ArgumentError
        If the path has another ending or cannot be written.
    OutputError
        If the disk fails.
    """
    place = check_ending(path, REPORT_ENDINGS)
    ending = place.suffix.lower()
    if ending == ".csv":
        text = csv_lines([evaluation.columns, *evaluation.rows()])
    else:
        text = f"{evaluation.to_json() if ending == '.json' else evaluation}\n"
    with replacing(place, failure=_UNWRITTEN) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def save_scores(evaluation: ModelEvaluation, path: str | os.PathLike[str]) -> None:
    """Write labels and scores of an evaluation, from which all its figures can be computed.

    Parameters
    ----------
    evaluation : ModelEvaluation
    path : path
        ``.csv`` has a row for each track and tag: ``path``, ``tag``, ``label`` (0 or 1) and
        ``score``. ``.npz`` has ``paths`` (tracks,), ``tags`` (tags,), ``labels`` and ``scores``
        (tracks, tags), ``groups`` (tracks,) if there are any, and ``model``, ``dataset`` and
        ``split`` as texts; it holds no pickle. Errors as in :func:`save_evaluation`.
    """
    place = check_ending(path, SCORE_ENDINGS)
    if place.suffix.lower() == ".csv":
        tracks = zip(evaluation.paths, evaluation.labels, evaluation.scores, strict=True)
        rows = (
            (path_cell(track), safe_tag(tag), int(label), f"{score:.9g}")
            for track, labels, scores in tracks
            for tag, label, score in zip(evaluation.tags, labels, scores, strict=True)
        )
        with replacing(place, failure=_UNWRITTEN) as file:
            for row in chain([SCORE_COLUMNS], rows):
                file.write(csv_lines([row]).encode())
        return
    arrays = {
        "paths": np.array([path_to_text(path) for path in evaluation.paths]),
        "tags": np.array(evaluation.tags),
        "labels": evaluation.labels,
        "scores": evaluation.scores,
        "model": np.array(evaluation.model),
        "dataset": np.array(evaluation.dataset),
        "split": np.array(evaluation.split or "all"),
    }
    if evaluation.groups is not None:
        arrays["groups"] = np.array(evaluation.groups)
    with replacing(place, failure=_UNWRITTEN) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


Resample = Literal["tracks", "groups"]

_TAILS: dict[Tail, str] = {
    "drop": "an end that fills no patch left out",
    "pad": "an end that fills no patch repeated until it does",
}


@dataclass(frozen=True, eq=False)
class ModelEvaluation:
    """How good a model is on a data set; prints as a table in percent.

    Parameters
    ----------
    model, dataset : str
        Their names.
    split : str or None
        Which tracks; None for all.
    figures : Evaluation or ClassEvaluation
        Its ``conventions`` say in words what to know before comparing it with other figures.
    report : Report
        What was left out, when the data set was read and now.
    errors : dict of str to str
        The path of each file that could not be used, and why.
    hours : float
        Length of the audio evaluated.
    tags : tuple of str
        Columns of ``labels`` and ``scores``, in the order of the model's outputs.
    paths : tuple of str
        Tracks evaluated, the rows.
    labels : ndarray, shape (tracks, tags), bool
    scores : ndarray, shape (tracks, tags), float32
        What the model gives, averaged over the patches of each track.
    groups : tuple of str or None
        Of the tracks, if the data set has groups.
    seen : Seen or None
        How many of the tracks the model was trained on; None if that is not known, since its
        folder keeps no split.
    """

    model: str
    dataset: str
    split: str | None
    figures: Evaluation | ClassEvaluation
    report: Report
    errors: dict[str, str]
    hours: float
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.bool_]
    scores: NDArray[np.float32]
    groups: tuple[str, ...] | None = None
    seen: Seen | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise no_array(self, "figures", "np.asarray(evaluation.scores)")

    @property
    def columns(self) -> tuple[str, ...]:
        """What the cells of :meth:`rows` are."""
        return self.figures.columns

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a CSV, one row a tag or class under :attr:`columns`."""
        return self.figures.rows()

    def to_dict(self) -> dict[str, Any]:
        """Return all but labels, scores, paths and groups as plain data, ready for JSON."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "seen": None if self.seen is None else asdict(self.seen),
            "hours": self.hours,
            "kind": "tags" if isinstance(self.figures, Evaluation) else "classes",
            "figures": self.figures.to_dict(),
            "left_out": self.report.to_dict(),
            "errors": {path_to_text(path): path_to_text(why) for path, why in self.errors.items()},
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as a JSON text."""
        return json.dumps(self.to_dict())

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the figures, and save them if ``path`` is given.

        See :func:`musicnn_zoo.plots.plot_evaluation`.
        """
        from musicnn_zoo.plots.drawing import picture

        data = f"{self.dataset}, {self.split or 'all tracks'}"
        if isinstance(self.figures, Evaluation):
            return picture(path, partial(self._draw_tags, self.figures, data))
        return picture(path, partial(self._draw_classes, self.figures, data))

    def _draw_classes(self, found: ClassEvaluation, data: str) -> Figure:
        from musicnn_zoo.plots.evaluation import draw_classes

        accuracy = percent(found.accuracy, found.accuracy_interval, unit=" %")
        balanced = percent(found.balanced_accuracy, found.balanced_accuracy_interval, unit=" %")
        return draw_classes(
            [one.name for one in found.per_class],
            np.array(found.confusion),
            [one.f1 for one in found.per_class],
            note=f"{count(found.tracks, 'track')}; accuracy {accuracy}; balanced {balanced}",
            model=self.model,
            data=data,
        )

    def _draw_tags(self, figures: Evaluation, data: str) -> Figure:
        from musicnn_zoo.plots.evaluation import Measure, draw_tag_figures

        columns = [i for i, tag in enumerate(figures.per_tag) if tag.roc_auc is not None]
        columns.sort(key=lambda i: -(figures.per_tag[i].roc_auc or 0))
        tags = [figures.per_tag[i] for i in columns]
        curves = curves_of(self.labels[:, columns], self.scores[:, columns])
        roc_auc = Measure(
            f"ROC-AUC {percent(figures.roc_auc, figures.roc_auc_interval, unit=' %')}",
            values=np.array([tag.roc_auc for tag in tags], np.float64),
            chances=np.full(len(tags), 0.5),
            intervals=ends([tag.roc_auc_interval for tag in tags]),
            curves=curves.roc,
        )
        average_precision = Measure(
            f"PR-AUC {percent(figures.pr_auc, figures.pr_auc_interval, unit=' %')}",
            values=np.array([tag.average_precision for tag in tags], np.float64),
            chances=np.array([tag.positives for tag in tags]) / figures.tracks,
            intervals=ends([tag.average_precision_interval for tag in tags]),
            curves=curves.precision,
        )
        return draw_tag_figures(
            [tag.tag for tag in tags], roc_auc, average_precision, curves.at,
            n_tracks=figures.tracks,
            level=figures.roc_auc_interval.level if figures.roc_auc_interval else None,
            left_out=figures.tags_left_out, model=self.model, data=data,
        )  # fmt: skip

    def __str__(self) -> str:
        which = f"split {self.split!r}" if self.split else "all tracks"
        head = f"{self.model} on {self.dataset}, {which}, {self.hours:.2f} hours of audio"
        report = statements({"report": str(self.report)})
        flattered = [] if self.seen is None else statements(self.seen.warning)
        return "\n".join([printable(head), *flattered, str(self.figures), *report])

    def __repr__(self) -> str:
        which = self.split or "all tracks"
        return f"<ModelEvaluation of {self.model} on {self.dataset}, {which}: {len(self)} tracks>"


@answered
def evaluate_model(
    model: ModelLike,
    dataset: Dataset,
    *,
    split: str | None = AUTO,
    tags: WhichTags = "all",
    untagged: Untagged = "keep",
    as_classes: bool | None = None,
    thresholds: ArrayLike | Calibrated | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    resample: Resample | None = None,
    patch_s: float | None = None,
    hop_s: float | None = None,
    tail: Tail = "drop",
    engine: EngineName = "auto",
    device: str | None = None,
    jobs: int | None = None,
    progress: bool = False,
) -> ModelEvaluation:
    """Compare the scores that a model gives to the tracks of a data set with their labels.

    Tags are matched by name, whatever their order; see
    :func:`musicnn_zoo.evaluation.evaluate.match_tags` for spellings. Files that cannot be used
    are left out, counted and listed.

    Parameters
    ----------
    model : str, path, TaggingModel or Tagger
        As for :func:`musicnn_zoo.tag`.
    dataset : Dataset
        See :mod:`musicnn_zoo.datasets`.
    split : str or None
        Which tracks: ``"test"``, ``"validation"`` or ``"train"``; ``"unseen"`` for those that the
        model neither learned from nor was chosen by; None for all. Splits are those of the data
        set or, where it has none, those that the folder of the model keeps of its training;
        tracks are known by their sound. By default (``"auto"``) the test part, or where the model
        does not know all of the tracks, those unseen.
    tags : {"all", "common"}
        Whether model and data set must know the same tags, or only the common ones are used.
    untagged : {"keep", "drop"}
        Whether tracks without any of the tags count; see
        :func:`musicnn_zoo.evaluation.metrics.evaluate_scores`.
    as_classes : bool, optional
        Whether each track has one class, predicted by the highest score (accuracy and confusion),
        or any number of tags, each predicted by itself (ROC-AUC and average precision). By default
        classes if the model ends in a softmax and every track has one tag, else tags: a sigmoid
        model scores each tag by itself, even if each track of the data has only one.
    thresholds : "calibrated" or array-like, shape (tags of the model,), optional
        The score from which on each tag is given, for precision, recall and F1: the model's own,
        or one for each tag (NaN for none). By default the best F1 on these same tracks decides.
    bootstrap, level, seed
        Of the intervals; see :func:`musicnn_zoo.evaluation.metrics.evaluate_scores`.
    resample : {"tracks", "groups"}, optional
        What the bootstrap draws. By default groups if the data set has some: tracks of an artist
        are alike, and intervals that take them for independent are too narrow.
    patch_s, hop_s, tail, engine, device
        See :class:`musicnn_zoo.Tagger`. With a Tagger as ``model``, the last two are its own.
    jobs, progress
        See :func:`musicnn_zoo.tag_files`.

    Returns
    -------
    ModelEvaluation

    Raises
    ------
    ArgumentError
        If an argument cannot be used, the tags differ, or no tag tells tracks apart.
    DatasetError
        If no file can be used.
    MissingPackageError
        If scikit-learn is not installed.

    Warns
    -----
    DatasetWarning
        If files could not be used; if the model has seen some of the tracks in its training, and
        ``split`` does not ask for such.

    Examples
    --------
    >>> import musicnn_zoo, numpy as np
    >>> from musicnn_zoo.datasets import Dataset
    >>> clips = ["bach_prelude_harpsichord", "techno_loop"]
    >>> paths = [f"examples/audio/{clip}.ogg" for clip in clips]
    >>> mine = Dataset("mine", ("techno", "harpsichord"), paths, np.array([[0, 1], [1, 0]]))
    >>> found = musicnn_zoo.evaluate_model("MTT_musicnn", mine, split=None, tags="common")
    >>> found.figures.roc_auc
    1.0
    """
    check_dataset(dataset)
    if not isinstance(split, str | None):
        raise ArgumentError(f"split must be the name of a split, or None; received {shown(split)}")
    require_sklearn("an evaluation")
    tagger = shared_tagger(model, engine, device)
    kept = None if tagger.folder is None else KeptSplit.read(tagger.folder)
    chosen = _choose(dataset, split, kept, jobs)
    part, origin = chosen.part, chosen.origin
    match = match_tags(tagger.tags, part, which=tags)
    classes = _takes_classes(as_classes, tagger.spec.config.activation, part)
    check_choice("untagged", untagged, UNTAGGED)
    limits, origin_of_limits = _thresholds(thresholds, tagger, classes)
    part = match.labels_of(part)
    without_tag = np.flatnonzero(~part.labels.any(axis=1))
    if len(without_tag) and (classes or untagged == "drop"):
        part = part.without(without_tag, "untagged_by_request")
    grid = patch_grid(tagger.spec.config, patch_s=patch_s, hop_s=hop_s)
    by_group = _resamples_groups(resample, part)
    # Refuse now what these would refuse after hours of computing.
    Bootstrap.over(len(part), part.groups if by_group else None, bootstrap, level, seed)
    if not classes:
        tags_with_figures(part.labels)
    results = tagger.taggram_files(
        part.paths, patch_s=patch_s, hop_s=hop_s, tail=tail, jobs=jobs, progress=progress
    )
    scored = _score(results, part, match)
    part = scored.dataset
    options: dict[str, Any] = {
        "bootstrap": bootstrap,
        "level": level,
        "seed": seed,
        "groups": part.groups if by_group else None,
        "split": origin,
        "patches": _patches_statement(grid, tail, scored.n_repeated),
    }
    figures: Evaluation | ClassEvaluation
    stated = {"tags": match.describe()}
    if classes:
        figures = evaluate_classes(part.labels.argmax(axis=1), scored.scores, match.tags, **options)
        stated["kind"] = "classes, one a track"
        if len(without_tag):
            stated["untagged"] = (
                f"{count(len(without_tag), 'track')} of none of the classes left out"
            )
    else:
        columns = list(match.columns)
        figures = evaluate_scores(
            part.labels, scored.scores, match.tags,
            thresholds=None if limits is None else limits[columns], **options,
        )  # fmt: skip
        figures = replace(figures, untagged=len(without_tag))
        stated["kind"] = "tags, any number a track, each decided by itself"
        stated["untagged"] = untagged_statement(len(without_tag), untagged)
        if before := len(part.report["untagged"]):
            stated["untagged"] += f"; {before:,} more left out when the data set was read"
        if origin_of_limits is not None:
            stated["thresholds"] = origin_of_limits
    seen = None if kept is None else _seen(part.paths, chosen.known, kept)
    if seen is None:
        stated["seen in training"] = "not known; no split is kept with the model"
    else:
        stated["seen in training"] = seen.describe()
        if chosen.split not in ("train", "validation"):
            for says, why in seen.warning.items():
                warnings.warn(f"{says}: {why}", DatasetWarning, stacklevel=3)
    conventions = {**figures.conventions, **stated}
    order = dict.fromkeys(("split", "seen in training", "tags", "kind", "patches", *conventions))
    return ModelEvaluation(
        model=tagger.spec.name,
        dataset=dataset.name,
        split=chosen.split,
        figures=replace(figures, conventions={name: conventions[name] for name in order}),
        report=part.report,
        errors=scored.errors,
        hours=scored.hours,
        tags=match.tags,
        paths=part.paths,
        labels=part.labels,
        scores=scored.scores,
        groups=part.groups,
        seen=seen,
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    """The tracks that could be used with their scores, and the errors of the others."""

    dataset: Dataset
    scores: NDArray[np.float32]
    errors: dict[str, str]
    hours: float
    n_repeated: int


def _score(results: Iterator[FileResult[Taggram]], dataset: Dataset, match: TagMatch) -> _Scored:
    rows: list[NDArray[np.float32]] = []
    errors: dict[int, str] = {}
    seconds, n_repeated = 0.0, 0
    for index, result in enumerate(results):
        if result.value is None:
            errors[index] = str(result.error)
            continue
        rows.append(result.value.scores.mean(axis=0)[list(match.columns)])
        seconds += result.value.clip.duration_s
        n_repeated += result.value.clip.repeated
    if not rows:
        raise DatasetError(
            f"{printable(dataset.name)}: none of the {count(len(dataset), 'file')} can be used; "
            f"the first: {printable(errors[0])}"
        )
    unusable = {dataset.paths[index]: message for index, message in errors.items()}
    missing = [path for path in unusable if not Path(path).exists()]
    broken = [path for path in unusable if path not in missing]
    report = Report().adding("missing_files", missing).adding("broken_files", broken)
    if report:
        warnings.warn(
            f"{printable(dataset.name)}: {report} The evaluation's .errors says why.",
            DatasetWarning,
            stacklevel=4,
        )
    used = [index for index in range(len(dataset)) if index not in errors]
    whole = dataset.report.adding("missing_files", missing).adding("broken_files", broken)
    return _Scored(
        dataset=replace(dataset.subset(used), report=whole),
        scores=np.stack(rows),
        errors=unusable,
        hours=seconds / 3600,
        n_repeated=n_repeated,
    )


class _Chosen(NamedTuple):
    """The tracks to evaluate, which they are in words, and what the model knows of them.

    ``known`` has the split of the model's training for each path, None for one that was in none.
    """

    part: Dataset
    origin: str
    split: str | None
    known: dict[str, str | None]


def _choose(
    dataset: Dataset, split: str | None, kept: KeptSplit | None, jobs: int | None
) -> _Chosen:
    """Choose tracks by the splits of the data set or, where it has none, by those kept."""

    def known_of(part: Dataset) -> dict[str, str | None]:
        if kept is None:
            return {}
        return dict(zip(part.paths, kept.splits_of(part.paths, jobs=jobs), strict=True))

    if split is None:
        return _Chosen(dataset, _all_of(dataset), None, known_of(dataset))
    name = split if split in (AUTO, UNSEEN) else split_name(split) or split
    if dataset.splits and name != UNSEEN:
        name = "test" if name == AUTO else name
        part, origin = _part_of(dataset, name)
        return _Chosen(part, origin, name, known_of(part))
    if kept is None:
        if name == UNSEEN:
            raise ArgumentError(
                f"split={UNSEEN!r} needs the folder of a model that keeps the split of its training"
            )
        raise ArgumentError(
            f"{dataset.name} has no splits, and none is kept with the model, so nobody knows which "
            "tracks it was trained on; pass split=None (--split all) to evaluate all of them, or "
            "make splits with musicnn_zoo.datasets.split()"
        )
    if name not in (AUTO, UNSEEN, *SPLITS):
        raise UnknownNameError("split", name, (*SPLITS, UNSEEN))
    known = known_of(dataset)
    splits = list(known.values())
    if name == AUTO:
        name = "test" if "test" in splits and None not in splits else UNSEEN
    wanted = ("test", None) if name == UNSEEN else (name,)
    chosen = [index for index, each in enumerate(splits) if each in wanted]
    if not chosen:
        what = "has seen all" if name == UNSEEN else f"has none in the {name} part of its training"
        raise ArgumentError(
            f"{dataset.name}: of its {count(len(dataset), 'track')} the model {what}; "
            "split=None (--split all) evaluates them nevertheless, and says what was seen"
        )
    origin = f"{name} of {dataset.name}, by the split that the model's folder keeps"
    if name == UNSEEN:
        new = sum(splits[index] is None for index in chosen)
        origin = (
            f"the {len(chosen):,} of {count(len(dataset), 'track')} of {dataset.name} that the "
            f"model did not learn from: {len(chosen) - new:,} of its test part, {new:,} new to it"
        )
    return _Chosen(dataset.subset(chosen), origin, name, known)


def _seen(paths: Sequence[str], known: Mapping[str, str | None], kept: KeptSplit) -> Seen:
    numbers = Counter(known[path] for path in paths)
    namesakes = kept.namesakes([path for path in paths if known[path] is None])
    return Seen(
        **{split: numbers[split] for split in SPLITS},
        new=numbers[None],
        namesakes=sum(split in ("train", "validation") for split in namesakes),
    )


def _all_of(dataset: Dataset) -> str:
    sizes = dataset.split_sizes
    if not sizes:
        return f"all tracks of {dataset.name}, which has no splits"
    listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    return f"all tracks of {dataset.name}, whatever their split ({listed})"


def _part_of(dataset: Dataset, name: str) -> tuple[Dataset, str]:
    """Return the tracks of a split, and say which they are."""
    part = dataset.subset(name)
    origin = f"{name} of {dataset.name}"
    groups = set(part.groups or ())
    leaking = groups.intersection(dataset.leaking_groups)
    if leaking:
        origin += (
            f"; {len(leaking):,} of its {len(groups):,} groups (such as artists) are in other "
            "splits, too"
        )
    return part, origin


def _takes_classes(as_classes: bool | None, activation: str | None, part: Dataset) -> bool:
    if as_classes is None:
        return activation == "softmax" and part.single_label
    if as_classes and not part.single_label:
        others = int(np.count_nonzero(part.labels.sum(axis=1) != 1))
        raise ArgumentError(
            f"as_classes needs exactly one tag a track; {others:,} of the {len(part):,} tracks of "
            f"{part.name} have several or none"
        )
    return as_classes


def _thresholds(
    thresholds: ArrayLike | Calibrated | None, tagger: Tagger, classes: bool
) -> tuple[NDArray[np.float64] | None, str | None]:
    """Return the threshold of each of the model's tags, and what to say of them."""
    if thresholds is None:
        return None, None
    if classes:
        raise ArgumentError("thresholds go with tags; classes are decided by the highest score")
    if not isinstance(thresholds, str):
        return check_thresholds(thresholds, len(tagger.tags)), None
    if thresholds != CALIBRATED:
        raise ArgumentError(
            f"thresholds must be 'calibrated', one number a tag, or None; received {thresholds!r}"
        )
    own: TagThresholds = own_thresholds(tagger.spec.thresholds, tagger.spec.name)
    values = [np.nan if value is None else value for value in own.values]
    return np.array(values), f"the model's own, {own.describe()}"


def _resamples_groups(resample: Resample | None, part: Dataset) -> bool:
    if resample not in (None, "tracks", "groups"):
        raise ArgumentError(f"resample must be 'tracks' or 'groups'; received {resample!r}")
    if resample == "groups" and part.groups is None:
        raise ArgumentError(
            f"{part.name} has no groups to resample; Dataset.with_groups() gives it some"
        )
    return resample != "tracks" and part.groups is not None


def _patches_statement(grid: PatchGrid, tail: Tail, n_repeated: int) -> str:
    statement = (
        f"{grid.patch_s:.3f} s every {grid.hop_s:.3f} s, their scores averaged per track; "
        f"{_TAILS[tail]}"
    )
    if n_repeated:
        statement += f"; {count(n_repeated, 'track')} shorter than a patch repeated to fill one"
    return statement


_NOT_FOR_CHOOSING = ("train", "test", UNSEEN)


def with_thresholds(
    model: TaggingModel, thresholds: ModelEvaluation | TagThresholds | None
) -> TaggingModel:
    """Give a model thresholds of its own, for ``tag(threshold="calibrated")``.

    Parameters
    ----------
    model : TaggingModel
        Not changed.
    thresholds : ModelEvaluation, TagThresholds or None
        An evaluation of this model on a validation split, whose tracks give the thresholds of
        best F1 (see :func:`musicnn_zoo.evaluation.metrics.best_f1_thresholds`); or thresholds; or
        None for a model without.

    Returns
    -------
    TaggingModel
        With the same layers as ``model``, so that training one trains the other; not compiled.

    Raises
    ------
    ArgumentError
        If the evaluation is of another model, or on tracks that thresholds must not be chosen on;
        if a threshold is not between 0 and 1, as of a model whose outputs are no probabilities.
    """
    check_tagging_model(model)
    from musicnn_zoo.networks.build import TaggingModel

    if isinstance(thresholds, ModelEvaluation):
        thresholds = _best_thresholds(thresholds, model.name, model.tags)
    elif thresholds is not None and len(thresholds) != len(model.tags):
        raise ArgumentError(
            f"thresholds must be one for each of the {len(model.tags)} tags of {model.name}; "
            f"received {len(thresholds)}"
        )
    changed = TaggingModel(
        model.input, model.output, name=model.name, zoo_config=model.zoo_config,
        tags=model.tags, provenance=model.provenance, thresholds=thresholds,
    )  # fmt: skip
    changed.folder = model.folder
    return changed


def store_thresholds(folder: str | os.PathLike[str], evaluation: ModelEvaluation) -> TagThresholds:
    """Put thresholds found on a validation split into the folder of a model.

    Parameters
    ----------
    folder : path
        As :func:`musicnn_zoo.save_pretrained` writes it. Only ``thresholds.json`` and the section
        of the model card on thresholds change.
    evaluation : ModelEvaluation
        Of this model, on a validation split.

    Returns
    -------
    TagThresholds
        What was stored.

    Raises
    ------
    ArgumentError
        As :func:`with_thresholds`.
    WeightsError
        If it is no folder of a model.
    OutputError
        If it cannot be written.
    """
    check_path("the folder of a model", folder)
    contents = read_folder(Path(folder), origin=os.fspath(folder))
    thresholds = _best_thresholds(evaluation, contents.spec.name, contents.spec.tags)
    write_thresholds(contents, thresholds)
    return thresholds


def _best_thresholds(evaluation: ModelEvaluation, model: str, tags: Sequence[str]) -> TagThresholds:
    """Return the thresholds of best F1 on the tracks of an evaluation; None where unknown."""
    if evaluation.model != model or not set(evaluation.tags) <= set(tags):
        raise ArgumentError(
            f"the evaluation must be of the model that gets the thresholds, {model}, and of its "
            f"tags; received one of {evaluation.model}"
        )
    if evaluation.split in _NOT_FOR_CHOOSING:
        raise ArgumentError(
            "thresholds must be found on tracks that the model is neither trained nor tested on; "
            f"received an evaluation on split {evaluation.split!r}: evaluate with "
            "split='validation'"
        )
    best = best_f1_thresholds(evaluation.labels, evaluation.scores)
    known = {
        tag: None if np.isnan(value) else float(value)
        for tag, value in zip(evaluation.tags, best, strict=True)
    }
    tracks = evaluation.figures.conventions["split"].partition(";")[0]
    return TagThresholds(
        tuple(known.get(tag) for tag in tags),
        f"best F1 on {tracks}, {count(len(evaluation), 'track')}",
    )
