// One model in one thread: loads it, and answers the messages of a Tagger.

import { AudioError, ModelError, RuntimeLoadError, packed } from "./errors.js";
import { PatchGrid, PatchStream, isSilent } from "./patches.js";
import { Resampler } from "./resample.js";

const FORMAT = 1;
const LARGEST_JSON = 2 ** 22;
const GLUE = "ort-wasm-simd-threaded";

/** Read a file of the web, or in Node one of the disk, and say how far it is. */
async function read(url, said, Kind, { signal, progress, expected = null }) {
  const part = { progress: progress ?? (() => {}), total: expected };
  try {
    if (url.startsWith("file:")) {
      const { readFile } = await import("node:fs/promises");
      return new Uint8Array(await readFile(new URL(url), { signal }));
    }
    const answer = await fetch(url, { signal });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    if (!answer.headers.has("Content-Encoding")) {
      part.total ??= Number(answer.headers.get("Content-Length")) || null;
    }
    return await whole(answer.body.getReader(), part);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new Kind(`${url}: ${said} cannot be read (${error.message})`, { cause: error });
  }
}

async function whole(reader, { progress, total }) {
  const pieces = [];
  let loaded = 0;
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    pieces.push(value);
    loaded += value.length;
    progress(loaded, total);
  }
  const content = new Uint8Array(loaded);
  let at = 0;
  for (const piece of pieces) {
    content.set(piece, at);
    at += piece.length;
  }
  return content;
}

async function readInfo(folder, signal) {
  const url = new URL("model.json", folder).href;
  const content = await read(url, "the model", ModelError, { signal });
  let info;
  try {
    if (content.length > LARGEST_JSON) throw new Error(`${content.length} bytes`);
    info = JSON.parse(new TextDecoder().decode(content));
  } catch (error) {
    throw new ModelError(`${url}: this is no description of a model (${error.message})`);
  }
  if (info?.format !== FORMAT || !Array.isArray(info.tags) || !info.grid || !info.graph) {
    throw new ModelError(
      `${url}: must be of format ${FORMAT}, received ${info?.format}; write the folder again with ` +
        "musicnn-zoo app --only-models",
    );
  }
  return info;
}

async function readGraph(folder, { graph }, options) {
  const url = new URL(graph.file, folder).href;
  const content = await read(url, "the graph", ModelError, { ...options, expected: graph.bytes });
  // Pages without a secure context, of a plain http address, have no digests.
  const digest = await globalThis.crypto?.subtle?.digest("SHA-256", content);
  const received =
    digest && Array.from(new Uint8Array(digest), (n) => n.toString(16).padStart(2, "0")).join("");
  if (received && received !== graph.sha256) {
    throw new ModelError(
      `${url}: the graph was changed or damaged; its SHA-256 must be ${graph.sha256}, ` +
        `received ${received}`,
    );
  }
  return content;
}

/** Load onnxruntime-web from its module; its other files lie beside that. */
async function loadRuntime(module, { threads, signal, progress }) {
  const beside = (name) => new URL(name, module).href;
  const ending = module.slice(module.lastIndexOf("."));
  const wasm = await read(beside(`${GLUE}.wasm`), "the runtime", RuntimeLoadError, {
    signal,
    progress,
  });
  try {
    const ort = await import(/* @vite-ignore */ /* webpackIgnore: true */ module);
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmBinary = wasm.buffer;
    ort.env.wasm.wasmPaths = { mjs: beside(`${GLUE}${ending}`) };
    return ort;
  } catch (error) {
    throw new RuntimeLoadError(`${module}: the runtime cannot be loaded (${error.message})`, {
      cause: error,
    });
  }
}

/** A model that is loaded; gives scores of patches. */
class Engine {
  #ort;
  #session;

  constructor(info, ort, session) {
    this.info = info;
    this.#ort = ort;
    this.#session = session;
  }

  static async load({ folder, runtime, threads, signal, progress }) {
    const of = (part) => (loaded, total) => progress({ part, loaded, total });
    const info = await readInfo(folder, signal);
    const [graph, ort] = await Promise.all([
      readGraph(folder, info, { signal, progress: of("model") }),
      loadRuntime(runtime, { threads, signal, progress: of("runtime") }),
    ]);
    try {
      const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
      return new Engine(info, ort, session);
    } catch (error) {
      throw new ModelError(`${folder}: onnxruntime-web cannot run the model (${error.message})`, {
        cause: error,
      });
    }
  }

  /** Scores of one patch, and if asked for the vector of the embedding. */
  async run(patch, withEmbedding) {
    const { graph, embedding } = this.info;
    const wanted = withEmbedding ? [graph.scores, embedding.layer] : [graph.scores];
    const input = new this.#ort.Tensor("float32", patch, [1, patch.length]);
    const found = await this.#session.run({ [graph.input]: input }, wanted);
    const scores = Float32Array.from(found[graph.scores].data);
    const vector = withEmbedding ? pooled(found[embedding.layer]) : null;
    if (![...scores, ...(vector ?? [])].every(Number.isFinite)) {
      throw new AudioError(
        "the sound has samples so large that scores of them are no numbers; bring them to ±1",
      );
    }
    return { scores, embedding: vector };
  }

  async release() {
    await this.#session.release();
  }
}

/** Mean of what lies between the patch and the channels. */
function pooled({ data, dims }) {
  const size = dims[dims.length - 1];
  const mean = new Float64Array(size);
  for (let n = 0; n < data.length; n++) mean[n % size] += (data[n] * size) / data.length;
  return Float32Array.from(mean);
}

/** A signal on its way through resampler and patches. */
class Run {
  stopped = false;
  #engine;
  #resampler;
  #patches;
  #embedding;
  #rows = 0;
  #silent = 0;

  constructor(engine, { sampleRate, hopS, embedding }) {
    const { grid, sampleRate: rate } = engine.info;
    this.#engine = engine;
    this.#patches = new PatchStream(new PatchGrid(grid, rate, hopS));
    this.#resampler = new Resampler(sampleRate, rate);
    this.#embedding = embedding;
  }

  async *feed(block) {
    yield* this.#scored(this.#patches.feed(this.#resampler.feed(block)));
  }

  async *finish() {
    yield* this.#scored(this.#patches.feed(this.#resampler.finish()));
    yield* this.#scored(this.#patches.finish());
  }

  clip() {
    const { samples, repeated, grid } = this.#patches;
    return {
      durationS: samples / grid.sampleRate,
      repeated,
      droppedS: repeated ? 0 : grid.droppedS(samples),
      silent: this.#rows ? this.#silent / this.#rows : 0,
    };
  }

  async *#scored(patches) {
    for (const patch of patches) {
      if (this.stopped) return;
      const silent = isSilent(patch);
      const row = await this.#engine.run(patch, this.#embedding);
      yield { ...row, silent, time: this.#rows * this.#patches.grid.hopS };
      this.#rows += 1;
      this.#silent += silent;
    }
  }
}

/**
 * Answer the messages of a Tagger, one after another.
 *
 * @param {(message: object, transfer?: Transferable[]) => void} post answers
 * @param {() => Promise<void>} pause lets messages arrive between two patches
 * @returns {(message: object) => void} takes a message
 */
export function serve(post, pause) {
  const runs = new Map();
  let engine = null;
  let turn = Promise.resolve();

  async function give(id, rows) {
    for await (const row of rows) {
      const transfer = [row.scores, row.embedding].filter(Boolean).map((each) => each.buffer);
      post({ type: "row", id, row }, transfer);
      await pause();
    }
  }

  const answers = {
    async load({ signal, ...options }) {
      const progress = (state) => post({ type: "progress", state });
      engine = await Engine.load({ ...options, signal, progress });
      post({ type: "ready", info: engine.info });
    },
    start({ id, ...options }) {
      runs.set(id, new Run(engine, options));
    },
    async block({ id, block }) {
      const run = runs.get(id);
      if (!run || run.stopped) return;
      await give(id, run.feed(block));
      post({ type: "taken", id });
    },
    async end({ id }) {
      const run = runs.get(id);
      if (!run || run.stopped) return;
      await give(id, run.finish());
      post({ type: "done", id, clip: run.clip() });
    },
    stop({ id }) {
      runs.delete(id);
    },
    async close() {
      await engine?.release();
      engine = null;
    },
  };

  async function answer(message) {
    const { type, id } = message;
    try {
      await answers[type](message);
    } catch (error) {
      runs.delete(id);
      post({ type: "failed", id, error: packed(error) });
    }
  }

  return (message) => {
    if (message.type === "stop" && runs.has(message.id)) runs.get(message.id).stopped = true;
    turn = turn.then(() => answer(message));
  };
}
