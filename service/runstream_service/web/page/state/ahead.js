// What a person probably does next is prepared: modules while nothing happens, a run when the pointer rests on its link.
import { askOverviewEarly } from '../api/overviews.js';
import { placeOf } from './places.js';

/** A pointer that only passes over a link is gone by then. */
const RESTS_MS = 60;
/** The first paint is over, and its requests. */
const AFTER_MS = 3_000;

/**
 * @param {() => void} loadModules those of the page of a run
 */
export function startAhead(loadModules) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const prepare = (/** @type {string} */ runId) => (loadModules(), askOverviewEarly(runId));
  document.addEventListener('pointerover', (event) => {
    clearTimeout(timer);
    const runId = runOf(event);
    if (runId) timer = setTimeout(prepare, RESTS_MS, runId);
  });
  document.addEventListener('pointerdown', (event) => {
    const runId = event.button === 0 ? runOf(event) : '';
    if (runId) prepare(runId);
  });
  const isCostly = /** @type {any} */ (navigator).connection?.saveData;
  if (!isCostly) setTimeout(() => whenIdle(loadModules), AFTER_MS);
}

/** @param {() => void} action */
const whenIdle = (action) => ('requestIdleCallback' in window ? requestIdleCallback(action) : action());

/**
 * The run that a link leads to, if the pointer is a mouse's: who scrolls with a finger touches links, too.
 * @param {PointerEvent} event
 */
function runOf(event) {
  const link = event.pointerType === 'mouse' ? /** @type {Element} */ (event.target).closest?.('a[href]') : null;
  if (!link) return '';
  const [url, base] = [new URL(/** @type {HTMLAnchorElement} */ (link).href), new URL(document.baseURI)];
  if (url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) return '';
  const place = placeOf(url.pathname.slice(base.pathname.length));
  return place.name === 'run' ? place.runId : '';
}
