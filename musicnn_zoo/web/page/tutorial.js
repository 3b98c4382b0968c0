/** The tutorial to play with: input, front-end, back-end and output of a clip, beside its sound. */

import { colours, followTheme } from "./player/colours.js";
import { find, make } from "./player/elements.js";
import { Envelope } from "./player/envelope.js";
import { bytesOf, clamp, clock } from "./player/numbers.js";

const BASE = new URL("./", import.meta.url);

const INPUTS = {
  waveform: {
    name: "Waveform",
    code: 'musicnn_zoo.build_model("samplecnn", tags=tags)  # WaveformInput(sample_rate=16000)',
    said: "Samples as they are: about zero-mean already, no pre-processing, and the network learns the rest, which takes many songs.",
    draw: drawWaveform,
  },
  logmel: {
    name: "Log-mel spectrogram",
    code: 'musicnn_zoo.build_model("musicnn", tags=tags)  # LogMelInput(n_fft=512, hop=256, n_mels=96)',
    said: "STFT and mel bands make the input smaller and leave out what is hardly heard; the logarithm makes the range of levels smaller. Low bands are at the bottom.",
    draw: drawSpectrogram,
  },
};

const FRONTENDS = {
  timbral: {
    name: "Vertical",
    code: 'musicnn_zoo.build_model(frontend="timbral_temporal", backend="temporal_pooling", tags=tags)',
    said: "Some frames wide and as high as an instrument’s spectrum: filters for timbre, at any pitch. Learned by MTT_musicnn. Pick one: the curve below is where on the sound it answers.",
  },
  temporal: {
    name: "Horizontal",
    code: 'musicnn_zoo.build_model(frontend="timbral_temporal", backend="temporal_pooling", tags=tags)',
    said: "One band high and half a second to two seconds long: filters for rhythm and onsets. Long, but cheap, since they are flat. Learned by MTT_musicnn.",
  },
  pool1: {
    name: "Small rectangular",
    code: 'musicnn_zoo.build_model(frontend="vgg", backend="mlp", tags=tags)',
    said: "3 × 3: no knowledge of music in the shape; depth puts the small parts together. Learned by MTT_vgg. The curve is the mean over the bands.",
  },
  waveform: {
    name: "On the waveform",
    code: 'musicnn_zoo.build_model(frontend="sample_level", backend="temporal_pooling", tags=tags)\nmusicnn_zoo.learned_filters(my_model).plot("filters.png")',
    said: "Filters of 3 samples in many layers (sample-level), or as long as an STFT window (frame-level). No trained one comes with the package: train one, and see its filters by the second line.",
  },
};

const BACKENDS = {
  max: {
    name: "Max-pooling",
    code: 'musicnn_zoo.build_model("musicnn", backend="temporal_pooling", tags=tags)',
    said: "Each channel keeps its largest value in a patch of 3 s. The stronger the colour, the more of the 753 channels of MTT_musicnn have it at that moment.",
    weights: (lesson) => lesson.moments,
  },
  mean: {
    name: "Mean-pooling",
    code: 'musicnn_zoo.build_model("musicnn", backend="temporal_pooling", tags=tags)',
    said: "Every moment counts the same; musicnn takes both, the mean and the maximum.",
    weights: (lesson) => lesson.moments.map(() => 255),
  },
  autopool: {
    name: "Autopool",
    code: 'musicnn_zoo.build_model("musicnn", backend="autopool", tags=tags)',
    said: "Weights are softmax(α · score), and α is learned for each tag: 0 is the mean, a large one the maximum. Move it, and see which moments decide on the strongest tag.",
    weights: autopooled,
  },
  attention: {
    name: "Attention",
    code: 'musicnn_zoo.build_model("musicnn", backend="attention", tags=tags)',
    said: "A small network learns the weight of each moment from what is heard there. No trained one comes with the package: train one, and its weights are a layer of the model.",
  },
  mlp: {
    name: "MLP",
    code: 'musicnn_zoo.build_model(frontend="vgg", backend="mlp", tags=tags)',
    said: "Takes one length only. The common trick: cut the music into patches of 3 s, and average their scores. Marked is the patch that is heard now.",
    weights: patchNow,
  },
};

const audio = find("audio");
const picked = { input: "logmel", frontend: "timbral", backend: "max", filter: 0 };
let filters = null;
let lesson = null;

// ---- drawing

function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  return canvas.getContext("2d");
}

/** Draw bytes, a column of `bands` after the other, as large as the canvas is. */
function drawImage(canvas, values, bands) {
  const context = fitted(canvas);
  const columns = values.length / bands;
  const image = new ImageData(columns, bands);
  const pixels = new Uint32Array(image.data.buffer);
  for (let x = 0; x < columns; x += 1) {
    for (let y = 0; y < bands; y += 1) pixels[(bands - 1 - y) * columns + x] = colours.scale[values[x * bands + y]];
  }
  const own = new OffscreenCanvas(columns, bands);
  own.getContext("2d").putImageData(image, 0, 0);
  const shown = (columns * lesson.frame_s) / lesson.duration_s;
  context.imageSmoothingEnabled = bands > 1;
  context.drawImage(own, 0, 0, Math.round(canvas.width * shown), canvas.height);
}

function drawCurve(canvas, values) {
  const context = fitted(canvas);
  context.fillStyle = colours.ink.wave;
  const seconds = values.length * lesson.frame_s;
  for (let x = 0; x < canvas.width; x += 1) {
    const at = (edge) => Math.floor(((edge / canvas.width) * lesson.duration_s * values.length) / seconds);
    let highest = 0;
    for (let frame = at(x); frame < Math.min(values.length, Math.max(at(x) + 1, at(x + 1))); frame += 1) {
      highest = Math.max(highest, values[frame]);
    }
    const height = (highest / 255) * canvas.height;
    context.fillRect(x, canvas.height - height, 1, height);
  }
}

function drawSpectrogram(canvas) {
  drawImage(canvas, lesson.logmel.values, lesson.logmel.bands);
}

function drawWaveform(canvas) {
  const context = fitted(canvas);
  const { envelope } = lesson;
  context.fillStyle = colours.ink.wave;
  const middle = canvas.height / 2;
  for (let x = 0; x < canvas.width; x += 1) {
    const at = (edge) => Math.floor(((edge / canvas.width) * lesson.duration_s) / envelope.stretch);
    let low = 0;
    let high = 0;
    for (let stretch = at(x); stretch < Math.min(envelope.length, Math.max(at(x) + 1, at(x + 1))); stretch += 1) {
      low = Math.min(low, envelope.lowest[stretch]);
      high = Math.max(high, envelope.highest[stretch]);
    }
    context.fillRect(x, middle - (high / envelope.peak) * middle, 1, Math.max(1, ((high - low) / envelope.peak) * middle));
  }
}

/** A filter's weights: red where it wants sound, blue where it wants none; a curve if it is flat. */
function drawFilter(canvas, { bands, weights }) {
  const frames = weights.length / bands;
  const largest = Math.max(...weights.map(Math.abs));
  canvas.width = frames;
  canvas.height = bands;
  const image = new ImageData(frames, bands);
  weights.forEach((weight, index) => {
    const [x, y] = [Math.floor(index / bands), index % bands];
    const strength = Math.abs(weight) / largest;
    const colour = weight > 0 ? [178, 24, 43] : [33, 102, 172];
    const at = 4 * ((bands - 1 - y) * frames + x);
    for (let channel = 0; channel < 3; channel += 1) image.data[at + channel] = 247 + strength * (colour[channel] - 247);
    image.data[at + 3] = 255;
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.style.width = `${clamp(frames * (bands > 3 ? 5 : bands > 1 ? 25 : 1), 40, 128)}px`;
  if (bands === 1) canvas.style.height = "28px";
}

function autopooled({ scores, hop_s: hop, moments, frame_s: frame }) {
  const [curve] = Object.values(scores);
  const alpha = Number(find("sharpness").querySelector("input").value);
  const highest = Math.max(...curve);
  const weights = curve.map((score) => Math.exp(alpha * (score - highest)));
  return moments.map((_, index) => 255 * weights[Math.min(weights.length - 1, Math.floor((index * frame) / hop))]);
}

function patchNow({ moments, frame_s: frame, patch_s: patch }) {
  const now = Math.floor((audio.currentTime || 0) / patch);
  return moments.map((_, index) => (Math.floor((index * frame) / patch) === now ? 255 : 60));
}

// ---- parts

function offer(part, options) {
  for (const [key, { name }] of Object.entries(options)) {
    const radio = make("input", { type: "radio", name: part, value: key, checked: picked[part] === key });
    radio.addEventListener("change", () => {
      picked[part] = key;
      picked.filter = 0;
      draw();
    });
    find(part).append(make("label", {}, radio, name));
  }
}

function showFilters() {
  const group = filters[picked.frontend] ?? [];
  find("answers").hidden = find("filters").hidden = !group.length;
  find("filters").replaceChildren(
    ...group.map((filter, index) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      drawFilter(canvas, filter);
      const frames = filter.weights.length / filter.bands;
      const button = make("button", { type: "button", "aria-pressed": String(index === picked.filter) }, canvas);
      button.setAttribute("aria-label", `Filter ${index + 1} of ${group.length}: ${frames} frames by ${filter.bands} bands`);
      button.addEventListener("click", () => {
        picked.filter = index;
        draw();
        find("filters").children[index].focus();
      });
      return button;
    }),
  );
}

function describe(part, { code, said }) {
  find(`${part}-said`).textContent = said;
  find(`${part}-code`).textContent = code;
}

function drawBackend() {
  const backend = BACKENDS[picked.backend];
  find("sharpness").hidden = picked.backend !== "autopool";
  find("moments").hidden = !backend.weights;
  if (backend.weights) drawImage(find("backend-picture"), Uint8Array.from(backend.weights(lesson)), 1);
}

function draw() {
  if (!lesson) return;
  const input = INPUTS[picked.input];
  describe("input", input);
  input.draw(find("input-picture"));
  find("input-picture").setAttribute("aria-label", `${input.name} of ${lesson.title}`);
  const frontend = FRONTENDS[picked.frontend];
  describe("frontend", frontend);
  showFilters();
  const answers = lesson.answers[picked.frontend];
  if (answers) drawCurve(find("frontend-picture"), answers[picked.filter]);
  find("frontend-picture").setAttribute("aria-label", `Answers of filter ${picked.filter + 1} over time`);
  const backend = BACKENDS[picked.backend];
  describe("backend", backend);
  drawBackend();
  find("backend-picture").setAttribute("aria-label", `Moments that count with ${backend.name}`);
  find("output-code").textContent = `musicnn_zoo.tag("${lesson.file}", model="MTT_musicnn")`;
  update();
}

// ---- output

function showOutputs() {
  find("outputs").replaceChildren(
    ...Object.keys(lesson.scores).map((tag) =>
      make(
        "div",
        { className: "line" },
        make("span", { className: "tag", textContent: tag }),
        make("div", { className: "meter", role: "meter", "aria-label": tag, "aria-valuemin": "0", "aria-valuemax": "1" }, make("div", { className: "fill" })),
        make("span", { className: "value", "aria-hidden": "true" }),
      ),
    ),
  );
}

let patch = -1;

/** Bring everything to the time that is heard. */
function update() {
  if (!lesson) return;
  const time = audio.currentTime || 0;
  const fraction = clamp(time / lesson.duration_s, 0, 1);
  find("clock").textContent = `${clock(time)} / ${clock(lesson.duration_s)}`;
  find("seek").value = String(fraction);
  find("seek").setAttribute("aria-valuetext", clock(time));
  for (const cursor of document.querySelectorAll(".cursor")) {
    cursor.style.transform = `translateX(${fraction * cursor.parentElement.clientWidth}px)`;
  }
  Object.values(lesson.scores).forEach((scores, index) => {
    const score = scores[Math.min(scores.length - 1, Math.floor(time / lesson.hop_s))];
    const [, meter, value] = find("outputs").children[index].children;
    meter.firstChild.style.transform = `scaleX(${score})`;
    meter.setAttribute("aria-valuenow", String(score));
    value.textContent = score.toFixed(2);
  });
  const now = Math.floor(time / lesson.patch_s);
  if (now !== patch && picked.backend === "mlp") drawBackend();
  patch = now;
}

function tick() {
  update();
  if (!audio.paused && !audio.ended) requestAnimationFrame(tick);
}

// ---- clips

async function json(place) {
  const answer = await fetch(new URL(place, BASE));
  if (!answer.ok) throw new Error(`${place} is not there`);
  return answer.json();
}

async function open({ file, title }, playing) {
  const given = await json(`tutorial/${file.replace(/\.\w+$/, "")}.json`);
  const signed = (text) => new Int8Array(bytesOf(text).buffer);
  lesson = {
    ...given,
    file,
    title,
    logmel: { ...given.logmel, values: bytesOf(given.logmel.values) },
    moments: Array.from(bytesOf(given.moments)),
    answers: Object.fromEntries(Object.entries(given.answers).map(([name, all]) => [name, all.map(bytesOf)])),
    envelope: new Envelope(given.envelope.stretch_s, signed(given.envelope.lowest), signed(given.envelope.highest)),
  };
  for (const button of find("clips").children) button.setAttribute("aria-pressed", String(button.textContent === title));
  audio.src = new URL(`examples/${file}`, BASE);
  if (playing) audio.play().catch(() => {});
  showOutputs();
  draw();
}

function seek(fraction) {
  if (lesson) audio.currentTime = clamp(fraction, 0, 1) * lesson.duration_s;
  update();
}

function toggle() {
  if (audio.paused) audio.play().catch((error) => complain(error.message));
  else audio.pause();
}

function complain(text) {
  find("trouble").textContent = text;
  find("trouble").hidden = false;
}

function listen() {
  find("play").addEventListener("click", toggle);
  find("seek").addEventListener("input", ({ target }) => seek(Number(target.value)));
  find("sharpness").querySelector("input").addEventListener("input", drawBackend);
  audio.addEventListener("loadedmetadata", () => {
    find("play").disabled = false;
  });
  audio.addEventListener("play", () => {
    find("play").textContent = "Pause";
    tick();
  });
  audio.addEventListener("pause", () => {
    find("play").textContent = "Play";
    update();
  });
  audio.addEventListener("seeked", update);
  audio.addEventListener("error", () => complain("This browser does not play the clip."));
  for (const stage of document.querySelectorAll(".stage")) {
    stage.addEventListener("pointerdown", (event) => {
      const box = stage.getBoundingClientRect();
      seek((event.clientX - box.left) / box.width);
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "k" && !event.ctrlKey && !event.metaKey && !event.altKey) toggle();
  });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(find("app"));
}

async function start() {
  followTheme(draw);
  offer("input", INPUTS);
  offer("frontend", FRONTENDS);
  offer("backend", BACKENDS);
  listen();
  const [clips, own] = await Promise.all([json("examples/index.json"), json("filters.json")]);
  filters = own;
  for (const clip of clips) {
    const button = make("button", { type: "button", textContent: clip.title, "aria-pressed": "false" });
    button.addEventListener("click", () => open(clip, true).catch((error) => complain(error.message)));
    find("clips").append(button);
  }
  await open(clips[0], false);
  document.documentElement.classList.add("ready");
}

start().catch((error) => complain(`This page cannot start: ${error.message}`));
