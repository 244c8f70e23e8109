// The table of runs, of an experiment or of all.
import { html } from '../parts/html.js';

/** @param {{experimentId: string, query: URLSearchParams}} _props */
export function Runs(_props) {
  return html`<h1>Runs</h1>`;
}
