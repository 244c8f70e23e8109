// One run.
import { html } from '../parts/html.js';

/** @param {{runId: string, query: URLSearchParams}} props */
export function Run({ runId }) {
  return html`<h1>${runId}</h1>`;
}
