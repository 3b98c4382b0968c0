/**
 * A worker that decodes a file piece by piece: what is asked for is answered, one answer a message.
 *
 * {open: File} is answered by {rate, channels, duration}, {next: true} by {block}: about a second of
 * mono samples, or null at the end, where `lost` says how many seconds less there were than the file
 * states. What goes wrong is answered by {error, why}.
 */

import { ALL_FORMATS, AudioSampleSink, BlobSource, FLAC, Input, MP3, MP4, OGG, WAVE } from "./runtime/mediabunny.min.js";

const BLOCK_S = 1;
const MP3_DECODER_DELAY = 529;
const STATE_THEIR_LENGTH = [FLAC, MP4, WAVE];
const XING_FIELDS = [4, 4, 100, 4];
const SLIGHT_S = 0.1;
const OGG_HEADS = 65_536;
const OGG_PAGE = 65_307; // bytes, at most

let samples = null;
let held = null;
let rate = 0;
let skip = 0; // samples to leave out from here
let left = Infinity; // samples that are still to be given
let stated = 0; // length in seconds that the file states, if it does
let given = 0; // samples

async function open(file) {
  const input = new Input({ formats: ALL_FORMATS, source: new BlobSource(file) });
  if (!(await input.canRead())) return { error: "unknown", why: "its format is not known" };
  const track = await input.getPrimaryAudioTrack();
  if (!track) return (await input.getPrimaryVideoTrack()) ? { error: "silent film" } : { error: "empty" };
  if (!(await track.canDecode())) return { error: "unknown", why: `its coding, ${codingOf(track)}, is not decoded` };
  samples = new AudioSampleSink(track).samples();
  held = (await samples.next()).value ?? null;
  if (!held) return { error: "empty" };
  rate = held.sampleRate;
  let duration = await input.computeDuration([track]);
  skip = Math.max(0, Math.round(-held.timestamp * rate));
  const format = await input.getFormat();
  if (format === OGG && (await isChained(file))) return { error: "unknown", why: "several recordings follow each other in it" };
  const padding = format === MP3 ? await paddingOf(file) : null;
  if (STATE_THEIR_LENGTH.includes(format)) stated = (await input.getDurationFromMetadata([track])) ?? 0;
  if (format === OGG) left = Math.round(duration * rate); // its last packet is longer than the sound
  if (padding) {
    skip = padding.before;
    const frames = padding.frames * held.numberOfFrames;
    const isWhole = frames > 0 && duration < frames / rate + SLIGHT_S; // otherwise another MP3 follows
    left = isWhole ? frames - padding.before - padding.after : Infinity;
    stated = isWhole ? left / rate : 0;
    duration = Math.min(duration, left / rate);
  }
  return { rate, channels: held.numberOfChannels, duration };
}

function codingOf({ codec, internalCodecId }) {
  return codec ?? (typeof internalCodecId === "string" ? internalCodecId : "an unknown one");
}

/** Whether the last page of an Ogg is of no stream that its head knows: mediabunny takes the first recording only. */
async function isChained(file) {
  const head = new DataView(await file.slice(0, OGG_HEADS).arrayBuffer());
  const end = new DataView(await file.slice(-2 * OGG_PAGE).arrayBuffer());
  const pages = pagesOf(head);
  const firstOthers = pages.findIndex((at) => !(head.getUint8(at + 5) & 2)); // streams begin before all else
  const known = pages.slice(0, Math.max(firstOthers, 0)).map((at) => head.getUint32(at + 14));
  const last = pagesOf(end).pop();
  return known.length > 0 && last !== undefined && !known.includes(end.getUint32(last + 14));
}

/** Where pages of an Ogg begin. */
function pagesOf(view) {
  const places = [];
  for (let at = 0; at + 27 <= view.byteLength; at += 1) {
    if (view.getUint32(at) === 0x4f676753 && view.getUint8(at + 4) === 0) places.push(at);
  }
  return places;
}

/** What an MP3's encoder put before and after the sound, in samples, as its first frame states it. */
async function paddingOf(file) {
  const start = new DataView(await file.slice(0, 10).arrayBuffer());
  const isTagged = start.byteLength === 10 && start.getUint32(0) >>> 8 === 0x494433;
  const tags = isTagged ? 10 + [6, 7, 8, 9].reduce((size, at) => size * 128 + start.getUint8(at), 0) : 0;
  const head = new DataView(await file.slice(tags, tags + 4000).arrayBuffer());
  const text = new TextDecoder("latin1").decode(head);
  const at = text.search(/Xing|Info/);
  if (at < 0 || at + 200 > head.byteLength) return null;
  const flags = head.getUint32(at + 4);
  const encoder = XING_FIELDS.reduce((place, size, bit) => place + (flags & (1 << bit) ? size : 0), at + 8);
  if (!/^(LAME|Lavc|Lavf)/.test(text.slice(encoder, encoder + 4))) return null;
  const packed = head.getUint32(encoder + 20) & 0xffffff;
  return {
    before: (packed >> 12) + MP3_DECODER_DELAY,
    after: Math.max(0, (packed & 0xfff) - MP3_DECODER_DELAY),
    frames: flags & 1 ? head.getUint32(at + 8) : 0,
  };
}

/** The mean of the channels, without what lies before and after the sound. */
function monoOf(sample) {
  const { numberOfChannels: channels, numberOfFrames: frames } = sample;
  const mono = new Float32Array(frames);
  const plane = new Float32Array(frames);
  for (let channel = 0; channel < channels; channel += 1) {
    sample.copyTo(plane, { planeIndex: channel, format: "f32-planar" });
    for (let at = 0; at < frames; at += 1) mono[at] += plane[at] / channels;
  }
  sample.close();
  const first = Math.min(skip, frames);
  const last = Math.min(frames, first + left);
  skip -= first;
  left -= last - first;
  return mono.subarray(first, last);
}

async function next() {
  const parts = [];
  let length = 0;
  while (held && length < BLOCK_S * rate) {
    if (held.sampleRate !== rate) return { error: "broken", why: "its sample rate changes" };
    parts.push(monoOf(held));
    length += parts[parts.length - 1].length;
    held = (await samples.next()).value ?? null;
  }
  if (!length) return { block: null, lost: Math.max(0, stated - given / rate) };
  given += length;
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
