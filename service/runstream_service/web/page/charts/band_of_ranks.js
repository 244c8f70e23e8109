// The curves of single ranks -> one curve over all of them, on axes on which the service has none.
import { Curve } from './curve.js';

/**
 * @param {Curve[]} curves of one metric of one run
 * @param {number} buckets at most
 * @param {number} [logOrigin] buckets are even in the logarithm of the distance from there
 * @returns {Curve}
 */
export function bandOfRanks(curves, buckets, logOrigin) {
  const band = new Curve({ run_id: curves[0].run_id, key: curves[0].key, rank: null, attempt: null });
  const placed = (/** @type {number} */ position) => (logOrigin === undefined ? position : Math.log(Math.max(position - logOrigin, 1)));
  const min = placed(Math.min(...curves.map((curve) => curve.start)));
  const max = placed(Math.max(...curves.map((curve) => curve.end)));
  const width = (max - min) / buckets || 1;
  const bins = Array.from({ length: buckets }, () => /** @type {Bin} */ ({ rows: [], first: Infinity, last: -Infinity }));
  for (const curve of curves) {
    for (let row = 0; row < curve.length; row++) {
      const middle = (curve.first_position[row] + curve.last_position[row]) / 2;
      const bin = bins[Math.min(Math.max(Math.floor((placed(middle) - min) / width), 0), buckets - 1)];
      bin.rows.push([curve, row]);
      bin.first = Math.min(bin.first, middle);
      bin.last = Math.max(bin.last, middle);
    }
  }
  band.reserveRanks(bins.length);
  for (const bin of bins) if (bin.rows.length > 0) appendBin(band, bin);
  return band;
}

/** @typedef {{rows: [Curve, number][], first: number, last: number}} Bin */

/**
 * @param {Curve} band
 * @param {Bin} bin
 */
function appendBin(band, bin) {
  let [min, max, sum, finite, nonFinite, minRank, maxRank] = [NaN, NaN, 0, 0, 0, -1, -1];
  const ranks = new Set();
  for (const [curve, row] of bin.rows) {
    nonFinite += curve.non_finite_count[row];
    if (!Number.isFinite(curve.mean[row])) continue;
    finite++;
    ranks.add(curve.rank);
    sum += curve.mean[row];
    if (!(curve.min[row] >= min)) [min, minRank] = [curve.min[row], curve.rank ?? -1];
    if (!(curve.max[row] <= max)) [max, maxRank] = [curve.max[row], curve.rank ?? -1];
  }
  const mean = finite > 0 ? sum / finite : NaN;
  band.append(
    {
      first_position: bin.first, last_position: bin.last, point_count: ranks.size, non_finite_count: nonFinite,
      first: mean, last: mean, min, max, mean, min_rank: minRank, max_rank: maxRank,
    },
    { width: 0, limit: Infinity },
  );
}
