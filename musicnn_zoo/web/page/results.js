/** What a model says of the whole recording: strongest tags, events, and the Python that gives the same. */

import { make, save } from "./player/elements.js";
import { findEvents } from "./player/events.js";
import { csvRow, safeTag } from "./player/exports.js";
import { clock, shortest, sixDecimals } from "./player/numbers.js";

const BETWEEN_MS = 2000;
const MOST_LINES = 100;
const DEFAULT_THRESHOLD = 0.3;
const TOP = 5;

/** As Python writes a number of seconds or a score in an argument. */
const python = (number) => (Number.isInteger(number) ? number.toFixed(1) : String(number));

export class Results {
  /**
   * @param {HTMLElement} place is filled
   * @param {import("./player/player.js").Player} player
   * @param {number | null} hopS as the taggrams were asked for, in seconds
   */
  constructor(place, player, hopS) {
    this.player = player;
    this.hopS = hopS;
    this.entries = new Map();
    this.changing = null;
    this.threshold = make("input", { type: "number", min: "0.05", max: "1", step: "0.05", value: String(DEFAULT_THRESHOLD) });
    this.threshold.addEventListener("change", () => this.refresh());
    this.list = make("div", { className: "results" });
    place.replaceChildren(
      make(
        "div",
        { className: "panel-head" },
        make("h2", { textContent: "The whole recording" }),
        make("label", { className: "threshold" }, "Events from a score of ", this.threshold),
      ),
      this.list,
    );
  }

  close() {
    clearTimeout(this.changing);
    this.list.parentElement?.replaceChildren();
  }

  get level() {
    const level = Number(this.threshold.value);
    return level > 0 && level <= 1 ? level : DEFAULT_THRESHOLD;
  }

  add(taggram) {
    const { model } = taggram.facts;
    const tags = make("ol", { className: "strongest" });
    const silence = make("p", { className: "hint", textContent: "Silent throughout: there is nothing to tag.", hidden: true });
    const events = make("div", { className: "events", tabIndex: 0, role: "group", "aria-label": `Events by ${model}` });
    const code = make("code");
    const copy = make("button", { type: "button", textContent: "Copy" });
    copy.setAttribute("aria-label", `Copy the Python lines for ${model}`);
    copy.addEventListener("click", () => this.copy(code.textContent));
    const download = (text, label, action) => {
      const button = make("button", { type: "button", textContent: text });
      button.setAttribute("aria-label", `Download the ${label} of ${model}`);
      button.addEventListener("click", action);
      return button;
    };
    const element = make(
      "section",
      { className: "result", "aria-label": `The whole recording by ${model}` },
      make("h3", { textContent: model }),
      make("h4", { textContent: "Strongest tags" }),
      tags,
      silence,
      make("h4", { textContent: "Events" }),
      events,
      make("h4", { textContent: "The same in Python" }),
      make("div", { className: "python" }, make("pre", {}, code), copy),
      make(
        "div",
        { className: "group" },
        download("Tags JSON", "tags as JSON", () => this.saveTags(taggram)),
        download("Events JSON", "events as JSON", () => this.saveEvents(taggram)),
        download("Events CSV", "events as CSV", () => this.saveEventsCsv(taggram)),
      ),
    );
    this.list.append(element);
    this.entries.set(taggram, { element, tags, silence, events, code });
    this.refresh();
  }

  show(taggram, shown) {
    this.entries.get(taggram).element.hidden = !shown;
  }

  changed() {
    this.changing ??= setTimeout(() => this.refresh(), BETWEEN_MS);
  }

  refresh() {
    clearTimeout(this.changing);
    this.changing = null;
    for (const [taggram, entry] of this.entries) this.fill(taggram, entry);
  }

  fill(taggram, { tags, silence, events, code }) {
    taggram.rank();
    silence.hidden = taggram.growing || taggram.heard > 0;
    tags.replaceChildren(...strongest(taggram).map(({ tag, score }) => lineOf(tag, score)));
    const found = findEvents(taggram, { threshold: this.level });
    events.replaceChildren(this.tableOf(found));
    code.textContent = this.pythonOf(taggram);
  }

  tableOf(events) {
    if (!events.length) return make("p", { className: "hint", textContent: `No tag reaches ${this.level}.` });
    const table = make(
      "table",
      {},
      make("thead", {}, make("tr", {}, ...["begins", "ends", "tag", "score"].map((text) => make("th", { textContent: text, scope: "col" })))),
    );
    for (const { tag, start_s: start, end_s: end, score } of events.slice(0, MOST_LINES)) {
      table.append(
        make(
          "tr",
          {},
          make("td", {}, this.player.goTo(start)),
          make("td", { textContent: clock(end) }),
          make("td", { textContent: tag }),
          make("td", { textContent: score.toFixed(2) }),
        ),
      );
    }
    if (events.length > MOST_LINES) {
      table.append(make("caption", { textContent: `The first ${MOST_LINES} of ${events.length}; the downloads have all.` }));
    }
    return table;
  }

  pythonOf({ facts }) {
    const about = [JSON.stringify(facts.source), `model=${JSON.stringify(facts.model)}`];
    if (this.hopS !== null) about.push(`hop_s=${python(this.hopS)}`);
    const call = (name, ...more) => `musicnn_zoo.${name}(${[...about, ...more].join(", ")})`;
    return [
      "import musicnn_zoo",
      `tags = ${call("tag")}`,
      `taggram = ${call("taggram")}`,
      `events = ${call("events", `threshold=${python(this.level)}`)}`,
    ].join("\n");
  }

  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      this.player.say("Copied");
    } catch {
      this.player.say("This browser does not let pages copy; select the lines instead");
    }
  }

  saveTags(taggram) {
    const scores = strongest(taggram, taggram.width).map(({ tag, score }) => [tag, shortest(Math.fround(score))]);
    this.save(taggram, "tags.json", JSON.stringify({ ...clipOf(taggram), tags: Object.fromEntries(scores) }));
  }

  saveEvents(taggram) {
    const events = findEvents(taggram, { threshold: this.level });
    const written = events.map((event) => ({ ...event, score: shortest(Math.fround(event.score)) }));
    this.save(taggram, "events.json", JSON.stringify({ ...clipOf(taggram), events: written }));
  }

  saveEventsCsv(taggram) {
    const rows = findEvents(taggram, { threshold: this.level }).map(({ tag, start_s, end_s, score }) =>
      [taggram.csv.source, csvRow([safeTag(tag)]), start_s.toFixed(3), end_s.toFixed(3), sixDecimals(Math.fround(score))].join(","),
    );
    this.save(taggram, "events.csv", `source,tag,start_s,end_s,score\n${rows.map((row) => `${row}\n`).join("")}`);
  }

  save(taggram, ending, text) {
    const kind = ending.endsWith("json") ? "application/json" : "text/csv;charset=utf-8";
    save(`${this.player.stem}.${taggram.facts.model}.${ending}`, text, kind);
    this.player.say(`Saved ${this.player.stem}.${taggram.facts.model}.${ending}`);
  }
}

/** The strongest tags of the whole; none of what is silent throughout. */
export function strongest(taggram, count = TOP) {
  return taggram.heard ? taggram.best(count) : [];
}

/** What is known of a recording and its model, without how it was cut. */
function clipOf({ facts: { patch_s: _patch, hop_s: _hop, ...clip } }) {
  return clip;
}

function lineOf(tag, score) {
  const fill = make("div", { className: "fill" });
  fill.style.transform = `scaleX(${score})`;
  return make(
    "li",
    {},
    make("span", { className: "tag", textContent: tag }),
    make("div", { className: "meter", "aria-hidden": "true" }, fill),
    make("span", { className: "value", textContent: score.toFixed(2) }),
  );
}
