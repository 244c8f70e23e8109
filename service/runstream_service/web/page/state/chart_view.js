// How charts are shown <-> the query string. Defaults are left out, so that links stay short.

/**
 * @typedef {object} ChartView
 * @property {string} x 'step', 'time', 'relative' or 'metric:<key>'
 * @property {boolean} log_x
 * @property {boolean} log_y
 * @property {number} smooth 0 to 0.999
 * @property {boolean} clip outliers
 * @property {[number, number] | null} zoom
 * @property {string} ranks 'band', 'all' or ranks with commas between them
 * @property {Record<string, any>} panels what was moved, resized, hidden
 */

/** @type {ChartView} */
export const DEFAULT_VIEW = { x: 'step', log_x: false, log_y: false, smooth: 0, clip: false, zoom: null, ranks: 'band', panels: {} };

/**
 * @param {URLSearchParams} query
 * @returns {ChartView}
 */
export function readView(query) {
  const log = query.get('log') ?? '';
  return {
    x: query.get('x') || DEFAULT_VIEW.x,
    log_x: log.includes('x'),
    log_y: log.includes('y'),
    smooth: readSmooth(query.get('smooth')),
    clip: query.get('clip') === '1',
    zoom: readZoom(query.get('zoom')),
    ranks: query.get('ranks') || DEFAULT_VIEW.ranks,
    panels: readPanels(query.get('panels')),
  };
}

/**
 * The view as changes of the query string; null takes a name out.
 * @param {ChartView} view
 * @returns {Record<string, string | null>}
 */
export function writeView(view) {
  const log = (view.log_x ? 'x' : '') + (view.log_y ? 'y' : '');
  return {
    x: view.x === DEFAULT_VIEW.x ? null : view.x,
    log: log || null,
    smooth: view.smooth > 0 ? String(view.smooth) : null,
    clip: view.clip ? '1' : null,
    zoom: view.zoom ? view.zoom.join('~') : null,
    ranks: view.ranks === DEFAULT_VIEW.ranks ? null : view.ranks,
    panels: Object.keys(view.panels).length > 0 ? JSON.stringify(view.panels) : null,
  };
}

/** @param {string | null} text */
function readSmooth(text) {
  const value = Number(text ?? 0);
  return value > 0 && value < 1 ? Math.min(value, 0.999) : 0;
}

/**
 * @param {string | null} text
 * @returns {[number, number] | null}
 */
function readZoom(text) {
  const [low = NaN, high = NaN] = (text ?? '').split('~').map(Number);
  return text && low < high ? [low, high] : null;
}

/** @param {string | null} text */
function readPanels(text) {
  try {
    const panels = JSON.parse(text ?? '{}');
    return panels !== null && typeof panels === 'object' && !Array.isArray(panels) ? panels : {};
  } catch {
    return {}; // a link that was cut off
  }
}
