// What is on screen is in the URL: the path is the place, the query string its state.
import { showColours } from './colours.js';
import { placeOf } from './places.js';
import { createStore } from './store.js';

/** @typedef {{place: import('./places.js').Place, query: URLSearchParams, key: string}} Location */

const base = () => new URL(document.baseURI);

/** @returns {Location} */
function read() {
  const path = location.pathname.slice(base().pathname.length);
  showColours(new URLSearchParams(location.search).get('colours'));
  return { place: placeOf(path), query: new URLSearchParams(location.search), key: path };
}

/** Where the page is. */
export const router = createStore(/** @type {Location} */ ({ place: { name: 'runs', experimentId: '' }, query: new URLSearchParams(), key: '' }));

/**
 * Goes to a path below the base, with its query string.
 * @param {string} path
 * @param {{replace?: boolean}} [how] replace: without a step in the browser's history
 */
export function navigate(path, how = {}) {
  const url = new URL(path, base());
  if (url.href === location.href) return;
  history[how.replace ? 'replaceState' : 'pushState'](null, '', url);
  router.set(read());
}

/**
 * Changes the query string of the place: null takes a name out.
 * @param {Record<string, string | null>} changes
 * @param {{replace?: boolean}} [how]
 */
export function setQuery(changes, how = { replace: true }) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') query.delete(name);
    else query.set(name, value);
  }
  const text = shortQuery(query);
  navigate(location.pathname + (text ? `?${text}` : ''), how);
}

/**
 * A query string that people can read: what needs no escape in it is not escaped.
 * @param {URLSearchParams} query
 */
export function shortQuery(query) {
  return query.toString().replace(/%(?:2F|3A|2C|40|28|29|7E|27|21)/g, decodeURIComponent);
}

/** Follows links of the page, and the browser's buttons. */
export function startRouter() {
  addEventListener('popstate', () => router.set(read()));
  document.addEventListener('click', (event) => {
    const link = /** @type {Element} */ (event.target).closest?.('a[href]');
    if (!link || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || link.getAttribute('target')) return;
    const url = new URL(/** @type {HTMLAnchorElement} */ (link).href);
    if (url.origin !== base().origin || !url.pathname.startsWith(base().pathname)) return;
    if (placeOf(url.pathname.slice(base().pathname.length)).name === 'unknown') return;
    event.preventDefault();
    navigate(url.pathname.slice(base().pathname.length) + url.search || './');
  });
  router.set(read());
}
