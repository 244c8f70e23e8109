// The curves of one metric of the shown runs: whole, and exact buckets of the part that is zoomed to.

/** @typedef {import('./curve.js').Curve} Curve */
/** @typedef {[number, number]} Zoom in the units of the x axis */
/** @typedef {{curves: Curve[], replaced: Curve[], cut: string, isDraft: boolean}} Curves `replaced`: points that a newer attempt replaced */

/** Live buckets are merged two by two beyond this many times the asked number. */
const LIMIT = 3;

export class MetricData {
  /** @param {string} key */
  constructor(key) {
    this.key = key;
    /** @type {Curve[] | null} null: not loaded yet */
    this.whole = null;
    /** @type {Curve[]} of older attempts, from where newer ones began */
    this.replaced = [];
    /** @type {{zoom: Zoom, isLog: boolean, curves: Curve[], replaced: Curve[]} | null} */
    this.part = null;
    /** What was too much to draw, in words. */
    this.cut = '';
    this.error = '';
    this.isLoading = false;
    /** Whether the whole curve must be requested again, because live points could not be added. */
    this.isStale = false;
    /** Live points of single ranks are in the last bucket of a band: exact values are to follow. */
    this.hasBlurredBand = false;
    this.askedAt = 0;
    this.shownAt = 0;
    this.buckets = 600;
    /** @type {AbortController | null} */
    this.wholeRequest = null;
    /** @type {AbortController | null} */
    this.partRequest = null;
    /** @type {Zoom | null} of the request under way */
    this.askedZoom = null;
  }

  /**
   * The part with exact buckets for the shown range, if there is one.
   * @param {Zoom | null} zoom
   */
  partFor(zoom) {
    return zoom && this.part && covers(this.part, zoom) ? this.part : null;
  }

  cancel() {
    this.wholeRequest?.abort(new DOMException('no longer shown', 'AbortError'));
    this.partRequest?.abort(new DOMException('no longer shown', 'AbortError'));
    this.wholeRequest = this.partRequest = this.askedZoom = null;
  }

  /**
   * Appends new points. Where they do not fit, the whole becomes stale.
   * @param {string} curveId
   * @param {import('./curve.js').Bucket} bucket
   * @param {number} x its end, on the x axis
   * @returns {boolean} whether a curve of this id is there
   */
  append(curveId, bucket, x) {
    const whole = this.whole?.find((curve) => curve.id === curveId);
    if (!whole) return false;
    if (!extend(whole, bucket, this.buckets)) {
      // At the beginning an event may have points that the answer had already; a later one has points that came late.
      if (bucket.last_position > whole.end || performance.now() - this.askedAt > 3000) this.isStale = true;
    }
    const part = this.part && x <= this.part.zoom[1] ? this.part.curves.find((curve) => curve.id === curveId) : undefined;
    if (part) extend(part, bucket, this.buckets);
    return true;
  }
}

/**
 * @param {Curve} curve
 * @param {import('./curve.js').Bucket} bucket
 * @param {number} buckets
 */
function extend(curve, bucket, buckets) {
  const bounds = { width: (curve.end - curve.start) / buckets || 1, limit: LIMIT * buckets };
  if (curve.rank !== null) return curve.append(bucket, bounds);
  curve.absorb(bucket, bounds);
  return true;
}

/**
 * @param {{zoom: Zoom, isLog: boolean}} part
 * @param {Zoom} zoom
 */
function covers({ zoom: part, isLog }, zoom) {
  // Of a much larger part, the buckets are too coarse.
  return part[0] <= zoom[0] && part[1] >= zoom[1] && sizeOf(part, isLog) <= 2.2 * sizeOf(zoom, isLog);
}

/**
 * How long a range is on its axis.
 * @param {Zoom} range
 * @param {boolean} isLog
 */
const sizeOf = ([min, max], isLog) => (isLog && min > 0 ? Math.log(max / min) : max - min);

/**
 * A range with a margin at either side, so that panning has something to show at once.
 * @param {Zoom} range
 * @param {boolean} isLog
 * @returns {Zoom}
 */
export function withMargin([min, max], isLog) {
  if (isLog && min > 0) return [min / (max / min) ** 0.25, max * (max / min) ** 0.25];
  return [min - (max - min) * 0.25, max + (max - min) * 0.25];
}
