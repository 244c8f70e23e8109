// What an axis of values shows, and what it leaves out.

/** @typedef {{min: number, max: number}} Range */

/** Of the buckets, this share at either side may be clipped. */
const CLIPPED_SHARE = 0.02;
const MARGIN = 0.06;

/**
 * @typedef {object} Drawn what a range is computed from
 * @property {Float64Array} min
 * @property {Float64Array} max
 * @property {Float64Array} mean
 * @property {number} from first row on screen
 * @property {number} to behind the last one
 */

/**
 * The range of values of some curves: with every extreme, or without outliers.
 * @param {Drawn[]} curves
 * @param {{log: boolean, clip: boolean}} how
 * @returns {Range}
 */
export function valueRange(curves, how) {
  const range = how.clip ? withoutOutliers(curves, how.log) : everything(curves, how.log);
  if (!(range.min <= range.max)) return how.log ? { min: 1, max: 10 } : { min: 0, max: 1 };
  return how.log ? withLogMargin(range) : withMargin(range);
}

/**
 * @param {Drawn[]} curves
 * @param {boolean} log
 */
function everything(curves, log) {
  let min = Infinity;
  let max = -Infinity;
  for (const curve of curves) {
    for (let row = curve.from; row < curve.to; row++) {
      const low = curve.min[row];
      const high = curve.max[row];
      if (log && !(high > 0)) continue;
      // A bucket that reaches to 0 or below begins, on a logarithmic axis, at what is above 0 of it.
      const shown = log && !(low > 0) ? Math.max(curve.mean[row], high / 1e3) : low;
      if (shown < min) min = shown;
      if (high > max) max = high;
    }
  }
  return { min, max };
}

/**
 * @param {Drawn[]} curves
 * @param {boolean} log
 */
function withoutOutliers(curves, log) {
  const lows = [];
  const highs = [];
  for (const curve of curves) {
    for (let row = curve.from; row < curve.to; row++) {
      if (!Number.isFinite(curve.mean[row]) || (log && !(curve.min[row] > 0))) continue;
      lows.push(curve.min[row]);
      highs.push(curve.max[row]);
    }
  }
  if (lows.length < 10) return everything(curves, log);
  const low = Float64Array.from(lows).sort();
  const high = Float64Array.from(highs).sort();
  const cut = Math.floor(lows.length * CLIPPED_SHARE);
  return { min: low[cut], max: high[high.length - 1 - cut] };
}

/** @param {Range} range */
function withMargin({ min, max }) {
  const size = max - min || Math.abs(max) * 0.1 || 1;
  return { min: min - MARGIN * size, max: max + MARGIN * size };
}

/** @param {Range} range */
function withLogMargin({ min, max }) {
  const factor = Math.max((max / min) ** MARGIN, 1.1);
  return { min: min / factor, max: max * factor };
}

/**
 * How many buckets of some curves reach beyond a range: a clipped axis says so.
 * @param {Drawn[]} curves
 * @param {Range} range
 * @returns {{above: number, below: number}}
 */
export function beyond(curves, range) {
  let above = 0;
  let below = 0;
  for (const curve of curves) {
    for (let row = curve.from; row < curve.to; row++) {
      if (curve.max[row] > range.max) above++;
      if (curve.min[row] < range.min) below++;
    }
  }
  return { above, below };
}
