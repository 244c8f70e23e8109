// The experiments of the workspace, for the side list and the palette.
import { getJson } from '../api/http.js';
import { createStore } from './store.js';

/** @typedef {import('../api/types.js').Experiment} Experiment */

const EVERY_MS = 30_000;

/** Null until they are loaded. */
export const experiments = createStore(/** @type {Experiment[] | null} */ (null));
/** Whether the service did not answer last time. */
export const isAway = createStore(false);

/** Loads them now, and again from time to time. */
export async function loadExperiments() {
  try {
    const { experiments: all } = await getJson('experiments');
    experiments.set(all.filter((/** @type {Experiment} */ one) => one.lifecycle === 'active'));
    isAway.set(false);
  } catch (error) {
    isAway.set(/** @type {any} */ (error).status === 0);
  }
}

export function startExperiments() {
  void loadExperiments();
  setInterval(() => document.hidden || void loadExperiments(), EVERY_MS);
}
