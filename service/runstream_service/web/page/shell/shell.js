// The frame around every place.
import { useEffect, useState } from 'preact/hooks';
import { isSignedOut } from '../api/http.js';
import { html } from '../parts/html.js';
import { lazy } from '../parts/lazy.js';
import { Runs } from '../places/runs.js';
import { isAway, loadExperiments } from '../state/experiments.js';
import { keep, readKept } from '../state/kept.js';
import { router } from '../state/router.js';
import { chooseTheme, theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { Help } from './help.js';
import { Palette } from './palette.js';
import { SideList } from './side_list.js';
import { signInUrl, Toasts } from './toasts.js';
import { TopBar } from './top_bar.js';

const Run = lazy(() => import('../places/run.js').then((module) => module.Run));
const Compare = lazy(() => import('../places/compare.js').then((module) => module.Compare));
const SavedView = lazy(() => import('../places/saved_view.js').then((module) => module.SavedView));

/** Below this width, the side list lies above the page and begins closed. */
const NARROW = matchMedia('(max-width: 800px)');

/** What is opened next from the table of runs. */
export const preloadPlaces = () => (Run.preload(), Compare.preload());

/** The whole page. */
export function Shell() {
  const { place, query } = useStore(router);
  const [above, setAbove] = useState(/** @type {'' | 'palette' | 'help'} */ (''));
  const [isSideOpen, setSideOpen] = useState(!NARROW.matches && readKept('side', true));
  const hasSide = place.name === 'runs';
  const toggleSide = () => {
    setSideOpen(!isSideOpen);
    if (!NARROW.matches) keep('side', !isSideOpen);
  };
  useKeys({ 'ctrl+k': () => setAbove('palette'), '?': () => setAbove('help'), '[': toggleSide, t: toggleTheme });
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <${TopBar} hasSide=${hasSide} isSideOpen=${isSideOpen} onSide=${toggleSide}
      onPalette=${() => setAbove('palette')} onHelp=${() => setAbove('help')} />
    <${Away} />
    <div class="below-bar">
      ${hasSide && isSideOpen && html`<${SideList} current=${/** @type {any} */ (place).experimentId} onGo=${() => NARROW.matches && setSideOpen(false)} />`}
      <main id="main" tabindex="-1">${content(place, query)}</main>
    </div>
    ${above === 'palette' && html`<${Palette} onClose=${() => setAbove('')} onHelp=${() => setAbove('help')} />`}
    ${above === 'help' && html`<${Help} onClose=${() => setAbove('')} />`}
    <${Toasts} />
  `;
}

const toggleTheme = () => chooseTheme(theme.get() === 'dark' ? 'light' : 'dark');

/** Says why nothing is up to date: nobody is signed in any more, or the service does not answer. */
function Away() {
  const away = useStore(isAway);
  const signedOut = useStore(isSignedOut);
  useEffect(() => {
    if (!away) return undefined;
    const timer = setInterval(() => void loadExperiments(), 3_000);
    return () => clearInterval(timer);
  }, [away]);
  if (signedOut) {
    return html`<p class="banner" role="alert">You are signed out, or your session has ended. This page is not updated any more. <a class="link" href=${signInUrl()}>Sign in</a></p>`;
  }
  return away ? html`<p class="banner" role="status">The service does not respond. This page shows what it last received, and reconnects automatically.</p>` : null;
}

/**
 * Keys that work everywhere, but for those that type.
 * @param {Record<string, () => void>} keys
 */
function useKeys(keys) {
  useEffect(() => {
    const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
      const name = `${event.ctrlKey || event.metaKey ? 'ctrl+' : ''}${event.key.toLowerCase()}`;
      const action = keys[name];
      if (!action || event.altKey || event.defaultPrevented || (!name.startsWith('ctrl+') && isTyping(event))) return;
      event.preventDefault();
      action();
    };
    document.addEventListener('keydown', onKeyDown);
    return () => document.removeEventListener('keydown', onKeyDown);
  });
}

/** @param {KeyboardEvent} event */
const isTyping = (event) => /** @type {Element} */ (event.target).matches('input, textarea, select, [contenteditable], dialog *');

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
      return html`<div class="face"><h2>There is nothing at this address</h2><p><a href="./">All runs</a></p></div>`;
  }
}
