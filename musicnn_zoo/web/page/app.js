/** The page: from a file or the microphone to taggrams that grow while the sound plays. */

import { AudioError, load } from "./lib/tagger.js";
import { followTheme } from "./player/colours.js";
import { find, make } from "./player/elements.js";
import { Envelope } from "./player/envelope.js";
import { csvOfSource } from "./player/exports.js";
import { clock } from "./player/numbers.js";
import { Player } from "./player/player.js";
import { Taggram, listed } from "./player/taggram.js";
import { Results, strongest } from "./results.js";
import { openFile, openMicrophone, SoundError } from "./sound.js";

const BASE = new URL("./", import.meta.url);
const STEPS = { "": "a patch", 1: "1 s", 0.5: "0.5 s" };
const DEFAULT_STEP = "1";
const UNPLAYABLE = "This browser does not play this recording; its tags are shown all the same.";

const rounded = (number) => Math.round(number * 1000) / 1000;

function say(text) {
  find("message").textContent = text;
}

function complain(text) {
  find("trouble").textContent = text;
  find("trouble").hidden = !text;
  if (text) say("");
}

async function listOf(place) {
  const answer = await fetch(new URL(place, BASE));
  return answer.ok ? answer.json() : [];
}

// ---- models

const taggers = new Map();

/** A model, loaded when it is first asked for. */
function taggerOf(name) {
  if (!taggers.has(name)) {
    const loading = load(name, { base: BASE, progress: showProgress }).finally(() => {
      find("loading").hidden = true;
    });
    loading.catch(() => taggers.delete(name));
    taggers.set(name, loading);
  }
  return taggers.get(name);
}

function showProgress({ loaded, total }) {
  const bar = find("loading");
  bar.hidden = false;
  if (total) {
    bar.max = total;
    bar.value = Math.min(loaded, total);
  } else {
    bar.removeAttribute("value");
  }
}

// ---- a recording

let models = []; // names
let chosen = new Set();
let step = DEFAULT_STEP;
let session = null;

/** What is heard of one recording, until the next is opened. */
class Session {
  constructor(sound, { live = false } = {}) {
    this.sound = sound;
    this.live = live;
    this.hopS = step === "" ? null : Number(step);
    this.closing = new AbortController();
    this.envelope = new Envelope();
    this.isEnvelopeTaken = false;
    this.taggrams = new Map(); // by the names of their models
    const dot = sound.name.lastIndexOf(".");
    find("recording").hidden = false;
    document.documentElement.classList.add("listening");
    this.player = new Player(find("player"), {
      stem: dot > 0 ? sound.name.slice(0, dot) : sound.name,
      duration: Math.max(sound.duration, 1),
      envelope: this.envelope,
      unplayable: UNPLAYABLE,
      live,
    });
    this.results = new Results(find("results"), this.player, this.hopS);
    this.describe();
    this.offerStep();
    if (models.length && !chosen.size) chosen.add(models[0]);
    models.forEach((name, index) => this.offer(name, index));
  }

  close() {
    this.closing.abort();
    this.results.close();
    this.player.close();
  }

  describe(more = []) {
    const { channels, duration, name, sampleRate } = this.sound;
    const facts = [`${sampleRate / 1000} kHz`, channels === 1 ? "mono" : `${channels} channels`, ...more];
    if (!this.live) facts.unshift(clock(duration));
    find("title").textContent = name;
    find("facts").textContent = facts.join(" · ");
  }

  offerStep() {
    const select = make("select", { id: "step", disabled: this.live });
    for (const [value, textContent] of Object.entries(STEPS)) select.append(make("option", { value, textContent }));
    select.value = step;
    select.addEventListener("change", () => {
      step = select.value;
      listenTo(this.sound, this.url);
      find("step").focus();
    });
    find("player").querySelector(".choices").append(make("label", {}, "A row every ", select));
  }

  offer(name, index) {
    const box = this.player.offer(models.length > 1 ? `${index + 1} ${name}` : name, {
      checked: chosen.has(name),
      choose: (isChosen) => {
        if (isChosen) chosen.add(name);
        else chosen.delete(name);
        if (isChosen && !this.taggrams.has(name)) this.run(name, box);
        const taggram = this.taggrams.get(name);
        if (taggram) this.results.show(taggram, isChosen);
      },
    });
    box.disabled = this.live && !box.checked;
    if (box.checked) this.run(name, box);
  }

  /** The samples, of which the first who asks draws the waveform. */
  async *blocks() {
    const draws = !this.isEnvelopeTaken;
    this.isEnvelopeTaken = true;
    const { sampleRate } = this.sound;
    let samples = 0;
    for await (const block of this.sound.blocks(this.closing.signal)) {
      if (this.closing.signal.aborted) return;
      samples += block.length;
      if (draws) this.draw(block, samples / sampleRate);
      yield block;
    }
    if (draws) {
      this.envelope.finish();
      this.sound.duration = samples / sampleRate;
      this.player.setDuration(this.sound.duration);
    }
  }

  draw(block, endS) {
    this.envelope.feed(block, this.sound.sampleRate);
    if (endS > this.player.duration) this.player.setDuration(endS);
    this.player.changed();
  }

  async run(name, box) {
    this.taggrams.set(name, null); // so that nobody starts a second
    try {
      await this.compute(name, box);
    } catch (error) {
      if (this.closing.signal.aborted) return;
      if (!this.taggrams.get(name)) this.taggrams.delete(name);
      const about = error instanceof AudioError ? this.sound.name : name;
      complain(error instanceof SoundError ? error.message : `${about}: ${error.message}`);
    }
  }

  async compute(name, box) {
    const { signal } = this.closing;
    const { sound } = this;
    say(`Loading ${name} …`);
    const tagger = await taggerOf(name);
    signal.throwIfAborted();
    const { patchS, hopS } = tagger.cutting(this.hopS);
    const taggram = new Taggram({
      facts: {
        source: sound.name, duration_s: rounded(sound.duration), repeated: false, dropped_s: 0,
        damaged: false, lost_s: 0, silent: 0, model: name, patch_s: patchS, hop_s: hopS,
      },
      tags: tagger.info.tags,
      csv: csvOfSource(sound.name, tagger.info.tags),
    });
    taggram.growing = true;
    this.taggrams.set(name, taggram);
    const panel = this.player.add(taggram, box);
    this.results.add(taggram);
    this.results.show(taggram, box.checked);
    say(this.live ? `Listening with ${name} …` : `${name} listens to ${sound.name} …`);
    const rows = tagger.taggram({ blocks: this.blocks(), sampleRate: sound.sampleRate }, { hopS: this.hopS, signal });
    try {
      for await (const { time, scores, silent } of rows) {
        taggram.append(time, scores, silent);
        const part = Math.min(99, Math.floor((100 * (time + hopS)) / this.player.duration));
        panel.say(this.live ? "live" : `${part} % listened to`);
        this.player.changed();
        this.results.changed();
      }
      signal.throwIfAborted();
      this.conclude(taggram, rows.clip);
    } finally {
      taggram.growing = false;
      if (!signal.aborted) {
        panel.say("");
        this.player.refresh();
        this.results.refresh();
      }
    }
  }

  /** All rows are there: say what is known of the recording now. */
  conclude(taggram, clip) {
    const { facts } = taggram;
    const { lost } = this.sound;
    Object.assign(facts, {
      duration_s: rounded(clip.durationS),
      repeated: clip.repeated,
      dropped_s: rounded(clip.droppedS),
      damaged: lost > 0,
      lost_s: rounded(lost),
      silent: rounded(clip.silent),
    });
    this.describe([
      ...(clip.repeated ? ["shorter than a patch, repeated to fill one"] : []),
      ...(lost ? [`damaged: ${lost.toFixed(1)} s lost`] : []),
    ]);
    const tags = strongest(taggram, 3);
    say(`${facts.model}: ${tags.length ? listed(tags) : "silent throughout"}`);
  }
}

/** Show a recording and compute its tags; `url` is where the browser finds its sound. */
function listenTo(sound, url, options) {
  const begin = { time: 0, playing: true };
  if (url && session?.url === url) Object.assign(begin, { time: session.player.time, playing: !session.player.audio.paused });
  session?.close();
  if (session?.url && session.url !== url) URL.revokeObjectURL(session.url);
  complain("");
  session = new Session(sound, options);
  session.url = url;
  if (url) session.player.load(url, begin);
}

let opening = 0;

async function open(file) {
  const turn = ++opening;
  await stopMicrophone?.();
  complain("");
  say(`Opening ${file.name} …`);
  try {
    const sound = await openFile(file);
    if (turn !== opening) return;
    listenTo(sound, URL.createObjectURL(file));
  } catch (error) {
    if (turn === opening) complain(error instanceof SoundError ? error.message : `${file.name}: ${error.message}`);
  }
}

// ---- microphone

let stopMicrophone = null;
let isOpeningMicrophone = false;

async function toggleMicrophone() {
  if (isOpeningMicrophone) return;
  if (stopMicrophone) {
    const file = await stopMicrophone();
    if (file) open(file);
    return;
  }
  complain("");
  isOpeningMicrophone = true;
  try {
    const sound = await openMicrophone();
    opening += 1;
    find("microphone").textContent = "Stop the microphone";
    listenTo(sound, null, { live: true });
    stopMicrophone = async () => {
      stopMicrophone = null;
      find("microphone").textContent = "Use the microphone";
      return sound.stop();
    };
  } catch (error) {
    complain(error.message);
  } finally {
    isOpeningMicrophone = false;
  }
}

// ---- hands

function acceptDrops() {
  const root = document.documentElement;
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    root.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || root.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    root.classList.remove("dropping");
    if (!isFile(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
}

async function offerExamples() {
  const examples = await listOf("examples/index.json");
  find("examples").hidden = !examples.length;
  for (const { file, title } of examples) {
    const button = make("button", { type: "button", textContent: title });
    button.addEventListener("click", async () => {
      const answer = await fetch(new URL(`examples/${file}`, BASE));
      open(new File([await answer.blob()], file));
    });
    find("examples").append(button);
  }
}

function lacking() {
  if (!("WebAssembly" in window)) return "This browser cannot compute here (it has no WebAssembly). A new Chrome, Edge, Firefox or Safari can.";
  if (!("OfflineAudioContext" in window)) return "This browser cannot decode sound here. A new Chrome, Edge, Firefox or Safari can.";
  return "";
}

/** Load the first model before it is asked for. */
async function prepare(name) {
  const said = `Loading ${name} …`;
  say(said);
  try {
    await taggerOf(name);
  } catch (error) {
    complain(error.message);
  }
  if (find("message").textContent === said) say("");
}

async function start() {
  followTheme(() => session?.player.redraw());
  const lack = lacking();
  if (lack) {
    complain(lack);
    return;
  }
  models = await listOf("models/models.json");
  chosen = new Set(models.slice(0, 1));
  acceptDrops();
  find("choose").addEventListener("click", () => find("file").click());
  find("file").addEventListener("change", ({ target }) => {
    if (target.files.length) open(target.files[0]);
    target.value = "";
  });
  find("microphone").disabled = !navigator.mediaDevices?.getUserMedia;
  find("microphone").addEventListener("click", toggleMicrophone);
  await offerExamples();
  document.documentElement.classList.add("ready");
  navigator.serviceWorker?.register(new URL("service-worker.js", BASE)).catch(() => {});
  if (models.length) await prepare(models[0]);
}

start().catch((error) => complain(`This page cannot start: ${error.message}`));
