// The runs of a table: loaded page by page while somebody scrolls, and kept up to date while they look.
import { postJson } from '../api/http.js';
import { createStore } from '../state/store.js';
import { appendPage, inOrderOf, mergeHead, replaceRuns } from './rows.js';

/** @typedef {import('../api/types.js').Run} Run */

/**
 * @typedef {object} Question
 * @property {string[]} experimentIds
 * @property {string} filter
 * @property {string[]} orderBy
 * @property {'active' | 'deleted' | 'all'} lifecycle
 * @property {string[] | null} metrics
 */

/**
 * @typedef {object} ListState
 * @property {Run[]} rows
 * @property {'loading' | 'ready' | 'failed'} phase
 * @property {boolean} isComplete all pages are there
 * @property {boolean} isStale the service does not answer now
 * @property {import('../api/http.js').ApiError | null} error
 * @property {number} added how many runs were added at the top since the list was loaded
 * @property {boolean} isUnsorted values have changed, and with them the order; the rows stay, since somebody is there
 */

const PAGE = 200;
/** Somebody who scrolls on wants more at a time. */
const NEXT_PAGE = 500;
/** How often the first page is read again while the table is visible, in milliseconds. */
const EVERY_MS = 3_000;
/** An answer of this age will do when nobody has changed anything here: pages that show the same share it. */
const AGE_S = 2.5;
/** Running runs in sight that are not on the first page, in one question. */
const MOST_IN_SIGHT = 100;

export class RunList {
  /** @param {Question} question */
  constructor(question) {
    this.question = question;
    this.state = createStore(
      /** @type {ListState} */ ({ rows: [], phase: 'loading', isComplete: false, isStale: false, error: null, added: 0, isUnsorted: false }),
    );
  }

  #next = '';
  #known = '';
  #headSize = 0;
  /** @type {ReadonlySet<string>} runs of the first page */
  #head = new Set();
  #abort = new AbortController();
  #isBusy = false;
  #isOver = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  /** @type {() => Run[]} the runs that are on screen */
  #inSight = () => [];
  #isStill = () => false;

  /**
   * @param {() => Run[]} inSight
   * @param {() => boolean} isStill whether rows may move now
   */
  start(inSight, isStill) {
    this.#inSight = inSight;
    this.#isStill = isStill;
    void this.#load();
    document.addEventListener('visibilitychange', this.#wake);
  }

  stop() {
    this.#abort.abort();
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#wake);
  }

  #wake = () => {
    if (!document.hidden) void this.refresh();
  };

  /** Loads the next page, if there is one and none is on its way. */
  async more() {
    if (this.#isBusy || this.state.get().isComplete || this.state.get().phase !== 'ready') return;
    await this.#load();
  }

  async #load() {
    this.#isBusy = true;
    try {
      const isFirst = this.#headSize === 0;
      const { runs, next_page_token: next, state } = await this.#ask(isFirst ? {} : { page_token: this.#next, page_size: NEXT_PAGE });
      if (isFirst) this.#noteHead(runs, state);
      this.#next = next;
      this.#set({ rows: appendPage(this.state.get().rows, runs), phase: 'ready', isComplete: next === '', isStale: false, error: null });
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isBusy = false;
      this.#again();
    }
  }

  /**
   * @param {Run[]} head
   * @param {string} state
   */
  #noteHead(head, state) {
    [this.#headSize, this.#known, this.#head] = [head.length, state, new Set(head.map((run) => run.run_id))];
  }

  /**
   * Asks for the first page again, and for what else is in sight and may change.
   * @param {number} [maxAgeS] how old the answer may be; 0 after somebody has changed something here
   */
  async refresh(maxAgeS = 0) {
    if (this.#isBusy || this.#abort.signal.aborted) return;
    if (this.state.get().phase !== 'ready') return this.#load();
    this.#isBusy = true;
    try {
      const { runs: head, state, is_known: isKnown } = await this.#ask({ max_age_s: maxAgeS, known_state: this.#known });
      const before = this.state.get().rows;
      // The same rows: ages are written again, and nothing else is done.
      let rows = isKnown ? before : mergeHead(before, this.#headSize, head);
      if (!isKnown) this.#noteHead(head, state);
      const fresh = await this.#freshInSight();
      if (fresh.length > 0) rows = replaceRuns(rows, fresh);
      const sorted = inOrderOf(rows, this.#head);
      const isUnsorted = sorted !== rows && !this.#isStill();
      if (!isUnsorted) rows = sorted;
      const known = new Set(before.map((run) => run.run_id));
      const added = rows.filter((run) => !known.has(run.run_id)).length;
      this.#set({ rows, isStale: false, added: this.state.get().added + added, isUnsorted });
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isBusy = false;
      this.#again();
    }
  }

  async #freshInSight() {
    const running = this.#inSight().filter((run) => run.status === 'running' && !this.#head.has(run.run_id)).slice(0, MOST_IN_SIGHT);
    if (running.length === 0) return [];
    const ids = running.map((run) => `'${run.run_id}'`).join(', ');
    return (await this.#ask({ filter: `attributes.run_id IN (${ids})`, order_by: [] })).runs;
  }

  /**
   * @param {object} changes
   * @returns {Promise<{runs: Run[], next_page_token: string, state: string, is_known?: boolean}>}
   */
  #ask(changes) {
    const { experimentIds, filter, orderBy, lifecycle, metrics } = this.question;
    const body = { experiment_ids: experimentIds, filter, order_by: orderBy, lifecycle, page_size: PAGE, ...changes };
    return postJson('runs/search', metrics === null ? body : { ...body, metrics }, { signal: this.#abort.signal });
  }

  #again() {
    clearTimeout(this.#timer);
    if (this.#abort.signal.aborted || this.#isOver) return;
    this.#timer = setTimeout(() => (document.hidden ? this.#again() : void this.refresh(AGE_S)), EVERY_MS);
  }

  /** The person wants to see the order as it is now. */
  sort() {
    this.#set({ rows: inOrderOf(this.state.get().rows, this.#head), isUnsorted: false });
  }

  /** @param {any} error */
  #failed(error) {
    if (this.#abort.signal.aborted) return;
    if (this.state.get().phase === 'ready') this.#set({ isStale: error.status !== 401 });
    else this.#set({ phase: 'failed', error });
    // A filter that cannot be read stays so.
    this.#isOver = !error.isTemporary && this.state.get().phase === 'failed';
  }

  /** @param {Partial<ListState>} changes */
  #set(changes) {
    if (!this.#abort.signal.aborted) this.state.set({ ...this.state.get(), ...changes });
  }
}
