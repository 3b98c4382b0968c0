/** Progress of loading, in bytes; `total` is null where the server does not say. */
export interface Progress {
  part: "model" | "runtime";
  loaded: number;
  total: number | null;
}

export interface LoadOptions {
  /** Folder in which `models/` lies; by default that of this module. */
  base?: string | URL;
  /**
   * onnxruntime-web: the folder of its files as they come from npm (`dist/`), or the address of its
   * module `ort.wasm.min`; by default `runtime/ort.wasm.min.js` in `base`, and in Node the
   * installed package.
   */
  runtime?: string | URL;
  /**
   * By default one; where the page is cross-origin isolated, half of the cores, up to four.
   */
  threads?: number;
  progress?: (state: Progress) => void;
  signal?: AbortSignal;
}

/** What `model.json` says. */
export interface ModelInfo {
  readonly format: number;
  readonly name: string;
  /** Of musicnn-zoo, which wrote it. */
  readonly version: string;
  /** In the order of the scores. */
  readonly tags: readonly string[];
  /** Calibrated thresholds, in the order of the tags, if the model has them. */
  readonly thresholds: readonly (number | null)[] | null;
  /** In Hz. */
  readonly sampleRate: number;
  readonly patchSamples: number;
  /** Seconds of a patch. */
  readonly patchS: number;
  readonly grid: { patch: number; frameHop: number; window: number; padding: number };
  readonly graph: { file: string; bytes: number; sha256: string; input: string; scores: string };
  readonly embedding: { layer: string; size: number } | null;
  /** The whole configuration, as Python's `ModelConfig.to_dict()`. */
  readonly config: Record<string, unknown>;
  /** Digest of the weights. */
  readonly weights: string;
  readonly provenance: {
    trained_on: string;
    metrics: Record<string, number>;
    test_set: string;
    source: string;
    license: string;
    citation: string;
  };
  /** SPDX name, and the file beside the graph that must go with copies. */
  readonly license: { name: string; file: string | null };
}

/** Mono samples, or those of each channel; full scale is 1. */
export type Samples = Float32Array | Float32Array[];

/** A sound: whole, or in blocks as they come. Rates are in Hz. */
export type Sound =
  | AudioBuffer
  | { samples: Samples; sampleRate: number }
  | { blocks: Iterable<Samples> | AsyncIterable<Samples>; sampleRate: number };

export interface Row {
  /** Start of the patch in seconds. */
  time: number;
  /** One for each tag. */
  scores: Float32Array;
  /** Whether the patch has a level below -60 dBFS. */
  silent: boolean;
}

export interface Clip {
  durationS: number;
  /** Whether the sound was shorter than a patch and was repeated to fill one. */
  repeated: boolean;
  /** Seconds at the end that no patch covers. */
  droppedS: number;
  /** Share of the patches that are silent, from 0 to 1. */
  silent: number;
}

/** Rows in order, for `for await`. */
export interface Taggram extends AsyncIterable<Row> {
  /** Null until the rows have ended. */
  readonly clip: Clip | null;
}

export interface RunOptions {
  /** Seconds between the starts of two patches; null, the default, is one patch. */
  hopS?: number | null;
  signal?: AbortSignal;
}

export interface Tagger {
  readonly info: ModelInfo;
  taggram(audio: Sound, options?: RunOptions): Taggram;
  /** Best first; none of a sound that is silent throughout. `topK` is 5 by default. */
  tag(
    audio: Sound,
    options?: RunOptions & { topK?: number },
  ): Promise<{ tag: string; score: number }[]>;
  embed(audio: Sound, options?: RunOptions): Promise<Float32Array>;
  /** How a sound is cut: seconds of a patch, and between the starts of two. */
  cutting(hopS?: number | null): { patchS: number; hopS: number };
  /** Let go of the model and its thread; what still runs ends with an error. */
  dispose(): void;
}

/** Load a model by its name, or from the address of its folder. */
export function load(model: string | URL, options?: LoadOptions): Promise<Tagger>;

/** Base of all errors of this module. */
export class TaggerError extends Error {}
/** A model is not there, is damaged, or is no model of this package. */
export class ModelError extends TaggerError {}
/** The files of onnxruntime-web are not there or do not start. */
export class RuntimeLoadError extends TaggerError {}
/** The sound cannot be used. */
export class AudioError extends TaggerError {}
/** An argument cannot be used. */
export class ArgumentError extends TaggerError {}
