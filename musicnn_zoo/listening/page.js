"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const audio = find("audio");
  const duration = data.duration_s;
  const view = { from: 0, to: duration };
  const SHORTEST_VIEW_S = Math.min(2, duration);
  const FOLLOW_AT = 0.9;

  // ---- numbers

  function bytesOf(text) {
    const characters = atob(text);
    const bytes = new Uint8Array(characters.length);
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = characters.charCodeAt(at);
    return bytes;
  }

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  function clock(seconds) {
    const tenths = Math.round(seconds * 10);
    const minutes = Math.floor(tenths / 600);
    const rest = ((tenths - minutes * 600) / 10).toFixed(1);
    return `${minutes}:${rest.padStart(4, "0")}`;
  }

  function spoken(seconds) {
    const whole = Math.floor(seconds);
    const minutes = Math.floor(whole / 60);
    const part = (count, unit) => `${count} ${unit}${count === 1 ? "" : "s"}`;
    return minutes ? `${part(minutes, "minute")} ${part(whole % 60, "second")}` : part(whole, "second");
  }

  /** The shortest decimal that gives the same 32-bit float back. */
  function shortest(value) {
    for (let digits = 1; digits < 9; digits += 1) {
      const text = value.toPrecision(digits);
      if (Math.fround(Number(text)) === value) return Number(text);
    }
    return Number(value.toPrecision(9));
  }

  /** Six decimals as Python writes them: what lies half-way goes to the even one. */
  function sixDecimals(value) {
    const millionths = value * 1e6; // exact for a 32-bit float
    const below = Math.floor(millionths);
    const half = millionths - below === 0.5;
    return half ? ((below + (below % 2)) / 1e6).toFixed(6) : value.toFixed(6);
  }

  // ---- taggrams

  const taggrams = data.taggrams.map((given) => {
    const buffer = bytesOf(given.scores).buffer;
    const scores = new Float32Array(buffer);
    const width = given.tags.length;
    const rows = given.times.length;
    const mean = given.tags.map(() => 0);
    let highest = 0;
    for (let row = 0; row < rows; row += 1) {
      for (let tag = 0; tag < width; tag += 1) {
        const score = scores[row * width + tag];
        mean[tag] += score / rows;
        highest = Math.max(highest, score);
      }
    }
    const order = given.tags.map((_, tag) => tag).sort((a, b) => mean[b] - mean[a] || a - b);
    return {
      ...given,
      scores,
      width,
      rows,
      order,
      top: Math.max(0.05, Math.ceil(highest * 20) / 20),
      end: rows ? given.times[rows - 1] + given.facts.patch_s : 0,
      shown: true,
      panel: null,
      current: null,
    };
  });

  /** All models are drawn on one scale, so that a colour means the same score everywhere. */
  const top = Math.max(...taggrams.map((taggram) => taggram.top));
  for (const taggram of taggrams) taggram.top = top;

  /** Row that lasts at a time: from its start to the start of the next, the last for a patch. */
  function rowAt(taggram, time) {
    if (!taggram.rows || time >= taggram.end || time < taggram.times[0]) return -1;
    let low = 0;
    let high = taggram.rows - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (taggram.times[middle] <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function best(taggram, row, count) {
    const score = (tag) => taggram.scores[row * taggram.width + tag];
    return taggram.order
      .slice()
      .sort((a, b) => score(b) - score(a))
      .slice(0, count)
      .map((tag) => ({ tag: taggram.tags[tag], score: score(tag) }));
  }

  const listed = (tags) => tags.map(({ tag, score }) => `${tag} ${score.toFixed(2)}`).join(", ");

  // ---- elements

  function make(kind, properties = {}, ...children) {
    const element = document.createElement(kind);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function say(text) {
    find("status").textContent = text;
  }

  // ---- colours

  const SCALES = {
    light: [[255, 255, 255], [198, 219, 239], [66, 146, 198], [8, 81, 156], [8, 29, 70]],
    dark: [[16, 21, 27], [22, 60, 100], [30, 119, 180], [110, 190, 240], [255, 250, 220]],
  };
  let colours = null;
  let ink = {};

  function chooseColours() {
    const dark = document.documentElement.classList.contains("dark");
    const stops = SCALES[dark ? "dark" : "light"];
    colours = new Uint32Array(256);
    for (let level = 0; level < 256; level += 1) {
      const at = (level / 255) * (stops.length - 1);
      const below = Math.min(stops.length - 2, Math.floor(at));
      const [red, green, blue] = stops[below].map((channel, index) =>
        Math.round(channel + (stops[below + 1][index] - channel) * (at - below)),
      );
      colours[level] = (255 << 24) | (blue << 16) | (green << 8) | red;
    }
    const style = getComputedStyle(document.documentElement);
    ink = Object.fromEntries(
      ["ink", "faint", "line", "wave", "paper"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
    );
    find("theme").textContent = dark ? "Light" : "Dark";
    find("theme").setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
  }

  // ---- drawing

  const [WAVE_PX, ROW_PX, AXIS_PX] = ["wave", "row", "axis"].map((name) =>
    parseFloat(getComputedStyle(document.documentElement).getPropertyValue(`--${name}-height`)),
  );

  const pixelsPerPx = () => window.devicePixelRatio || 1;
  const columnsOf = (canvas) => Math.max(1, Math.round(canvas.parentElement.clientWidth * pixelsPerPx()));

  /** Fit a canvas to its element; returns its context and size in CSS pixels. */
  function fitted(canvas, height) {
    const ratio = pixelsPerPx();
    canvas.width = columnsOf(canvas);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return { context, width: canvas.width / ratio, height };
  }

  const timeAt = (fraction) => view.from + fraction * (view.to - view.from);
  const fractionAt = (time) => (time - view.from) / (view.to - view.from);

  const envelope = {
    stretch: data.envelope.stretch_s,
    lowest: new Int8Array(bytesOf(data.envelope.lowest).buffer),
    highest: new Int8Array(bytesOf(data.envelope.highest).buffer),
  };
  envelope.peak = envelope.highest.reduce(
    (peak, high, at) => Math.max(peak, high, -envelope.lowest[at]),
    1,
  );

  function drawWave() {
    const { context, width, height } = fitted(find("wave"), WAVE_PX);
    context.fillStyle = ink.wave;
    const middle = height / 2;
    const unit = (middle - 2) / envelope.peak;
    for (let x = 0; x < width; x += 1) {
      const first = Math.floor(timeAt(x / width) / envelope.stretch);
      const last = Math.max(first + 1, Math.ceil(timeAt((x + 1) / width) / envelope.stretch));
      let low = 0;
      let high = 0;
      for (let at = first; at < Math.min(last, envelope.lowest.length); at += 1) {
        low = Math.min(low, envelope.lowest[at]);
        high = Math.max(high, envelope.highest[at]);
      }
      context.fillRect(x, middle - high * unit, 1, Math.max(1, (high - low) * unit));
    }
  }

  /** A line of pixels for each tag, made high by CSS. Colour of a pixel: the highest score under it. */
  function drawHeat(taggram) {
    const { order, panel, rows, scores, times, top, width: tags } = taggram;
    const shown = order.slice(0, panel.count);
    const columns = columnsOf(panel.heat);
    panel.heat.style.height = `${shown.length * ROW_PX}px`;
    panel.heat.width = columns;
    panel.heat.height = shown.length;
    const context = panel.heat.getContext("2d");
    const image = context.createImageData(columns, shown.length);
    const pixels = new Uint32Array(image.data.buffer);
    for (let x = 0; x < columns; x += 1) {
      const from = timeAt(x / columns);
      const to = timeAt((x + 1) / columns);
      let first = rowAt(taggram, Math.max(from, times[0]));
      if (first < 0) continue;
      let last = first + 1;
      while (last < rows && times[last] < to) last += 1;
      if (last - first > 1 && times[first] < from) first += 1;
      for (let y = 0; y < shown.length; y += 1) {
        let score = 0;
        for (let row = first; row < last; row += 1) score = Math.max(score, scores[row * tags + shown[y]]);
        pixels[y * columns + x] = colours[Math.round(255 * Math.min(1, score / top))];
      }
    }
    context.putImageData(image, 0, 0);
  }

  const STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

  function drawAxis(canvas) {
    const { context, width } = fitted(canvas, AXIS_PX);
    context.fillStyle = ink.faint;
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "top";
    const span = view.to - view.from;
    const step = STEPS_S.find((seconds) => (seconds / span) * width >= 64) || 7200;
    for (let count = Math.ceil(view.from / step); count * step <= view.to; count += 1) {
      const x = fractionAt(count * step) * width;
      context.fillRect(Math.min(x, width - 1), 0, 1, 4);
      const text = step < 1 ? clock(count * step) : clock(count * step).slice(0, -2);
      const wide = context.measureText(text).width;
      context.fillText(text, clamp(x - wide / 2, 0, width - wide), 7);
    }
  }

  function drawScale(canvas) {
    canvas.width = 256;
    canvas.height = 1;
    const context = canvas.getContext("2d");
    const image = context.createImageData(256, 1);
    new Uint32Array(image.data.buffer).set(colours);
    context.putImageData(image, 0, 0);
  }

  function drawAll() {
    drawWave();
    drawAxis(find("wave-axis"));
    for (const taggram of taggrams) {
      if (!taggram.shown) continue;
      drawHeat(taggram);
      drawAxis(taggram.panel.axis);
      drawScale(taggram.panel.scale);
    }
    placeCursors(audio.currentTime || 0);
  }

  let drawing = false;
  function redraw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      drawAll();
    });
  }

  // ---- panels

  const COUNTS = [5, 10, 20, 50];

  function addRow({ order, panel, tags }) {
    const tag = order[panel.lines.length];
    const name = make("div", { className: "tag", title: tags[tag], textContent: tags[tag], dir: "auto" });
    const fill = make("div", { className: "fill" });
    const meter = make(
      "div",
      { className: "meter", role: "meter", "aria-label": tags[tag], "aria-valuemin": "0", "aria-valuemax": "1" },
      fill,
    );
    const value = make("span", { className: "value", "aria-hidden": "true" });
    const now = make("div", { className: "now" }, meter, value);
    panel.tags.append(name);
    panel.bars.append(now);
    panel.lines.push({ tag, name, now, meter, fill, value });
  }

  /** Show as many tags as are asked for; lines are made when first needed, and kept. */
  function showRows(taggram) {
    const { panel, width } = taggram;
    panel.count = Math.min(Number(find("count").value) || width, width);
    while (panel.lines.length < panel.count) addRow(taggram);
    panel.lines.forEach(({ name, now }, line) => {
      name.hidden = now.hidden = line >= panel.count;
    });
    taggram.current = null;
  }

  function makePanel(taggram, index) {
    const { facts } = taggram;
    const heat = make("canvas", { className: "heat", role: "img" });
    heat.setAttribute(
      "aria-label",
      `Scores over time by ${facts.model}; ${taggram.rows} rows. Most on average: ${listed(
        taggram.order.slice(0, 5).map((tag) => ({ tag: taggram.tags[tag], score: meanOf(taggram, tag) })),
      )}`,
    );
    const plot = make("div", { className: "plot" }, heat, make("div", { className: "cursor" }));
    const axis = make("canvas", { className: "axis", "aria-hidden": "true" });
    const scale = make("canvas", { "aria-hidden": "true" });
    const readout = make("p", { className: "readout", "aria-hidden": "true" });
    const tags = make("div", { className: "tags", "aria-hidden": "true" });
    const bars = make("div", { className: "bars", role: "group", "aria-label": `Scores here by ${facts.model}` });
    const download = (form, save) => {
      const button = make("button", { type: "button", textContent: form });
      button.setAttribute("aria-label", `Download the scores of ${facts.model} as ${form}`);
      button.addEventListener("click", save);
      return button;
    };
    const element = make(
      "section",
      { className: "panel" },
      make(
        "div",
        { className: "panel-head" },
        make("h2", { textContent: facts.model }),
        make("p", {
          className: "row-facts",
          textContent: `patches of ${facts.patch_s.toFixed(1)} s, one every ${facts.hop_s.toFixed(2)} s`,
        }),
      ),
      readout,
      make("div", { className: "chart" }, tags, plot, bars),
      make("div", { className: "chart" }, make("span"), make("div", {}, axis), make("span")),
      make(
        "div",
        { className: "panel-foot" },
        make("span", { className: "scale" }, "0", scale, taggram.top.toFixed(2)),
        make(
          "span",
          { className: "group" },
          download("JSON", () => save(taggram, "json", jsonOf(taggram))),
          download("CSV", () => save(taggram, "csv", csvOf(taggram))),
        ),
      ),
    );
    element.setAttribute("aria-label", `Taggram by ${facts.model}`);
    taggram.panel = { element, heat, plot, axis, scale, readout, tags, bars, count: 0, lines: [] };
    listenTo(plot);
    plot.addEventListener("pointermove", (event) => showUnder(taggram, event));
    plot.addEventListener("pointerleave", () => showNow(taggram));
    showRows(taggram);
    find("panels").append(element);

    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      taggram.shown = box.checked;
      arrange();
    });
    taggram.box = box;
    find("models").append(make("label", {}, box, taggrams.length > 1 ? `${index + 1} ${facts.model}` : facts.model));
  }

  function meanOf(taggram, tag) {
    let sum = 0;
    for (let row = 0; row < taggram.rows; row += 1) sum += taggram.scores[row * taggram.width + tag];
    return sum / taggram.rows;
  }

  function arrange() {
    for (const taggram of taggrams) taggram.panel.element.hidden = !taggram.shown;
    find("outline").open = false;
    redraw();
    update();
  }

  function showUnder(taggram, event) {
    if (event.pointerType === "touch") return;
    const box = taggram.panel.plot.getBoundingClientRect();
    const time = timeAt(clamp((event.clientX - box.left) / box.width, 0, 1));
    const row = rowAt(taggram, time);
    const line = clamp(Math.floor((event.clientY - box.top) / ROW_PX), 0, taggram.panel.count - 1);
    const tag = taggram.order[line];
    taggram.panel.readout.textContent =
      row < 0
        ? `${clock(time)}: no score`
        : `${clock(time)}: ${taggram.tags[tag]} ${taggram.scores[row * taggram.width + tag].toFixed(2)}`;
  }

  function showNow(taggram) {
    const row = taggram.current;
    taggram.panel.readout.textContent =
      row === null || row < 0 ? "no score here: the end is shorter than a patch" : `now: ${listed(best(taggram, row, 3))}`;
  }

  // ---- time

  function placeCursors(time) {
    const fraction = fractionAt(time);
    for (const cursor of document.querySelectorAll(".cursor")) {
      cursor.style.visibility = fraction < 0 || fraction > 1 ? "hidden" : "visible";
      cursor.style.transform = `translateX(${fraction * cursor.parentElement.clientWidth}px)`;
    }
  }

  /** Bring everything to the time that is heard. */
  function update() {
    const time = audio.currentTime || 0;
    find("clock").textContent = `${clock(time)} / ${clock(duration)}`;
    const seek = find("seek");
    seek.value = String(time);
    seek.setAttribute("aria-valuetext", `${spoken(time)} of ${spoken(duration)}`);
    if (!audio.paused && time > view.from + FOLLOW_AT * (view.to - view.from) && view.to < duration) {
      const span = view.to - view.from;
      show(time - (1 - FOLLOW_AT) * span, time + FOLLOW_AT * span);
    }
    placeCursors(time);
    for (const taggram of taggrams) {
      if (!taggram.shown) continue;
      const row = rowAt(taggram, time);
      if (row === taggram.current) continue;
      taggram.current = row;
      for (const { tag, meter, fill, value } of taggram.panel.lines.slice(0, taggram.panel.count)) {
        const score = row < 0 ? 0 : taggram.scores[row * taggram.width + tag];
        fill.style.transform = `scaleX(${score})`;
        meter.setAttribute("aria-valuenow", String(shortest(score)));
        meter.setAttribute("aria-valuetext", row < 0 ? "no score" : score.toFixed(2));
        value.textContent = row < 0 ? "–" : score.toFixed(2);
      }
      showNow(taggram);
    }
  }

  function tick() {
    update();
    if (!audio.paused && !audio.ended) requestAnimationFrame(tick);
  }

  function seekTo(time) {
    const target = clamp(time, 0, Math.max(0, Math.min(duration, audio.duration || duration)));
    audio.currentTime = target;
    if (target < view.from || target > view.to) {
      const span = view.to - view.from;
      show(target - span / 2, target + span / 2);
    }
    update();
  }

  function show(from, to) {
    const span = clamp(to - from, SHORTEST_VIEW_S, duration);
    view.from = clamp(from, 0, duration - span);
    view.to = view.from + span;
    redraw();
  }

  function zoom(factor) {
    const time = audio.currentTime || 0;
    const around = time >= view.from && time <= view.to ? time : (view.from + view.to) / 2;
    const span = clamp((view.to - view.from) * factor, SHORTEST_VIEW_S, duration);
    const fraction = fractionAt(around);
    show(around - fraction * span, around + (1 - fraction) * span);
  }

  function listenTo(plot) {
    const go = (event) => {
      const box = plot.getBoundingClientRect();
      seekTo(timeAt(clamp((event.clientX - box.left) / box.width, 0, 1)));
    };
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      plot.setPointerCapture(event.pointerId);
      go(event);
    });
    plot.addEventListener("pointermove", (event) => {
      if (plot.hasPointerCapture(event.pointerId) && event.buttons) go(event);
    });
  }

  function toggle() {
    if (find("play").disabled) return;
    if (audio.paused) audio.play().catch(() => complain());
    else audio.pause();
  }

  function tell() {
    const time = audio.currentTime || 0;
    const parts = taggrams
      .filter((taggram) => taggram.shown)
      .map((taggram) => {
        const row = rowAt(taggram, time);
        return `${taggram.facts.model}: ${row < 0 ? "no score here" : listed(best(taggram, row, 3))}`;
      });
    say(`${clock(time)}. ${parts.join(". ")}`);
  }

  // ---- downloads

  function jsonOf({ facts, times, tags, scores, width, rows }) {
    const table = Array.from({ length: rows }, (_, row) =>
      Array.from(scores.subarray(row * width, (row + 1) * width), shortest),
    );
    return JSON.stringify({ ...facts, times, tags, scores: table });
  }

  function csvOf({ csv, times, scores, width }) {
    const lines = times.map((time, row) => {
      const cells = Array.from(scores.subarray(row * width, (row + 1) * width), sixDecimals);
      return [csv.source, time.toFixed(3), ...cells].join(",");
    });
    return `${csv.head}${lines.join("\n")}\n`;
  }

  function save(taggram, ending, text) {
    const kind = ending === "json" ? "application/json" : "text/csv;charset=utf-8";
    const url = URL.createObjectURL(new Blob([text], { type: kind }));
    make("a", { href: url, download: `${data.stem}.${taggram.facts.model}.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    say(`Saved the scores of ${taggram.facts.model} as ${ending.toUpperCase()}`);
  }

  // ---- outline

  const OUTLINE_LINES = 60;

  function fillOutline() {
    const body = find("outline-body");
    body.replaceChildren();
    for (const taggram of taggrams.filter((each) => each.shown)) {
      const table = make("table", {}, make("caption", { textContent: taggram.facts.model }));
      const step = Math.max(1, Math.ceil(taggram.rows / OUTLINE_LINES));
      for (let first = 0; first < taggram.rows; first += step) {
        const last = Math.min(taggram.rows, first + step);
        const sums = taggram.tags.map((_, tag) => {
          let sum = 0;
          for (let row = first; row < last; row += 1) sum += taggram.scores[row * taggram.width + tag];
          return sum / (last - first);
        });
        const strongest = taggram.order
          .slice()
          .sort((a, b) => sums[b] - sums[a])
          .slice(0, 3)
          .map((tag) => ({ tag: taggram.tags[tag], score: sums[tag] }));
        const from = taggram.times[first];
        const button = make("button", { type: "button", textContent: clock(from) });
        button.setAttribute("aria-label", `Go to ${spoken(from)}`);
        button.addEventListener("click", () => seekTo(from));
        table.append(make("tr", {}, make("td", {}, button), make("td", { textContent: listed(strongest) })));
      }
      body.append(table);
    }
  }

  // ---- sound

  const CHUNK = 4 * 2 ** 20;

  function ready() {
    find("play").disabled = false;
    say("");
  }

  function complain() {
    const problem = find("problem");
    problem.textContent = data.sound.url
      ? "The linked recording cannot be played: it was moved, or this browser does not play its format."
      : "This browser does not play this recording.";
    problem.hidden = false;
    find("play").disabled = true;
    say("");
  }

  /** Decode the embedded sound bit by bit, so that the page answers meanwhile. */
  async function load() {
    audio.addEventListener("error", complain);
    audio.addEventListener("loadedmetadata", ready);
    if (data.sound.url !== undefined) {
      audio.src = data.sound.url;
      return;
    }
    const text = find("sound").textContent;
    const parts = [];
    for (let at = 0; at < text.length; at += CHUNK) {
      parts.push(bytesOf(text.slice(at, at + CHUNK)));
      await new Promise((next) => setTimeout(next));
    }
    find("sound").remove();
    audio.src = URL.createObjectURL(new Blob(parts, { type: data.sound.kind }));
  }

  // ---- everything together

  function start() {
    find("app").hidden = false;
    find("title").textContent = data.title;
    const facts = [clock(duration)];
    if (data.title !== data.name) facts.unshift(data.name);
    if (data.sound.converted) facts.push("heard as Opus");
    if (taggrams[0].facts.repeated) facts.push("shorter than a patch, repeated to fill one");
    const { damaged, lost_s: lost } = taggrams[0].facts;
    if (damaged) facts.push(`damaged: ${lost.toFixed(1)} s lost`);
    find("facts").textContent = facts.join(" · ");
    find("seek").max = String(duration);

    const most = Math.max(...taggrams.map((taggram) => taggram.width));
    for (const count of COUNTS.filter((each) => each < most)) {
      find("count").append(make("option", { value: String(count), textContent: String(count) }));
    }
    find("count").append(make("option", { value: "0", textContent: `all ${most}` }));
    find("count").value = most > 10 ? "10" : "0";
    find("count").addEventListener("change", () => {
      taggrams.forEach(showRows);
      for (const taggram of taggrams) if (taggram.shown) drawHeat(taggram);
      update();
    });

    if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark");
    chooseColours();
    find("theme").addEventListener("click", () => {
      document.documentElement.classList.toggle("dark");
      chooseColours();
      redraw();
    });

    taggrams.forEach(makePanel);
    find("models").hidden = taggrams.length < 2;
    listenTo(find("wave-plot"));
    find("play").addEventListener("click", toggle);
    find("back").addEventListener("click", () => seekTo(audio.currentTime - 5));
    find("forward").addEventListener("click", () => seekTo(audio.currentTime + 5));
    find("seek").addEventListener("input", (event) => seekTo(Number(event.target.value)));
    find("volume").addEventListener("input", (event) => {
      audio.volume = Number(event.target.value);
      audio.muted = false;
    });
    find("zoom-in").addEventListener("click", () => zoom(1 / 2));
    find("zoom-out").addEventListener("click", () => zoom(2));
    find("zoom-all").addEventListener("click", () => show(0, duration));
    find("outline").addEventListener("toggle", (event) => event.target.open && fillOutline());

    audio.addEventListener("play", () => {
      find("play").textContent = "Pause";
      tick();
    });
    audio.addEventListener("pause", () => {
      find("play").textContent = "Play";
      update();
      tell();
    });
    for (const event of ["seeked", "timeupdate", "ended"]) audio.addEventListener(event, update);
    document.addEventListener("keydown", onKey);
    let drawnWidth = 0;
    new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width !== drawnWidth) redraw();
      drawnWidth = contentRect.width;
    }).observe(find("panels"));
    arrange();
    say("Loading the sound …");
    load().catch(complain);
  }

  const KEYS = {
    " ": toggle,
    k: toggle,
    ArrowLeft: (event) => seekTo(audio.currentTime - (event.shiftKey ? 1 : 5)),
    ArrowRight: (event) => seekTo(audio.currentTime + (event.shiftKey ? 1 : 5)),
    Home: () => seekTo(0),
    End: () => seekTo(duration),
    "+": () => zoom(1 / 2),
    "=": () => zoom(1 / 2),
    "-": () => zoom(2),
    0: () => show(0, duration),
    t: tell,
    m: () => {
      audio.muted = !audio.muted;
      say(audio.muted ? "Muted" : "Sound on");
    },
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = event.target;
    if (at.matches("select, input[type=range]") && event.key !== "k") {
      const own = at.matches("#seek") && ["ArrowLeft", "ArrowRight"].includes(event.key);
      if (!own) return;
    }
    if (event.key === " " && at.matches("button, summary, input")) return;
    const digit = Number(event.key);
    if (digit >= 1 && digit <= taggrams.length) {
      taggrams[digit - 1].box.click();
      return;
    }
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  }

  start();
})();
