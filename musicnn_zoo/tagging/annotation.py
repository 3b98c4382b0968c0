"""Results as JAMS, the annotation format of music information retrieval.

References
----------
Humphrey, Salamon, Nieto, Forsyth, Bittner, Bello. "JAMS: A JSON annotated music specification for
reproducible MIR research." ISMIR 2014.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from musicnn_zoo.errors import MissingPackageError
from musicnn_zoo.machine import __version__
from musicnn_zoo.text import path_to_text

NAMESPACE = "tag_open"
"""Free-text tags with a time, a duration and a confidence."""


def to_jams(
    observations: Iterable[tuple[str, float, float, float]],
    *,
    model: str,
    source: str | None,
    duration_s: float,
) -> Any:
    """Write tags as a JAMS object with one annotation in the namespace ``tag_open``.

    Parameters
    ----------
    observations : iterable of (tag, start_s, length_s, score)
    model : str
        Name of the model, which stands as the tool of the annotation.
    source : str or None
        Name of the file.
    duration_s : float
        Length of the recording in seconds.

    Returns
    -------
    jams.JAMS
        ``.save("song.jams")`` writes it. ``sandbox.source`` of its metadata is the file's name.

    Raises
    ------
    MissingPackageError
        If the package jams is not installed.
    """
    try:
        import jams
    except ImportError as error:
        raise MissingPackageError(
            "JAMS needs the package jams: pip install 'musicnn-zoo[jams]'"
        ) from error
    annotation = jams.Annotation(namespace=NAMESPACE, time=0, duration=duration_s)
    annotation.annotation_metadata = jams.AnnotationMetadata(
        annotation_tools=f"musicnn-zoo {__version__}, {model}", data_source="program"
    )
    for tag, start_s, length_s, score in observations:
        annotation.append(time=start_s, duration=length_s, value=tag, confidence=float(score))
    made = jams.JAMS()
    made.file_metadata.duration = duration_s
    if source is not None:
        made.sandbox.source = path_to_text(source)
    made.annotations.append(annotation)
    return made
