// The charts of one tab: their data, what they share (range of x, cursor, zoom), and when they are drawn.
import { events } from '../api/events.js';
import { ChartRequests } from '../api/charts.js';
import { postForArrays } from '../api/http.js';
import { dashOf, strokeOf } from '../state/colours.js';
import { theme } from '../state/theme.js';
import { bandOfRanks } from './band_of_ranks.js';
import { Curve } from './curve.js';
import { Line } from './line.js';
import { MetricData } from './metric_data.js';
import { decayLength } from './smoothing.js';
import { replacedRanges } from './replaced.js';
import { positionsOf, toXOf, xAxisOf } from './x_axis.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('../api/types.js').Overview} Overview */
/** @typedef {import('../state/chart_view.js').ChartView} ChartView */
/** @typedef {import('./metric_data.js').Zoom} Zoom */
/** @typedef {import('../api/events.js').NewPoints} NewPoints */
/** @typedef {import('../api/events.js').Connection} Connection */

/**
 * A panel, as the session knows it.
 * @typedef {object} Drawn
 * @property {string[]} keys
 * @property {boolean} isSeen in the viewport
 * @property {number} width of its plot in CSS pixels
 * @property {() => void} draw
 * @property {(x: number | null) => void} setCursor
 */

const BAND_BUCKETS = 400;
/** Metrics of panels that are not seen keep their curves up to this number. */
const KEPT = 60;
/** The first answer waits this long for the stream of events, so that no point falls between the two. */
const WAIT_FOR_EVENTS_MS = 250;
const SETTLE_MS = 120;
/** So many panels draw their lines in one frame; the next ones in the next, so that the page answers in between. */
const DRAWN_A_FRAME = 4;
const MOST_LIVE_AGE_MS = 10_000;
const RANK_CURVES = 32;

export class Session {
  #requests = new ChartRequests(postForArrays);
  /** @type {Map<string, MetricData>} */
  #metrics = new Map();
  /** @type {Set<Drawn>} */
  #panels = new Set();
  /** @type {Set<Drawn>} */
  #dirty = new Set();
  #frame = 0;
  /** @type {(() => void)[]} */
  #stops = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #settle = undefined;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #refresh = undefined;
  #isLive = false;
  #liveAt = 0;
  /** @type {Promise<void>} */
  #ready = Promise.resolve();
  #followed = '';
  /** @type {Zoom | null} while the person drags; the URL has it when that is over */
  #dragged = null;
  /** Whether the range changes with every frame: then pictures are stretched. */
  isMoving = false;
  #hasTurn = true;

  /** While the range moves, one panel a frame may draw its lines, so that the frame is in time. */
  takeExactTurn() {
    const hasTurn = this.#hasTurn;
    this.#hasTurn = false;
    return hasTurn;
  }

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
    this.connection = /** @type {Connection} */ ('connecting');
    this.lastPointUs = 0;
    this.#stops.push(theme.subscribe(() => this.drawAll()));
  }

  /** Ends everything that was started. */
  close() {
    for (const stop of this.#stops) stop();
    this.#stops = [];
    for (const data of this.#metrics.values()) data.cancel();
    clearTimeout(this.#settle);
    clearInterval(this.#refresh);
    cancelAnimationFrame(this.#frame);
  }

  /**
   * @param {Run[]} runs
   * @param {Map<string, Overview>} overviews of those runs that are known better
   * @param {ChartView} view
   */
  show(runs, overviews, view) {
    const before = this.view;
    const attempts = [...overviews.values()].map((overview) => [overview.run.run_id, overview.attempts.length]);
    const asked = JSON.stringify([runs.map((run) => run.run_id), attempts, view.x, view.ranks]);
    const isOther = asked !== this.asked;
    this.asked = asked;
    // Where relative time begins must not move: the first attempt's first point stays what it is.
    this.runs = runs.map((run) => ({ ...run, first_time_us: overviews.get(run.run_id)?.attempts[0]?.first_time_us }));
    [this.overviews, this.view] = [overviews, view];
    this.axis = xAxisOf(view.x);
    this.#follow(runs.map((run) => run.run_id));
    if (isOther) this.#forget();
    if (isOther || JSON.stringify(before?.zoom) !== JSON.stringify(view.zoom)) {
      this.#dragged = null;
      this.load();
    }
    this.drawAll();
  }
  asked = '';

  // -- panels ---------------------------------------------------------------------------------------------------------

  /** @param {Drawn} panel */
  add(panel) {
    this.#panels.add(panel);
    return () => {
      this.#panels.delete(panel);
      this.#dirty.delete(panel);
    };
  }

  /** A panel has come into the viewport, or has other metrics or another size. */
  load() {
    void this.#ready.then(() => {
      for (const key of this.#seenKeys()) this.#ask(this.data(key));
      this.#dropUnseen();
    });
  }

  /**
   * Is told of a frame in which the range or the data have changed.
   * @param {() => void} listener
   */
  onFrame(listener) {
    this.#frameListeners.add(listener);
    return () => void this.#frameListeners.delete(listener);
  }
  /** @type {Set<() => void>} */
  #frameListeners = new Set();
  #isMoved = false;

  drawAll() {
    this.#isMoved = true;
    for (const panel of this.#panels) this.draw(panel);
  }

  /** @param {Drawn} panel in the next frame */
  draw(panel) {
    this.#dirty.add(panel);
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#drawDirty());
  }

  #drawDirty() {
    this.#frame = 0;
    this.#hasTurn = true;
    const panels = [...this.#dirty].filter((panel) => panel.isSeen);
    this.#dirty.clear();
    const now = this.isMoving ? panels : panels.slice(0, DRAWN_A_FRAME);
    for (const panel of now) panel.draw();
    for (const panel of panels.slice(now.length)) this.draw(panel);
    if (this.#isMoved) for (const listener of this.#frameListeners) listener();
    this.#isMoved = false;
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
  stripKey = '';

  /** @param {string} key */
  data(key) {
    let data = this.#metrics.get(key);
    if (!data) this.#metrics.set(key, (data = new MetricData(key)));
    return data;
  }

  #seenKeys() {
    const keys = new Set([...this.#panels].filter((panel) => panel.isSeen).flatMap((panel) => panel.keys));
    if (this.stripKey) keys.add(this.stripKey);
    if (this.axis.kind === 'metric' && keys.size > 0) keys.add(this.axis.metric);
    return keys;
  }

  #dropUnseen() {
    const seen = this.#seenKeys();
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
    if (this.axisShown !== this.view?.x) this.#metrics.clear();
    this.axisShown = this.view?.x;
  }
  /** @type {string | undefined} */
  axisShown = undefined;

  /** @param {Curve} curve */
  #belongs(curve) {
    return this.runs.some((run) => run.run_id === curve.run_id && this.isBand(run.run_id) === (curve.rank === null));
  }

  // -- what is asked for ----------------------------------------------------------------------------------------------

  /** @param {string} runId */
  ranksOf(runId) {
    return this.overviews.get(runId)?.ranks ?? [];
  }

  /** @param {string} runId */
  isBand(runId) {
    return this.view?.ranks === 'band' && this.ranksOf(runId).length > 1;
  }

  /** @param {MetricData} data */
  #ask(data) {
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
    try {
      const { curves, replaced, cut } = await this.#curves(data, null, request.signal);
      if (request.signal.aborted) return;
      [data.whole, data.replaced] = [curves, replaced];
      data.cut = cut;
      data.error = '';
    } catch (error) {
      if (request.signal.aborted) return;
      data.error = error instanceof Error ? error.message : String(error);
      data.isStale = true;
    } finally {
      if (data.wholeRequest === request) {
        data.wholeRequest = null;
        data.isLoading = false;
        this.#changed(data.key);
      }
    }
    if (data.key === this.axis.metric) this.load();
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
    const margin = (zoom[1] - zoom[0]) * 0.25; // so that panning has something to show at once
    /** @type {Zoom} */
    const wide = [zoom[0] - margin, zoom[1] + margin];
    try {
      const { curves, replaced } = await this.#curves(data, wide, request.signal);
      if (request.signal.aborted) return;
      data.part = { zoom: wide, curves, replaced };
      this.#changed(data.key);
    } catch (error) {
      if (!request.signal.aborted) data.error = error instanceof Error ? error.message : String(error);
    } finally {
      if (data.partRequest === request) data.partRequest = data.askedZoom = null;
    }
  }

  /**
   * @param {MetricData} data
   * @param {Zoom | null} zoom
   * @param {AbortSignal} signal
   * @returns {Promise<import('./metric_data.js').Curves>}
   */
  async #curves(data, zoom, signal) {
    const buckets = zoom ? Math.round(data.buckets * 1.5) : data.buckets;
    const groups = zoom && this.axis.kind !== 'step' && this.axis.kind !== 'time' ? this.runs.map((run) => [run]) : [this.runs];
    const [answers, replaced] = await Promise.all([
      Promise.all(groups.flatMap((runs) => this.#questions(data.key, runs, zoom, buckets, signal))),
      Promise.all(this.runs.map((run) => this.#askReplaced(data.key, run, zoom, buckets, signal))),
    ]);
    const cut = answers.map((answer) => answer.cut).find((one) => one !== '') ?? '';
    return { curves: answers.flatMap((answer) => answer.curves), replaced: replaced.flat(), cut };
  }

  /**
   * @param {string} key
   * @param {import('./x_axis.js').StartedRun[]} runs with the same positions
   * @param {Zoom | null} zoom
   * @param {number} buckets
   * @param {AbortSignal} signal
   * @returns {Promise<{curves: Curve[], cut: string}>[]}
   */
  #questions(key, runs, zoom, buckets, signal) {
    const range = zoom && runs.length > 0 ? positionsOf(this.axis, runs[0], this.axisMetricOf(runs[0].run_id), zoom) : null;
    if (zoom && !range) return [];
    const bounds = range ? { min: range[0], max: range[1] } : {};
    const banded = runs.filter((run) => this.isBand(run.run_id));
    const single = runs.filter((run) => !this.isBand(run.run_id)).map((run) => run.run_id);
    const questions = banded.map((run) => this.#askBand(key, run, bounds, buckets, signal));
    if (single.length > 0) questions.push(this.#askSingle(key, single, bounds, buckets, signal));
    return questions;
  }

  /**
   * @param {string} key
   * @param {string[]} runIds
   * @param {{min?: number, max?: number}} bounds
   * @param {number} buckets
   * @param {AbortSignal} signal
   */
  async #askSingle(key, runIds, bounds, buckets, signal) {
    const question = { run_ids: runIds, key, axis: this.axis.positions, max_buckets: buckets, ...bounds };
    const { curves, cut } = await this.#requests.ask(question, signal);
    const wanted = this.#wantedRanks();
    const shown = curves.filter((curve) => wanted === null || curve.rank === null || wanted.includes(curve.rank));
    const left = shown.length - RANK_CURVES * runIds.length;
    const words = left > 0 ? `${left} more ranks are not drawn: choose some, or the band over all.` : (cut?.message ?? '');
    return { curves: shown.slice(0, RANK_CURVES * runIds.length).map((curve) => Curve.of(curve)), cut: words };
  }

  /**
   * @param {string} key
   * @param {Run} run
   * @param {{min?: number, max?: number}} bounds
   * @param {number} buckets
   * @param {AbortSignal} signal
   */
  async #askBand(key, run, bounds, buckets, signal) {
    const most = Math.min(buckets, BAND_BUCKETS);
    if (this.axis.positions === 'step') {
      const { curves } = await this.#requests.aggregate({ run_id: run.run_id, key, max_buckets: most, ...bounds }, signal);
      return { curves: curves.filter((curve) => curve.count > 0).map((curve) => Curve.of(curve)), cut: '' };
    }
    const question = { run_ids: [run.run_id], key, axis: this.axis.positions, max_buckets: most, ...bounds };
    const { curves, cut } = await this.#requests.ask(question, signal);
    const band = curves.length > 0 ? [bandOfRanks(curves.map((curve) => Curve.of(curve)), most)] : [];
    return { curves: band, cut: cut?.message ?? '' };
  }

  /**
   * What older attempts of a run wrote beyond the first step of a newer one. Only steps say what was replaced.
   * @param {string} key
   * @param {Run} run
   * @param {Zoom | null} zoom
   * @param {number} buckets
   * @param {AbortSignal} signal
   * @returns {Promise<Curve[]>}
   */
  async #askReplaced(key, run, zoom, buckets, signal) {
    const overview = this.overviews.get(run.run_id);
    if (this.axis.kind !== 'step' || !overview || overview.ranks.length > RANK_CURVES) return [];
    const wanted = this.#wantedRanks();
    const answers = replacedRanges(overview, key, zoom).map(async ({ attempt, min, max, share }) => {
      const most = Math.ceil(share * Math.min(buckets, BAND_BUCKETS)); // as wide as those of what counts
      const question = { run_ids: [run.run_id], key, axis: this.axis.positions, max_buckets: most, attempt, min, max };
      const { curves } = await this.#requests.ask(question, signal);
      const shown = curves.filter((curve) => curve.count > 0 && (wanted === null || curve.rank === null || wanted.includes(curve.rank))).map((curve) => Curve.of(curve));
      return shown.length > 0 && this.isBand(run.run_id) ? [bandOfRanks(shown, most)] : shown;
    });
    return (await Promise.all(answers)).flat();
  }

  /** @returns {number[] | null} null: all */
  #wantedRanks() {
    const ranks = this.view?.ranks ?? 'band';
    return ranks === 'band' || ranks === 'all' ? null : ranks.split(',').map(Number);
  }

  /** @param {string} runId */
  axisMetricOf(runId) {
    const curves = this.axis.kind === 'metric' ? this.#metrics.get(this.axis.metric)?.whole : undefined;
    return curves?.find((curve) => curve.run_id === runId);
  }

  /** @param {string} key */
  #bucketsFor(key) {
    let width = 300;
    for (const panel of this.#panels) if (panel.isSeen && panel.keys.includes(key)) width = Math.max(width, panel.width);
    return Math.min(Math.ceil(width / 100) * 100, 2000);
  }

  /** @param {string} key */
  #changed(key) {
    const isAxis = key === this.axis.metric;
    for (const panel of this.#panels) if (isAxis || panel.keys.includes(key)) this.draw(panel);
    this.#isMoved = true; // the extent may have grown
  }

  // -- the range of x -------------------------------------------------------------------------------------------------

  /** @returns {Zoom | null} */
  get zoom() {
    return this.#dragged ?? this.view?.zoom ?? null;
  }

  /**
   * Everything there is, on the x axis.
   * @returns {Zoom}
   */
  get extent() {
    let [min, max] = [Infinity, -Infinity];
    for (const data of this.#metrics.values()) {
      if (this.axis.kind === 'metric' && data.key === this.axis.metric) continue;
      for (const curve of [...(data.whole ?? []), ...data.replaced]) {
        const toX = this.toX(curve);
        if (!toX) continue;
        const [start, end] = [toX(curve.start), toX(curve.end)];
        if (start < min) min = start;
        if (end > max) max = end;
      }
    }
    if (this.axis.kind === 'metric') for (const run of this.runs) [min, max] = united([min, max], this.axisMetricOf(run.run_id));
    if (!(min <= max)) return [0, 1];
    return min === max ? [min - 0.5, max + 0.5] : [min, max];
  }

  /** What is shown, above 0 if it has to be. */
  get range() {
    const [min, max] = this.zoom ?? this.extent;
    if (!this.view?.log_x || min > 0) return { min, max };
    const least = this.axis.positions === 'time' ? 1e6 : 1;
    return { min: Math.min(least, max / 1e3), max: max > 0 ? max : 1 };
  }

  /**
   * While the person drags: what is there is stretched at once, exact buckets come when the hand rests.
   * @param {Zoom | null} zoom null: everything
   * @param {{isOver: boolean}} how
   */
  zoomTo(zoom, { isOver }) {
    if (zoom) zoom = this.#sensible(zoom);
    this.#dragged = zoom;
    this.isMoving = !isOver && zoom !== null;
    this.drawAll();
    clearTimeout(this.#settle);
    if (isOver) this.#zoomed();
    else this.#settle = setTimeout(() => this.#zoomed(), SETTLE_MS);
  }

  #zoomed() {
    const zoom = this.#dragged;
    this.isMoving = false;
    this.drawAll();
    this.load();
    this.listener.onView({ zoom });
  }

  /**
   * No narrower than the axis can show, with no more digits than that needs.
   * @param {Zoom} zoom
   * @returns {Zoom}
   */
  #sensible([min, max]) {
    const least = this.axis.kind === 'metric' ? Math.abs(max) * 1e-9 : 2;
    if (max - min < least) [min, max] = [(min + max - least) / 2, (min + max + least) / 2];
    const digits = Math.max(0, 4 - Math.floor(Math.log10(max - min)));
    return [Number(min.toFixed(Math.min(digits, 20))), Number(max.toFixed(Math.min(digits, 20)))];
  }

  /** @param {number | null} x null: it has left */
  setCursor(x) {
    for (const panel of this.#panels) if (panel.isSeen) panel.setCursor(x);
  }

  // -- lines ----------------------------------------------------------------------------------------------------------

  /** @param {Curve} curve */
  toX(curve) {
    const run = this.runs.find((one) => one.run_id === curve.run_id);
    return run && toXOf(this.axis, run, this.axisMetricOf(curve.run_id));
  }

  /**
   * What a graph of some metrics draws, in the range that is shown.
   * @param {string[]} keys
   * @param {Map<string, Line>} known lines of the last time, whose arrays are used again
   * @returns {Line[]}
   */
  lines(keys, known) {
    const range = this.range;
    const lines = [];
    for (const [index, key] of keys.entries()) {
      const data = this.data(key);
      const part = data.partFor(this.zoom);
      for (const whole of data.whole ?? []) {
        const toX = this.toX(whole);
        if (!toX) continue;
        const line = known.get(whole.id) ?? new Line(whole, this.#look(whole, keys, index));
        known.set(whole.id, line);
        line.whole = whole;
        Object.assign(line, this.#look(whole, keys, index));
        const shown = part?.curves.find((curve) => curve.id === whole.id);
        line.show(shown ?? whole, toX, decayLength(this.view?.smooth ?? 0, whole));
        line.clipTo(range.min, range.max);
        lines.push(line);
      }
    }
    return lines;
  }

  /**
   * What a graph of some metrics draws faintly: points that a newer attempt replaced.
   * @param {string[]} keys
   * @returns {Line[]}
   */
  replacedLines(keys) {
    const range = this.range;
    const lines = [];
    for (const [index, key] of keys.entries()) {
      const data = this.data(key);
      for (const curve of data.partFor(this.zoom)?.replaced ?? data.replaced) {
        const toX = this.toX(curve);
        if (!toX) continue;
        const line = new Line(curve, this.#look(curve, keys, index));
        line.show(curve, toX, 0);
        line.clipTo(range.min, range.max);
        lines.push(line);
      }
    }
    return lines;
  }

  /**
   * @param {Curve} curve
   * @param {string[]} keys
   * @param {number} index of its metric
   */
  #look(curve, keys, index) {
    const run = this.runs.find((one) => one.run_id === curve.run_id);
    const isSeveral = this.runs.length > 1;
    const hasRanks = curve.rank !== null && this.ranksOf(curve.run_id).length > 1;
    const id = isSeveral ? curve.run_id : keys.length > 1 ? `metric ${curve.key}` : hasRanks ? `rank ${curve.rank}` : curve.run_id;
    const { colour, dash } = strokeOf(id, theme.get());
    const names = [isSeveral || (keys.length === 1 && !hasRanks) ? (run?.name ?? curve.run_id) : '', keys.length > 1 ? curve.key : '', hasRanks ? `rank ${curve.rank}` : ''];
    return { stroke: { colour, dash: isSeveral && keys.length > 1 ? dashOf(index) : dash }, name: names.filter(Boolean).join(' · ') };
  }

  /** Where attempts began, on the x axis. */
  get attempts() {
    const marks = [];
    for (const run of this.runs) {
      const overview = this.overviews.get(run.run_id);
      const toX = toXOf(this.axis, run, this.axisMetricOf(run.run_id));
      const attempts = overview?.attempts ?? [];
      for (const { attempt, first_step, first_time_us } of attempts.slice(attempts[0]?.attempt > 0 ? 0 : 1)) {
        const x = toX(this.axis.positions === 'time' ? first_time_us : first_step);
        marks.push({ x, label: this.runs.length > 1 ? `${run.name} ${attempt}` : `attempt ${attempt}` });
      }
    }
    return marks;
  }

  // -- live -----------------------------------------------------------------------------------------------------------

  /** @param {string[]} runIds */
  #follow(runIds) {
    const followed = [...runIds].sort().join();
    if (followed === this.#followed) return;
    this.#followed = followed;
    for (const stop of this.#stops.splice(1)) stop();
    if (runIds.length === 0) return;
    this.#isLive = false;
    this.#ready = new Promise((resolve) => {
      setTimeout(resolve, WAIT_FOR_EVENTS_MS);
      const stop = events.watch(runIds, {
        points: (event) => this.#take(event.run_id, event.series),
        run: (run) => {
          resolve();
          this.#live();
          this.listener.onRun(run);
        },
        reset: () => this.#markStale(Infinity),
        connection: (state) => this.#connectionChanged(state),
      });
      this.#stops.push(stop);
    });
    clearInterval(this.#refresh);
    this.#refresh = setInterval(() => this.#askAgain(), 1000);
  }

  #live() {
    if (this.#isLive) return;
    this.#isLive = true;
    this.#liveAt = performance.now();
    // Points that came before the stream began, and after the answer was made.
    this.#markStale(this.#liveAt);
  }

  /** @param {number} before answers to older requests */
  #markStale(before) {
    for (const data of this.#metrics.values()) if (data.askedAt < before && data.whole) data.isStale = true;
  }

  /** @param {Connection} state */
  #connectionChanged(state) {
    this.connection = state;
    if (state === 'live') this.#markFailedStale();
    this.#tell();
  }

  #markFailedStale() {
    for (const data of this.#metrics.values()) if (data.error) data.isStale = true;
  }

  #askAgain() {
    if (document.visibilityState === 'hidden') return;
    for (const key of this.#seenKeys()) {
      const data = this.data(key);
      const age = performance.now() - data.askedAt;
      const isBlurred = data.hasBlurredBand && age > MOST_LIVE_AGE_MS;
      if (isBlurred) [data.isStale, data.hasBlurredBand] = [true, false];
      if ((data.isStale && age > 1500) || (data.error && age > 3000)) this.#ask(data);
    }
    this.#tell();
  }

  #tell() {
    this.listener.onState({ connection: this.connection, lastPointUs: this.lastPointUs });
  }

  /**
   * @param {string} runId
   * @param {NewPoints[]} series
   */
  #take(runId, series) {
    const run = this.runs.find((one) => one.run_id === runId);
    if (!run) return;
    const isBand = this.isBand(runId);
    const toX = toXOf(this.axis, run, this.axisMetricOf(runId));
    const unknown = [];
    for (const points of isBand ? overRanks(series) : series) {
      this.lastPointUs = Math.max(this.lastPointUs, points.last_time_us);
      const data = this.#metrics.get(points.key);
      if (!data?.whole) {
        unknown.push(points.key);
        continue;
      }
      const bucket = bucketOf(points, this.axis.positions);
      const id = `${runId} ${isBand ? null : points.rank} ${points.key}`;
      if (!data.append(id, bucket, toX(bucket.last_position))) data.isStale = true;
      if (isBand) data.hasBlurredBand = true;
      this.#changed(points.key);
    }
    if (unknown.length > 0) this.listener.onKeys(unknown);
  }
}

/**
 * The points of all ranks of each metric as one bucket.
 * @param {NewPoints[]} series
 * @returns {(NewPoints & {min_rank: number, max_rank: number})[]}
 */
function overRanks(series) {
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
function bucketOf(points, positions) {
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
