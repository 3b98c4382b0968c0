"""Embeddings of many files as one NumPy archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from musicnn_zoo.tagging.embedding import Embedding
from musicnn_zoo.text import path_to_text


class EmbeddingArchive:
    """Collects embeddings and writes them when it is left, however it is left.

    The archive holds ``embeddings`` (rows, dimensions) float32; ``sources`` and ``times``
    (rows,), the file and the start in seconds of each row; ``model``, ``layer`` and
    ``pooling`` as texts. Read it with ``numpy.load(path)``. It appears whole or not at all.

    Parameters
    ----------
    path : Path
        Written only if there is something to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._embeddings: list[Embedding] = []

    def __enter__(self) -> EmbeddingArchive:
        return self

    def __exit__(self, *error: object) -> None:
        if self._embeddings:
            self._save()

    def add(self, embedding: Embedding) -> None:
        """Add the rows of one file."""
        self._embeddings.append(embedding)

    def _save(self) -> None:
        rows = [np.atleast_2d(one.values) for one in self._embeddings]
        sources = [
            path_to_text(one.clip.source or "")
            for one, part in zip(self._embeddings, rows, strict=True)
            for _ in part
        ]
        times = [one.times[: len(part)] for one, part in zip(self._embeddings, rows, strict=True)]
        first = self._embeddings[0]
        unfinished = self._path.with_name(f".{self._path.name}.part")
        try:
            with unfinished.open("wb") as file:
                np.savez(
                    file,
                    embeddings=np.concatenate(rows),
                    sources=np.array(sources),
                    times=np.concatenate(times),
                    model=np.array(first.model),
                    layer=np.array(first.layer),
                    pooling=np.array(first.pooling or "none"),
                )
            unfinished.replace(self._path)
        finally:
            unfinished.unlink(missing_ok=True)
