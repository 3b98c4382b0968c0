"""Write an evaluation to files: its figures, and the scores that they come from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from musicnn_zoo.errors import ArgumentError, OutputError
from musicnn_zoo.evaluation.evaluation import ModelEvaluation
from musicnn_zoo.library.writers import check_writable, csv_lines, path_cell, safe_tag
from musicnn_zoo.text import path_to_text

REPORT_ENDINGS = (".json", ".csv", ".txt")
SCORE_ENDINGS = (".csv", ".npz")
SCORE_COLUMNS = ("path", "tag", "label", "score")


def save_evaluation(evaluation: ModelEvaluation, path: str | os.PathLike[str]) -> None:
    """Write the figures of an evaluation.

    Parameters
    ----------
    evaluation : ModelEvaluation
    path : path
        ``.json`` has all, also conventions and what was left out; ``.csv`` a row for each tag or
        class; ``.txt`` what the evaluation prints as. Appears whole or not at all.

    Raises
    ------
    ArgumentError
        If the path has another ending or cannot be written.
    OutputError
        If the disk fails.
    """
    place = check_ending(path, REPORT_ENDINGS)
    ending = place.suffix.lower()
    if ending == ".json":
        text = evaluation.to_json() + "\n"
    elif ending == ".csv":
        text = csv_lines([evaluation.columns, *evaluation.rows()])
    else:
        text = f"{evaluation}\n"
    with _whole(place) as file:
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
        ``split`` as texts; it holds no pickle. Appears whole or not at all.

    Raises
    ------
    ArgumentError
        If the path has another ending or cannot be written.
    OutputError
        If the disk fails.
    """
    place = check_ending(path, SCORE_ENDINGS)
    if place.suffix.lower() == ".csv":
        with _whole(place) as file:
            file.write(csv_lines([SCORE_COLUMNS]).encode())
            for rows in _score_rows(evaluation):
                file.write(csv_lines(rows).encode())
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
    with _whole(place) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def check_ending(path: str | os.PathLike[str], endings: tuple[str, ...]) -> Path:
    """Refuse an output that has another ending or cannot become a file."""
    place = Path(path)
    if place.suffix.lower() not in endings:
        raise ArgumentError(f"output {os.fspath(path)!r} must end in {', '.join(endings)}")
    check_writable(place)
    return place


def _score_rows(evaluation: ModelEvaluation) -> Iterator[list[Iterable[object]]]:
    for path, labels, scores in zip(
        evaluation.paths, evaluation.labels, evaluation.scores, strict=True
    ):
        yield [
            (path_cell(path), safe_tag(tag), int(label), f"{score:.9g}")
            for tag, label, score in zip(evaluation.tags, labels, scores, strict=True)
        ]


@contextmanager
def _whole(place: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its place when all is written."""
    unfinished = place.with_name(f".{place.name}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(place)
    except OSError as error:
        raise OutputError(
            f"{place}: the output cannot be written ({error.strerror or error})"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
