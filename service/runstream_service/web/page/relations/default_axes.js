// Which axes somebody sees who has chosen none.
import { autoColumns } from '../table/columns.js';

/** @typedef {import('../api/types.js').Run} Run */

const MOST_PARAMS = 5;

/**
 * The params that differ, from those with few values to those with many, and a metric.
 * @param {Run[]} runs
 * @returns {string[]}
 */
export function defaultAxes(runs) {
  const metrics = autoColumns(runs, false).filter((id) => id.startsWith('m:'));
  const values = new Map();
  for (const run of runs) for (const [key, value] of Object.entries(run.params)) values.set(key, (values.get(key) ?? new Set()).add(value));
  const differ = [...values].filter(([, some]) => some.size > 1).sort(([a, some], [b, others]) => some.size - others.size || (a < b ? -1 : 1));
  const params = differ.slice(0, MOST_PARAMS).map(([key]) => `p:${key}`);
  // A loss or a validation metric says more than, for example, a rate.
  const best = metrics.find((id) => /val.*(loss|acc)/.test(id)) ?? metrics.find((id) => /loss|acc/.test(id)) ?? metrics[0];
  const others = params.length > 0 ? [] : metrics.filter((id) => id !== best).slice(0, 3);
  return [...params, ...others, ...(best ? [best] : [])];
}
