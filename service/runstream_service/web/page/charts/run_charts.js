// All panels of one run or of several.
import { html } from '../parts/html.js';

/**
 * @typedef {object} ChartsProps
 * @property {import('../api/types.js').Run[]} runs
 * @property {import('../api/types.js').Overview} [overview] of the run, if it is one
 * @property {import('../state/chart_view.js').ChartView} view
 * @property {(change: Partial<import('../state/chart_view.js').ChartView>) => void} onView
 * @property {string} [prefix] only metrics that begin with it
 */

/** @param {ChartsProps} _props */
export function RunCharts(_props) {
  return html`<div class="charts"></div>`;
}
