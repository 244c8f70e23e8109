// Saved views: states of the page under names that everybody in the workspace sees.
import { getJson, sendJson } from '../api/http.js';
import { createStore } from './store.js';

/** @typedef {import('../api/types.js').View} View */

/** Null until they are loaded. */
export const views = createStore(/** @type {View[] | null} */ (null));

export async function loadViews() {
  views.set((await getJson('views')).views);
}

/** What is on screen: the path below the base, with its query string. */
export const currentState = () => location.pathname.slice(new URL(document.baseURI).pathname.length - 1) + location.search;

/**
 * The link to what was saved. It stays below the base, whatever somebody has stored.
 * @param {View} view
 */
export const viewPath = (view) => `./${view.state.replace(/^\/+/, '')}`;

/** @param {string} name */
export async function saveView(name) {
  const { view } = await sendJson('POST', 'views', { name, state: currentState() });
  await loadViews();
  return /** @type {View} */ (view);
}

/**
 * @param {string} viewId
 * @param {{name?: string, state?: string}} changes
 */
export async function changeView(viewId, changes) {
  await sendJson('PUT', `views/${encodeURIComponent(viewId)}`, changes);
  await loadViews();
}

/** @param {string} viewId */
export async function deleteView(viewId) {
  await sendJson('DELETE', `views/${encodeURIComponent(viewId)}`);
  await loadViews();
}
