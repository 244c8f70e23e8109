// An axis of params and metrics over runs: where each run lies on it, as numbers or as names, and its ticks.
import { linearTicks, logTicks, shortNumber } from '../charts/axes.js';
import { columnOf } from '../table/columns.js';

/** @typedef {import('../api/types.js').Run} Run */

/**
 * @typedef {object} Axis
 * @property {string} id as columns of the table are named
 * @property {string} label
 * @property {boolean} isNumeric
 * @property {boolean} isLog
 * @property {boolean} mayBeLog all values are above 0
 * @property {number} min
 * @property {number} max
 * @property {string[]} names of the values, from the bottom, if they are not numbers
 * @property {(number | string | null)[]} values one a run; null: the run has none, or none that is finite
 * @property {Float64Array} places 0 (bottom) to 1; NaN where there is no value
 */

/** A param whose largest value is this many times its smallest one has a logarithmic axis, such as a learning rate. */
const LOG_FROM = 30;

/**
 * @param {string} id
 * @param {Run[]} runs
 * @param {boolean} [isLog] absent: where it helps
 * @returns {Axis | null} null if there is no such column
 */
export function axisOf(id, runs, isLog) {
  const column = columnOf(id);
  if (!column) return null;
  const raw = runs.map((run) => valueOf(column, run));
  const isNumeric = column.isNumber || raw.every((value) => value === null || isNumber(value));
  const label = column.kind === 'min' || column.kind === 'max' ? `${column.key} (${column.kind})` : column.label;
  return isNumeric ? numericAxis(id, label, raw.map((value) => (value === null ? NaN : Number(value))), isLog) : namesAxis(id, label, raw.map((value) => (value === null ? null : String(value))));
}

/**
 * @param {import('../table/columns.js').Column} column
 * @param {Run} run
 * @returns {number | string | null}
 */
function valueOf({ kind, key }, run) {
  if (kind === 'param') return run.params[key] ?? null;
  if (kind === 'tag') return run.tags[key] ?? null;
  if (kind !== 'field') return run.metrics?.[key]?.[kind] ?? null;
  if (key === 'started') return run.start_time_us / 1e6;
  if (key === 'duration') return run.end_time_us === null ? null : (run.end_time_us - run.start_time_us) / 1e6;
  return run[/** @type {'name' | 'status' | 'experiment' | 'user'} */ (key)] ?? null;
}

/** @param {number | string} value */
const isNumber = (value) => typeof value === 'number' || (value.trim() !== '' && !Number.isNaN(Number(value)));

/**
 * @param {string} id
 * @param {string} label
 * @param {number[]} numbers NaN: the run has none
 * @param {boolean | undefined} isLog
 * @returns {Axis}
 */
function numericAxis(id, label, numbers, isLog) {
  const values = numbers.map((value) => (Number.isFinite(value) ? value : null));
  let [min, max] = [Infinity, -Infinity];
  for (const value of values) {
    if (value === null) continue;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  if (!(min <= max)) [min, max] = [0, 1];
  const mayBeLog = min > 0;
  /** @type {Axis} */
  const axis = {
    id, label, isNumeric: true, isLog: mayBeLog && (isLog ?? max / min >= LOG_FROM), mayBeLog, min, max, names: [], values,
    places: new Float64Array(values.length),
  };
  values.forEach((value, index) => (axis.places[index] = value === null ? NaN : placeOf(axis, value)));
  return axis;
}

/**
 * @param {string} id
 * @param {string} label
 * @param {(string | null)[]} values
 * @returns {Axis}
 */
function namesAxis(id, label, values) {
  const names = [...new Set(values.filter((value) => value !== null))].sort((a, b) => b.localeCompare(a, undefined, { numeric: true }));
  const place = new Map(names.map((name, index) => [name, (index + 0.5) / names.length]));
  const places = Float64Array.from(values, (value) => (value === null ? NaN : /** @type {number} */ (place.get(value))));
  return { id, label, isNumeric: false, isLog: false, mayBeLog: false, min: 0, max: 1, names, values, places };
}

/**
 * @param {Axis} axis
 * @param {number} value
 */
export function placeOf({ min, max, isLog }, value) {
  if (max === min) return 0.5;
  return isLog ? Math.log(value / min) / Math.log(max / min) : (value - min) / (max - min);
}

/**
 * The value at a place of an axis of numbers.
 * @param {Axis} axis
 * @param {number} place
 */
export function valueAt({ min, max, isLog }, place) {
  return isLog ? min * (max / min) ** place : min + place * (max - min);
}

/**
 * @param {Axis} axis
 * @param {number} count about how many
 * @returns {{place: number, text: string}[]}
 */
export function ticksOf(axis, count) {
  if (!axis.isNumeric) {
    const every = Math.max(1, Math.ceil(axis.names.length / Math.max(count, 1) / 2));
    return axis.names.flatMap((name, index) => (index % every ? [] : [{ place: (index + 0.5) / axis.names.length, text: name }]));
  }
  if (axis.min === axis.max) return [{ place: 0.5, text: shortNumber(axis.min) }];
  const ticks = axis.isLog ? logTicks(axis.min, axis.max, count) : linearTicks(axis.min, axis.max, count);
  const step = axis.isLog ? undefined : ticks[1] - ticks[0] || undefined;
  return ticks.map((tick) => ({ place: placeOf(axis, tick), text: textOf(axis, tick, step) }));
}

/**
 * A value in words: of an axis of ages, a date.
 * @param {Axis} axis
 * @param {number | string | null} value
 * @param {number} [step]
 */
export function textOf(axis, value, step) {
  if (value === null) return 'none';
  if (typeof value === 'string') return value;
  return axis.id === 'started' ? new Date(value * 1000).toISOString().slice(5, 16).replace('T', ' ') : shortNumber(value, step);
}
