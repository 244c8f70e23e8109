// Short messages about what somebody just did.
import { html } from '../parts/html.js';
import { closeIcon } from '../parts/icons.js';
import { createStore } from '../state/store.js';
import { useStore } from '../state/use_store.js';

/** @typedef {{id: number, kind: 'done' | 'error', text: string, action?: {label: string, run: () => void}}} Toast */

/** More than these would cover the page. */
const MOST = 3;
const SHOWN_MS = 6_000;
const toasts = createStore(/** @type {Toast[]} */ ([]));
let last = 0;

/**
 * @param {Omit<Toast, 'id'>} toast
 */
function show(toast) {
  const id = ++last;
  toasts.set([...toasts.get(), { ...toast, id }].slice(-MOST));
  // An error stays until it is read.
  if (toast.kind === 'done') setTimeout(() => dismiss(id), SHOWN_MS);
}

/** @param {number} id */
function dismiss(id) {
  toasts.set(toasts.get().filter((toast) => toast.id !== id));
}

/**
 * @param {string} text
 * @param {Toast['action']} [action]
 */
export const tell = (text, action) => show({ kind: 'done', text, action });

/**
 * What did not work, and what the service says about it.
 * @param {string} what
 * @param {any} error
 */
export function tellError(what, error) {
  if (error?.name === 'AbortError') return;
  const action = error?.status === 401 ? { label: 'Sign in', run: () => location.assign(signInUrl()) } : undefined;
  show({ kind: 'error', text: `${what}: ${error?.message ?? error}`, action });
}

/** The URL of the sign-in page, which leads back to the current page. */
export function signInUrl() {
  const base = new URL(document.baseURI);
  const here = location.pathname.slice(base.pathname.length - 1) + location.search;
  return `${base.href}signin?next=${encodeURIComponent(here)}`;
}

/** All that are shown now. */
export function Toasts() {
  return html`<div class="toasts" role="status">${useStore(toasts).map(
    ({ id, kind, text, action }) => html`
      <div key=${id} class=${`toast ${kind}`}>
        <p>${text}</p>
        ${action && html`<button onClick=${() => (action.run(), dismiss(id))}>${action.label}</button>`}
        <button class="plain" aria-label="Dismiss" onClick=${() => dismiss(id)}>${closeIcon()}</button>
      </div>
    `,
  )}</div>`;
}
