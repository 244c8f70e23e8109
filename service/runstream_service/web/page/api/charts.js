// Requests for curves: those of one frame are merged, and what nobody waits for any more is cancelled.
import { decodeCharts } from './binary.js';

/**
 * @typedef {object} Question
 * @property {string[]} run_ids
 * @property {string} key
 * @property {'step' | 'time'} axis
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} max_buckets
 * @property {number} [rank]
 * @property {number} [attempt]
 * @property {number} [log_origin] buckets are even in the logarithm of the distance from this position
 * @property {boolean} [draft] few buckets are enough where more would take long
 */

/** @typedef {import('./binary.js').DecodedCharts} DecodedCharts */
/** @typedef {(path: string, body: object, options: {signal: AbortSignal}) => Promise<ArrayBuffer>} Send */
/** @typedef {{key: string, signal: AbortSignal, resolve: (answer: DecodedCharts) => void, reject: (error: unknown) => void}} Asker */

/** @typedef {{run: () => Promise<void>, isDraft: boolean, mayWait: boolean}} Task mayWait: whether it is sent after all drafts */

/** The most curves in one request, so that the first panels are drawn while others are still being read. */
const CURVES = 100;
/** Browsers have six connections to a host; events hold one. */
const AT_ONCE = 4;

export class ChartRequests {
  /** @type {Map<string, {question: Omit<Question, 'key'>, askers: Asker[]}>} */
  #waiting = new Map();
  /** @type {Task[]} */
  #queue = [];
  #running = 0;
  #drafts = 0;

  /**
   * @param {Send} send
   * @param {(callback: () => void) => void} [nextFrame]
   */
  constructor(send, nextFrame = (callback) => void requestAnimationFrame(callback)) {
    this.#send = send;
    this.#nextFrame = nextFrame;
  }
  #send;
  #nextFrame;

  /**
   * The curves of one metric.
   * @param {Question} question
   * @param {AbortSignal} signal
   * @returns {Promise<DecodedCharts>}
   */
  ask({ key, ...question }, signal) {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size === 0) this.#nextFrame(() => this.#flush());
      const name = JSON.stringify(question);
      const group = this.#waiting.get(name) ?? { question, askers: [] };
      group.askers.push({ key, signal, resolve, reject });
      this.#waiting.set(name, group);
    });
  }

  /**
   * One curve over all ranks of a run.
   * @param {{run_id: string, key: string, min?: number, max?: number, max_buckets: number, log_origin?: number}} question
   * @param {AbortSignal} signal
   * @returns {Promise<DecodedCharts>}
   */
  aggregate(question, signal) {
    return new Promise((resolve, reject) => {
      const run = async () => {
        if (signal.aborted) return reject(signal.reason);
        try {
          resolve(decodeCharts(await this.#send('aggregate', question, { signal })));
        } catch (error) {
          reject(error);
        }
      };
      this.#enqueue({ run, isDraft: false, mayWait: false });
    });
  }

  #flush() {
    const groups = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { question, askers } of groups) {
      const wanted = askers.filter((asker) => !asker.signal.aborted);
      for (const asker of askers) if (asker.signal.aborted) asker.reject(asker.signal.reason);
      const keys = [...new Set(wanted.map((asker) => asker.key))];
      const size = Math.max(1, Math.floor(CURVES / question.run_ids.length));
      for (let from = 0; from < keys.length; from += size) {
        const part = new Set(keys.slice(from, from + size));
        const run = () => this.#fetch(question, wanted.filter((asker) => part.has(asker.key)));
        // Whole curves come after the drafts of all panels; a part that somebody zooms to comes at once.
        const isDraft = question.draft ?? false;
        this.#enqueue({ run, isDraft, mayWait: !isDraft && question.min === undefined });
      }
    }
  }

  /** @param {Task} task */
  #enqueue(task) {
    if (task.isDraft) this.#drafts++;
    this.#queue.push(task);
    this.#next();
  }

  #next() {
    const at = this.#running < AT_ONCE ? this.#queue.findIndex((task) => !task.mayWait || this.#drafts === 0) : -1;
    if (at < 0) return;
    const [task] = this.#queue.splice(at, 1);
    this.#running++;
    void task.run().finally(() => {
      this.#running--;
      if (task.isDraft) this.#drafts--;
      for (let free = this.#running; free < AT_ONCE; free++) this.#next();
    });
  }

  /**
   * @param {Omit<Question, 'key'>} question
   * @param {Asker[]} askers
   */
  async #fetch(question, askers) {
    const wanted = askers.filter((asker) => !asker.signal.aborted);
    for (const asker of askers) if (asker.signal.aborted) asker.reject(asker.signal.reason);
    if (wanted.length === 0) return;
    const keys = [...new Set(wanted.map((asker) => asker.key))];
    try {
      const signal = whenAllAborted(wanted.map((asker) => asker.signal));
      const answer = decodeCharts(await this.#send('charts', { ...question, keys }, { signal }));
      for (const asker of wanted) {
        asker.resolve({ ...answer, curves: answer.curves.filter((curve) => curve.key === asker.key) });
      }
    } catch (error) {
      for (const asker of wanted) asker.reject(error);
    }
  }
}

/** @param {AbortSignal[]} signals */
function whenAllAborted(signals) {
  const controller = new AbortController();
  let left = new Set(signals).size;
  for (const signal of new Set(signals)) {
    signal.addEventListener('abort', () => --left === 0 && controller.abort(signal.reason), { once: true });
  }
  return controller.signal;
}
