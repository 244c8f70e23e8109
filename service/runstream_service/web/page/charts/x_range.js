// The part of the x axis that all panels of a tab show: what the URL says, or what the person drags.

/** @typedef {import('./metric_data.js').Zoom} Zoom */
/** @typedef {import('./curve.js').Curve} Curve */
/** @typedef {import('./charts.js').Charts} Charts */

const SETTLE_MS = 120;

export class XRange {
  /** @type {Zoom | null} while the person drags; the URL has it when that is over */
  #dragged = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #settle = undefined;

  /**
   * @param {Charts} charts
   * @param {{moved: (isMoving: boolean) => void, settled: (zoom: Zoom | null) => void}} listener
   */
  constructor(charts, listener) {
    this.charts = charts;
    this.listener = listener;
  }

  close() {
    clearTimeout(this.#settle);
  }

  /** What the URL says counts again. */
  release() {
    this.#dragged = null;
  }

  /** @returns {Zoom | null} */
  get zoom() {
    return this.#dragged ?? this.charts.view?.zoom ?? null;
  }

  /**
   * Everything there is, on the x axis.
   * @returns {Zoom}
   */
  get extent() {
    const { axis, runs } = this.charts;
    let [min, max] = [Infinity, -Infinity];
    for (const data of this.charts.loaded) {
      if (axis.kind === 'metric' && data.key === axis.metric) continue;
      for (const curve of [...(data.whole ?? []), ...data.replaced]) {
        const toX = this.charts.toX(curve);
        if (!toX) continue;
        const [start, end] = [toX(curve.start), toX(curve.end)];
        if (start < min) min = start;
        if (end > max) max = end;
      }
    }
    if (axis.kind === 'metric') for (const run of runs) [min, max] = united([min, max], this.charts.axisMetricOf(run.run_id));
    if (!(min <= max)) return [0, 1];
    return min === max ? [min - 0.5, max + 0.5] : [min, max];
  }

  /** What is shown, above 0 if it has to be. */
  get range() {
    const { view, axis } = this.charts;
    const [min, max] = this.zoom ?? this.extent;
    if (!view?.log_x || min > 0) return { min, max };
    const least = axis.positions === 'time' ? 1e6 : 1;
    return { min: Math.min(least, max / 1e3), max: max > 0 ? max : 1 };
  }

  /**
   * While the user drags, the current picture is stretched at once; exact buckets are requested when the pointer rests.
   * @param {Zoom | null} zoom null: everything
   * @param {{isOver: boolean}} how
   */
  zoomTo(zoom, { isOver }) {
    this.#dragged = zoom && this.#sensible(zoom);
    this.listener.moved(!isOver && zoom !== null);
    clearTimeout(this.#settle);
    if (isOver) this.listener.settled(this.#dragged);
    else this.#settle = setTimeout(() => this.listener.settled(this.#dragged), SETTLE_MS);
  }

  /**
   * No narrower than the axis can show, with no more digits than that needs.
   * @param {Zoom} zoom
   * @returns {Zoom}
   */
  #sensible([min, max]) {
    const least = this.charts.axis.kind === 'metric' ? Math.abs(max) * 1e-9 : 2;
    if (max - min < least) [min, max] = [(min + max - least) / 2, (min + max + least) / 2];
    const digits = Math.max(0, 4 - Math.floor(Math.log10(max - min)));
    return [Number(min.toFixed(Math.min(digits, 20))), Number(max.toFixed(Math.min(digits, 20)))];
  }
}

/**
 * @param {Zoom} range
 * @param {Curve | undefined} metric
 * @returns {Zoom}
 */
function united([min, max], metric) {
  if (!metric) return [min, max];
  for (let row = 0; row < metric.length; row++) {
    if (metric.min[row] < min) min = metric.min[row];
    if (metric.max[row] > max) max = metric.max[row];
  }
  return [min, max];
}
