/** A taggram as the library writes it. */

import { shortest, sixDecimals } from "./numbers.js";

export function jsonOf(taggram) {
  const { facts, times, tags } = taggram;
  const scores = times.map((_, row) => Array.from(taggram.rowScores(row), shortest));
  return JSON.stringify({ ...facts, times, tags, scores });
}

export function csvOf(taggram) {
  const { csv, times } = taggram;
  const lines = times.map((time, row) => {
    const cells = Array.from(taggram.rowScores(row), sixDecimals);
    return [csv.source, time.toFixed(3), ...cells].join(",");
  });
  return `${csv.head}${lines.join("\n")}\n`;
}

const FORMULA = /^[=+\-@\t\r]/;

/** Cells of a CSV, quoted where they must be. */
export const csvRow = (cells) =>
  cells.map((cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",");

/** A tag that no spreadsheet takes for a formula. */
export const safeTag = (tag) => (FORMULA.test(tag) ? `'${tag}` : tag);

/** A file's name that no spreadsheet takes for a formula, and that stays a path. */
const safePath = (path) => (FORMULA.test(path) ? `./${path}` : path);

/** What begins the CSV of a taggram, and each of its lines. */
export const csvOfSource = (source, tags) => ({
  head: `${csvRow(["source", "time_s", ...tags.map(safeTag)])}\n`,
  source: csvRow([safePath(source)]),
});
