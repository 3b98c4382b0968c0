/** Scores over time, which may still be coming. */

import { grown } from "./numbers.js";

export class Taggram {
  /**
   * @param {object} given
   * @param {object} given.facts what the library says of a taggram: model, patch_s, hop_s, duration_s …
   * @param {string[]} given.tags
   * @param {{head: string, source: string}} given.csv heading and first cell of its CSV
   */
  constructor({ facts, tags, csv }) {
    this.facts = facts;
    this.tags = tags;
    this.csv = csv;
    this.growing = false; // whether rows are still coming
    this.times = [];
    this.silent = [];
    this.scores = new Float32Array(0);
    this.sums = new Float64Array(tags.length);
    this.heard = 0; // rows that are not silent
    this.highest = 0;
    this.order = tags.map((_, tag) => tag);
  }

  get width() {
    return this.tags.length;
  }

  get rows() {
    return this.times.length;
  }

  /** End of the last row in seconds: it lasts for a whole patch. */
  get end() {
    return this.rows ? this.times[this.rows - 1] + this.facts.patch_s : 0;
  }

  /** Take a row: when it starts, its scores, and whether it is silent. Call `rank` when all are in. */
  append(time, scores, silent = false) {
    const at = this.rows * this.width;
    this.scores = grown(this.scores, at + this.width);
    this.scores.set(scores, at);
    this.times.push(time);
    this.silent.push(silent);
    this.heard += silent ? 0 : 1;
    for (let tag = 0; tag < this.width; tag += 1) {
      if (!silent) this.sums[tag] += scores[tag];
      this.highest = Math.max(this.highest, scores[tag]);
    }
  }

  /** Put the tags in order: by the mean of the rows that are not silent. */
  rank() {
    this.order.sort((a, b) => this.sums[b] - this.sums[a] || a - b);
  }

  mean(tag) {
    return this.sums[tag] / (this.heard || 1);
  }

  score(row, tag) {
    return this.scores[row * this.width + tag];
  }

  rowScores(row) {
    return this.scores.subarray(row * this.width, (row + 1) * this.width);
  }

  /** Row that lasts at a time: from its start to the start of the next, the last for a patch. */
  at(time) {
    if (!this.rows || time >= this.end || time < this.times[0]) return -1;
    let low = 0;
    let high = this.rows - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle] <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The strongest tags of the whole, or by a function from a tag to its score. */
  best(count, scoreOf = (tag) => this.mean(tag)) {
    return this.order
      .map((tag) => ({ tag: this.tags[tag], score: scoreOf(tag) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, count);
  }
}

export const listed = (tags) => tags.map(({ tag, score }) => `${tag} ${score.toFixed(2)}`).join(", ");
