// Several runs next to each other.
import { html } from '../parts/html.js';

/** @param {{query: URLSearchParams}} _props */
export function Compare(_props) {
  return html`<h1>Compare</h1>`;
}
