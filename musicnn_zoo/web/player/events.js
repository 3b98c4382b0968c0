/** When tags begin and end: the rule of musicnn_zoo.events. */

const RELEASE = 0.8;

const microseconds = (time) => Number(time.toFixed(6));

/**
 * An event begins where the score reaches the threshold, goes on while it is at least the release,
 * in both directions, and counts if it lasts long enough. In silent rows no tag is on.
 *
 * @param {import("./taggram.js").Taggram} taggram
 * @param {object} [rule]
 * @param {number} [rule.threshold] between 0 and 1
 * @param {number} [rule.release] between 0 and the threshold; by default 0.8 of it
 * @param {number} [rule.minLengthS] shortest event in seconds
 * @returns {{tag: string, start_s: number, end_s: number, score: number}[]} by start, then by tag
 */
export function findEvents(taggram, { threshold = 0.5, release = RELEASE * threshold, minLengthS = 0 } = {}) {
  const { rows, silent, tags, times } = taggram;
  const begins = Math.fround(threshold); // scores are 32-bit floats, and so is what they are held against
  const holds = Math.fround(release);
  const events = [];
  tags.forEach((tag, column) => {
    const on = (row) => row < rows && !silent[row] && taggram.score(row, column) >= holds;
    for (let row = 0; row < rows; row += 1) {
      if (!on(row)) continue;
      const first = row;
      let sum = 0;
      let highest = 0;
      for (; on(row); row += 1) {
        sum += taggram.score(row, column);
        highest = Math.max(highest, taggram.score(row, column));
      }
      const start_s = microseconds(times[first]);
      const end_s = microseconds(row < rows ? times[row] : taggram.end);
      if (highest >= begins && end_s - start_s >= minLengthS) {
        events.push({ tag, start_s, end_s, score: sum / (row - first) });
      }
    }
  });
  return events.sort((a, b) => a.start_s - b.start_s);
}
