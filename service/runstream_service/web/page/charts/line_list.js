// Which lines and marks a panel has, and how they look.
import { dashOf, strokeOf } from '../state/colours.js';
import { theme } from '../state/theme.js';
import { Line } from './line.js';
import { decayLength } from './smoothing.js';
import { toXOf } from './x_axis.js';

/** @typedef {import('./curve.js').Curve} Curve */
/** @typedef {import('./charts.js').Charts} Charts */

/**
 * What a graph of some metrics draws, in the range that is shown.
 * @param {Charts} charts
 * @param {string[]} keys
 * @param {Map<string, Line>} known lines of the last time, whose arrays are used again
 * @returns {Line[]}
 */
export function linesOf(charts, keys, known) {
  const range = charts.range;
  const lines = [];
  for (const [index, key] of keys.entries()) {
    const data = charts.data(key);
    const part = data.partFor(charts.zoom);
    for (const whole of data.whole ?? []) {
      const toX = charts.toX(whole);
      if (!toX) continue;
      const look = lookOf(charts, whole, keys, index);
      const line = known.get(whole.id) ?? new Line(whole, look);
      known.set(whole.id, line);
      line.whole = whole;
      Object.assign(line, look);
      const shown = part?.curves.find((curve) => curve.id === whole.id);
      line.show(shown ?? whole, toX, decayLength(charts.view?.smooth ?? 0, whole));
      line.clipTo(range.min, range.max);
      lines.push(line);
    }
  }
  return lines;
}

/**
 * What a graph of some metrics draws faintly: points that a newer attempt replaced.
 * @param {Charts} charts
 * @param {string[]} keys
 * @returns {Line[]}
 */
export function replacedLinesOf(charts, keys) {
  const range = charts.range;
  const lines = [];
  for (const [index, key] of keys.entries()) {
    const data = charts.data(key);
    for (const curve of data.partFor(charts.zoom)?.replaced ?? data.replaced) {
      const toX = charts.toX(curve);
      if (!toX) continue;
      const line = new Line(curve, lookOf(charts, curve, keys, index));
      line.show(curve, toX, 0);
      line.clipTo(range.min, range.max);
      lines.push(line);
    }
  }
  return lines;
}

/**
 * @param {Charts} charts
 * @param {Curve} curve
 * @param {string[]} keys
 * @param {number} index of its metric
 */
function lookOf(charts, curve, keys, index) {
  const run = charts.runs.find((one) => one.run_id === curve.run_id);
  const isSeveral = charts.runs.length > 1;
  const hasRanks = curve.rank !== null && charts.ranksOf(curve.run_id).length > 1;
  const id = isSeveral ? curve.run_id : keys.length > 1 ? `metric ${curve.key}` : hasRanks ? `rank ${curve.rank}` : curve.run_id;
  const { colour, dash } = strokeOf(id, theme.get());
  const names = [isSeveral || (keys.length === 1 && !hasRanks) ? (run?.name ?? curve.run_id) : '', keys.length > 1 ? curve.key : '', hasRanks ? `rank ${curve.rank}` : ''];
  return { stroke: { colour, dash: isSeveral && keys.length > 1 ? dashOf(index) : dash }, name: names.filter(Boolean).join(' · ') };
}

/**
 * Where attempts began, on the x axis.
 * @param {Charts} charts
 */
export function attemptMarks(charts) {
  const marks = [];
  for (const run of charts.runs) {
    const toX = toXOf(charts.axis, run, charts.axisMetricOf(run.run_id));
    const attempts = charts.overviews.get(run.run_id)?.attempts ?? [];
    for (const { attempt, first_step, first_time_us } of attempts.slice(attempts[0]?.attempt > 0 ? 0 : 1)) {
      const x = toX(charts.axis.positions === 'time' ? first_time_us : first_step);
      marks.push({ x, label: charts.runs.length > 1 ? `${run.name} ${attempt}` : `attempt ${attempt}` });
    }
  }
  return marks;
}
