// Brushed parts of axes: which runs lie in them.
import { placeOf, valueAt } from './axis.js';

/** @typedef {import('./axis.js').Axis} Axis */
/** @typedef {[number, number] | string[]} Brush a range of numbers, both included, or some names */
/** @typedef {Record<string, Brush>} Brushes by axis */

/** A brush that is moved with the keyboard begins with so much of the axis, and moves by so much. */
const FIRST = 0.5;
const STEP = 0.05;

/**
 * The brush from one place of an axis to another.
 * @param {Axis} axis
 * @param {number} one
 * @param {number} other
 * @returns {Brush | null} null: there is nothing between them
 */
export function brushOf(axis, one, other) {
  const [low, high] = [Math.max(Math.min(one, other), 0), Math.min(Math.max(one, other), 1)];
  if (!axis.isNumeric) {
    const names = axis.names.filter((_, index) => (index + 1) / axis.names.length > low && index / axis.names.length < high);
    return names.length > 0 ? names : null;
  }
  if (!(high > low)) return null;
  // At an end of the axis, the extreme itself, whatever rounding says.
  const [from, to] = [low <= 0 ? axis.min : short(valueAt(axis, low)), high >= 1 ? axis.max : short(valueAt(axis, high))];
  return [from, to];
}

/** @param {number} value few digits, since it stands in a link */
const short = (value) => Number(value.toPrecision(5));

/**
 * From which place of the axis to which a brush goes; null if none of its names is there.
 * @param {Axis} axis
 * @param {Brush} brush
 * @returns {[number, number] | null}
 */
export function placesOf(axis, brush) {
  if (!axis.isNumeric) {
    const found = axis.names.flatMap((name, index) => (/** @type {string[]} */ (brush).includes(name) ? [index] : []));
    return found.length > 0 ? [found[0] / axis.names.length, (found[found.length - 1] + 1) / axis.names.length] : null;
  }
  const [low, high] = /** @type {[number, number]} */ (brush);
  if (axis.min === axis.max) return low <= axis.min && axis.min <= high ? [0, 1] : null;
  const at = (/** @type {number} */ value) => Math.min(Math.max(axis.isLog && value <= 0 ? 0 : placeOf(axis, value), 0), 1);
  return [at(low), at(high)];
}

/**
 * Which runs lie in all brushes. A run without a value does not.
 * @param {Axis[]} axes
 * @param {Brushes} brushes
 * @param {number} count of the runs
 * @returns {Uint8Array}
 */
export function matching(axes, brushes, count) {
  const found = new Uint8Array(count).fill(1);
  for (const axis of axes) {
    const brush = brushes[axis.id];
    if (!brush) continue;
    for (let index = 0; index < count; index++) if (!isIn(axis, brush, axis.values[index])) found[index] = 0;
  }
  return found;
}

/**
 * @param {Axis} axis
 * @param {Brush} brush
 * @param {number | string | null} value
 */
function isIn(axis, brush, value) {
  if (value === null) return false;
  if (!axis.isNumeric) return /** @type {string[]} */ (brush).includes(String(value));
  return value >= brush[0] && value <= brush[1];
}

/**
 * The brush after a key: arrows move it, with Shift its upper end, Delete removes it.
 * @param {Axis} axis
 * @param {Brush | undefined} brush
 * @param {{key: string, shiftKey: boolean}} event
 * @returns {Brush | null | undefined} null: none any more; undefined: the key does something else
 */
export function brushAfterKey(axis, brush, { key, shiftKey }) {
  if (key === 'Delete' || key === 'Backspace') return null;
  const up = { ArrowUp: 1, ArrowDown: -1 }[key];
  if (key !== 'Enter' && key !== ' ' && !up) return undefined;
  const places = brush && placesOf(axis, brush);
  if (!places || !up) return brushOf(axis, 1 - FIRST, 1);
  const step = up * (axis.isNumeric ? STEP : 1 / axis.names.length);
  const [low, high] = places;
  if (shiftKey) return brushOf(axis, low, Math.max(high + step, low + Math.abs(step))) ?? brush;
  const moved = Math.min(Math.max(step, -low), 1 - high);
  const hair = axis.isNumeric ? 0 : 1e-9; // names that only touch do not belong to it
  return brushOf(axis, low + moved + hair, high + moved - hair) ?? brush;
}
