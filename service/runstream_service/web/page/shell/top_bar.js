// The one bar on top.
import { html } from '../parts/html.js';

/** @param {{place: import('../state/places.js').Place}} _props */
export function TopBar(_props) {
  return html`<header class="top-bar"><a class="home" href="./">runstream</a><a href="mlflow/">MLflow</a></header>`;
}
