// The ranks of a run.
import { html } from '../parts/html.js';

/** @param {import('./run_charts.js').ChartsProps} _props */
export function Ranks(_props) {
  return html`<div class="ranks"></div>`;
}
