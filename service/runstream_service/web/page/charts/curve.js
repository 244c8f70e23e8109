// A curve: buckets in columns, in the order of the axis. Live buckets are appended without losing exactness.

/** @typedef {import('../api/binary.js').DecodedCurve} DecodedCurve */

const COLUMNS = /** @type {const} */ (['first_position', 'last_position', 'point_count', 'non_finite_count', 'first', 'last', 'min', 'max', 'mean']);
const RANKS = /** @type {const} */ (['min_rank', 'max_rank']);

/**
 * One bucket, as columns have it in one row.
 * @typedef {object} Bucket
 * @property {number} first_position
 * @property {number} last_position
 * @property {number} point_count points of any value; over all ranks: ranks with a finite value
 * @property {number} non_finite_count points, of all ranks; not part of min, max and mean
 * @property {number} first value of the first point
 * @property {number} last
 * @property {number} min NaN if no value is finite
 * @property {number} max
 * @property {number} mean
 * @property {number} [min_rank] which rank had the least value; only over all ranks
 * @property {number} [max_rank]
 */

/** Columns with room at their end; only the first `length` rows count. */
export class Curve {
  /**
   * @param {{run_id: string, key: string, rank: number | null, attempt: number | null}} series
   * @param {number} [capacity]
   */
  constructor(series, capacity = 0) {
    this.run_id = series.run_id;
    this.key = series.key;
    /** null: over all ranks */
    this.rank = series.rank;
    this.attempt = series.attempt;
    this.length = 0;
    this.first_position = new Float64Array(capacity);
    this.last_position = new Float64Array(capacity);
    this.point_count = new Float64Array(capacity);
    this.non_finite_count = new Float64Array(capacity);
    this.first = new Float64Array(capacity);
    this.last = new Float64Array(capacity);
    this.min = new Float64Array(capacity);
    this.max = new Float64Array(capacity);
    this.mean = new Float64Array(capacity);
    /** @type {Float64Array<ArrayBuffer> | null} which rank had the least value; only over all ranks */
    this.min_rank = null;
    /** @type {Float64Array<ArrayBuffer> | null} */
    this.max_rank = null;
  }

  /** @param {DecodedCurve} decoded */
  static of(decoded) {
    const curve = new Curve(decoded);
    const columns = decoded.columns;
    curve.length = decoded.count;
    const steps = columns.first_step; // those of an aggregate have names of their own
    curve.first_position = steps ?? columns.first_position;
    curve.last_position = columns.last_step ?? columns.last_position;
    curve.point_count = columns.rank_count ?? columns.point_count;
    curve.non_finite_count = columns.non_finite_count ?? new Float64Array(decoded.count);
    curve.first = columns.first ?? columns.mean.slice();
    curve.last = columns.last ?? columns.mean.slice();
    curve.min = columns.min;
    curve.max = columns.max;
    curve.mean = columns.mean;
    curve.min_rank = columns.min_rank ?? null;
    curve.max_rank = columns.max_rank ?? null;
    return curve;
  }

  get id() {
    return `${this.run_id} ${this.rank} ${this.key}`;
  }

  /** First position on the axis; NaN if the curve is empty. */
  get start() {
    return this.length > 0 ? this.first_position[0] : NaN;
  }

  /** Last position on the axis; NaN if the curve is empty. */
  get end() {
    return this.length > 0 ? this.last_position[this.length - 1] : NaN;
  }

  /**
   * How many values the mean of a row is made of.
   * @param {number} row
   */
  finiteAt(row) {
    return this.min_rank ? this.point_count[row] : this.point_count[row] - this.non_finite_count[row];
  }

  /** Number of points of any value. */
  get points() {
    let sum = 0;
    for (let i = 0; i < this.length; i++) sum += this.point_count[i];
    return sum;
  }

  /**
   * Takes a live bucket in: into the last bucket while that stays narrower than `width`, else as a new one.
   * Positions that are already in the curve are refused: then the caller has to request the curve again.
   * @param {Bucket} bucket
   * @param {{width: number, limit: number}} bounds at `limit` buckets, neighbours become one, and so on
   * @returns {boolean} whether it was taken
   */
  append(bucket, bounds) {
    if (this.length > 0 && !(bucket.first_position > this.end)) return false;
    const last = this.length - 1;
    if (last >= 0 && bucket.last_position - this.first_position[last] < bounds.width) {
      this.#merge(last, bucket);
      return true;
    }
    if (this.length >= bounds.limit) this.#mergeNeighbours();
    this.#reserve(this.length + 1);
    const row = this.length++;
    for (const name of COLUMNS) this[name][row] = bucket[name];
    this.#setRanks(row, bucket);
    return true;
  }

  /**
   * Takes a bucket of further ranks in that may lie within what is there: its extremes count in the last bucket,
   * and what is not finite where it is.
   * @param {Bucket} bucket
   * @param {{width: number, limit: number}} bounds
   */
  absorb(bucket, bounds) {
    if (this.length === 0 || bucket.first_position > this.end) return void this.append(bucket, bounds);
    if (bucket.last_position > this.end) return void this.append({ ...bucket, first_position: bucket.last_position }, bounds);
    const row = this.length - 1;
    this.#mergeRanks(row, bucket);
    this.min[row] = leastOf(this.min[row], bucket.min);
    this.max[row] = -leastOf(-this.max[row], -bucket.max);
    this.non_finite_count[this.nearest(bucket.last_position)] += bucket.non_finite_count;
  }

  /** Makes it a curve over ranks, with room for this number of buckets. */
  reserveRanks(/** @type {number} */ capacity) {
    this.min_rank = new Float64Array(capacity);
    this.max_rank = new Float64Array(capacity);
    this.#reserve(capacity);
  }

  /**
   * The bucket at a row.
   * @param {number} row
   * @returns {Bucket}
   */
  at(row) {
    const bucket = /** @type {Bucket} */ (Object.fromEntries(COLUMNS.map((name) => [name, this[name][row]])));
    return this.min_rank && this.max_rank ? { ...bucket, min_rank: this.min_rank[row], max_rank: this.max_rank[row] } : bucket;
  }

  /**
   * @param {number} row
   * @param {{min_rank?: number, max_rank?: number}} bucket
   */
  #setRanks(row, bucket) {
    for (const name of RANKS) {
      const column = this[name];
      if (column) column[row] = bucket[name] ?? -1;
    }
  }

  /**
   * @param {number} row before its extremes are merged
   * @param {Bucket} bucket
   */
  #mergeRanks(row, bucket) {
    if (this.min_rank && bucket.min < this.min[row]) this.min_rank[row] = bucket.min_rank ?? -1;
    if (this.max_rank && bucket.max > this.max[row]) this.max_rank[row] = bucket.max_rank ?? -1;
  }

  /**
   * Of the rows, the one whose middle is nearest to a position; -1 if there is none.
   * @param {number} position
   */
  nearest(position) {
    if (this.length === 0) return -1;
    let low = 0;
    let high = this.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.last_position[middle] < position) low = middle + 1;
      else high = middle;
    }
    if (low > 0 && distance(this, low - 1, position) < distance(this, low, position)) return low - 1;
    return low;
  }

  /** @param {number} needed */
  #reserve(needed) {
    if (needed <= this.first_position.length && (this.min_rank?.length ?? needed) >= needed) return;
    const capacity = Math.max(64, 2 * needed);
    for (const name of COLUMNS) this[name] = grown(this[name], capacity);
    for (const name of RANKS) if (this[name]) this[name] = grown(/** @type {Float64Array} */ (this[name]), capacity);
  }

  /**
   * @param {number} row
   * @param {Bucket} bucket that comes after it
   */
  #merge(row, bucket) {
    this.#mergeRanks(row, bucket);
    const mine = this.finiteAt(row);
    const theirs = this.min_rank ? bucket.point_count : bucket.point_count - bucket.non_finite_count;
    if (mine === 0) {
      this.min[row] = bucket.min;
      this.max[row] = bucket.max;
      this.mean[row] = bucket.mean;
    } else if (theirs > 0) {
      this.min[row] = Math.min(this.min[row], bucket.min);
      this.max[row] = Math.max(this.max[row], bucket.max);
      this.mean[row] += (bucket.mean - this.mean[row]) * (theirs / (mine + theirs));
    }
    this.last_position[row] = bucket.last_position;
    this.last[row] = bucket.last;
    // Over ranks, it counts ranks.
    this.point_count[row] = this.min_rank ? Math.max(this.point_count[row], bucket.point_count) : this.point_count[row] + bucket.point_count;
    this.non_finite_count[row] += bucket.non_finite_count;
  }

  #mergeNeighbours() {
    const length = this.length;
    for (let row = 0, from = 0; from < length; row++, from += 2) {
      for (const name of COLUMNS) this[name][row] = this[name][from];
      this.#setRanks(row, { min_rank: this.min_rank?.[from], max_rank: this.max_rank?.[from] });
      if (from + 1 < length) this.#merge(row, this.at(from + 1));
      this.length = row + 1;
    }
  }
}

/**
 * @param {number} one
 * @param {number} other
 */
const leastOf = (one, other) => (other < one || Number.isNaN(one) ? other : one);

/**
 * @param {Float64Array} column
 * @param {number} capacity
 */
function grown(column, capacity) {
  const next = new Float64Array(capacity);
  next.set(column);
  return next;
}

/**
 * @param {Curve} curve
 * @param {number} row
 * @param {number} position
 */
function distance(curve, row, position) {
  return Math.max(curve.first_position[row] - position, position - curve.last_position[row], 0);
}
