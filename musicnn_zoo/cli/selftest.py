"""The command selftest: whether this installation computes what it should.

It needs no file and no network. A sound is made by formula, so that it is the same everywhere; its
scores by the four bundled models are kept in ``selftest.json``, which ``tests/test_selftest.py``
compares with the original musicnn's way of computing them.
"""

from __future__ import annotations

import functools
import io
import json
import platform
from collections.abc import Callable, Iterator
from importlib import metadata, resources
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import MusicnnZooError
from musicnn_zoo.machine import __version__
from musicnn_zoo.machine.installation import has_keras
from musicnn_zoo.sound.read import Resampler, load_audio
from musicnn_zoo.tagging.tagger import Tagger
from musicnn_zoo.text import count
from musicnn_zoo.zoo.catalogue import PRESETS, BundledFile

RATE = 44100
LENGTH_S = 4
SCORE_TOLERANCE = 5e-4
"""Processors differ by 1.1e-4, and the two resamplings of a sound by less."""

_PACKAGES = (
    "numpy", "soundfile", "soxr", "av", "onnxruntime", "librosa", "kapre", "keras", "tensorflow",
)  # fmt: skip


class Check(NamedTuple):
    """What one check found: its name, the largest error, and how large it may be."""

    name: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the error is as small as it must be; NaN is not."""
        return self.error <= self.allowed


def make_sound() -> NDArray[np.float32]:
    """Return four seconds of a chord with a beat and a sweep, at 44.1 kHz; made of sines only."""
    t = np.arange(RATE * LENGTH_S) / RATE
    chord = sum(np.sin(2 * np.pi * 220 * ratio * t) / ratio for ratio in (1, 1.25, 1.5, 2, 3))
    beat = np.exp(-12 * (t % 0.5)) * np.sin(2 * np.pi * 60 * t)
    sweep = np.sin(2 * np.pi * (200 * t + 600 * t**2)) * (t % 1 < 0.5)
    sound: NDArray[np.float32] = (0.15 * chord + 0.4 * beat + 0.1 * sweep).astype(np.float32)
    return sound


def checks() -> Iterator[tuple[str, Callable[[], Check]]]:
    """Yield the checks with their names, the quick ones first."""
    yield "resampler, what it keeps", _resampler_keeps
    yield "resampler, what it removes", _resampler_removes
    yield "decoder of FLAC (libsndfile)", _decodes_flac
    yield "decoder of M4A (FFmpeg)", _decodes_m4a
    for name, preset in PRESETS.items():
        if isinstance(preset.sources[0], BundledFile):
            yield f"{name} (ONNX Runtime)", functools.partial(_scores, name, "onnxruntime")
    if has_keras():
        yield "MTT_musicnn (Keras)", functools.partial(_scores, "MTT_musicnn", "keras")


def golden_scores() -> dict[str, list[float]]:
    """Return the scores of :func:`make_sound` by each bundled model, in the order of its tags."""
    text = resources.files(__package__).joinpath("selftest.json").read_text(encoding="utf-8")
    scores: dict[str, list[float]] = json.loads(text)
    return scores


def _scores(name: str, engine: str) -> Check:
    chosen: Any = engine
    if engine == "keras":
        import keras

        chosen = keras.backend.backend()
    with Tagger(name, engine=chosen) as tagger:
        found = tagger.taggram((make_sound(), RATE)).scores.mean(axis=0)
    expected = np.asarray(golden_scores()[name])
    return Check("largest difference of a score", np.abs(found - expected).max(), SCORE_TOLERANCE)


def _resampled(frequency: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a sine resampled from 44.1 to 16 kHz and as it is at 16 kHz, without the ends."""
    sine = np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE).astype(np.float32)
    resampler = Resampler(RATE, 16000)
    found = np.concatenate([resampler.feed(sine), resampler.finish()])
    ideal = np.sin(2 * np.pi * frequency * np.arange(len(found)) / 16000)
    return found[1000:-1000], ideal[1000:-1000]


def _resampler_keeps() -> Check:
    errors = [np.abs(np.subtract(*_resampled(frequency))).max() for frequency in (100, 1000, 3000)]
    return Check("largest error of sines of 100, 1,000 and 3,000 Hz", max(errors), 1e-5)


def _resampler_removes() -> Check:
    found, _ = _resampled(10000)
    return Check("what is left of a sine of 10,000 Hz", np.abs(found).max(), 1e-4)


def _decodes_flac() -> Check:
    import soundfile

    sound = make_sound()
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="FLAC", subtype="PCM_24")
    found = load_audio(file.getvalue(), target_rate=RATE).samples
    return Check("largest error of a sample", _difference(found, sound), 2.0**-23)


def _decodes_m4a() -> Check:
    import av

    sound = make_sound()
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("aac", rate=RATE, layout="mono")
        stream.bit_rate = 128000
        frame = av.AudioFrame.from_ndarray(sound[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = RATE
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    found = load_audio(file.getvalue(), target_rate=RATE).samples[: len(sound)]
    return Check("RMS error, relative to the sound", _relative(found, sound), 0.1)


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max())


def _relative(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


@click.command()
def selftest() -> None:
    """Check that this installation computes what it should.

    Decoders, the resampler and the four bundled models are run on a sound that is made on the
    spot, and compared with what is known to be right. It takes some seconds, no file and no
    network. Add its output to a bug report.
    """
    click.echo(f"musicnn-zoo {__version__}, {_versions()}")
    failures = 0
    for name, run in checks():
        try:
            check = run()
        except (MusicnnZooError, OSError, ValueError, ImportError) as error:
            failures += 1
            click.echo(f"FAIL  {name}: {error}")
            continue
        failures += not check.passed
        word = "ok  " if check.passed else "FAIL"
        click.echo(f"{word}  {name}: {check.name} {check.error:.1e} (at most {check.allowed:.0e})")
    if failures:
        click.echo(
            f"{count(failures, 'check')} failed: reinstall musicnn-zoo, or report this output"
        )
        raise click.exceptions.Exit(1)
    click.echo("all is well")
