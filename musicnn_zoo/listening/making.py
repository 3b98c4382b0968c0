"""From audio to a listening page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from musicnn_zoo.errors import ArgumentError, MusicnnZooError
from musicnn_zoo.listening.envelope import find_envelope
from musicnn_zoo.listening.page import ListeningPage
from musicnn_zoo.listening.recording import Recording
from musicnn_zoo.networks.patches import Tail
from musicnn_zoo.runtimes.engine import EngineName
from musicnn_zoo.sound.decode import OnDamage
from musicnn_zoo.sound.read import AudioSource, AudioStream
from musicnn_zoo.tagging.results import FileResult
from musicnn_zoo.tagging.taggram import Taggram
from musicnn_zoo.zoo.catalogue import DEFAULT_MODEL

if TYPE_CHECKING:
    from musicnn_zoo.tagging.shared_taggers import ModelLike
    from musicnn_zoo.tagging.tagger import Tagger

DEFAULT_HOP_S = 1.0
_ENVELOPE_RATE = 16_000


def listening_page(
    audio: AudioSource,
    *,
    models: ModelLike | Sequence[ModelLike] = DEFAULT_MODEL,
    sample_rate: int | None = None,
    patch_s: float | None = None,
    hop_s: float | None = DEFAULT_HOP_S,
    tail: Tail = "drop",
    damaged: OnDamage = "refuse",
    engine: EngineName = "auto",
    device: str | None = None,
) -> ListeningPage:
    """Make a page that plays a recording and shows how its tags change.

    Parameters
    ----------
    audio, sample_rate
        As in :func:`musicnn_zoo.tag`.
    models : model or sequence of models
        Each as ``model`` in :func:`musicnn_zoo.tag`; the page shows them side by side.
    patch_s : float, optional
        As in :func:`musicnn_zoo.taggram`.
    hop_s : float, optional
        Distance between the starts of two patches in seconds, by default 1 s; None for one
        patch.
    tail, damaged, engine, device
        See :class:`musicnn_zoo.Tagger`. The page of a damaged recording says so.

    Returns
    -------
    ListeningPage
        Save it with :meth:`~musicnn_zoo.ListeningPage.save`; a notebook shows it.

    Raises
    ------
    AudioError, UnknownNameError, ArgumentError
        As in :func:`musicnn_zoo.tag`.

    Examples
    --------
    >>> import musicnn_zoo
    >>> page = musicnn_zoo.listening_page(
    ...     "examples/audio/techno_loop.ogg", models=["MTT_musicnn", "MSD_musicnn"]
    ... )
    >>> page.save("techno.html")  # doctest: +SKIP
    """
    from musicnn_zoo.tagging.shared_taggers import shared_tagger

    if hasattr(audio, "read"):
        audio = _kept(audio)
    cutting: Any = {"patch_s": patch_s, "hop_s": hop_s, "tail": tail}
    taggrams = [
        shared_tagger(model, engine, device).taggram(
            audio, sample_rate=sample_rate, damaged=damaged, isolate=True, **cutting
        )
        for model in _several(models)
    ]
    return _make(audio, sample_rate, taggrams, damaged)


def listening_pages(
    paths: Sequence[str],
    taggers: Sequence[Tagger],
    *,
    patch_s: float | None = None,
    hop_s: float | None = DEFAULT_HOP_S,
    tail: Tail = "drop",
    damaged: OnDamage = "refuse",
    jobs: int | None = None,
    progress: bool = False,
) -> Iterator[FileResult[ListeningPage]]:
    """Make the pages of many files, in order, as they are ready.

    Parameters
    ----------
    paths : sequence of str
    taggers : sequence of Tagger
        One for each model.
    patch_s, hop_s, tail, damaged
        As in :func:`listening_page`.
    jobs, progress
        As in :func:`musicnn_zoo.tag_files`.

    Yields
    ------
    FileResult of ListeningPage
        With the error, if the file cannot be used.
    """
    cutting: Any = {"patch_s": patch_s, "hop_s": hop_s, "tail": tail}
    shown = [progress] + [False] * (len(taggers) - 1)
    runs = [
        tagger.taggram_files(paths, **cutting, damaged=damaged, jobs=jobs, progress=show)
        for tagger, show in zip(taggers, shown, strict=True)
    ]
    for path, results in zip(paths, zip(*runs, strict=True), strict=True):
        try:
            page = _make(path, None, [result.unwrap() for result in results], damaged)
        except MusicnnZooError as error:
            yield FileResult(path, None, error)
        else:
            yield FileResult(path, page)


def _make(
    audio: AudioSource, sample_rate: int | None, taggrams: list[Taggram], damaged: OnDamage
) -> ListeningPage:
    blocks = AudioStream(
        audio, sample_rate=sample_rate, target_rate=_ENVELOPE_RATE, damaged=damaged, isolate=True
    )
    return ListeningPage(
        Recording(audio, sample_rate=sample_rate),
        find_envelope(blocks, _ENVELOPE_RATE),
        tuple(taggrams),
    )


def _several(models: ModelLike | Sequence[ModelLike]) -> Iterable[ModelLike]:
    if isinstance(models, Sequence) and not isinstance(models, str):
        if not models:
            raise ArgumentError("models must name at least one model; received none")
        return models
    return (models,)


def _kept(audio: Any) -> AudioSource:
    """Read a file object once; it is needed several times."""
    kept = io.BytesIO(audio.read())
    kept.name = getattr(audio, "name", "audio")
    return kept
