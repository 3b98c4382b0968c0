/** Pictures of a recording on canvases, each over the same stretch of time: `view`, in seconds. */

import { colours } from "./colours.js";
import { clamp, clock } from "./numbers.js";

export const pixelsPerPx = () => window.devicePixelRatio || 1;
/** Pixels from left to right. */
export const columnsOf = (canvas) => Math.max(1, Math.round(canvas.parentElement.clientWidth * pixelsPerPx()));
export const timeAt = (view, fraction) => view.from + fraction * (view.to - view.from);

/** A height that the style sheet names, in CSS pixels. */
export const heightOf = (name) =>
  parseFloat(getComputedStyle(document.documentElement).getPropertyValue(`--${name}-height`));

/** Fit a canvas to its element; returns its context and size in CSS pixels. */
export function fitted(canvas, height) {
  const ratio = pixelsPerPx();
  canvas.width = columnsOf(canvas);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width: canvas.width / ratio, height };
}

export function drawWave(canvas, envelope, view) {
  const { context, width, height } = fitted(canvas, heightOf("wave"));
  context.fillStyle = colours.ink.wave;
  const middle = height / 2;
  const unit = (middle - 2) / envelope.peak;
  for (let x = 0; x < width; x += 1) {
    const first = Math.floor(timeAt(view, x / width) / envelope.stretch);
    if (first >= envelope.length) break;
    const last = Math.max(first + 1, Math.ceil(timeAt(view, (x + 1) / width) / envelope.stretch));
    let low = 0;
    let high = 0;
    for (let at = first; at < Math.min(last, envelope.length); at += 1) {
      low = Math.min(low, envelope.lowest[at]);
      high = Math.max(high, envelope.highest[at]);
    }
    context.fillRect(x, middle - high * unit, 1, Math.max(1, (high - low) * unit));
  }
}

/** A line of pixels for each tag. Colour of a pixel: the highest score under it. */
function heatImage(taggram, shown, columns, top, view) {
  const { rows, scores, times, width } = taggram;
  const image = new ImageData(columns, shown.length);
  const pixels = new Uint32Array(image.data.buffer);
  for (let x = 0; x < columns; x += 1) {
    const from = timeAt(view, x / columns);
    const to = timeAt(view, (x + 1) / columns);
    let first = taggram.at(Math.max(from, times[0]));
    if (first < 0) continue;
    let last = first + 1;
    while (last < rows && times[last] < to) last += 1;
    if (last - first > 1 && times[first] < from) first += 1;
    for (let y = 0; y < shown.length; y += 1) {
      let score = 0;
      for (let row = first; row < last; row += 1) score = Math.max(score, scores[row * width + shown[y]]);
      pixels[y * columns + x] = colours.scale[Math.round(255 * Math.min(1, score / top))];
    }
  }
  return image;
}

/** The canvas is made high by CSS. */
export function drawHeat(canvas, taggram, shown, top, view) {
  canvas.style.height = `${shown.length * heightOf("row")}px`;
  canvas.width = columnsOf(canvas);
  canvas.height = shown.length;
  canvas.getContext("2d").putImageData(heatImage(taggram, shown, canvas.width, top, view), 0, 0);
}

const STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

function paintAxis(context, left, width, view) {
  context.fillStyle = colours.ink.faint;
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "top";
  const span = view.to - view.from;
  const step = STEPS_S.find((seconds) => (seconds / span) * width >= 64) || 7200;
  for (let count = Math.ceil(view.from / step); count * step <= view.to; count += 1) {
    const x = ((count * step - view.from) / span) * width;
    context.fillRect(left + Math.min(x, width - 1), 0, 1, 4);
    const text = step < 1 ? clock(count * step) : clock(count * step).slice(0, -2);
    const wide = context.measureText(text).width;
    context.fillText(text, left + clamp(x - wide / 2, 0, width - wide), 7);
  }
}

export function drawAxis(canvas, view) {
  const { context, width } = fitted(canvas, heightOf("axis"));
  paintAxis(context, 0, width, view);
}

export function drawScale(canvas) {
  canvas.width = 256;
  canvas.height = 1;
  const image = new ImageData(256, 1);
  new Uint32Array(image.data.buffer).set(colours.scale);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const PICTURE = { width: 1400, names: 190, title: 40, row: 24, edge: 16 };

/** A taggram as a picture of its own: a title, names of tags, scores, and the time. Resolves to PNG. */
export function pictureOf(taggram, shown, { title, top, view }) {
  const { edge, names, row } = PICTURE;
  const wide = PICTURE.width - names - 2 * edge;
  const high = shown.length * row;
  const canvas = new OffscreenCanvas(PICTURE.width, PICTURE.title + high + heightOf("axis") + 2 * edge);
  const context = canvas.getContext("2d");
  const { ink, paper } = colours.ink;
  context.fillStyle = paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = ink;
  context.font = "18px system-ui, sans-serif";
  context.fillText(title, edge, edge + 16, PICTURE.width - 2 * edge);
  context.font = "14px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.translate(0, edge + PICTURE.title);
  shown.forEach((tag, line) =>
    context.fillText(taggram.tags[tag], edge + names - 10, (line + 0.5) * row, names - 10),
  );
  const heat = new OffscreenCanvas(wide, shown.length);
  heat.getContext("2d").putImageData(heatImage(taggram, shown, wide, top, view), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(heat, edge + names, 0, wide, high);
  context.fillStyle = paper;
  for (let line = 1; line < shown.length; line += 1) context.fillRect(edge + names, line * row - 1, wide, 1);
  context.textAlign = "left";
  context.translate(0, high);
  paintAxis(context, edge + names, wide, view);
  return canvas.convertToBlob({ type: "image/png" });
}
