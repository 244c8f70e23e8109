// The overview of a run, which may be requested before its page is opened.
import { getJson } from './http.js';

/** @typedef {import('./types.js').Overview} Overview */

/** A response that is older, in milliseconds, is not used, since running runs change. */
const FRESH_MS = 3_000;

/** @type {{runId: string, askedAt: number, answer: Promise<Overview>, request: AbortController} | null} */
let early = null;

/** @param {string} runId */
const isFresh = (runId) => early?.runId === runId && performance.now() - early.askedAt < FRESH_MS;

/** @param {string} runId */
const pathOf = (runId) => `runs/${encodeURIComponent(runId)}`;

/**
 * Asks for an overview that is probably wanted soon; one at a time.
 * @param {string} runId
 */
export function askOverviewEarly(runId) {
  if (isFresh(runId)) return;
  early?.request.abort();
  const request = new AbortController();
  const answer = getJson(pathOf(runId), {}, { signal: request.signal });
  answer.catch(() => early?.request === request && (early = null)); // who needs it asks again
  early = { runId, askedAt: performance.now(), answer, request };
}

/**
 * The overview of a run: the one that was requested early, if it was not used yet, or a new one.
 * @param {string} runId
 * @param {AbortSignal} signal
 * @returns {Promise<Overview>}
 */
export async function readOverview(runId, signal) {
  if (isFresh(runId)) {
    const answer = early?.answer;
    early = null;
    const found = await answer?.catch(() => undefined);
    signal.throwIfAborted();
    if (found) return found;
  }
  return getJson(pathOf(runId), {}, { signal });
}
