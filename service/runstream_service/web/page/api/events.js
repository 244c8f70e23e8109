// Live updates: one stream of server-sent events a tab, whatever is shown in it.
import { getJson, isSignedOut } from './http.js';

/**
 * New points of one series since the event before.
 * @typedef {object} NewPoints
 * @property {string} key
 * @property {number} rank
 * @property {number} attempt
 * @property {number} count
 * @property {number} non_finite
 * @property {number} first_step
 * @property {number} last_step
 * @property {number} first_time_us
 * @property {number} last_time_us
 * @property {import('./types.js').Value} min
 * @property {import('./types.js').Value} max
 * @property {import('./types.js').Value} mean
 * @property {import('./types.js').Value} first of the lowest step
 * @property {import('./types.js').Value} last of the highest step
 */

/**
 * @typedef {object} Listener
 * @property {(event: {run_id: string, series: NewPoints[]}) => void} [points]
 * @property {(run: import('./types.js').Run) => void} [run] status, name or end changed; once at the beginning
 * @property {() => void} [reset] events are missing: ask for everything again
 * @property {(state: Connection) => void} [connection]
 */

/** @typedef {'connecting' | 'live' | 'reconnecting' | 'ended'} Connection */
/** @typedef {{runIds: string[], listener: Listener}} Watch */

const RETRY_MS = 1000;
const MOST_RETRY_MS = 15_000;

export class EventStream {
  /** @type {Set<Watch>} */
  #watches = new Set();
  /** @type {EventSource | null} */
  #source = null;
  #followed = '';
  #lastId = '';
  /** @type {Map<string, import('./types.js').Run>} runs of this connection as they are now */
  #runs = new Map();
  #retryMs = RETRY_MS;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  /** @type {Connection} */
  #connection = 'connecting';

  /**
   * @param {(url: string) => EventSource} [open]
   * @param {() => Promise<unknown>} [check] makes any request, to learn why a stream was refused, which a browser does not say
   */
  constructor(open = (url) => new EventSource(url), check = () => getJson('me')) {
    this.#open = open;
    this.#check = check;
    isSignedOut.subscribe(() => this.#later(0));
  }
  #check;
  #open;

  /**
   * Follows some runs until the returned function is called.
   * @param {string[]} runIds
   * @param {Listener} listener
   * @returns {() => void}
   */
  watch(runIds, listener) {
    const watch = { runIds, listener };
    this.#watches.add(watch);
    listener.connection?.(this.#connection);
    // A later listener gets the first event of the connection at once, since charts wait for it.
    const known = runIds.map((runId) => this.#runs.get(runId)).filter((run) => run !== undefined);
    queueMicrotask(() => known.forEach((run) => this.#watches.has(watch) && listener.run?.(run)));
    this.#later(0);
    return () => {
      this.#watches.delete(watch);
      this.#later(0);
    };
  }

  /** @param {number} ms */
  #later(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), ms);
  }

  #connect() {
    const runIds = [...new Set([...this.#watches].flatMap((watch) => watch.runIds))].sort().slice(0, 50);
    const query = new URLSearchParams(runIds.map((runId) => ['run', runId])).toString();
    if (isSignedOut.get()) return this.#end();
    if (this.#source && this.#source.readyState !== 2 && query === this.#followed) return;
    this.#source?.close();
    this.#source = null;
    this.#runs.clear();
    if (query !== this.#followed) this.#lastId = ''; // a cursor belongs to its runs
    this.#followed = query;
    if (runIds.length === 0) return;
    const since = this.#lastId ? `&last_event_id=${encodeURIComponent(this.#lastId)}` : '';
    this.#listen(this.#open(`web/api/events?${query}${since}`));
  }

  #end() {
    this.#source?.close();
    this.#source = null;
    this.#runs.clear();
    this.#changed('ended');
  }

  /** @param {EventSource} source */
  #listen(source) {
    this.#source = source;
    source.onopen = () => {
      this.#retryMs = RETRY_MS;
      this.#changed('live');
    };
    source.onerror = () => {
      if (this.#source !== source) return;
      this.#changed('reconnecting');
      if (source.readyState === 2) this.#refused(); // else, the browser connects again, with the id of the last event
    };
    source.addEventListener('end', () => {
      source.close();
      if (this.#source === source) this.#refused();
    });
    source.addEventListener('points', (event) => this.#deliver('points', event));
    source.addEventListener('run', (event) => this.#deliver('run', event));
    source.addEventListener('reset', (event) => this.#deliver('reset', event));
  }

  /** Tries again later, unless it is because of a session that has ended. */
  #refused() {
    this.#later(this.#retryMs * (0.5 + Math.random()));
    this.#retryMs = Math.min(2 * this.#retryMs, MOST_RETRY_MS);
    void this.#check().catch(() => {});
  }

  /**
   * @param {'points' | 'run' | 'reset'} name
   * @param {MessageEvent} event
   */
  #deliver(name, event) {
    if (event.lastEventId) this.#lastId = event.lastEventId;
    const data = event.data ? JSON.parse(event.data) : {};
    if (name === 'run') this.#runs.set(data.run_id, data);
    for (const { runIds, listener } of [...this.#watches]) {
      if (name === 'reset' || runIds.includes(data.run_id)) listener[name]?.(data);
    }
  }

  /** @param {Connection} state */
  #changed(state) {
    this.#connection = state;
    for (const { listener } of [...this.#watches]) listener.connection?.(state);
  }
}

/** The stream of this tab. */
export const events = new EventStream();
