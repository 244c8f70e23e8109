// Keeps the curves of a tab up to date: appends what events bring, and asks again for what did not fit in.
import { events } from '../api/events.js';
import { bucketOf, overRanks } from './live_points.js';
import { toXOf } from './x_axis.js';

/** @typedef {import('../api/events.js').Connection} Connection */
/** @typedef {import('../api/events.js').NewPoints} NewPoints */
/** @typedef {import('./charts.js').Charts} Charts */

/** The first answer waits this long for the stream of events, so that no point falls between the two. */
const WAIT_FOR_EVENTS_MS = 250;
const MOST_LIVE_AGE_MS = 10_000;
const EVERY_MS = 1000;

export class LiveUpdates {
  connection = /** @type {Connection} */ ('connecting');
  lastPointUs = 0;
  /** @type {Promise<void>} resolves when requests may be sent */
  ready = Promise.resolve();
  #followed = '';
  #isLive = false;
  #stop = () => {};
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #refresh = undefined;

  /** @param {Charts} charts */
  constructor(charts) {
    this.charts = charts;
  }

  close() {
    this.#stop();
    clearInterval(this.#refresh);
  }

  /** @param {string[]} runIds */
  follow(runIds) {
    const followed = [...runIds].sort().join();
    if (followed === this.#followed) return;
    this.#followed = followed;
    this.#stop();
    this.#stop = () => {};
    if (runIds.length === 0) return;
    this.#isLive = false;
    this.ready = new Promise((resolve) => {
      setTimeout(resolve, WAIT_FOR_EVENTS_MS);
      this.#stop = events.watch(runIds, {
        points: (event) => this.#take(event.run_id, event.series),
        run: (run) => {
          resolve();
          this.#begin();
          this.charts.listener.onRun(run);
        },
        reset: () => this.#markStale(Infinity),
        connection: (state) => this.#connectionChanged(state),
      });
    });
    clearInterval(this.#refresh);
    this.#refresh = setInterval(() => this.#askAgain(), EVERY_MS);
  }

  #begin() {
    if (this.#isLive) return;
    this.#isLive = true;
    // Points that came before the stream began, and after the answer was made.
    this.#markStale(performance.now());
  }

  /** @param {number} before responses to requests before this one */
  #markStale(before) {
    for (const data of this.charts.loaded) if (data.askedAt < before && data.whole) data.isStale = true;
  }

  /** @param {Connection} state */
  #connectionChanged(state) {
    this.connection = state;
    if (state === 'live') for (const data of this.charts.loaded) if (data.error) data.isStale = true;
    this.#tell();
  }

  #askAgain() {
    if (document.visibilityState === 'hidden') return;
    for (const key of this.charts.seenKeys()) {
      const data = this.charts.data(key);
      const age = performance.now() - data.askedAt;
      const isBlurred = data.hasBlurredBand && age > MOST_LIVE_AGE_MS;
      if (isBlurred) [data.isStale, data.hasBlurredBand] = [true, false];
      if ((data.isStale && age > 1500) || (data.error && age > 3000)) this.charts.ask(data);
    }
    this.#tell();
  }

  #tell() {
    this.charts.listener.onState({ connection: this.connection, lastPointUs: this.lastPointUs });
  }

  /**
   * @param {string} runId
   * @param {NewPoints[]} series
   */
  #take(runId, series) {
    const { charts } = this;
    const run = charts.runs.find((one) => one.run_id === runId);
    if (!run) return;
    const isBand = charts.isBand(runId);
    const toX = toXOf(charts.axis, run, charts.axisMetricOf(runId));
    const unknown = [];
    for (const points of isBand ? overRanks(series) : series) {
      this.lastPointUs = Math.max(this.lastPointUs, points.last_time_us);
      const data = charts.loadedOf(points.key);
      if (!data?.whole) {
        unknown.push(points.key);
        continue;
      }
      const bucket = bucketOf(points, charts.axis.positions);
      const id = `${runId} ${isBand ? null : points.rank} ${points.key}`;
      if (!data.append(id, bucket, toX(bucket.last_position))) data.isStale = true;
      if (isBand) data.hasBlurredBand = true;
      charts.changed(points.key);
    }
    if (unknown.length > 0) charts.listener.onKeys(unknown);
  }
}
