// Points of an event -> live buckets of curves.

/** @typedef {import('../api/events.js').NewPoints} NewPoints */

/**
 * The points of all ranks of each metric as one bucket.
 * @param {NewPoints[]} series
 * @returns {(NewPoints & {min_rank: number, max_rank: number})[]}
 */
export function overRanks(series) {
  /** @type {Map<string, NewPoints[]>} */
  const byKey = new Map();
  for (const points of series) byKey.set(points.key, [...(byKey.get(points.key) ?? []), points]);
  return [...byKey.values()].map((ranks) => {
    const finite = ranks.filter((points) => Number.isFinite(Number(points.mean)));
    const least = finite.reduce((a, b) => (Number(b.min) < Number(a.min) ? b : a), finite[0] ?? ranks[0]);
    const greatest = finite.reduce((a, b) => (Number(b.max) > Number(a.max) ? b : a), finite[0] ?? ranks[0]);
    return {
      ...ranks[0],
      count: new Set(finite.map((points) => points.rank)).size,
      non_finite: ranks.reduce((sum, points) => sum + points.non_finite, 0),
      first_step: Math.min(...ranks.map((points) => points.first_step)),
      last_step: Math.max(...ranks.map((points) => points.last_step)),
      first_time_us: Math.min(...ranks.map((points) => points.first_time_us)),
      last_time_us: Math.max(...ranks.map((points) => points.last_time_us)),
      min: least.min,
      max: greatest.max,
      mean: finite.length > 0 ? finite.reduce((sum, points) => sum + Number(points.mean), 0) / finite.length : /** @type {const} */ ('NaN'),
      min_rank: least.rank,
      max_rank: greatest.rank,
    };
  });
}

/**
 * @param {NewPoints & {min_rank?: number, max_rank?: number}} points
 * @param {'step' | 'time'} positions
 * @returns {import('./curve.js').Bucket}
 */
export function bucketOf(points, positions) {
  return {
    first_position: positions === 'time' ? points.first_time_us : points.first_step,
    last_position: positions === 'time' ? points.last_time_us : points.last_step,
    point_count: points.count,
    non_finite_count: points.non_finite,
    first: Number(points.first),
    last: Number(points.last),
    min: Number(points.min),
    max: Number(points.max),
    mean: Number(points.mean),
    min_rank: points.min_rank,
    max_rank: points.max_rank,
  };
}
