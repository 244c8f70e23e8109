// Curves of many ranks -> cells of a heat map, and their colours.

/** @typedef {import('./curve.js').Curve} Curve */

/**
 * @typedef {object} Cells row by row, one row a rank
 * @property {number[]} ranks
 * @property {number} columns
 * @property {Float64Array} mean of the points whose buckets touch the cell; NaN: no point
 * @property {number} min least mean
 * @property {number} max greatest mean
 * @property {number} low where colours begin: cells below it are rare
 * @property {number} high where colours end
 */

/** Of the cells, this share at either end may lie beyond the colours, so that one outlier does not make all others alike. */
const BEYOND = 0.02;

/**
 * @param {Curve[]} curves one a rank
 * @param {{min: number, max: number}} range of steps
 * @param {number} columns
 * @returns {Cells}
 */
export function heatCells(curves, range, columns) {
  const sorted = [...curves].sort((a, b) => (a.rank ?? -1) - (b.rank ?? -1));
  const mean = new Float64Array(sorted.length * columns).fill(NaN);
  const weights = new Float64Array(columns);
  sorted.forEach((curve, row) => {
    weights.fill(0);
    addCurve(curve, range, mean.subarray(row * columns, (row + 1) * columns), weights);
  });
  return { ranks: sorted.map((curve) => curve.rank ?? -1), columns, mean, ...scaleOf(mean) };
}

/** @param {Float64Array} values NaN: none */
function scaleOf(values) {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort();
  const last = sorted.length - 1;
  const [min, max] = last < 0 ? [NaN, NaN] : [sorted[0], sorted[last]];
  const [low, high] = [sorted[Math.floor(BEYOND * last)], sorted[Math.ceil((1 - BEYOND) * last)]];
  // If nearly all are alike, it is the others that count.
  return low < high ? { min, max, low, high } : { min, max, low: min, high: max };
}

/**
 * @param {Curve} curve
 * @param {{min: number, max: number}} range
 * @param {Float64Array} cells of its rank
 * @param {Float64Array} weights of the cells so far
 */
function addCurve(curve, range, cells, weights) {
  const scale = cells.length / (range.max - range.min || 1);
  for (let row = 0; row < curve.length; row++) {
    const finite = curve.finiteAt(row);
    if (!(finite > 0) || curve.last_position[row] < range.min || curve.first_position[row] > range.max) continue;
    const from = clamp(Math.floor((curve.first_position[row] - range.min) * scale), cells.length);
    const to = clamp(Math.floor((curve.last_position[row] - range.min) * scale), cells.length);
    const share = finite / (to - from + 1);
    for (let cell = from; cell <= to; cell++) {
      weights[cell] += share;
      const before = Number.isNaN(cells[cell]) ? 0 : cells[cell];
      cells[cell] = before + ((curve.mean[row] - before) * share) / weights[cell];
    }
  }
}

/**
 * @param {number} cell
 * @param {number} count
 */
const clamp = (cell, count) => Math.min(Math.max(cell, 0), count - 1);

/**
 * A scale of colours that is even for the eye: lightness rises steadily from dark violet over green to bright yellow, so that it
 * can be read without telling hues apart.
 * @param {number} share 0 to 1
 * @returns {[number, number, number]} red, green, blue: 0 to 255
 */
export function heatColour(share) {
  const t = Math.min(Math.max(share, 0), 1);
  const lightness = 0.27 + 0.66 * t;
  const hue = ((300 - 200 * t) * Math.PI) / 180;
  const chroma = 0.1 + 0.06 * t;
  return fromOklab(lightness, chroma * Math.cos(hue), chroma * Math.sin(hue));
}

/**
 * @param {number} lightness
 * @param {number} a
 * @param {number} b
 * @returns {[number, number, number]}
 */
function fromOklab(lightness, a, b) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    encoded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    encoded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    encoded(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

/** @param {number} linear */
function encoded(linear) {
  const value = Math.min(Math.max(linear, 0), 1);
  return Math.round(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
}
