/** Where sound comes from: a file, decoded piece by piece, or a microphone. */

import { HIGHEST_RATE, LOWEST_RATE } from "./lib/resample.js";

const WHOLE_S = 1200;
const WHOLE_BYTES = 30e6;
const SLIGHT_S = 0.1;
const BLOCKS_WAITING = 60;
const RECORDED = "microphone.wav";

/** What cannot be listened to, in a sentence for people. */
export class SoundError extends Error {}

function explain(name, error, why) {
  const sentences = {
    "silent film": `${name}: there are pictures in it, but no sound.`,
    empty: `${name}: there are no samples in it.`,
    broken: `${name}: cannot be decoded (${why}). It may be damaged, or cut off.`,
    unknown: `${name}: this is no recording that this browser can decode (${why}). MP3, M4A, Ogg, FLAC and WAV work nearly everywhere.`,
  };
  return new SoundError(sentences[error]);
}

/** A decoder in a worker, which answers one question after the other. */
class Decoder {
  constructor(name) {
    this.name = name;
    this.worker = new Worker(new URL("decoder.js", import.meta.url), { type: "module" });
  }

  ask(question) {
    return new Promise((answered, failed) => {
      this.worker.onmessage = ({ data }) => (data.error ? failed(explain(this.name, data.error, data.why)) : answered(data));
      this.worker.onerror = () => failed(explain(this.name, "unknown", "its decoder does not start"));
      this.worker.postMessage(question);
    });
  }

  close() {
    this.worker.terminate();
  }
}

/** Decoded piece by piece, as often as it is asked for: nothing of it is kept. */
async function streamed(file) {
  const decoder = new Decoder(file.name);
  try {
    const { rate, channels, duration } = await decoder.ask({ open: file });
    const sound = { name: file.name, sampleRate: rate, channels, duration, lost: 0 };
    return Object.assign(sound, { blocks: (signal) => decodedBlocks(sound, file, signal) });
  } finally {
    decoder.close();
  }
}

async function* decodedBlocks(sound, file, signal) {
  const decoder = new Decoder(file.name);
  signal?.addEventListener("abort", () => decoder.close());
  try {
    await decoder.ask({ open: file });
    for (;;) {
      const { block, lost } = await decoder.ask({ next: true });
      if (!block) {
        sound.lost = lost > SLIGHT_S ? lost : 0;
        return;
      }
      yield block;
    }
  } finally {
    decoder.close();
  }
}

/** Decoded at once by the browser, where it has no decoder of pieces for the file. */
async function whole(file, length) {
  if (Number.isFinite(length) ? length > WHOLE_S : file.size > WHOLE_BYTES) {
    throw new SoundError(
      `${file.name}: is longer than ${WHOLE_S / 60} minutes, and this browser cannot decode it piece by piece. A new Chrome, Edge, Firefox or Safari can.`,
    );
  }
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, 44_100).decodeAudioData(await file.arrayBuffer());
  } catch (error) {
    throw explain(file.name, "unknown", error.message || error.name);
  }
  const mono = await mixed(buffer);
  const { duration, numberOfChannels: channels, sampleRate } = buffer;
  async function* blocks() {
    for (let at = 0; at < mono.length; at += sampleRate) yield mono.slice(at, at + sampleRate);
  }
  return { name: file.name, sampleRate, channels, duration, lost: 0, blocks };
}

/** The mean of the channels, a stretch at a time, so that the page answers meanwhile. */
async function mixed(buffer) {
  const mono = new Float32Array(buffer.length);
  const stretch = 10 * buffer.sampleRate;
  for (let from = 0; from < mono.length; from += stretch) {
    const to = Math.min(mono.length, from + stretch);
    for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
      const samples = buffer.getChannelData(channel);
      for (let at = from; at < to; at += 1) mono[at] += samples[at] / buffer.numberOfChannels;
    }
    await new Promise((next) => setTimeout(next));
  }
  return mono;
}

/** Length of a file in seconds as the browser's player states it; Infinity if it does not know. */
function statedLength(file) {
  return new Promise((stated) => {
    const audio = new Audio(URL.createObjectURL(file));
    const done = (length) => {
      URL.revokeObjectURL(audio.src);
      stated(length);
    };
    audio.onloadedmetadata = () => done(audio.duration);
    audio.onerror = () => done(0);
  });
}

/**
 * Open a file.
 *
 * @param {File} file
 * @returns {Promise<{name: string, sampleRate: number, channels: number, duration: number,
 *     lost: number, blocks: (signal?: AbortSignal) => AsyncIterable<Float32Array>}>} blocks are
 *     mono; `lost` are the seconds that are missing, once the blocks have ended
 * @throws {SoundError} if it is no recording, or one that cannot be decoded
 */
export async function openFile(file) {
  if (!file.size) throw new SoundError(`${file.name}: is empty.`);
  const sound = await decodable(file);
  if (sound.sampleRate < LOWEST_RATE || sound.sampleRate > HIGHEST_RATE) {
    throw new SoundError(`${file.name}: states a sample rate of ${sound.sampleRate} Hz, which no recording has.`);
  }
  return sound;
}

async function decodable(file) {
  if (!("AudioDecoder" in window)) return whole(file, await statedLength(file));
  try {
    return await streamed(file);
  } catch (error) {
    if (!(error instanceof SoundError)) throw error;
    return whole(file, await statedLength(file)).catch(() => {
      throw error;
    });
  }
}

/** What is put in at one end and taken out at the other. */
class Queue {
  waiting = [];
  ended = false;
  wake = () => {};

  put(block) {
    if (this.waiting.length < BLOCKS_WAITING) this.waiting.push(block);
    this.wake();
  }

  end() {
    this.ended = true;
    this.wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.waiting.length) yield this.waiting.shift();
      if (this.ended) return;
      await new Promise((wake) => {
        this.wake = wake;
      });
    }
  }
}

/** Samples as a WAV of 16 bits, of parts that lie outside the page's memory. */
class WavParts {
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.parts = [];
    this.bytes = 0;
  }

  add(block) {
    const samples = Int16Array.from(block, (sample) => Math.max(-32768, Math.min(32767, Math.round(32768 * sample))));
    this.parts.push(new Blob([samples]));
    this.bytes += samples.byteLength;
  }

  file(name) {
    const head = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, index) => head.setUint8(at + index, letter.charCodeAt(0)));
    text(0, "RIFF");
    head.setUint32(4, 36 + this.bytes, true);
    text(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true);
    head.setUint16(22, 1, true);
    head.setUint32(24, this.sampleRate, true);
    head.setUint32(28, 2 * this.sampleRate, true);
    head.setUint16(32, 2, true);
    head.setUint16(34, 16, true);
    text(36, "data");
    head.setUint32(40, this.bytes, true);
    return new File([head.buffer, ...this.parts], name, { type: "audio/wav" });
  }
}

/**
 * Listen to the microphone until `stop` is called, which gives what was recorded as a file.
 *
 * @throws {SoundError} if there is none, or it may not be used
 */
export async function openMicrophone() {
  let stream;
  try {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  } catch (error) {
    throw new SoundError(
      error.name === "NotAllowedError"
        ? "The microphone was not allowed. Allow it beside the page's address, and press again."
        : "No microphone was found that can be used.",
    );
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL("microphone.js", import.meta.url));
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const queue = new Queue();
  const wav = new WavParts(context.sampleRate);
  recorder.port.onmessage = ({ data }) => {
    wav.add(data);
    queue.put(data);
  };
  context.createMediaStreamSource(stream).connect(recorder);
  return {
    name: RECORDED,
    sampleRate: context.sampleRate,
    channels: 1,
    duration: 0,
    lost: 0,
    blocks: () => queue,
    async stop() {
      stream.getTracks().forEach((track) => track.stop());
      await context.close();
      queue.end();
      return wav.file(RECORDED);
    },
  };
}
