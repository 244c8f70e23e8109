// The frame around every place.
import { html } from '../parts/html.js';
import { lazy } from '../parts/lazy.js';
import { Runs } from '../places/runs.js';
import { router } from '../state/router.js';
import { useStore } from '../state/use_store.js';
import { TopBar } from './top_bar.js';

const Run = lazy(() => import('../places/run.js').then((module) => module.Run));
const Compare = lazy(() => import('../places/compare.js').then((module) => module.Compare));
const SavedView = lazy(() => import('../places/saved_view.js').then((module) => module.SavedView));

/** The whole page. */
export function Shell() {
  const { place, query } = useStore(router);
  return html`
    <${TopBar} place=${place} />
    <main id="main" tabindex="-1">${content(place, query)}</main>
  `;
}

/**
 * @param {import('../state/places.js').Place} place
 * @param {URLSearchParams} query
 */
function content(place, query) {
  switch (place.name) {
    case 'runs':
      return html`<${Runs} key=${`e/${place.experimentId}`} experimentId=${place.experimentId} query=${query} />`;
    case 'run':
      return html`<${Run} key=${place.runId} runId=${place.runId} query=${query} />`;
    case 'compare':
      return html`<${Compare} query=${query} />`;
    case 'view':
      return html`<${SavedView} viewId=${place.viewId} />`;
    default:
      return html`<p class="face">There is nothing at this address. <a href="./">All runs</a></p>`;
  }
}
