// Smoothing that does not depend on how many buckets the picture has.
//
// What TensorBoard's slider means, a debiased exponential moving average, is defined on points; it samples a thousand
// of them first, and its curve changes with the sample. Here every point counts, with a weight that decays with its
// distance on the axis: a bucket of n points is n points at equal distances with the bucket's exact mean.

/** For long curves the slider means what it means for this many points. */
const POINTS_OF_SLIDER = 1000;

/**
 * The distance on the axis over which weights fall to 1/e. It follows from the whole curve, never from what is zoomed
 * to, nor from other curves.
 * @param {number} strength of the slider: 0 to below 1, the weight that is left after one point
 * @param {{start: number, end: number, points: number}} whole
 * @returns {number} 0: no smoothing
 */
export function decayLength(strength, whole) {
  const extent = whole.end - whole.start;
  if (!(strength > 0) || !(extent > 0)) return 0;
  const unit = extent / Math.min(Math.max(whole.points - 1, 1), POINTS_OF_SLIDER);
  return -unit / Math.log(Math.min(strength, 0.9999));
}

/**
 * The distance over which a point loses half of its weight, which is shown to the user.
 * @param {number} length
 */
export const halfLife = (length) => length * Math.LN2;

/**
 * The smoothed value at the end of each bucket. Buckets without a finite value continue the curve as it was.
 * @param {import('./curve.js').Curve} curve the shown curve, perhaps a part of the whole
 * @param {number} length decayLength of the whole curve
 * @param {import('./curve.js').Curve} [whole] what comes before the part is taken from here
 * @param {Float64Array} [into] reused if it is long enough
 * @returns {Float64Array}
 */
export function smoothed(curve, length, whole, into) {
  const result = into && into.length >= curve.length ? into : new Float64Array(Math.max(64, 2 * curve.length));
  const state = { sum: 0, weight: 0, position: NaN };
  if (whole && whole !== curve) warmUp(state, whole, curve.start, length);
  for (let row = 0; row < curve.length; row++) {
    take(state, curve, row, 1, curve.last_position[row], length);
    result[row] = state.weight > 0 ? state.sum / state.weight : NaN;
  }
  return result;
}

/** @typedef {{sum: number, weight: number, position: number}} State of the average, at a position */

/**
 * @param {State} state
 * @param {import('./curve.js').Curve} whole
 * @param {number} until
 * @param {number} length
 */
function warmUp(state, whole, until, length) {
  for (let row = 0; row < whole.length && whole.first_position[row] < until; row++) {
    const first = whole.first_position[row];
    const last = whole.last_position[row];
    // Of the bucket in which the part begins, only the share before the part.
    const share = last < until ? 1 : (until - first) / (last - first);
    take(state, whole, row, share, Math.min(last, until), length);
  }
}

/**
 * @param {State} state
 * @param {import('./curve.js').Curve} curve
 * @param {number} row
 * @param {number} share of the bucket that counts
 * @param {number} end of that share
 * @param {number} length
 */
function take(state, curve, row, share, end, length) {
  const finite = curve.finiteAt(row) * share;
  const span = end - curve.first_position[row];
  const decay = state.weight > 0 ? Math.exp(-(end - state.position) / length) : 0;
  state.sum *= decay;
  state.weight *= decay;
  state.position = end;
  if (!(finite > 0)) return;
  const weight = weightOfBucket(finite, span, length);
  state.sum += weight * curve.mean[row];
  state.weight += weight;
}

/**
 * The weights of n points at equal distances over a span, seen from its end: 1 + r + r^2 + ... + r^(n-1).
 * @param {number} count
 * @param {number} span
 * @param {number} length
 */
function weightOfBucket(count, span, length) {
  if (count <= 1 || span <= 0) return count;
  const distance = span / (count - 1) / length;
  return Math.expm1(-count * distance) / Math.expm1(-distance);
}
