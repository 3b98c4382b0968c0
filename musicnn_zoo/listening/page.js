/** The listening page: what Python found in a recording, and the player of it. */

import { followTheme } from "../web/player/colours.js";
import { find } from "../web/player/elements.js";
import { Envelope } from "../web/player/envelope.js";
import { bytesOf, clock } from "../web/player/numbers.js";
import { Player } from "../web/player/player.js";
import { Taggram } from "../web/player/taggram.js";

const CHUNK = 4 * 2 ** 20;

function envelopeOf({ stretch_s: stretch, lowest, highest }) {
  const samples = (text) => new Int8Array(bytesOf(text).buffer);
  return new Envelope(stretch, samples(lowest), samples(highest));
}

function taggramOf(given) {
  const taggram = new Taggram(given);
  const scores = new Float32Array(bytesOf(given.scores).buffer);
  const width = given.tags.length;
  given.times.forEach((time, row) =>
    taggram.append(time, scores.subarray(row * width, (row + 1) * width), given.silent[row]),
  );
  return taggram;
}

function factsOf({ duration_s: duration, name, sound, taggrams, title }) {
  const facts = [clock(duration)];
  if (title !== name) facts.unshift(name);
  if (sound.converted) facts.push("heard as Opus");
  const { damaged, lost_s: lost, repeated } = taggrams[0].facts;
  if (repeated) facts.push("shorter than a patch, repeated to fill one");
  if (damaged) facts.push(`damaged: ${lost.toFixed(1)} s lost`);
  return facts.join(" · ");
}

/** Address of the sound; what is embedded is decoded bit by bit, so that the page answers meanwhile. */
async function addressOf(sound) {
  if (sound.url !== undefined) return sound.url;
  const text = find("sound").textContent;
  const parts = [];
  for (let at = 0; at < text.length; at += CHUNK) {
    parts.push(bytesOf(text.slice(at, at + CHUNK)));
    await new Promise((next) => setTimeout(next));
  }
  find("sound").remove();
  return URL.createObjectURL(new Blob(parts, { type: sound.kind }));
}

async function start() {
  const data = JSON.parse(find("data").textContent);
  find("app").hidden = false;
  find("title").textContent = data.title;
  find("facts").textContent = factsOf(data);
  const player = new Player(find("app"), {
    stem: data.stem,
    duration: data.duration_s,
    envelope: envelopeOf(data.envelope),
    unplayable: data.sound.url
      ? "The linked recording cannot be played: it was moved, or this browser does not play its format."
      : "This browser does not play this recording.",
  });
  followTheme(() => player.redraw());
  const taggrams = data.taggrams.map(taggramOf);
  taggrams.forEach((taggram, index) => {
    const { model } = taggram.facts;
    player.add(taggram, player.offer(taggrams.length > 1 ? `${index + 1} ${model}` : model));
  });
  find("models").hidden = taggrams.length < 2;
  player.say("Loading the sound …");
  addressOf(data.sound).then(
    (url) => player.load(url),
    () => player.complain(),
  );
}

start();
