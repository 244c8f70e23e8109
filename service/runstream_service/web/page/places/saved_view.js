// A saved view leads to what was saved.
import { html } from '../parts/html.js';

/** @param {{viewId: string}} _props */
export function SavedView(_props) {
  return html`<h1>View</h1>`;
}
