/** The tutorial: what the bundled models hear in a clip, box by box. */

import { colours, followTheme } from "./player/colours.js";
import { columnsOf, drawAxis, fitted, pixelsPerPx, timeAt } from "./player/drawing.js";
import { find, make } from "./player/elements.js";
import { Envelope } from "./player/envelope.js";
import { csvOfSource } from "./player/exports.js";
import { clamp, clock } from "./player/numbers.js";
import { Player } from "./player/player.js";
import { Taggram } from "./player/taggram.js";

const BASE = new URL("./", import.meta.url);
const KINDS = { u1: Uint8Array, i1: Int8Array, u2: Uint16Array, f4: Float32Array };
const MAP_PX = 128;
const COLUMNS_PX = 72;

let words;
let index;
let data;
let player;
const sounds = new Map();
const chosen = {};

// ---- what is in the data

const valuesOf = ({ at, type, shape }) => new KINDS[type](data, at, shape.reduce((one, other) => one * other));

/** A picture over time: rows from low to high, a column every so many seconds, a byte for each value. */
class Picture {
  constructor(given) {
    [this.rows, this.columns] = given.shape;
    this.values = valuesOf(given);
    this.stepS = given.step_s;
  }

  columnAt(time) {
    return clamp(Math.floor(time / this.stepS), 0, this.columns - 1);
  }

  /** The row of the highest value of a column, and that value as a part of the scale. */
  bestAt(column) {
    let best = 0;
    for (let row = 1; row < this.rows; row += 1) {
      if (this.values[row * this.columns + column] > this.values[best * this.columns + column]) best = row;
    }
    return { row: best, part: this.values[best * this.columns + column] / 255 };
  }
}

const modelOf = (architecture) =>
  index.models.find((model) => model.architecture === architecture && model.trained_on === chosen.corpus);

/** Whether the output begins with a model. */
const isShown = (model) => model === modelOf("musicnn");

const shapeOf = () => words.frontends[chosen.shape];
/** Bands and frames of the filters that are shown. */
const kernelOf = () => Object.values(index.layers[shapeOf().layer])[0].filters[0].weights.shape;

const backendOf = () => words.backends[chosen.backend];

const hertz = (value) => (value < 1000 ? `${value} Hz` : `${(value / 1000).toFixed(1)} kHz`);
const percent = (part) => `${Math.round(100 * part)} %`;
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

/** Bands that a row of an answer looks at, from the lowest to the highest. */
function bandsOf(row, rows) {
  const bands = index.bands_hz.length;
  const [height, width] = kernelOf();
  const inside = height > 1 && height !== width; // a square goes over the edges
  const positions = inside ? bands - height + 1 : bands;
  const together = Math.ceil(positions / rows);
  const first = row * together;
  const last = Math.min(first + together, positions) - 1 + (inside ? height - 1 : 0);
  return { first, last };
}

// ---- pictures

/** Colours of a map, the highest value under each pixel. */
function drawMap(canvas, map, view) {
  const { columns, rows, stepS, values } = map;
  canvas.style.height = `${MAP_PX}px`;
  canvas.width = columnsOf(canvas);
  canvas.height = rows;
  const image = new ImageData(canvas.width, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let x = 0; x < canvas.width; x += 1) {
    const first = Math.floor(timeAt(view, x / canvas.width) / stepS);
    if (first >= columns) break;
    const last = Math.min(columns, Math.max(first + 1, Math.ceil(timeAt(view, (x + 1) / canvas.width) / stepS)));
    for (let row = 0; row < rows; row += 1) {
      let level = 0;
      for (let at = first; at < last; at += 1) level = Math.max(level, values[row * columns + at]);
      pixels[(rows - 1 - row) * canvas.width + x] = colours.scale[level];
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Columns up and down from zero, of several under a pixel the farthest; a line where `level` is. */
function drawColumns(canvas, { values, stepS, low, high, level }, view) {
  const { context, height, width } = fitted(canvas, COLUMNS_PX);
  const unit = (height - 4) / (high - low || 1);
  const zero = 2 + high * unit;
  for (let x = 0; x < width; x += 1) {
    const first = Math.floor(timeAt(view, x / width) / stepS);
    if (first >= values.length) break;
    const last = Math.min(values.length, Math.max(first + 1, Math.ceil(timeAt(view, (x + 1) / width) / stepS)));
    let farthest = 0;
    for (let at = first; at < last; at += 1) if (Math.abs(values[at]) > Math.abs(farthest)) farthest = values[at];
    context.fillStyle = farthest < 0 ? colours.ink.cursor : colours.ink.accent;
    context.fillRect(x, Math.min(zero, zero - farthest * unit), 1, Math.abs(farthest) * unit);
  }
  context.fillStyle = colours.ink.faint;
  context.fillRect(0, zero, width, 1);
  if (level !== undefined) context.fillRect(0, zero - level * unit, width, 1);
}

/** One line of a step: its name, its picture, and its value now. */
class Plot {
  constructor(name, { draw, now = () => "" }) {
    this.paint = draw;
    this.now = now;
    this.canvas = make("canvas", { className: "heat", role: "img", "aria-label": name });
    this.plot = make("div", { className: "plot" }, this.canvas, make("div", { className: "cursor" }));
    this.value = make("span", { className: "right" });
    this.told = make("p", { className: "told", id: `told-${(Plot.made += 1)}` });
    this.canvas.setAttribute("aria-describedby", this.told.id);
    const title = make("span", { className: "left", textContent: name });
    this.element = make("div", { className: "chart" }, title, this.plot, this.value);
    player.listenTo(this.plot);
    player.follow(this);
  }

  static made = 0;

  get shown() {
    return !this.element.hidden;
  }

  set shown(shown) {
    this.element.hidden = this.told.hidden = !shown;
  }

  draw() {
    if (this.shown) this.paint(this.canvas, player.view);
  }

  update(time) {
    if (this.shown) this.value.textContent = this.now(time);
  }
}

/** The time axis under the pictures of a step. */
class Axis {
  constructor() {
    this.canvas = make("canvas", { className: "axis", "aria-hidden": "true" });
    this.element = make("div", { className: "chart" }, make("span"), make("div", {}, this.canvas), make("span"));
    player.follow(this);
  }

  draw() {
    drawAxis(this.canvas, player.view);
  }

  update() {}
}

function loudestAt(map, time) {
  return hertz(index.bands_hz[map.bestAt(map.columnAt(time)).row]);
}

function logmelPlot() {
  const map = new Picture(chosen.clip.logmel);
  return new Plot("Log-mel", {
    draw: (canvas, view) => drawMap(canvas, map, view),
    now: (time) => loudestAt(map, time),
  });
}

/** Each filter as a picture: bands up, time right; flat ones as columns. */
function drawFilter(canvas, { weights }) {
  const [bands, frames] = weights.shape;
  const values = valuesOf(weights);
  const ratio = pixelsPerPx();
  const wide = bands === 1 ? 132 : frames === 7 ? 63 : 54;
  const high = bands === 1 ? 56 : frames === 7 ? 2.5 * bands : 54;
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${high}px`;
  canvas.width = wide * ratio;
  canvas.height = high * ratio;
  const context = canvas.getContext("2d");
  context.scale(canvas.width / frames, canvas.height / bands);
  for (let band = 0; band < bands; band += 1) {
    for (let frame = 0; frame < frames; frame += 1) {
      const weight = values[band * frames + frame] / 127.5 - 1;
      context.fillStyle = weight < 0 ? colours.ink.cursor : colours.ink.accent;
      if (bands === 1) {
        context.fillRect(frame, 0.5 - Math.max(0, weight) / 2, 1, Math.abs(weight) / 2);
      } else {
        context.globalAlpha = Math.abs(weight);
        context.fillRect(frame, bands - 1 - band, 1.02, 1.02);
      }
    }
  }
}

// ---- steps

function python(step, lines, model) {
  const names = { clip: chosen.clip.file, model: model.name, layer: shapeOf().layer };
  const filled = lines.map((line) => line.replace(/\{(\w+)\}/g, (_, name) => JSON.stringify(names[name])));
  const title = find(step).querySelector("h2").textContent;
  let place = find(step).querySelector(".python");
  if (!place) {
    place = make("pre", { className: "python", tabIndex: 0, role: "group", "aria-label": `Python for ${title}` }, make("code"));
    find(step).append(place);
  }
  place.firstChild.textContent = filled.join("\n");
}

/** Put plots into a step, the time under them, and then what there is to say of each. */
function arrange(step, ...plots) {
  const axis = new Axis();
  find(step).querySelector(".pictures").replaceChildren(
    ...plots.map(({ element }) => element),
    axis.element,
    ...plots.map(({ told }) => told),
  );
  return axis;
}

class InputStep {
  constructor(wave) {
    this.wave = wave;
    this.logmel = logmelPlot();
    this.axis = arrange("input", this.logmel);
    this.axis.element.before(wave);
    const { logmel, title } = chosen.clip;
    const map = new Picture(logmel);
    const means = index.bands_hz.map((_, band) => map.values.subarray(band * map.columns, (band + 1) * map.columns).reduce((sum, value) => sum + value, 0));
    const loudest = means.indexOf(Math.max(...means));
    const perSecond = Math.round(index.bands_hz.length / index.frame_s);
    this.logmel.told.textContent = `${title}: ${index.bands_hz.length} bands, from ${hertz(index.bands_hz[0])} to ${hertz(index.bands_hz.at(-1))}; ${perSecond.toLocaleString("en")} numbers a second in the place of ${index.sample_rate.toLocaleString("en")} samples. Loudest on average: the band at ${hertz(index.bands_hz[loudest])}. Beside the picture: the loudest band now.`;
  }

  fill() {
    const { name, python: lines, text } = words.inputs[chosen.input];
    const isWave = name === "waveform";
    this.wave.hidden = !isWave;
    this.logmel.shown = !isWave;
    this.axis.element.hidden = isWave;
    find("input-text").textContent = text;
    python("input", lines, modelOf("musicnn"));
  }
}

class FrontendStep {
  constructor() {
    this.logmel = logmelPlot();
    this.spot = make("div", { className: "spot" });
    this.logmel.plot.append(this.spot);
    this.answer = new Plot("Answer", {
      draw: (canvas, view) => drawMap(canvas, this.map, view),
      now: (time) => percent(this.place(time)),
    });
    this.curve = new Plot("Best band", {
      draw: (canvas, view) => drawColumns(canvas, this.best, view),
    });
    this.axis = arrange("frontend", this.logmel, this.answer, this.curve);
  }

  /** The model whose filters are shown, and what there is of them; nothing where none is trained. */
  get model() {
    const names = Object.keys(index.layers[shapeOf().layer] ?? {});
    return index.models.find(({ name, trained_on: corpus }) => names.includes(name) && corpus === chosen.corpus);
  }

  fill() {
    const { layer, name, python: lines, text } = shapeOf();
    const known = Boolean(layer);
    find("shape-text").textContent = text;
    python("frontend", lines, this.model ?? modelOf("musicnn"));
    for (const id of ["living", "filters", "reading"]) find(id).hidden = !known;
    this.logmel.shown = this.answer.shown = this.curve.shown = known;
    this.axis.element.hidden = !known;
    if (!known) return;
    const { alive, filters, of } = index.layers[layer][this.model.name];
    find("living").textContent = `${alive} of ${of} filters of ${this.model.name} live; the other ${of - alive} are dead: they answer the same to every sound. The ${filters.length} with the largest weights that answer to the clips:`;
    if (!filters.some((each) => each.filter === chosen.filter)) chosen.filter = filters[0].filter;
    find("filters").setAttribute("aria-label", `Learned filters, ${name}, of ${this.model.name}`);
    find("filters").replaceChildren(
      ...filters.map((each) => {
        const button = make("button", { type: "button", value: String(each.filter) }, make("canvas", { "aria-hidden": "true" }), `no. ${each.filter}`);
        button.setAttribute("aria-label", `Filter ${each.filter}`);
        button.addEventListener("click", () => {
          chosen.filter = each.filter;
          this.show(filters);
          refresh();
        });
        return button;
      }),
    );
    this.paintFilters();
    this.show(filters);
  }

  paintFilters() {
    if (!this.model) return;
    const { filters } = index.layers[shapeOf().layer][this.model.name];
    [...find("filters").children].forEach((button, at) => drawFilter(button.firstChild, filters[at]));
  }

  show(filters) {
    for (const button of find("filters").children) button.setAttribute("aria-pressed", String(Number(button.value) === chosen.filter));
    const filter = filters.find((each) => each.filter === chosen.filter);
    const map = new Picture(filter.answers[chosen.clip.file]);
    const parts = Array.from({ length: map.columns }, (_, column) => map.bestAt(column).part);
    this.map = map;
    this.best = { values: parts, stepS: map.stepS, low: 0, high: 1 };
    this.answer.told.textContent = this.tell(filter);
  }

  tell({ filter, turned }) {
    const { map } = this;
    const parts = this.best.values;
    const highest = Math.max(...parts);
    if (highest === Math.min(...parts)) return `Filter ${filter} answers to the other clip, and to nothing in this one.`;
    const strongest = parts.indexOf(highest);
    const { first, last } = bandsOf(map.bestAt(strongest).row, map.rows);
    const mean = parts.reduce((sum, part) => sum + part, 0) / parts.length;
    return [
      `Filter ${filter} answers most at ${clock(strongest * map.stepS)}, to the bands from ${hertz(index.bands_hz[first])} to ${hertz(index.bands_hz[last])}: ${percent(highest)} of its strongest answer to either clip.`,
      `On average ${percent(mean)}.`,
      ...(turned ? ["BatchNorm turns it over: it answers where its pattern is missing."] : []),
    ].join(" ");
  }

  /** Put the box where the filter fits best, and return how well. */
  place(time) {
    const { columns, rows, stepS } = this.map;
    const { from, to } = player.view;
    const { part, row } = this.map.bestAt(this.map.columnAt(time));
    const { first, last } = bandsOf(row, rows);
    const bands = index.bands_hz.length;
    const width = kernelOf()[1] * index.frame_s;
    const { style } = this.spot;
    style.left = percentExact((time - width / 2 - from) / (to - from));
    style.width = percentExact(width / (to - from));
    style.top = percentExact(1 - (last + 1) / bands);
    style.height = percentExact((last + 1 - first) / bands);
    style.opacity = String(part);
    this.spot.hidden = time >= columns * stepS;
    return part;
  }
}

const percentExact = (part) => `${(100 * part).toFixed(3)}%`;

class BackendStep {
  constructor() {
    this.wins = new Plot("Winners", {
      draw: (canvas, view) => drawColumns(canvas, this.counted, view),
      now: (time) => `${this.counted.values[clamp(Math.floor(time / index.frame_s), 0, this.counted.values.length - 1)]} won`,
    });
    this.lost = new Plot("Moments", {
      draw: (canvas, view) => drawColumns(canvas, this.said, view),
      now: (time) => signed(this.said.values[clamp(Math.floor(time / this.said.stepS), 0, this.said.values.length - 1)]),
    });
    this.axis = arrange("backend", this.wins, this.lost);
  }

  fill() {
    const { architecture, python: lines, text } = backendOf();
    const model = modelOf(architecture ?? "musicnn");
    const known = Boolean(architecture);
    const heard = model.clips[chosen.clip.file];
    find("backend-text").textContent = known ? text : `${text} No trained model of this kind is in the package, so there is no picture; the line builds an untrained one.`;
    find("tag-choice").hidden = find("method").hidden = !known;
    this.lost.shown = known;
    this.axis.element.hidden = !known;
    this.wins.shown = known && Boolean(heard.wins);
    python("backend", lines, model);
    if (!known) return;
    if (heard.wins) this.count(heard);
    this.offerTags(model, heard);
    this.weigh(model, heard);
  }

  count({ living, wins }) {
    const values = valuesOf(wins);
    const frames = index.patch_frames;
    const share = living.reduce((sum, each) => sum + each, 0) / values.length;
    this.counted = { values, stepS: index.frame_s, low: 0, high: Math.max(...values), level: share };
    const most = values.indexOf(Math.max(...values));
    const patch = Math.floor(most / frames);
    const winners = living.map((_, at) => values.subarray(at * frames, (at + 1) * frames).filter((count) => count > 0).length);
    const mean = Math.round(winners.reduce((sum, each) => sum + each, 0) / winners.length);
    this.wins.told.textContent =
      `The frame at ${clock(most * index.frame_s)} wins most: the maximum of ${values[most]} of the ${living[patch]} channels that move in its patch. In a patch ${mean} of ${frames} frames win at least one. The line is the mean’s even share, ${share.toFixed(1)} channels a frame.`;
  }

  offerTags({ tags }, { strongest }) {
    const names = strongest.map((tag) => tags[tag]);
    if (!names.includes(chosen.tag)) [chosen.tag] = names;
    find("tag").replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
    find("tag").value = chosen.tag;
  }

  weigh({ name, tags }, { lost, scores, strongest }) {
    const line = strongest.findIndex((tag) => tags[tag] === chosen.tag);
    const length = lost.shape[1];
    const values = valuesOf(lost).subarray(line * length, (line + 1) * length);
    const high = Math.max(0, ...values);
    const low = Math.min(0, ...values);
    this.said = { values, stepS: lost.step_s, low, high };
    const all = valuesOf(scores);
    const [rows, width] = scores.shape;
    let mean = 0;
    for (let row = 0; row < rows; row += 1) mean += all[row * width + strongest[line]] / rows;
    const at = (value) => clock(values.indexOf(value) * lost.step_s);
    this.lost.told.textContent =
      `${chosen.tag} by ${name}: ${mean.toFixed(2)} on average. ${high > 0 ? `Most for it is what sounds at ${at(high)} (${signed(high)})` : "Nothing is for it"}; ${low < 0 ? `most against it what sounds at ${at(low)} (${signed(low)})` : "nothing is against it"}.`;
  }
}

function taggramOf(model) {
  const { facts, file } = chosen.clip;
  const { scores } = model.clips[file];
  const [rows, width] = scores.shape;
  const values = valuesOf(scores);
  const taggram = new Taggram({
    facts: { source: file, ...facts, model: model.name, patch_s: index.patch_s, hop_s: index.patch_s },
    tags: model.tags,
    csv: csvOfSource(file, model.tags),
  });
  for (let row = 0; row < rows; row += 1) {
    taggram.append(row * index.patch_s, values.subarray(row * width, (row + 1) * width), chosen.clip.silent[row]);
  }
  return taggram;
}

// ---- all of it

let steps = [];

function refresh() {
  player.redraw();
  player.update();
}

function fill() {
  for (const step of steps) step.fill();
  python("output", words.output, modelOf("musicnn"));
  refresh();
}

async function soundOf(file) {
  if (!sounds.has(file)) {
    const answer = await fetch(new URL(`examples/${file}`, BASE));
    sounds.set(file, URL.createObjectURL(await answer.blob()));
  }
  return sounds.get(file);
}

/** Begin with a clip: a new player, and the steps in it. */
async function open(clip) {
  const playing = Boolean(player) && !player.audio.paused;
  find("steps").append(...document.querySelectorAll(".step"));
  player?.close();
  for (const drawn of document.querySelectorAll(".step .pictures")) drawn.replaceChildren();
  chosen.clip = clip;
  const { facts, file } = clip;
  const { highest, lowest, stretch_s: stretch } = clip.envelope;
  const place = find("player");
  player = new Player(place, {
    stem: file.replace(/\.\w+$/, ""),
    duration: facts.duration_s,
    envelope: new Envelope(stretch, valuesOf(lowest), valuesOf(highest)),
    unplayable: "This browser does not play this clip.",
  });
  place.querySelector(".player").after(...document.querySelectorAll(".step"));
  find("output").querySelector(".pictures").replaceChildren(place.querySelector(":scope > .choices"), find("panels"), find("outline"));
  for (const [at, model] of index.models.entries()) {
    player.add(taggramOf(model), player.offer(`${at + 1} ${model.name}`, { checked: isShown(model) }));
  }
  steps = [new InputStep(place.querySelector(".wave")), new FrontendStep(), new BackendStep()];
  fill();
  const here = player;
  try {
    const url = await soundOf(file);
    if (player === here) player.load(url, { playing });
  } catch {
    here.complain();
  }
}

/** Radio buttons in a fieldset; `choose` is told which. */
function offer(id, legend, names, first, choose) {
  find(id).replaceChildren(
    make("legend", { textContent: legend }),
    ...names.map((name, at) => {
      const radio = make("input", { type: "radio", name: id, value: String(at), checked: at === first });
      radio.addEventListener("change", () => choose(at));
      return make("label", {}, radio, name);
    }),
  );
}

function complain(text) {
  find("trouble").textContent = text;
  find("trouble").hidden = false;
}

async function readJson(place) {
  const answer = await fetch(new URL(place, BASE));
  return answer.json();
}

async function start() {
  followTheme(() => {
    player?.redraw();
    steps[1]?.paintFilters();
  });
  [words, index] = await Promise.all(["tutorial.json", "tutorial/index.json"].map(readJson));
  if (index.missing) {
    complain(index.missing);
    return;
  }
  data = await (await fetch(new URL("tutorial/data.bin", BASE))).arrayBuffer();
  const corpora = [...new Set(index.models.map((model) => model.trained_on))];
  Object.assign(chosen, { corpus: corpora[0], input: 0, shape: 0, backend: 0 });
  const choose = (name) => (at) => {
    chosen[name] = at;
    fill();
  };
  find("lesson").hidden = find("steps").hidden = false;
  offer("clips", "Clip", index.clips.map(({ title }) => title), 0, (at) => open(index.clips[at]));
  offer("corpora", "Models trained on", corpora.map((name) => name.replace(/ \(.*/, "")), 0, (at) => {
    chosen.corpus = corpora[at];
    for (const [place, box] of player.boxes.entries()) if (box.checked !== isShown(index.models[place])) box.click();
    fill();
  });
  offer("inputs", "Input", words.inputs.map(({ name }) => name), chosen.input, choose("input"));
  offer("shapes", "Filters", words.frontends.map(({ name }) => name), chosen.shape, choose("shape"));
  offer("backends", "Back-end", words.backends.map(({ name }) => name), chosen.backend, choose("backend"));
  find("tag").addEventListener("change", () => {
    chosen.tag = find("tag").value;
    fill();
  });
  await open(index.clips[0]);
  document.documentElement.classList.add("ready");
  navigator.serviceWorker?.register(new URL("service-worker.js", BASE)).catch(() => {});
}

start().catch(() => complain("The tutorial’s files cannot be read; load the page again."));
