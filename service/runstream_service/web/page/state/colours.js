// Colours of runs. A run keeps its colour as long as the tab is open, whatever else is shown or hidden; what somebody has
// chosen is in the URL.
import { createStore } from './store.js';

// The palette of Okabe and Ito, which colour-blind people can tell apart, a little darker or lighter where a background
// needs it; grey is its black, and its yellow is left out, since it cannot be seen on white. Then the same with dashes.
const LIGHT = ['#0072b2', '#d55e00', '#009e73', '#b8579a', '#c98500', '#2f9bd6', '#6f7480'];
const DARK = ['#56b4e9', '#f07a2b', '#2bc49a', '#e29ac4', '#f0b429', '#8f9bf5', '#b6bac4'];
const DASHES = /** @type {const} */ ([[], [6, 3], [2, 2], [8, 3, 2, 3]]);

/** How many lines can be told apart. */
export const RING = LIGHT.length * DASHES.length;

/** @typedef {{colour: string, dash: readonly number[]}} Stroke */

/** Gives out places in the ring. */
export class Places {
  /** @type {Map<string, number>} */
  #places = new Map();

  /**
   * The place of an id: the one that follows from it, or the next that nobody has.
   * @param {string} id
   * @param {Iterable<Choice>} [chosen] what others have by hand
   */
  of(id, chosen = []) {
    const known = this.#places.get(id);
    if (known !== undefined) return known;
    if (this.#places.size >= 10_000) this.#places.clear(); // a tab that has shown that many begins again
    const taken = new Set([...this.#places.values(), ...chosen]);
    const wanted = hash(id) % LIGHT.length;
    let place = wanted;
    // Solid colours first, from the wanted one on; then the same with dashes.
    for (let tries = 0; taken.has(place) && tries < RING; tries++) {
      const ring = Math.floor(tries / LIGHT.length);
      place = ring * LIGHT.length + ((wanted + tries) % LIGHT.length);
    }
    this.#places.set(id, place);
    return place;
  }
}

/** @param {string} id */
function hash(id) {
  let value = 2166136261;
  for (let i = 0; i < id.length; i++) value = Math.imul(value ^ id.charCodeAt(i), 16777619) >>> 0;
  return value;
}

const ofTab = new Places();

/** @typedef {number | string} Choice a place in the ring, or a colour such as #0072b2 */

/** What was chosen by hand, by id of a run, or by name of a rank or metric. */
export const chosenColours = createStore(/** @type {ReadonlyMap<string, Choice>} */ (new Map()));

/**
 * Choices in the URL: `ID.3,ID.0072b2`.
 * @param {string | null} text
 * @returns {Map<string, Choice>}
 */
export function readColours(text) {
  const chosen = new Map();
  for (const part of (text ?? '').split(',')) {
    const [, id, choice] = /^(.+)\.([0-9a-f]{6}|\d{1,2})$/.exec(part) ?? [];
    if (!id || (choice.length < 6 && Number(choice) >= RING)) continue;
    chosen.set(id.replaceAll('%2C', ','), choice.length === 6 ? `#${choice}` : Number(choice));
  }
  return chosen;
}

/** @param {ReadonlyMap<string, Choice>} chosen */
export const writeColours = (chosen) => [...chosen].map(([id, choice]) => `${id.replaceAll(',', '%2C')}.${String(choice).replace('#', '')}`).join(',');

/**
 * Takes over what the URL says.
 * @param {string | null} text
 */
export function showColours(text) {
  if (writeColours(chosenColours.get()) !== (text ?? '')) chosenColours.set(readColours(text));
}

/**
 * How a place in the ring is drawn.
 * @param {number} place
 * @param {'light' | 'dark'} theme
 * @returns {Stroke}
 */
export function strokeAt(place, theme) {
  const colours = theme === 'dark' ? DARK : LIGHT;
  return { colour: colours[place % colours.length], dash: DASHES[Math.floor(place / colours.length) % DASHES.length] };
}

/**
 * How a run is drawn.
 * @param {string} runId
 * @param {'light' | 'dark'} theme
 * @returns {Stroke}
 */
export function strokeOf(runId, theme) {
  const all = chosenColours.get();
  const chosen = all.get(runId);
  return typeof chosen === 'string' ? { colour: chosen, dash: DASHES[0] } : strokeAt(chosen ?? ofTab.of(runId, all.values()), theme);
}

/** The dashes of the n-th metric of a graph that has several. */
export const dashOf = (/** @type {number} */ index) => DASHES[index % DASHES.length];
