"""Tag audio while it is being played: blocks in, rows of a taggram out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.networks.config import ModelSpec
from musicnn_zoo.networks.patches import PatchGrid, PatchStream, Tail
from musicnn_zoo.runtimes.engine import Engine
from musicnn_zoo.sound.read import Resampler, check_rate, downmix_array
from musicnn_zoo.tagging.pipeline import NOT_FINITE, silent_rows, taggram_of
from musicnn_zoo.tagging.results import Clip, Taggram

_MOST_CHANNELS = 32


class TaggramStream:
    """Takes blocks of any length and gives the rows of a taggram as patches are complete.

    All rows together are those of :meth:`musicnn_zoo.Tagger.taggram` on the whole signal. Made
    by :meth:`musicnn_zoo.Tagger.stream`; for one thread.
    """

    def __init__(
        self, spec: ModelSpec, engine: Engine, grid: PatchGrid, *, sample_rate: int, tail: Tail
    ) -> None:
        check_rate(sample_rate)
        self._spec = spec
        self._engine = engine
        self._resampler = Resampler(int(sample_rate), grid.sample_rate)
        self._patches = PatchStream(grid, tail=tail)
        self._finished = False

    def feed(self, block: NDArray[Any], *, sample_rate: int | None = None) -> Taggram:
        """Take the next block.

        Parameters
        ----------
        block : ndarray, shape (samples,) or (channels, samples)
            Floating point, or signed integers, whose full scale becomes ±1.
        sample_rate : int, optional
            Of this block and those after it, in Hz, if it has changed.

        Returns
        -------
        Taggram
            The rows that it completes, with their times from the start of the stream; often
            none.

        Raises
        ------
        AudioError
            If the block is of another shape or type, or holds NaN or infinite samples. The
            stream goes on with the next block as if this one had not been.
        ArgumentError
            If the stream is finished.
        """
        if self._finished:
            raise ArgumentError("this stream is finished; make another one")
        block = np.asarray(block)
        if block.ndim == 2 and len(block) > _MOST_CHANNELS:
            raise AudioError(
                f"block: must be (channels, samples); received shape {block.shape}, which looks "
                "transposed: pass block.T"
            )
        mono = downmix_array(block)
        if not np.isfinite(mono).all():
            raise AudioError("block: holds NaN or infinite samples")
        ended: NDArray[np.float32] = np.zeros(0, np.float32)
        if sample_rate is not None and sample_rate != self._resampler.sample_rate:
            check_rate(sample_rate)
            ended = self._resampler.finish()
            self._resampler = Resampler(int(sample_rate), self._patches.grid.sample_rate)
        ready = self._resampler.feed(mono)
        return self._rows(self._patches.feed(np.concatenate([ended, ready])))

    def finish(self) -> Taggram:
        """Return the rows that the end of the signal completes.

        A signal shorter than one patch is repeated to fill one, see
        :class:`musicnn_zoo.networks.patches.PatchStream`.
        """
        if self._finished:
            raise ArgumentError("this stream is finished; make another one")
        self._finished = True
        last = self._patches.feed(self._resampler.finish())
        return self._rows(np.concatenate([last, self._patches.finish()]))

    def _rows(self, windows: NDArray[np.float32]) -> Taggram:
        scores: NDArray[np.float32] = np.empty((0, len(self._spec.tags)), np.float32)
        silent = silent_rows(windows)
        if len(windows):
            scores = self._engine.run(windows, ("output",))["output"]
            if not np.isfinite(scores).all():
                raise AudioError(f"block: {NOT_FINITE}")
        patches, grid = self._patches, self._patches.grid
        times = grid.times(patches.count)[patches.count - len(scores) :]
        duration_s = patches.samples / grid.sample_rate
        share = float(silent.mean()) if len(silent) else 0.0
        clip = Clip(None, duration_s, patches.repeated, patches.dropped_s, silent=share)
        return taggram_of(self._spec, scores, times, grid.patch_s, grid.hop_s, clip, silent)
