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
