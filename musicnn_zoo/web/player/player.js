/**
 * A player of one recording: its sound, its waveform, and a taggram for each model. Rows, waveform
 * and length may grow while it plays.
 */

import { drawAxis, drawWave, timeAt } from "./drawing.js";
import { find, make } from "./elements.js";
import { FRAME } from "./frame.js";
import { clamp, clock, spoken } from "./numbers.js";
import { Panel } from "./panel.js";
import { listed } from "./taggram.js";

const FOLLOW_AT = 0.9;
const COUNTS = [5, 10, 20, 50];
const OUTLINE_LINES = 60;
const BETWEEN_DRAWINGS_MS = 200;

export class Player {
  /**
   * @param {HTMLElement} place is filled
   * @param {object} recording
   * @param {string} recording.stem what downloads are called
   * @param {number} recording.duration in seconds
   * @param {import("./envelope.js").Envelope} recording.envelope
   * @param {string} recording.unplayable what to say if the browser cannot play it
   * @param {boolean} [recording.live] whether it is still being recorded: the end is now
   */
  constructor(place, { stem, duration, envelope, unplayable, live = false }) {
    place.innerHTML = FRAME;
    this.place = place;
    this.stem = stem;
    this.duration = duration;
    this.envelope = envelope;
    this.unplayable = unplayable;
    this.live = live;
    this.view = { from: 0, to: duration };
    this.panels = [];
    this.pictures = [];
    this.boxes = [];
    this.top = 0.05;
    this.drawing = false;
    this.changing = null;
    this.closing = new AbortController();
    this.audio = find("audio");
    this.setDuration(duration);
    this.listen();
    this.redraw();
    this.update();
  }

  /** Stop, and leave the place empty. */
  close() {
    this.closing.abort();
    this.observer.disconnect();
    clearTimeout(this.changing);
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.place.replaceChildren();
  }

  /** Take the sound from an address; it begins at a time in seconds, at once if it should and may. */
  load(url, { time = 0, playing = false } = {}) {
    this.audio.src = url;
    const begin = () => {
      if (time) this.seekTo(time);
      if (playing) this.audio.play().catch(() => {}); // some browsers wait for a click
    };
    this.audio.addEventListener("loadedmetadata", begin, { once: true });
  }

  say(text) {
    find("status").textContent = text;
  }

  complain() {
    find("problem").textContent = this.unplayable;
    find("problem").hidden = false;
    find("play").disabled = true;
    this.say("");
  }

  // ---- models

  /** List a model that can be chosen; `choose` is told whether it is, and has its panel made. */
  offer(name, { checked = true, choose = () => {} } = {}) {
    const box = make("input", { type: "checkbox", checked });
    this.boxes.push(box);
    box.addEventListener("change", () => {
      for (const panel of this.panels) if (panel.box === box) panel.element.hidden = !box.checked;
      choose(box.checked);
      this.arrange();
    });
    find("models").append(make("label", {}, box, name));
    return box;
  }

  /** Show a taggram; its box is one that was offered. */
  add(taggram, box) {
    const panel = new Panel(taggram, this);
    panel.box = box;
    panel.element.hidden = !box.checked;
    this.panels.push(panel);
    this.panels.sort((one, other) => this.boxes.indexOf(one.box) - this.boxes.indexOf(other.box));
    find("panels").append(...this.panels.map((each) => each.element));
    this.offerCounts();
    this.refresh();
    return panel;
  }

  /** Keep another picture up to date: it is drawn with the rest, and brought to the time that is heard. */
  follow(picture) {
    this.pictures.push(picture);
    this.redraw();
  }

  offerCounts() {
    const select = find("count");
    const most = Math.max(...this.panels.map((panel) => panel.taggram.width));
    if (select.options.length && select.options[select.options.length - 1].textContent === `all ${most}`) return;
    const before = select.value;
    select.replaceChildren(
      ...COUNTS.filter((each) => each < most).map((count) =>
        make("option", { value: String(count), textContent: String(count) }),
      ),
      make("option", { value: "0", textContent: `all ${most}` }),
    );
    select.value = before || (most > 10 ? "10" : "0");
  }

  get shownPanels() {
    return this.panels.filter((panel) => panel.shown);
  }

  arrange() {
    find("outline").open = false;
    this.redraw();
    this.update();
  }

  /** Rows have come: put them into the picture, but not more often than one can see. */
  changed() {
    if (this.closing.signal.aborted) return;
    this.changing ??= setTimeout(() => this.refresh(), BETWEEN_DRAWINGS_MS);
  }

  /** All models are drawn on one scale, so that a colour means the same score everywhere. */
  refresh() {
    clearTimeout(this.changing);
    this.changing = null;
    const highest = Math.max(0, ...this.panels.map((panel) => panel.taggram.highest));
    this.top = Math.max(0.05, Math.ceil(highest * 20) / 20);
    for (const panel of this.panels) {
      panel.taggram.rank();
      panel.showTags(Number(find("count").value));
    }
    this.redraw();
    this.update();
  }

  // ---- drawing

  redraw() {
    if (this.drawing || this.closing.signal.aborted) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      if (!this.closing.signal.aborted) this.draw();
    });
  }

  draw() {
    drawWave(find("wave"), this.envelope, this.view);
    drawAxis(find("wave-axis"), this.view);
    for (const picture of [...this.pictures, ...this.shownPanels]) picture.draw();
    this.placeCursors();
  }

  placeCursors() {
    const { from, to } = this.view;
    const fraction = (this.time - from) / (to - from);
    for (const cursor of this.place.querySelectorAll(".cursor")) {
      cursor.style.visibility = fraction < 0 || fraction > 1 ? "hidden" : "visible";
      cursor.style.transform = `translateX(${fraction * cursor.parentElement.clientWidth}px)`;
    }
  }

  // ---- time

  /** The time that is heard, in seconds. */
  get time() {
    return this.live ? this.duration : this.audio.currentTime || 0;
  }

  get shortestView() {
    return Math.min(2, this.duration);
  }

  /** The recording is longer, or shorter, than was known. */
  setDuration(duration) {
    const all = this.view.from === 0 && this.view.to === this.duration;
    this.duration = duration;
    find("seek").max = String(duration);
    if (all) this.show(0, duration);
  }

  /** Bring everything to the time that is heard. */
  update() {
    const { duration, time, view } = this;
    find("clock").textContent = `${clock(time)} / ${clock(duration)}`;
    const seek = find("seek");
    seek.value = String(time);
    seek.setAttribute("aria-valuetext", `${spoken(time)} of ${spoken(duration)}`);
    if (!this.audio.paused && time > view.from + FOLLOW_AT * (view.to - view.from) && view.to < duration) {
      const span = view.to - view.from;
      this.show(time - (1 - FOLLOW_AT) * span, time + FOLLOW_AT * span);
    }
    this.placeCursors();
    for (const picture of [...this.pictures, ...this.shownPanels]) picture.update(time);
  }

  tick() {
    this.update();
    if (!this.audio.paused && !this.audio.ended && !this.closing.signal.aborted) requestAnimationFrame(() => this.tick());
  }

  seekTo(time) {
    if (this.live) return;
    const target = clamp(time, 0, Math.max(0, Math.min(this.duration, this.audio.duration || this.duration)));
    this.audio.currentTime = target;
    const { from, to } = this.view;
    if (target < from || target > to) this.show(target - (to - from) / 2, target + (to - from) / 2);
    this.update();
  }

  show(from, to) {
    const span = clamp(to - from, this.shortestView, this.duration);
    this.view.from = clamp(from, 0, this.duration - span);
    this.view.to = this.view.from + span;
    this.redraw();
  }

  zoom(factor) {
    const { from, to } = this.view;
    const around = this.time >= from && this.time <= to ? this.time : (from + to) / 2;
    const span = clamp((to - from) * factor, this.shortestView, this.duration);
    const fraction = (around - from) / (to - from);
    this.show(around - fraction * span, around + (1 - fraction) * span);
  }

  timeUnder(event, plot) {
    const box = plot.getBoundingClientRect();
    return timeAt(this.view, clamp((event.clientX - box.left) / box.width, 0, 1));
  }

  toggle() {
    if (find("play").disabled) return;
    if (this.audio.paused) this.audio.play().catch((error) => error.name === "AbortError" || this.complain());
    else this.audio.pause();
  }

  /** What to say where a taggram has no row. */
  withoutRow(taggram) {
    if (this.time >= taggram.end && taggram.growing) return "not yet computed here";
    return "no score here: the end is shorter than a patch";
  }

  tell() {
    const parts = this.shownPanels.map((panel) => {
      const { taggram } = panel;
      return `${taggram.facts.model}: ${panel.told(taggram.at(this.time))}`;
    });
    this.say(`${clock(this.time)}. ${parts.join(". ")}`);
  }

  // ---- hands

  listenTo(plot) {
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      plot.setPointerCapture(event.pointerId);
      this.seekTo(this.timeUnder(event, plot));
    });
    plot.addEventListener("pointermove", (event) => {
      if (plot.hasPointerCapture(event.pointerId) && event.buttons) this.seekTo(this.timeUnder(event, plot));
    });
  }

  listen() {
    const { audio } = this;
    this.listenTo(find("wave-plot"));
    const clicks = {
      play: () => this.toggle(),
      back: () => this.seekTo(this.time - 5),
      forward: () => this.seekTo(this.time + 5),
      "zoom-in": () => this.zoom(1 / 2),
      "zoom-out": () => this.zoom(2),
      "zoom-all": () => this.show(0, this.duration),
    };
    for (const [id, action] of Object.entries(clicks)) find(id).addEventListener("click", action);
    find("seek").addEventListener("input", (event) => this.seekTo(Number(event.target.value)));
    find("volume").addEventListener("input", (event) => {
      audio.volume = Number(event.target.value);
      audio.muted = false;
    });
    find("count").addEventListener("change", () => this.refresh());
    find("outline").addEventListener("toggle", (event) => event.target.open && this.fillOutline());
    audio.addEventListener("loadedmetadata", () => {
      find("play").disabled = false;
      this.say("");
    });
    audio.addEventListener("error", () => audio.hasAttribute("src") && this.complain());
    audio.addEventListener("play", () => {
      find("play").textContent = "Pause";
      this.tick();
    });
    audio.addEventListener("pause", () => {
      if (this.closing.signal.aborted) return;
      find("play").textContent = "Play";
      this.update();
      this.tell();
    });
    for (const event of ["seeked", "timeupdate", "ended"]) {
      audio.addEventListener(event, () => this.closing.signal.aborted || this.update());
    }
    document.addEventListener("keydown", (event) => this.onKey(event), { signal: this.closing.signal });
    let drawnWidth = 0;
    this.observer = new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width !== drawnWidth) this.redraw();
      drawnWidth = contentRect.width;
    });
    this.observer.observe(find("panels"));
  }

  keys = {
    " ": () => this.toggle(),
    k: () => this.toggle(),
    ArrowLeft: (event) => this.seekTo(this.time - (event.shiftKey ? 1 : 5)),
    ArrowRight: (event) => this.seekTo(this.time + (event.shiftKey ? 1 : 5)),
    Home: () => this.seekTo(0),
    End: () => this.seekTo(this.duration),
    "+": () => this.zoom(1 / 2),
    "=": () => this.zoom(1 / 2),
    "-": () => this.zoom(2),
    0: () => this.show(0, this.duration),
    t: () => this.tell(),
    m: () => {
      this.audio.muted = !this.audio.muted;
      this.say(this.audio.muted ? "Muted" : "Sound on");
    },
  };

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target;
    if (at.matches("select, textarea, input:not([type=checkbox])") && event.key !== "k") {
      const own = at.matches("#seek") && ["ArrowLeft", "ArrowRight"].includes(event.key);
      if (!own) return;
    }
    if (event.key === " " && at.matches("button, summary, input, a")) return;
    const digit = Number(event.key);
    if (digit >= 1 && digit <= this.boxes.length) {
      this.boxes[digit - 1].click();
      return;
    }
    const action = this.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  }

  // ---- outline

  fillOutline() {
    find("outline-body").replaceChildren(...this.shownPanels.map(({ taggram }) => this.outlineOf(taggram)));
  }

  outlineOf(taggram) {
    const table = make("table", {}, make("caption", { textContent: taggram.facts.model }));
    const step = Math.max(1, Math.ceil(taggram.rows / OUTLINE_LINES));
    for (let first = 0; first < taggram.rows; first += step) {
      const last = Math.min(taggram.rows, first + step);
      const strongest = taggram.best(3, (tag) => {
        let sum = 0;
        for (let row = first; row < last; row += 1) sum += taggram.score(row, tag);
        return sum / (last - first);
      });
      const button = this.goTo(taggram.times[first]);
      table.append(make("tr", {}, make("td", {}, button), make("td", { textContent: listed(strongest) })));
    }
    return table;
  }

  /** A button that leads to a time. */
  goTo(time) {
    const button = make("button", { type: "button", textContent: clock(time) });
    button.setAttribute("aria-label", `Go to ${spoken(time)}`);
    button.addEventListener("click", () => this.seekTo(time));
    return button;
  }
}
