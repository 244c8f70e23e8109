// Colours of runs by their place on an axis: a scale for numbers, the palette for names.
import { heatColour } from '../charts/heat_bins.js';
import { strokeAt } from '../state/colours.js';

/** @typedef {import('./axis.js').Axis} Axis */

/** The number of colours of a scale of numbers: lines of the same colour are drawn in one path. */
const SHADES = 24;

/**
 * @typedef {object} RunColours
 * @property {Int16Array} shade one a run; -1: no value
 * @property {string[]} colours of the shades
 */

/**
 * @param {Axis} axis
 * @param {'light' | 'dark'} theme
 * @returns {RunColours}
 */
export function runColours(axis, theme) {
  if (!axis.isNumeric) {
    const shade = Int16Array.from(axis.values, (value) => (value === null ? -1 : axis.names.length - 1 - axis.names.indexOf(String(value))));
    return { shade, colours: axis.names.map((_, index) => strokeAt(index, theme).colour) };
  }
  const shade = Int16Array.from(axis.places, (place) => (Number.isNaN(place) ? -1 : Math.min(Math.floor(place * SHADES), SHADES - 1)));
  return { shade, colours: Array.from({ length: SHADES }, (_, index) => scaleColour(index / (SHADES - 1), theme)) };
}

/**
 * Without the end of the scale that the background swallows.
 * @param {number} share 0 to 1
 * @param {'light' | 'dark'} theme
 */
export function scaleColour(share, theme) {
  const [red, green, blue] = heatColour(theme === 'dark' ? 0.3 + 0.7 * share : 0.76 * share);
  return `#${[red, green, blue].map((one) => one.toString(16).padStart(2, '0')).join('')}`;
}
