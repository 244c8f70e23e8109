// What the x axis shows: from positions that the service knows (steps, microseconds) to x and back.
import { stepToMetric } from './mapping.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('./curve.js').Curve} Curve */

/**
 * @typedef {object} XAxis
 * @property {'step' | 'time' | 'relative' | 'metric'} kind
 * @property {string} metric key, if it is another metric
 * @property {'step' | 'time'} positions what the service is asked for
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
