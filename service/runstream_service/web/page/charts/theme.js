// Colours that canvases take from the style sheet.
import { theme } from '../state/theme.js';

/** @typedef {import('./drawing.js').Theme & {grid: string}} DrawnTheme */

/** @type {Map<string, DrawnTheme>} reading a style makes the browser compute it: once a theme is enough */
const known = new Map();

/**
 * @param {number} ratio canvas pixels of a CSS pixel
 * @returns {DrawnTheme}
 */
export function drawnTheme(ratio) {
  const name = `${theme.get()} ${ratio}`;
  const before = known.get(name);
  if (before) return before;
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ variable) => style.getPropertyValue(variable).trim();
  const drawn = {
    ink: colour('--ink-2'),
    faint: colour('--ink-3'),
    warn: colour('--bad'),
    grid: colour('--line'),
    paper: colour('--bg'),
    font: `${11 * ratio}px system-ui, sans-serif`,
  };
  known.set(name, drawn);
  return drawn;
}
