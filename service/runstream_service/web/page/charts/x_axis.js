// What the x axis shows: from positions that the service knows (steps, microseconds) to x and back.
import { clock, duration, linearTicks, localZone, logTicks, shortNumber, stepTicks, timeTicks } from './axes.js';
import { stepToMetric } from './mapping.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('./curve.js').Curve} Curve */

/**
 * @typedef {object} XAxis
 * @property {'step' | 'time' | 'relative' | 'metric'} kind
 * @property {string} metric key, if it is another metric
 * @property {'step' | 'time'} positions the axis in requests to the service
 */

/**
 * @param {string} x of the view
 * @returns {XAxis}
 */
export function xAxisOf(x) {
  if (x.startsWith('metric:')) return { kind: 'metric', metric: x.slice(7), positions: 'step' };
  if (x === 'time' || x === 'relative') return { kind: x, metric: '', positions: 'time' };
  return { kind: 'step', metric: '', positions: 'step' };
}

/** @param {XAxis} axis */
export function titleOf(axis) {
  return { step: 'step', time: 'time', relative: 'time since the start of the run', metric: axis.metric }[axis.kind];
}

/**
 * The positions of ticks on the x axis, about as many as `count`.
 * @param {XAxis['kind']} kind
 * @param {number} min
 * @param {number} max
 * @param {number} count
 * @param {boolean} isLog whether the axis is logarithmic, which is ignored for times
 */
export function xTicks(kind, min, max, count, isLog) {
  if (kind === 'time') return timeTicks(min, max, count, localZone());
  if (isLog) return logTicks(min, max, count);
  if (kind === 'relative') return timeTicks(min, max, count);
  return kind === 'step' ? stepTicks(min, max, count) : linearTicks(min, max, count);
}

/**
 * The texts at ticks on the x axis.
 * @param {XAxis['kind']} kind
 * @param {number[]} ticks
 * @param {boolean} isLog
 */
export function xTickTexts(kind, ticks, isLog) {
  const step = ticks[1] - ticks[0] || undefined;
  if (kind === 'time') return ticks.map((tick) => clock(tick, step ?? 1e6, localZone()));
  return ticks.map((tick) => (kind === 'relative' ? duration(tick) : shortNumber(tick, isLog ? undefined : step)));
}

/**
 * Where relative time begins: points that were logged with older times than the run's are not before it.
 * @param {StartedRun} run
 */
const startOf = (run) => Math.min(run.start_time_us, run.first_time_us ?? Infinity);

/** @typedef {Run & {first_time_us?: number}} StartedRun first_time_us: of its first point */

/**
 * From positions of a run to x.
 * @param {XAxis} axis
 * @param {StartedRun} run
 * @param {Curve | undefined} metric of the run, over steps, if it is the axis
 * @returns {(position: number) => number}
 */
export function toXOf(axis, run, metric) {
  if (axis.kind === 'relative') return (position) => position - startOf(run);
  if (axis.kind !== 'metric') return (position) => position;
  return metric ? stepToMetric(metric) : () => NaN;
}

/**
 * From a range of x to positions of a run.
 * @param {XAxis} axis
 * @param {StartedRun} run
 * @param {Curve | undefined} metric
 * @param {[number, number]} range
 * @returns {[number, number] | null} null: the run has nothing there
 */
export function positionsOf(axis, run, metric, range) {
  if (axis.kind === 'relative') return [range[0] + startOf(run), range[1] + startOf(run)];
  if (axis.kind !== 'metric') return range;
  return metric ? stepsBetween(metric, range) : null;
}

/**
 * Where a logarithmic axis begins, as a position of a run: buckets are even in the logarithm of the distance from there.
 * @param {XAxis} axis
 * @param {StartedRun} run
 * @returns {number | undefined} undefined: times since 1970 have no such beginning
 */
export function logOriginOf(axis, run) {
  if (axis.kind === 'time') return undefined;
  return axis.kind === 'relative' ? startOf(run) : 0;
}

/**
 * @param {Curve} metric
 * @param {[number, number]} range
 * @returns {[number, number] | null}
 */
function stepsBetween(metric, [low, high]) {
  let [first, last] = [Infinity, -Infinity];
  for (let row = 0; row < metric.length; row++) {
    // Between two buckets the line goes from one mean to the next, so neighbours belong to it.
    const next = Math.min(row + 1, metric.length - 1);
    const least = Math.min(metric.min[row], metric.min[next]);
    const greatest = Math.max(metric.max[row], metric.max[next]);
    if (greatest < low || least > high) continue;
    first = Math.min(first, metric.first_position[row]);
    last = Math.max(last, metric.last_position[next]);
  }
  return first <= last ? [first, last] : null;
}
