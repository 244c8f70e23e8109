// An x axis that is another metric: tokens seen, epoch. Steps are mapped through the curve of that metric.

/** @typedef {import('./curve.js').Curve} Curve */

/**
 * A function from steps to the values of a metric: linear between the means of its buckets. NaN outside of the steps at
 * which the metric was logged, since nothing is known there.
 * @param {Curve} metric over steps
 * @returns {(step: number) => number}
 */
export function stepToMetric(metric) {
  let row = 0; // callers come with rising steps
  return (step) => {
    if (metric.length === 0 || step < metric.start || step > metric.end) return NaN;
    if (row >= metric.length || metric.first_position[row] > step) row = 0;
    while (row < metric.length - 1 && metric.first_position[row + 1] <= step) row++;
    return between(metric, row, step);
  };
}

/**
 * @param {Curve} metric
 * @param {number} row whose bucket begins at or before the step
 * @param {number} step
 */
function between(metric, row, step) {
  const centre = middle(metric, row);
  const other = step < centre ? row - 1 : row + 1;
  if (other < 0 || other >= metric.length || step === centre) return edge(metric, row, step);
  const share = (step - centre) / (middle(metric, other) - centre);
  return metric.mean[row] + share * (metric.mean[other] - metric.mean[row]);
}

/**
 * In the outer halves of the first and last bucket: towards its least or greatest value, as the metric rises or falls.
 * @param {Curve} metric
 * @param {number} row
 * @param {number} step
 */
function edge(metric, row, step) {
  const half = (metric.last_position[row] - metric.first_position[row]) / 2;
  if (half <= 0) return metric.mean[row];
  const rises = metric.length < 2 || metric.mean[metric.length - 1] >= metric.mean[0];
  const share = (step - middle(metric, row)) / half;
  const towards = share > 0 === rises ? metric.max[row] : metric.min[row];
  return metric.mean[row] + Math.abs(share) * (towards - metric.mean[row]);
}

/**
 * @param {Curve} metric
 * @param {number} row
 */
const middle = (metric, row) => (metric.first_position[row] + metric.last_position[row]) / 2;
