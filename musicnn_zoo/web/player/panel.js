/** One model's taggram: its picture, its bars of the moment, and its downloads. */

import { drawAxis, drawHeat, drawScale, heightOf, pictureOf } from "./drawing.js";
import { make, save } from "./elements.js";
import { csvOf, jsonOf } from "./exports.js";
import { clamp, clock, shortest } from "./numbers.js";
import { listed } from "./taggram.js";

const FORMS = {
  JSON: { kind: "application/json", content: ({ taggram }) => jsonOf(taggram) },
  CSV: { kind: "text/csv;charset=utf-8", content: ({ taggram }) => csvOf(taggram) },
  PNG: { kind: "image/png", content: (panel) => panel.picture() },
};

export class Panel {
  /**
   * @param {import("./taggram.js").Taggram} taggram
   * @param {import("./player.js").Player} player
   */
  constructor(taggram, player) {
    this.taggram = taggram;
    this.player = player;
    this.lines = [];
    this.count = 0;
    this.current = null;
    const { model } = taggram.facts;
    this.heat = make("canvas", { className: "heat", role: "img" });
    this.plot = make("div", { className: "plot" }, this.heat, make("div", { className: "cursor" }));
    this.axis = make("canvas", { className: "axis", "aria-hidden": "true" });
    this.scale = make("canvas", { "aria-hidden": "true" });
    this.most = make("span");
    this.facts = make("p", { className: "row-facts" });
    this.readout = make("p", { className: "readout", "aria-hidden": "true" });
    this.tags = make("div", { className: "tags", "aria-hidden": "true" });
    this.bars = make("div", { className: "bars", role: "group", "aria-label": `Scores here by ${model}` });
    this.element = make(
      "section",
      { className: "panel", "aria-label": `Taggram by ${model}` },
      make("div", { className: "panel-head" }, make("h2", { textContent: model }), this.facts),
      this.readout,
      make("div", { className: "chart" }, this.tags, this.plot, this.bars),
      make("div", { className: "chart" }, make("span"), make("div", {}, this.axis), make("span")),
      make(
        "div",
        { className: "panel-foot" },
        make("span", { className: "scale" }, "0", this.scale, this.most),
        make("span", { className: "group" }, ...Object.keys(FORMS).map((form) => this.downloadButton(form))),
      ),
    );
    player.listenTo(this.plot);
    this.plot.addEventListener("pointermove", (event) => this.showUnder(event));
    this.plot.addEventListener("pointerleave", () => this.showNow());
    this.say("");
  }

  get shown() {
    return !this.element.hidden;
  }

  get shownTags() {
    return this.taggram.order.slice(0, this.count);
  }

  /** Say under the model's name what its rows are, and what else there is to say. */
  say(more) {
    const { patch_s: patch, hop_s: hop } = this.taggram.facts;
    this.facts.textContent = `patches of ${patch.toFixed(1)} s, one every ${hop.toFixed(2)} s${more && ` · ${more}`}`;
  }

  downloadButton(form) {
    const { model } = this.taggram.facts;
    const button = make("button", { type: "button", textContent: form });
    button.setAttribute("aria-label", `Download the scores of ${model} as ${form}`);
    button.addEventListener("click", async () => {
      const { kind, content } = FORMS[form];
      save(`${this.player.stem}.${model}.${form.toLowerCase()}`, await content(this), kind);
      this.player.say(`Saved the scores of ${model} as ${form}`);
    });
    return button;
  }

  picture() {
    const { facts } = this.taggram;
    return pictureOf(this.taggram, this.shownTags, {
      title: `${facts.source} – ${facts.model}`,
      top: this.player.top,
      view: this.player.view,
    });
  }

  /** Show as many tags as are asked for, 0 for all; lines are made when first needed, and kept. */
  showTags(count) {
    const { width } = this.taggram;
    this.count = Math.min(count || width, width);
    while (this.lines.length < this.count) this.addLine();
    this.lines.forEach(({ name, now }, line) => {
      name.hidden = now.hidden = line >= this.count;
    });
    this.nameLines();
  }

  addLine() {
    const name = make("div", { className: "tag", dir: "auto" });
    const fill = make("div", { className: "fill" });
    const meter = make(
      "div",
      { className: "meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "1" },
      fill,
    );
    const value = make("span", { className: "value", "aria-hidden": "true" });
    const now = make("div", { className: "now" }, meter, value);
    this.tags.append(name);
    this.bars.append(now);
    this.lines.push({ tag: null, name, now, meter, fill, value });
  }

  /** Put the tags into the lines in the order of the taggram, which changes while rows come. */
  nameLines() {
    const { facts, order, rows, tags } = this.taggram;
    this.lines.forEach((line, index) => {
      if (line.tag === order[index]) return;
      line.tag = order[index];
      line.name.textContent = line.name.title = tags[line.tag];
      line.meter.setAttribute("aria-label", tags[line.tag]);
    });
    this.heat.setAttribute(
      "aria-label",
      `Scores over time by ${facts.model}; ${rows} rows. Most on average: ${listed(this.taggram.best(5))}`,
    );
    this.current = null;
  }

  draw() {
    const { top, view } = this.player;
    drawHeat(this.heat, this.taggram, this.shownTags, top, view);
    drawAxis(this.axis, view);
    drawScale(this.scale);
    this.most.textContent = top.toFixed(2);
  }

  /** Bring the bars to a time. */
  update(time) {
    const row = this.taggram.at(time);
    if (row === this.current) return;
    this.current = row;
    for (const { tag, meter, fill, value } of this.lines.slice(0, this.count)) {
      const score = row < 0 ? 0 : this.taggram.score(row, tag);
      fill.style.transform = `scaleX(${score})`;
      meter.setAttribute("aria-valuenow", String(shortest(score)));
      meter.setAttribute("aria-valuetext", row < 0 ? "no score" : score.toFixed(2));
      value.textContent = row < 0 ? "–" : score.toFixed(2);
    }
    this.showNow();
  }

  /** The strongest tags of a row, as text. */
  told(row) {
    return row < 0 ? this.player.withoutRow(this.taggram) : listed(this.taggram.best(3, (tag) => this.taggram.score(row, tag)));
  }

  showNow() {
    const row = this.current ?? -1;
    this.readout.textContent = row < 0 ? this.told(row) : `now: ${this.told(row)}`;
  }

  showUnder(event) {
    if (event.pointerType === "touch") return;
    const { order, tags } = this.taggram;
    const box = this.plot.getBoundingClientRect();
    const time = this.player.timeUnder(event, this.plot);
    const row = this.taggram.at(time);
    const line = clamp(Math.floor((event.clientY - box.top) / heightOf("row")), 0, this.count - 1);
    const tag = order[line];
    this.readout.textContent =
      row < 0 ? `${clock(time)}: no score` : `${clock(time)}: ${tags[tag]} ${this.taggram.score(row, tag).toFixed(2)}`;
  }
}
