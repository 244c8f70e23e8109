// Which run is under the pointer.
import { hasDot, xOfAxis, xOfPlace, yOfPlace } from './pictures.js';

/** @typedef {import('./pictures.js').Picture} Picture */

/** The largest distance of the pointer from the run that it points at. */
const REACH = 8;

/**
 * @param {Picture} picture
 * @param {number} x in CSS pixels
 * @param {number} y
 * @returns {number} the index of the run; -1 if none is near. Runs that are faint come after all others.
 */
export function nearestRun(picture, x, y) {
  let best = -1;
  let least = REACH;
  for (const strong of [1, 0]) {
    for (let run = 0; run < picture.isStrong.length; run++) {
      if (picture.isStrong[run] !== strong) continue;
      const away = picture.kind === 'scatter' ? fromDot(picture, run, x, y) : fromLine(picture, run, x, y);
      if (away < least) [least, best] = [away, run];
    }
    if (best >= 0) return best;
  }
  return best;
}

/**
 * @param {Picture} picture
 * @param {number} run
 * @param {number} x
 * @param {number} y
 */
function fromDot(picture, run, x, y) {
  if (!hasDot(picture, run)) return Infinity;
  return Math.hypot(xOfPlace(picture, picture.axes[0].places[run]) - x, yOfPlace(picture, picture.axes[1].places[run]) - y);
}

/**
 * @param {Picture} picture
 * @param {number} run
 * @param {number} x
 * @param {number} y
 */
function fromLine(picture, run, x, y) {
  const { axes } = picture;
  for (let index = 0; index + 1 < axes.length; index++) {
    const [left, right] = [xOfAxis(picture, index), xOfAxis(picture, index + 1)];
    if (x < left - REACH || x > right + REACH) continue;
    const [from, to] = [yOfPlace(picture, axes[index].places[run]), yOfPlace(picture, axes[index + 1].places[run])];
    const share = Math.min(Math.max((x - left) / (right - left), 0), 1);
    // Across the line: of a steep one, far above or below is near.
    return Math.abs(from + share * (to - from) - y) * ((right - left) / Math.hypot(right - left, to - from));
  }
  return Infinity;
}
