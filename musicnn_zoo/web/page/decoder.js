/**
 * A worker that decodes a file piece by piece: what is asked for is answered, one answer a message.
 *
 * {open: File} is answered by {rate, channels, duration}, {next: true} by {block}: about a second of
 * mono samples, or null at the end. What goes wrong is answered by {error, why}.
 */

import { ALL_FORMATS, AudioSampleSink, BlobSource, Input } from "./runtime/mediabunny.min.mjs";

const BLOCK_S = 1;

let samples = null;
let held = null;

async function open(file) {
  const input = new Input({ formats: ALL_FORMATS, source: new BlobSource(file) });
  if (!(await input.canRead())) return { error: "unknown", why: "its format is not known" };
  const track = await input.getPrimaryAudioTrack();
  if (!track) return { error: "silent film", why: "there is no sound in it" };
  if (!(await track.canDecode())) return { error: "unknown", why: `${track.codec ?? "its coding"} is not decoded` };
  samples = new AudioSampleSink(track).samples();
  held = (await samples.next()).value ?? null;
  if (!held) return { error: "empty", why: "there are no samples in it" };
  const duration = await input.computeDuration([track]);
  return { rate: held.sampleRate, channels: held.numberOfChannels, duration };
}

/** The mean of the channels; what lies before the start is priming, and no sound. */
function monoOf(sample) {
  const first = sample.timestamp < 0 ? Math.min(sample.numberOfFrames, Math.round(-sample.timestamp * sample.sampleRate)) : 0;
  const mono = new Float32Array(sample.numberOfFrames);
  const plane = new Float32Array(sample.numberOfFrames);
  for (let channel = 0; channel < sample.numberOfChannels; channel += 1) {
    sample.copyTo(plane, { planeIndex: channel, format: "f32-planar" });
    for (let at = 0; at < mono.length; at += 1) mono[at] += plane[at] / sample.numberOfChannels;
  }
  sample.close();
  return mono.subarray(first);
}

async function next() {
  const parts = [];
  let length = 0;
  const rate = held?.sampleRate;
  while (held && length < BLOCK_S * rate) {
    if (held.sampleRate !== rate) return { error: "broken", why: "its sample rate changes" };
    parts.push(monoOf(held));
    length += parts[parts.length - 1].length;
    held = (await samples.next()).value ?? null;
  }
  if (!parts.length) return { block: null };
  const block = new Float32Array(length);
  let at = 0;
  for (const part of parts) {
    block.set(part, at);
    at += part.length;
  }
  return { block };
}

self.onmessage = async ({ data }) => {
  let answer;
  try {
    answer = data.open ? await open(data.open) : await next();
  } catch (error) {
    answer = { error: "broken", why: error.message };
  }
  self.postMessage(answer, answer.block ? [answer.block.buffer] : []);
};
