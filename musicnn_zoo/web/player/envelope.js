/** Lowest and highest sample of each stretch of a signal, ±127 for full scale. */

import { grown } from "./numbers.js";

const FINEST_S = 0.005;
const MOST = 60_000;

export class Envelope {
  constructor(stretch = FINEST_S, lowest = new Int8Array(0), highest = new Int8Array(0)) {
    this.stretch = stretch;
    this.lowest = lowest;
    this.highest = highest;
    this.length = lowest.length;
    this.peak = 1;
    for (let at = 0; at < this.length; at += 1) this.notePeak(at);
    this.low = Infinity;
    this.high = -Infinity;
    this.taken = 0;
  }

  notePeak(at) {
    this.peak = Math.max(this.peak, this.highest[at], -this.lowest[at]);
  }

  /** Take the next samples of a mono signal; a stretch is doubled when there are too many. */
  feed(samples, sampleRate) {
    let step = Math.max(1, Math.round(this.stretch * sampleRate));
    for (let at = 0; at < samples.length; at += 1) {
      this.low = Math.min(this.low, samples[at]);
      this.high = Math.max(this.high, samples[at]);
      this.taken += 1;
      if (this.taken >= step) {
        this.finish();
        step = Math.max(1, Math.round(this.stretch * sampleRate));
      }
    }
  }

  /** Close the stretch that is open, if there is one. */
  finish() {
    if (!this.taken) return;
    this.lowest = grown(this.lowest, this.length + 1);
    this.highest = grown(this.highest, this.length + 1);
    this.lowest[this.length] = Math.round(127 * Math.max(-1, Math.min(1, this.low)));
    this.highest[this.length] = Math.round(127 * Math.max(-1, Math.min(1, this.high)));
    this.notePeak(this.length);
    this.length += 1;
    this.low = Infinity;
    this.high = -Infinity;
    this.taken = 0;
    if (this.length >= MOST) this.halve();
  }

  halve() {
    const { lowest, highest } = this;
    this.length >>= 1;
    for (let at = 0; at < this.length; at += 1) {
      lowest[at] = Math.min(lowest[2 * at], lowest[2 * at + 1]);
      highest[at] = Math.max(highest[2 * at], highest[2 * at + 1]);
    }
    this.stretch *= 2;
  }
}
