// The charts of one tab: their data, what they share (range of x, cursor, zoom), and when data are requested and drawn.
import { chosenColours } from '../state/colours.js';
import { theme } from '../state/theme.js';
import { CurveReader } from './curve_reader.js';
import { DrawingQueue } from './drawing_queue.js';
import { attemptMarks, linesOf, replacedLinesOf } from './line_list.js';
import { LiveUpdates } from './live_updates.js';
import { MetricData, withMargin } from './metric_data.js';
import { hasReplaced } from './replaced.js';
import { toXOf, xAxisOf } from './x_axis.js';
import { XRange } from './x_range.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('../api/types.js').Overview} Overview */
/** @typedef {import('../state/chart_view.js').ChartView} ChartView */
/** @typedef {import('./metric_data.js').Zoom} Zoom */
/** @typedef {import('../api/events.js').Connection} Connection */
/** @typedef {import('./curve.js').Curve} Curve */
/** @typedef {import('./line.js').Line} Line */

/**
 * A panel, as the charts know it.
 * @typedef {object} Drawn
 * @property {string[]} keys
 * @property {boolean} isSeen in the viewport
 * @property {number} width of its plot in CSS pixels
 * @property {() => void} draw
 * @property {(x: number | null) => void} setCursor
 */

/** Metrics of panels that are not seen keep their curves up to this number. */
const KEPT = 60;
/** If no panel is visible after this number of frames, all are closed or scrolled away; the strip is still visible. */
const FRAMES_TO_SEE = 12;

export class Charts {
  /** @type {Map<string, MetricData>} */
  #metrics = new Map();
  #queue = new DrawingQueue();
  #reader = new CurveReader(this);
  #live = new LiveUpdates(this);
  #x = new XRange(this, { moved: (isMoving) => this.#moved(isMoving), settled: (zoom) => this.#zoomed(zoom) });
  /** @type {(() => void)[]} */
  #stops;
  #asked = '';
  /** @type {string | undefined} */
  #axisShown = undefined;

  /**
   * @param {{onView: (change: Partial<ChartView>) => void, onKeys: (keys: string[]) => void,
   *   onRun: (run: Run) => void, onState: (state: {connection: Connection, lastPointUs: number}) => void}} listener
   */
  constructor(listener) {
    this.listener = listener;
    /** @type {import('./x_axis.js').StartedRun[]} */
    this.runs = [];
    /** @type {Map<string, Overview>} */
    this.overviews = new Map();
    /** @type {ChartView | null} */
    this.view = null;
    this.axis = xAxisOf('step');
    this.stripKey = '';
    this.#stops = [theme, chosenColours].map((store) => store.subscribe(() => this.drawAll()));
  }

  /** Ends everything that was started. */
  close() {
    for (const stop of this.#stops) stop();
    this.#live.close();
    this.#x.close();
    this.#queue.close();
    for (const data of this.#metrics.values()) data.cancel();
  }

  /**
   * @param {Run[]} runs
   * @param {Map<string, Overview>} overviews of those runs that are known better
   * @param {ChartView} view
   */
  show(runs, overviews, view) {
    const before = this.view;
    const attempts = [...overviews.values()].map((overview) => [overview.run.run_id, overview.attempts.length]);
    const asked = JSON.stringify([runs.map((run) => run.run_id), attempts, view.x, view.log_x, view.ranks]);
    const isOther = asked !== this.#asked;
    this.#asked = asked;
    // Where relative time begins must not move: the first attempt's first point stays what it is.
    this.runs = runs.map((run) => ({ ...run, first_time_us: overviews.get(run.run_id)?.attempts[0]?.first_time_us }));
    [this.overviews, this.view] = [overviews, view];
    this.axis = xAxisOf(view.x);
    this.#live.follow(runs.map((run) => run.run_id));
    if (isOther) this.#forget();
    if (isOther || JSON.stringify(before?.zoom) !== JSON.stringify(view.zoom)) {
      this.#x.release();
      this.load();
    }
    this.drawAll();
  }

  // -- panels ---------------------------------------------------------------------------------------------------------

  /** @param {Drawn} panel */
  add(panel) {
    return this.#queue.add(panel);
  }

  get isMoving() {
    return this.#queue.isMoving;
  }

  takeExactTurn() {
    return this.#queue.takeExactTurn();
  }

  /** @param {() => void} listener is called in a frame in which the range or the data have changed */
  onFrame(listener) {
    return this.#queue.onFrame(listener);
  }

  drawAll() {
    this.#queue.drawAll();
  }

  /** @param {Drawn} panel in the next frame */
  draw(panel) {
    this.#queue.draw(panel);
  }

  /** @param {number | null} x null: it has left */
  setCursor(x) {
    for (const panel of this.#queue.panels) if (panel.isSeen) panel.setCursor(x);
  }

  /**
   * The strip shows a metric, whether or not its panel is seen.
   * @param {string} key
   */
  setStripKey(key) {
    if (key === this.stripKey) return;
    this.stripKey = key;
    this.load();
  }

  // -- data -----------------------------------------------------------------------------------------------------------

  /** All that is there, or asked for. */
  get loaded() {
    return this.#metrics.values();
  }

  /** @param {string} key */
  loadedOf(key) {
    return this.#metrics.get(key);
  }

  /** @param {string} key */
  data(key) {
    let data = this.#metrics.get(key);
    if (!data) this.#metrics.set(key, (data = new MetricData(key)));
    return data;
  }

  seenKeys() {
    const keys = new Set([...this.#queue.panels].filter((panel) => panel.isSeen).flatMap((panel) => panel.keys));
    if (this.stripKey) keys.add(this.stripKey);
    if (this.axis.kind === 'metric' && keys.size > 0) keys.add(this.axis.metric);
    return keys;
  }

  /** A panel has come into the viewport, or has other metrics or another size. */
  load() {
    void Promise.all([this.#live.ready, this.#whenSeen()]).then(() => {
      for (const key of this.seenKeys()) {
        const data = this.data(key);
        // The data that a narrower panel has requested are too coarse.
        if (data.whole && this.#bucketsFor(key) > 1.3 * data.buckets) data.isStale = true;
        this.ask(data);
      }
      this.#dropUnseen();
    });
  }

  /** The browser says after some frames which panels are seen: until then, nobody knows how many buckets they need. */
  async #whenSeen() {
    for (let frame = 0; frame < FRAMES_TO_SEE; frame++) {
      if ([...this.#queue.panels].some((panel) => panel.isSeen)) return;
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
  }

  #dropUnseen() {
    const seen = this.seenKeys();
    for (const key of seen) this.data(key).shownAt = performance.now();
    const unseen = [...this.#metrics.values()].filter((data) => !seen.has(data.key)).sort((a, b) => b.shownAt - a.shownAt);
    for (const data of unseen) data.cancel();
    for (const data of unseen.slice(KEPT)) this.#metrics.delete(data.key);
  }

  #forget() {
    for (const data of this.#metrics.values()) {
      data.cancel();
      // What is drawn stays until the answer comes, unless it means something else.
      data.isStale = true;
      data.part = null;
      if (data.whole) data.whole = data.whole.filter((curve) => this.#belongs(curve));
      data.replaced = [];
    }
    if (this.#axisShown !== this.view?.x) this.#metrics.clear();
    this.#axisShown = this.view?.x;
  }

  /** @param {Curve} curve */
  #belongs(curve) {
    return this.runs.some((run) => run.run_id === curve.run_id && this.isBand(run.run_id) === (curve.rank === null));
  }

  /** @param {string} runId */
  ranksOf(runId) {
    return this.overviews.get(runId)?.ranks ?? [];
  }

  /** @param {string} runId */
  isBand(runId) {
    return this.view?.ranks === 'band' && this.ranksOf(runId).length > 1;
  }

  /** @param {MetricData} data */
  ask(data) {
    if ((!data.whole || data.isStale) && !data.wholeRequest && !(data.error && performance.now() - data.askedAt < 2000)) void this.#askWhole(data);
    const zoom = this.zoom;
    // On an axis that is another metric, what to ask for follows from that metric.
    const isKnown = this.axis.kind !== 'metric' || this.data(this.axis.metric).whole !== null;
    if (zoom && isKnown && !data.partFor(zoom)) void this.#askPart(data, zoom);
  }

  /** @param {MetricData} data */
  async #askWhole(data) {
    const request = (data.wholeRequest = new AbortController());
    data.isLoading = true;
    data.isStale = false;
    data.askedAt = performance.now();
    data.buckets = this.#bucketsFor(data.key);
    let isDraft = false;
    try {
      const how = { zoom: null, buckets: data.buckets, isDraft: data.whole === null, signal: request.signal };
      const answer = await this.#reader.read(data.key, how);
      if (request.signal.aborted) return;
      [data.whole, data.replaced, data.cut] = [answer.curves, answer.replaced, answer.cut];
      isDraft = answer.isDraft; // a draft is drawn, and the exact curve is requested
      data.isStale ||= isDraft;
      data.error = '';
    } catch (error) {
      if (request.signal.aborted) return;
      data.error = error instanceof Error ? error.message : String(error);
      data.isStale = true;
    } finally {
      if (data.wholeRequest === request) {
        data.wholeRequest = null;
        data.isLoading = false;
        this.changed(data.key);
      }
    }
    if (data.key === this.axis.metric) this.load();
    else if (isDraft) this.ask(data);
  }

  /**
   * @param {MetricData} data
   * @param {Zoom} zoom
   */
  async #askPart(data, zoom) {
    if (data.partRequest && data.askedZoom && data.askedZoom[0] === zoom[0] && data.askedZoom[1] === zoom[1]) return;
    data.partRequest?.abort(new DOMException('another range is shown', 'AbortError'));
    const request = (data.partRequest = new AbortController());
    data.askedZoom = zoom;
    const isLog = this.view?.log_x ?? false;
    const wide = withMargin(zoom, isLog);
    try {
      const how = { zoom: wide, buckets: Math.round(data.buckets * 1.5), isDraft: false, signal: request.signal };
      const { curves, replaced } = await this.#reader.read(data.key, how);
      if (request.signal.aborted) return;
      data.part = { zoom: wide, isLog, curves, replaced };
      this.changed(data.key);
    } catch (error) {
      if (!request.signal.aborted) data.error = error instanceof Error ? error.message : String(error);
    } finally {
      if (data.partRequest === request) data.partRequest = data.askedZoom = null;
    }
  }

  /** @param {string} key */
  #bucketsFor(key) {
    const seen = [...this.#queue.panels].filter((panel) => panel.isSeen);
    const own = seen.filter((panel) => panel.keys.includes(key));
    // The strip's metric may have no panel that is seen yet: it will be about as wide as the others.
    const width = Math.max(300, ...(own.length > 0 ? own : seen).map((panel) => panel.width));
    return Math.min(Math.ceil(width / 100) * 100, 2000);
  }

  /** @param {string} key of which there are other points now */
  changed(key) {
    const isAxis = key === this.axis.metric;
    for (const panel of this.#queue.panels) if (isAxis || panel.keys.includes(key)) this.draw(panel);
    this.#queue.noteMove(); // the extent may have grown
  }

  // -- the range of x -------------------------------------------------------------------------------------------------

  get zoom() {
    return this.#x.zoom;
  }

  get extent() {
    return this.#x.extent;
  }

  get range() {
    return this.#x.range;
  }

  /**
   * @param {Zoom | null} zoom null: everything
   * @param {{isOver: boolean}} how
   */
  zoomTo(zoom, how) {
    this.#x.zoomTo(zoom, how);
  }

  /** @param {boolean} isMoving */
  #moved(isMoving) {
    this.#queue.isMoving = isMoving;
    this.drawAll();
  }

  /** @param {Zoom | null} zoom */
  #zoomed(zoom) {
    this.#moved(false);
    this.load();
    this.listener.onView({ zoom });
  }

  // -- lines ----------------------------------------------------------------------------------------------------------

  /** @param {string} runId */
  axisMetricOf(runId) {
    const curves = this.axis.kind === 'metric' ? this.#metrics.get(this.axis.metric)?.whole : undefined;
    return curves?.find((curve) => curve.run_id === runId);
  }

  /** @param {Curve} curve */
  toX(curve) {
    const run = this.runs.find((one) => one.run_id === curve.run_id);
    return run && toXOf(this.axis, run, this.axisMetricOf(curve.run_id));
  }

  /**
   * @param {string[]} keys
   * @param {Map<string, Line>} known
   */
  lines(keys, known) {
    return linesOf(this, keys, known);
  }

  /** @param {string[]} keys */
  replacedLines(keys) {
    return replacedLinesOf(this, keys);
  }

  /**
   * Whether there are points that a newer attempt replaced, and the axis cannot say where: only steps do.
   * @param {string[]} keys
   */
  hidesReplaced(keys) {
    return this.axis.kind !== 'step' && [...this.overviews.values()].some((overview) => keys.some((key) => hasReplaced(overview, key)));
  }

  get attempts() {
    return attemptMarks(this);
  }
}
