// What a panel draws of one curve: its buckets in the units of the x axis, and the smoothed values.
import { smoothed } from './smoothing.js';

/** @typedef {import('./curve.js').Curve} Curve */
/** @typedef {import('../state/colours.js').Stroke} Stroke */

export class Line {
  /**
   * @param {Curve} whole
   * @param {{stroke: Stroke, name: string}} look
   */
  constructor(whole, look) {
    this.whole = whole;
    /** What is drawn: the whole curve, or exact buckets of a part. */
    this.curve = whole;
    this.stroke = look.stroke;
    this.name = look.name;
    this.x = new Float64Array(0);
    /** @type {Float64Array | null} */
    this.smooth = null;
    /** The same array again and again. */
    this.smoothBuffer = new Float64Array(0);
    this.from = 0;
    this.to = 0;
    /** Whether x rises: not on every axis that is another metric. */
    this.isSorted = true;
  }

  get min() {
    return this.curve.min;
  }

  get max() {
    return this.curve.max;
  }

  get mean() {
    return this.curve.mean;
  }

  /** What the line itself shows: smoothed or exact means. */
  get values() {
    return this.smooth ?? this.curve.mean;
  }

  /**
   * @param {Curve} curve
   * @param {(position: number) => number} toX
   * @param {number} decay length of smoothing; 0: none
   */
  show(curve, toX, decay) {
    this.curve = curve;
    if (this.x.length < curve.length) this.x = new Float64Array(Math.max(64, Math.ceil(1.5 * curve.length)));
    this.isSorted = true;
    for (let row = 0; row < curve.length; row++) {
      const x = toX((curve.first_position[row] + curve.last_position[row]) / 2);
      this.x[row] = x;
      if (row > 0 && !(x >= this.x[row - 1])) this.isSorted = false;
    }
    this.smooth = decay > 0 ? smoothed(curve, decay, this.whole, this.smoothBuffer) : null;
    if (this.smooth) this.smoothBuffer = /** @type {Float64Array<ArrayBuffer>} */ (this.smooth);
  }

  /**
   * Chooses the rows that are on screen, and one more on each side, so that lines continue to the edges.
   * @param {number} min
   * @param {number} max
   */
  clipTo(min, max) {
    const length = this.curve.length;
    if (!this.isSorted) {
      this.from = 0;
      this.to = length;
      return;
    }
    this.from = Math.max(firstAtLeast(this.x, length, min) - 1, 0);
    this.to = Math.min(firstAtLeast(this.x, length, max) + 1, length);
  }

  /**
   * The row nearest to an x; -1 if there is none.
   * @param {number} x
   */
  nearest(x) {
    const length = this.curve.length;
    if (length === 0) return -1;
    if (!this.isSorted) return nearestOf(this.x, length, x);
    const row = Math.min(firstAtLeast(this.x, length, x), length - 1);
    return row > 0 && x - this.x[row - 1] < this.x[row] - x ? row - 1 : row;
  }
}

/**
 * @param {Float64Array} sorted
 * @param {number} length
 * @param {number} value
 */
function firstAtLeast(sorted, length, value) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * @param {Float64Array} xs
 * @param {number} length
 * @param {number} x
 */
function nearestOf(xs, length, x) {
  let best = -1;
  for (let row = 0; row < length; row++) {
    if (Number.isNaN(xs[row])) continue;
    if (best < 0 || Math.abs(xs[row] - x) < Math.abs(xs[best] - x)) best = row;
  }
  return best;
}
