// Paths of the page <-> its places.

/**
 * @typedef {{name: 'runs', experimentId: string} | {name: 'run', runId: string} | {name: 'compare'}
 *   | {name: 'view', viewId: string} | {name: 'unknown'}} Place
 */

/** How many runs are compared at most. */
export const MOST_COMPARED = 50;

/**
 * The place that a path (below the base) names.
 * @param {string} path
 * @returns {Place}
 */
export function placeOf(path) {
  const [first = '', second = '', ...more] = path.split('/').filter((part) => part !== '').map(decodeURIComponent);
  if (more.length === 0) {
    if (first === '') return { name: 'runs', experimentId: '' };
    if (first === 'e' && second) return { name: 'runs', experimentId: second };
    if (first === 'r' && second) return { name: 'run', runId: second };
    if (first === 'v' && second) return { name: 'view', viewId: second };
    if (first === 'compare' && !second) return { name: 'compare' };
  }
  return { name: 'unknown' };
}

/**
 * The path of the runs of an experiment, or of all.
 * @param {string} experimentId
 */
export const runsPath = (experimentId) => (experimentId ? `e/${encodeURIComponent(experimentId)}` : './');

/**
 * The path of a run.
 * @param {string} runId
 */
export const runPath = (runId) => `r/${encodeURIComponent(runId)}`;
