// Resample a mono signal that comes in blocks: polyphase filters of windowed sincs.
//
// The filter is that of soxr's quality "HQ", which musicnn_zoo uses: flat to 0.9136 of the lower
// Nyquist frequency, 126 dB down at it, linear phase, by Kaiser's design.
// Crochiere, Rabiner. "Multirate Digital Signal Processing." Prentice-Hall, 1983. Kaiser.
// "Nonrecursive digital filter design using the I0-sinh window function." ISCAS 1974.

import { ArgumentError, AudioError } from "./errors.js";

const ATTENUATION_DB = 126.4;
const PASSBAND = 0.9136;
const BETA = 0.1102 * (ATTENUATION_DB - 8.7);
/** As many rows as a table of a filter has at most; between two rows it is interpolated. */
const MOST_PHASES = 1280;
/** What the first filter leaves to the second, at least, in multiples of the target rate. */
const LEFT = 1.25;
export const LOWEST_RATE = 1_000;
export const HIGHEST_RATE = 1_000_000;

/** Modified Bessel function of the first kind, of order 0. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > sum * 1e-17; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}

/** One filter, from one rate to another, for blocks of a signal of zeros before and after. */
class Stage {
  #rows = [];
  #half;
  #up;
  #down;
  #held;
  #filled;
  #start; // number of the sample that stands first in what is held
  #sample = 0; // at or before the next output
  #phase = 0; // of the next output, between that sample and the next, in 1/up

  /** Rates and edges in Hz: of what passes, and of what is stopped. */
  constructor(from, to, pass, stop) {
    const common = divisor(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const width = (2 * Math.PI * (stop - pass)) / from;
    this.#half = 2 * Math.ceil((ATTENUATION_DB - 7.95) / (2.285 * width) / 4) + 2;
    const phases = Math.min(this.#up, MOST_PHASES);
    for (let phase = 0; phase < phases + (phases < this.#up ? 1 : 0); phase++) {
      this.#rows.push(this.#row(phase / phases, (pass + stop) / from));
    }
    this.#start = 1 - this.#half;
    this.#held = new Float32Array(4 * this.#half + 1);
    this.#filled = this.#half - 1;
  }

  /** Weights of the samples around an output that lies a fraction behind one of them. */
  #row(fraction, cutoff) {
    const row = new Float32Array(2 * this.#half);
    const scale = bessel(BETA);
    for (let k = 0; k < row.length; k++) {
      const time = k + 1 - this.#half - fraction;
      const window = Math.sqrt(Math.max(0, 1 - (time / this.#half) ** 2));
      const angle = Math.PI * cutoff * time;
      row[k] = (cutoff * (angle === 0 ? 1 : Math.sin(angle) / angle) * bessel(BETA * window)) / scale;
    }
    return row;
  }

  /** Outputs up to the end of the signal, and perhaps some behind it. */
  finish() {
    return this.feed(new Float32Array(this.#half + 1));
  }

  feed(block) {
    this.#hold(block);
    const end = this.#start + this.#filled;
    const [up, down, half] = [this.#up, this.#down, this.#half];
    // The next output needs the samples to half behind its own.
    const steps = Math.floor(((end - 1 - half - this.#sample) * up + up - 1 - this.#phase) / down);
    const output = new Float32Array(Math.max(0, steps + 1));
    const exact = this.#rows.length === up;
    for (let n = 0; n < output.length; n++) {
      const at = this.#sample + 1 - half - this.#start;
      output[n] = exact
        ? weighted(this.#rows[this.#phase], this.#held, at)
        : this.#between((this.#phase / up) * (this.#rows.length - 1), at);
      this.#phase += down;
      this.#sample += Math.floor(this.#phase / up);
      this.#phase %= up;
    }
    return output;
  }

  #between(row, at) {
    const below = Math.floor(row);
    const one = weighted(this.#rows[below], this.#held, at);
    return one + (row - below) * (weighted(this.#rows[below + 1], this.#held, at) - one);
  }

  /** Forget what no output needs any more, and append a block. */
  #hold(block) {
    const unneeded = Math.max(0, Math.min(this.#sample + 1 - this.#half - this.#start, this.#filled));
    const kept = this.#held.subarray(unneeded, this.#filled);
    const needed = kept.length + block.length;
    if (needed > this.#held.length) {
      const larger = new Float32Array(2 * needed);
      larger.set(kept);
      this.#held = larger;
    } else {
      this.#held.copyWithin(0, unneeded, this.#filled);
    }
    this.#held.set(block, kept.length);
    this.#start += unneeded;
    this.#filled = needed;
  }
}

/** Sum of the products of a row, of a multiple of four, and the samples from one on. */
function weighted(row, samples, at) {
  let [a, b, c, d] = [0, 0, 0, 0]; // four sums at once take a third less time than one
  for (let k = 0; k < row.length; k += 4) {
    a += row[k] * samples[at + k];
    b += row[k + 1] * samples[at + k + 1];
    c += row[k + 2] * samples[at + k + 2];
    d += row[k + 3] * samples[at + k + 3];
  }
  return a + b + c + d;
}

/** Resample a mono signal; `n` samples become `ceil(n * target / rate)`. Rates are in Hz. */
export class Resampler {
  #stages = [];
  #sampleRate;
  #targetRate;
  #received = 0;
  #given = 0;

  constructor(sampleRate, targetRate) {
    checkRate("sampleRate", sampleRate);
    checkRate("targetRate", targetRate);
    this.#sampleRate = sampleRate;
    this.#targetRate = targetRate;
    if (sampleRate === targetRate) return;
    let rate = sampleRate;
    // A short filter divides high rates first, so that the long one has less to do.
    let factor = Math.max(1, Math.floor(rate / (LEFT * targetRate)));
    while (rate % factor !== 0) factor--;
    if (factor > 1) {
      const lower = rate / factor;
      this.#stages.push(new Stage(rate, lower, targetRate / 2, lower - targetRate / 2));
      rate = lower;
    }
    const nyquist = Math.min(rate, targetRate) / 2;
    this.#stages.push(new Stage(rate, targetRate, PASSBAND * nyquist, nyquist));
  }

  /** Take a block of any length; return what is ready, which may be nothing. */
  feed(block) {
    this.#received += block.length;
    const ready = this.#stages.reduce((signal, stage) => stage.feed(signal), block);
    this.#given += ready.length;
    return ready;
  }

  /** Return the rest. */
  finish() {
    let rest = new Float32Array(0);
    for (const stage of this.#stages) {
      const [fed, last] = [stage.feed(rest), stage.finish()];
      rest = new Float32Array(fed.length + last.length);
      rest.set(fed);
      rest.set(last, fed.length);
    }
    const total = Math.ceil((this.#received * this.#targetRate) / this.#sampleRate);
    return rest.subarray(0, total - this.#given);
  }
}

/** Refuse a rate in Hz at which nobody samples sound. */
export function checkRate(name, rate) {
  if (!Number.isInteger(rate) || rate < LOWEST_RATE || rate > HIGHEST_RATE) {
    throw new ArgumentError(
      `${name} must be a whole number from ${LOWEST_RATE} to ${HIGHEST_RATE} Hz; received ${rate}`,
    );
  }
}

/** Samples beyond it have powers that are no numbers. */
const LOUDEST = 1e10;

/**
 * Refuse what is not the channels of a sound, mono or several of one length.
 *
 * @param {Float32Array | Float32Array[]} samples
 * @returns {Float32Array[]} one for each channel
 */
export function channelsOf(samples) {
  const channels = samples instanceof Float32Array ? [samples] : samples;
  const usable = Array.isArray(channels) && channels.length > 0;
  if (!usable || !channels.every((each) => each instanceof Float32Array)) {
    throw new ArgumentError(
      "samples must be a Float32Array, or an array of them, one for each channel",
    );
  }
  if (channels.some((channel) => channel.length !== channels[0].length)) {
    const lengths = channels.map((channel) => channel.length).join(", ");
    throw new ArgumentError(`all channels must have one length; received ${lengths} samples`);
  }
  return channels;
}

/**
 * Average the channels of a block; refuse samples that are no numbers.
 *
 * @param {Float32Array | Float32Array[]} block mono, or the channels, all of one length
 * @returns {Float32Array} a new one
 */
export function mixed(block) {
  const channels = channelsOf(block);
  const mono = new Float32Array(channels[0].length);
  for (let n = 0; n < mono.length; n++) {
    let sum = 0;
    for (let channel = 0; channel < channels.length; channel++) sum += channels[channel][n];
    mono[n] = sum / channels.length;
    if (!(Math.abs(mono[n]) <= LOUDEST)) {
      throw new AudioError(`the sound has a sample of ${mono[n]}, where full scale is 1`);
    }
  }
  return mono;
}
