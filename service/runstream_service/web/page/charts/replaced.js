// Points that a newer attempt replaced: after a restart, a job trains some steps again.

/** @typedef {import('../api/types.js').Overview} Overview */

/** A job that was restarted more often shows what its newest attempts replaced. */
const MOST_ATTEMPTS = 8;

/**
 * The attempts that logged a metric beyond the first step of a newer one, and the steps of which that is true.
 * @param {Pick<Overview, 'attempts' | 'series'>} overview
 * @param {string} key
 * @param {[number, number] | null} zoom only these steps
 * @returns {{attempt: number, min: number, max: number, share: number}[]} `share`: of all that is shown
 */
export function replacedRanges({ attempts, series }, key, zoom) {
  const ranges = [];
  const ofKey = series.filter((one) => one.key === key);
  const [start, end] = zoom ?? [Math.min(...attempts.map((one) => one.first_step)), lastStep(ofKey)];
  let least = Infinity; // first step of all newer attempts
  for (const { attempt, first_step } of [...attempts].sort((a, b) => b.attempt - a.attempt)) {
    const min = Math.max(least, start);
    const max = Math.min(lastStep(ofKey.filter((one) => one.attempt === attempt)), end);
    if (min <= max) ranges.push({ attempt, min, max, share: (max - min + 1) / (end - start + 1) });
    least = Math.min(least, first_step);
  }
  return ranges.slice(0, MOST_ATTEMPTS);
}

/** @type {WeakMap<object, Map<string, boolean>>} by overview and metric: it is asked with every frame */
const known = new WeakMap();

/**
 * Whether a newer attempt replaced points of a metric.
 * @param {Overview} overview
 * @param {string} key
 */
export function hasReplaced(overview, key) {
  if (overview.attempts.length < 2) return false;
  const ofOverview = known.get(overview) ?? new Map();
  known.set(overview, ofOverview);
  if (!ofOverview.has(key)) ofOverview.set(key, replacedRanges(overview, key, null).length > 0);
  return /** @type {boolean} */ (ofOverview.get(key));
}

/** @param {Overview['series']} series */
const lastStep = (series) => series.reduce((last, { step }) => Math.max(last, step), -Infinity);
