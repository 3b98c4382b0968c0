// Tags of music, computed where the music is: models of musicnn-zoo by onnxruntime-web.
//
// In a browser a model runs in a worker; in Node it runs where it is called.

import {
  ArgumentError,
  AudioError,
  ModelError,
  RuntimeLoadError,
  TaggerError,
  unpacked,
} from "./errors.js";
import { PatchGrid } from "./patches.js";
import { channelsOf, checkRate, mixed } from "./resample.js";

export { ArgumentError, AudioError, ModelError, RuntimeLoadError, TaggerError };

const MOST_BLOCKS = 4;
const MOST_ROWS = 16;
const MOST_THREADS = 4;
const DEFAULT_TOP_K = 5;
const NAME = /^[\w.-]+$/;
const MODULE = "ort.wasm.min";
const IN_BROWSER = typeof Worker === "function" && typeof location === "object";

/**
 * Load a model.
 *
 * @param {string | URL} model its name, or the address of its folder
 * @param {object} [options]
 * @param {string | URL} [options.base] folder in which `models/` lies; by default that of this file
 * @param {string | URL} [options.runtime] onnxruntime-web: the folder of its files as they come
 *   from npm (`dist/`), or the address of its module `ort.wasm.min`; by default
 *   `runtime/ort.wasm.min.js` in `base`, and in Node the installed package
 * @param {number} [options.threads] by default one; where the page is cross-origin isolated, half
 *   of the cores, up to four
 * @param {(state: {part: "model" | "runtime", loaded: number, total: number | null}) => void}
 *   [options.progress] called with bytes
 * @param {AbortSignal} [options.signal] stops loading
 * @returns {Promise<Tagger>}
 */
export async function load(model, { base, runtime, threads, progress, signal } = {}) {
  signal?.throwIfAborted();
  const root = base === undefined ? new URL(".", import.meta.url) : folderOf(base, "base");
  const named = typeof model === "string" && NAME.test(model) && !/^\.+$/.test(model);
  const options = {
    folder: named ? new URL(`models/${model}/`, root).href : folderOf(model, "model").href,
    runtime: runtimeModule(runtime, root),
    threads: threads ?? defaultThreads(),
  };
  if (!Number.isInteger(options.threads) || options.threads < 1) {
    throw new ArgumentError(`threads must be a whole number from 1; received ${threads}`);
  }
  return Tagger._load(options, progress ?? (() => {}), signal);
}

function addressOf(place, name) {
  try {
    if (place instanceof URL) return place;
    if (typeof place !== "string" || place === "") throw new TypeError("no address");
    if (IN_BROWSER) return new URL(place, document.baseURI);
    return /^[a-z][a-z\d+.-]+:/i.test(place) ? new URL(place) : fileAddress(place);
  } catch (error) {
    throw new ArgumentError(`${name} must be a name or an address; received ${place}`, {
      cause: error,
    });
  }
}

/** Address of a path of this machine, in Node. */
function fileAddress(path) {
  const isAbsolute = /^([a-z]:)?[\\/]/i.test(path);
  const whole = isAbsolute ? path : `${process.cwd()}/${path}`;
  const slashed = process.platform === "win32" ? `/${whole.replaceAll("\\", "/")}` : whole;
  return new URL(`file://${encodeURI(slashed).replace(/[?#]/g, encodeURIComponent)}`);
}

function folderOf(place, name) {
  const address = addressOf(place, name);
  return address.pathname.endsWith("/") ? address : new URL(`${address.href}/`);
}

function runtimeModule(runtime, root) {
  if (runtime !== undefined) {
    const address = addressOf(runtime, "runtime");
    if (/\.m?js$/.test(address.pathname)) return address.href;
    return new URL(`${MODULE}.mjs`, folderOf(address, "runtime")).href;
  }
  if (IN_BROWSER) return new URL(`runtime/${MODULE}.js`, root).href;
  try {
    return import.meta.resolve("onnxruntime-web/wasm");
  } catch (error) {
    throw new RuntimeLoadError(
      "onnxruntime-web is not installed: npm install onnxruntime-web@1.30.0, or say where it is " +
        "(the option runtime)",
      { cause: error },
    );
  }
}

function defaultThreads() {
  if (!globalThis.crossOriginIsolated) return 1;
  return Math.max(1, Math.min(MOST_THREADS, Math.floor(navigator.hardwareConcurrency / 2)));
}

/** Start what computes: a worker, or the same code in this thread. Gives how to post to it. */
async function startHost(receive, fail) {
  if (!IN_BROWSER) {
    const { serve } = await import("./engine.js");
    const pause = () => new Promise((done) => setTimeout(done));
    return { post: serve(receive, pause), stop: null };
  }
  let worker;
  try {
    worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  } catch (error) {
    throw new RuntimeLoadError(`the worker cannot be started (${error.message})`, { cause: error });
  }
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => {
    event.preventDefault();
    fail(new RuntimeLoadError(`the worker has stopped (${event.message ?? "it did not load"})`));
  };
  return {
    post: (message, transfer) => worker.postMessage(message, transfer ?? []),
    stop: () => worker.terminate(),
  };
}

/** Messages of one run, in order, for one reader. */
class Inbox {
  #messages = [];
  #wake = null;
  #inFlight = 0;
  #makeRoom = null;
  closed = false;

  put(message) {
    if (message.type === "taken") this.#inFlight -= 1;
    else this.#messages.push(message);
    this.#wake?.();
    this.#makeRoom?.();
  }

  async next() {
    while (this.#messages.length === 0) await new Promise((wake) => (this.#wake = wake));
    const message = this.#messages.shift();
    this.#makeRoom?.();
    return message;
  }

  /** Wait until one more block may be sent; false if none is wanted any more. */
  async room() {
    while (
      !this.closed &&
      (this.#inFlight >= MOST_BLOCKS || this.#messages.length >= MOST_ROWS)
    ) {
      await new Promise((room) => (this.#makeRoom = room));
    }
    this.#inFlight += 1;
    return !this.closed;
  }

  close() {
    this.closed = true;
    this.#makeRoom?.();
  }
}

/** Mono blocks of a sound, of a second each unless they come as they are. */
async function* blocksOf(audio) {
  if (audio.blocks !== undefined) {
    for await (const block of audio.blocks) yield mixed(block);
    return;
  }
  const isBuffer = typeof audio.getChannelData === "function";
  const channels = channelsOf(
    isBuffer
      ? Array.from({ length: audio.numberOfChannels }, (_, n) => audio.getChannelData(n))
      : audio.samples,
  );
  for (let at = 0; at < channels[0].length; at += audio.sampleRate) {
    const end = at + audio.sampleRate;
    yield mixed(channels.map((each) => each.subarray(at, end)));
  }
}

function checkAudio(audio) {
  const usable =
    typeof audio?.getChannelData === "function" ||
    audio?.samples !== undefined ||
    typeof (audio?.blocks?.[Symbol.asyncIterator] ?? audio?.blocks?.[Symbol.iterator]) ===
      "function";
  if (!usable || typeof audio.sampleRate !== "number") {
    throw new ArgumentError(
      "audio must be an AudioBuffer, { samples, sampleRate } or { blocks, sampleRate }; received " +
        (audio === null ? "null" : typeof audio),
    );
  }
  checkRate("sampleRate", audio.sampleRate);
}

/** Rows of scores, in order, for `for await`. */
class Taggram {
  #rows;

  constructor(start) {
    /** What is known of the sound when the rows have ended. */
    this.clip = null;
    this.#rows = start((clip) => (this.clip = clip));
  }

  [Symbol.asyncIterator]() {
    return this.#rows;
  }
}

/** A loaded model; see load(). */
class Tagger {
  /** What is in model.json: name, tags, sampleRate, patchS, provenance, … */
  info = null;
  #host;
  #runs = new Map();
  #last = 0;
  #failure = null;

  static async _load(options, progress, signal) {
    const tagger = new Tagger();
    const inbox = new Inbox();
    tagger.#runs.set(undefined, inbox);
    const abort = () => inbox.put({ type: "aborted" });
    signal?.addEventListener("abort", abort);
    try {
      tagger.#host = await startHost(
        (message) => tagger.#runs.get(message.id)?.put(message),
        (error) => tagger.#fail(error),
      );
      tagger.#host.post({ type: "load", ...options, ...(tagger.#host.stop ? {} : { signal }) });
      for (;;) {
        const message = await inbox.next();
        if (message.type === "aborted") throw signal.reason;
        if (message.type === "failed") throw errorOf(message);
        if (message.type === "progress") progress(message.state);
        if (message.type === "ready") {
          tagger.info = Object.freeze(message.info);
          return tagger;
        }
      }
    } catch (error) {
      tagger.dispose();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      tagger.#runs.delete(undefined);
    }
  }

  /**
   * Scores over time: `for await (const { time, scores, silent } of tagger.taggram(audio))`.
   *
   * @param {AudioBuffer | object} audio or `{ samples, sampleRate }`, or `{ blocks, sampleRate }`
   *   with an iterable of blocks as they come; samples are a Float32Array, or one for each channel
   * @param {object} [options]
   * @param {number | null} [options.hopS] seconds between two rows; by default one patch
   * @param {AbortSignal} [options.signal]
   */
  taggram(audio, { hopS = null, signal } = {}) {
    checkAudio(audio);
    return new Taggram((ended) => this.#rows(audio, { hopS, signal, ended, embedding: false }));
  }

  /**
   * Ranked tags: the scores averaged over the patches that are not silent.
   *
   * @param {AudioBuffer | object} audio as for taggram()
   * @param {object} [options]
   * @param {number} [options.topK] how many, at most; 5 by default
   * @param {number | null} [options.hopS]
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<{tag: string, score: number}[]>} best first; none of a silent sound
   */
  async tag(audio, { topK = DEFAULT_TOP_K, hopS = null, signal } = {}) {
    if (typeof topK !== "number" || !(topK >= 1)) {
      throw new ArgumentError(`topK must be a whole number from 1; received ${topK}`);
    }
    const heard = new Mean();
    for await (const row of this.taggram(audio, { hopS, signal })) {
      if (!row.silent) heard.add(row.scores);
    }
    return Array.from(heard.value() ?? [], (score, n) => ({ tag: this.info.tags[n], score }))
      .sort((one, other) => other.score - one.score)
      .slice(0, topK);
  }

  /**
   * The vector of a sound for transfer learning, that of musicnn_zoo.embed.
   *
   * @param {AudioBuffer | object} audio as for taggram()
   * @param {object} [options]
   * @param {number | null} [options.hopS]
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<Float32Array>}
   */
  async embed(audio, { hopS = null, signal } = {}) {
    checkAudio(audio);
    if (!this.info.embedding) {
      throw new ArgumentError(`${this.info.name} has no layer of embeddings`);
    }
    const [heard, all] = [new Mean(), new Mean()];
    const ended = () => {};
    for await (const row of this.#rows(audio, { hopS, signal, ended, embedding: true })) {
      all.add(row.embedding);
      if (!row.silent) heard.add(row.embedding);
    }
    return heard.value() ?? all.value();
  }

  /**
   * How a sound is cut, before it is: seconds of a patch, and between the starts of two.
   *
   * @param {number | null} [hopS] as for taggram()
   * @returns {{patchS: number, hopS: number}}
   */
  cutting(hopS = null) {
    const { grid, sampleRate } = this.info;
    const { patchS, hopS: between } = new PatchGrid(grid, sampleRate, hopS);
    return { patchS, hopS: between };
  }

  /** Let go of the model and its thread; what still runs ends with an error. */
  dispose() {
    if (this.#failure) return;
    this.#fail(new TaggerError("the tagger was disposed of"));
    if (this.#host?.stop) this.#host.stop();
    else this.#host?.post({ type: "close" });
  }

  #fail(error) {
    this.#failure ??= error;
    for (const inbox of this.#runs.values()) inbox.put({ type: "failed", error });
  }

  async *#rows(audio, { hopS, signal, ended, embedding }) {
    signal?.throwIfAborted();
    if (this.#failure) throw this.#failure;
    const id = ++this.#last;
    const inbox = new Inbox();
    const abort = () => inbox.put({ type: "aborted" });
    this.#runs.set(id, inbox);
    signal?.addEventListener("abort", abort);
    this.#host.post({ type: "start", id, sampleRate: audio.sampleRate, hopS, embedding });
    this.#send(id, audio, inbox).catch((error) => inbox.put({ type: "failed", error }));
    try {
      for (;;) {
        const message = await inbox.next();
        if (signal?.aborted) throw signal.reason;
        if (message.type === "failed") throw errorOf(message);
        if (message.type === "done") {
          ended(message.clip);
          return;
        }
        const { row } = message;
        if (!embedding) delete row.embedding;
        yield row;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#runs.delete(id);
      inbox.close();
      this.#host.post({ type: "stop", id });
    }
  }

  async #send(id, audio, inbox) {
    let samples = 0;
    for await (const block of blocksOf(audio)) {
      samples += block.length;
      if (!(await inbox.room())) return;
      this.#host.post({ type: "block", id, block }, [block.buffer]);
    }
    if (samples === 0) throw new AudioError("the sound holds no samples");
    this.#host.post({ type: "end", id });
  }
}

/** An error as it was thrown in this thread, or as it came from the other. */
function errorOf({ error }) {
  return error instanceof Error ? error : unpacked(error);
}

/** Mean of vectors that come one by one. */
class Mean {
  #sum = null;
  #count = 0;

  add(vector) {
    this.#sum ??= new Float64Array(vector.length);
    for (let n = 0; n < vector.length; n++) this.#sum[n] += vector[n];
    this.#count += 1;
  }

  value() {
    return this.#sum && Float32Array.from(this.#sum, (sum) => sum / this.#count);
  }
}
