// Where the patches of a signal lie: the rules of musicnn_zoo/networks/patches.py.

import { ArgumentError } from "./errors.js";

const LONGEST_S = 86_400;

/** Patches of equal length at equal distances; lengths in frames, as in PatchGrid of Python. */
export class PatchGrid {
  /**
   * @param {{patch: number, frameHop: number, window: number, padding: number}} grid of a model
   * @param {number} sampleRate in Hz
   * @param {number | null} [hopS] seconds between the starts of two patches; null: one patch
   */
  constructor({ patch, frameHop, window, padding }, sampleRate, hopS = null) {
    Object.assign(this, { patch, frameHop, window, padding, sampleRate });
    this.patchSamples = (patch - 1) * frameHop + window;
    this.patchS = (patch * frameHop) / sampleRate;
    this.hop = hopS === null ? patch : this.#frames(hopS);
    this.hopSamples = this.hop * frameHop;
    this.hopS = this.hopSamples / sampleRate;
    /** Samples of the shortest signal that fills one patch. */
    this.shortest = Math.max(1, this.patchSamples - 2 * padding);
  }

  #frames(seconds) {
    if (typeof seconds !== "number" || !(seconds > 0 && seconds <= LONGEST_S)) {
      throw new ArgumentError(
        `hopS must be a positive number of seconds, at most ${LONGEST_S}; received ${seconds}`,
      );
    }
    // A nanosecond's grace for seconds made of whole frames, which floats may miss by a hair.
    const hop =
      this.frameHop === 1
        ? Math.round(seconds * this.sampleRate)
        : Math.floor(
            (seconds * this.sampleRate - this.padding + 1e-9 * this.sampleRate) / this.frameHop,
          );
    if (hop < 1) {
      const least = (this.padding + this.frameHop) / this.sampleRate;
      throw new ArgumentError(`hopS must be at least ${least} (one frame); received ${seconds}`);
    }
    return hop;
  }

  /** Frames of a signal of so many samples, before padding. */
  frames(samples) {
    const usable = samples + 2 * this.padding - this.window;
    return usable < 0 ? 0 : Math.floor(usable / this.frameHop) + 1;
  }

  /** Patches that lie wholly inside a signal of so many samples. */
  count(samples) {
    const spare = this.frames(samples) - this.patch;
    return spare < 0 ? 0 : Math.floor(spare / this.hop) + 1;
  }

  /** Seconds at the end that no patch covers. */
  droppedS(samples) {
    const count = this.count(samples);
    const end = count ? (count - 1) * this.hop + this.patch : 0;
    return (Math.max(0, this.frames(samples) - end) * this.frameHop) / this.sampleRate;
  }
}

/**
 * Cuts a signal that comes in blocks into patches; holds no more than one patch of it.
 *
 * A signal shorter than a patch is repeated to fill one; frames after the last whole patch are
 * left out.
 */
export class PatchStream {
  #held;
  #length;
  #ahead = 0;

  /** @param {PatchGrid} grid */
  constructor(grid) {
    this.grid = grid;
    /** Samples received so far. */
    this.samples = 0;
    /** After finish(): whether the signal was shorter than a patch. */
    this.repeated = false;
    this.#held = new Float32Array(grid.patchSamples);
    this.#length = grid.padding; // the zeros before the signal
  }

  /** Take a block of any length; give the patches that it completes, each a Float32Array. */
  *feed(block) {
    this.samples += block.length;
    yield* this.#complete(block);
  }

  /** Give the patches that the end of the signal completes. */
  *finish() {
    if (this.samples === 0) return;
    const { padding, shortest } = this.grid;
    this.repeated = this.grid.count(this.samples) === 0;
    if (this.repeated) {
      const whole = this.#held.slice(padding, this.#length);
      this.#length = padding;
      for (let left = shortest; left > 0; left -= whole.length) {
        yield* this.#complete(whole.subarray(0, left));
      }
    }
    yield* this.#complete(new Float32Array(padding));
  }

  *#complete(block) {
    const { patchSamples, hopSamples } = this.grid;
    let at = Math.min(this.#ahead, block.length);
    this.#ahead -= at;
    while (at < block.length) {
      const taken = Math.min(patchSamples - this.#length, block.length - at);
      this.#held.set(block.subarray(at, at + taken), this.#length);
      this.#length += taken;
      at += taken;
      if (this.#length < patchSamples) continue;
      yield this.#held.slice();
      this.#held.copyWithin(0, hopSamples);
      this.#length = Math.max(0, patchSamples - hopSamples);
      const skipped = Math.min(Math.max(0, hopSamples - patchSamples), block.length - at);
      this.#ahead = Math.max(0, hopSamples - patchSamples) - skipped;
      at += skipped;
    }
  }
}

/** Level below which a patch is silent, in decibels relative to full scale. */
const SILENT_DBFS = -60;

/** Whether a patch has an RMS level below -60 dBFS. */
export function isSilent(patch) {
  let power = 0;
  for (const sample of patch) power += sample * sample;
  return power / patch.length < 10 ** (SILENT_DBFS / 10);
}
