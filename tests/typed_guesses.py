"""Guessed calls as a type checker sees them; ``test_guesses.py`` runs mypy over this file."""

# ruff: noqa: T201

from __future__ import annotations

from collections.abc import ItemsView
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import musicnn_zoo
from musicnn_zoo import Embedding, Event, Events, Features, Tagger, Taggram, Tags, TagScore


def results(samples: NDArray[np.float32], rate: int, content: bytes) -> None:
    tags: Tags = musicnn_zoo.tag("song.mp3", top_k=3, silence="keep")
    tags = musicnn_zoo.tag(Path("song.mp3"))
    tags = musicnn_zoo.tag(samples, sample_rate=rate)
    tags = musicnn_zoo.tag((samples, rate))
    tags = musicnn_zoo.tag((rate, samples))
    tags = musicnn_zoo.tag([0.0, 0.1], sample_rate=rate)
    tags = musicnn_zoo.tag(content)
    tags = musicnn_zoo.tag({"array": samples, "sampling_rate": rate})
    tags = musicnn_zoo.tag(musicnn_zoo.load_audio("song.mp3"))
    score: float = tags["techno"]
    maybe: float | None = tags.get("techno")
    other: float | int = tags.get("techno", 0)
    first: TagScore = tags[0]
    name_of_first: str = tags[0].tag
    score_of_first: float = tags[0].score
    tags = musicnn_zoo.tag("song.mp3", offset=30, duration=10)
    some: tuple[TagScore, ...] = tags[:2]
    items: ItemsView[str, float] = tags.items()
    by_tag: dict[str, float] = dict(tags)
    best: TagScore = max(tags)
    top: Tags = tags.top(3)
    for name, value in tags:
        print(name.upper(), value + 1.0)
    print(name_of_first, score_of_first)
    print(score, maybe, other, first, some, items, by_tag, best, top)

    gram: Taggram = musicnn_zoo.taggram("song.mp3")
    curve: NDArray[np.float32] = gram["techno"]
    found: Events = musicnn_zoo.events("song.mp3")
    event: Event = found[0]
    of_tag: Events = found["techno"]
    vector: Embedding = musicnn_zoo.embed("song.mp3")
    shape: tuple[int, ...] = vector.shape
    difference: Any = vector - vector
    several: Features = musicnn_zoo.features("song.mp3")
    layer: NDArray[np.float32] = several["penultimate"]
    print(curve, event, of_tag, shape, difference, layer)

    with Tagger() as tagger:
        tags = tagger("song.mp3", top_k=3)
    model = musicnn_zoo.load_model()
    print(model.tags, list(musicnn_zoo.find_audio("music")))
