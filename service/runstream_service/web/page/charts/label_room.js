// Room for words in a plot: no two overlap.

/** @typedef {{left: number, top: number, width: number, height: number}} Box */

/** How far from where they belong words may stand, in their own height. */
const REACH = 2.5;
/** Mean width of a character, in the height of the font. Pens cannot measure. */
const CHARACTER = 0.6;

/**
 * @param {string} text
 * @param {number} size of the font
 */
export const textWidth = (text, size) => text.length * CHARACTER * size;

export class LabelRoom {
  /** @type {Box[]} */
  #taken = [];

  /** @param {Box} plot */
  constructor(plot) {
    this.plot = plot;
  }

  /**
   * Takes the free place that is nearest to where the words belong, above or below it.
   * @param {Box} wanted
   * @returns {number | null} the top of it; null: there is none near enough
   */
  take(wanted) {
    const beside = this.#taken.filter((box) => box.left < wanted.left + wanted.width && wanted.left < box.left + box.width);
    const distance = (/** @type {number} */ top) => Math.abs(top - wanted.top);
    const isFree = (/** @type {number} */ top) =>
      top >= this.plot.top &&
      top + wanted.height <= this.plot.top + this.plot.height &&
      beside.every((box) => top + wanted.height <= box.top || top >= box.top + box.height);
    const tops = [wanted.top, ...beside.flatMap((box) => [box.top - wanted.height, box.top + box.height])];
    const top = tops.sort((a, b) => distance(a) - distance(b)).find(isFree);
    if (top === undefined || distance(top) > REACH * wanted.height) return null;
    this.#taken.push({ ...wanted, top });
    return top;
  }
}
