// Parts of the page that are loaded when they are first shown, so that the first paint needs little.
import { useEffect, useState } from 'preact/hooks';
import { html } from './html.js';

/**
 * A component that loads its module when it is first shown.
 * @param {() => Promise<import('preact').FunctionComponent<any>>} load
 * @returns {import('preact').FunctionComponent<any> & {preload: () => void}} `preload` loads the module before it is shown
 */
export function lazy(load) {
  /** @type {import('preact').FunctionComponent<any> | undefined} */
  let loaded;
  const loading = () => load().then((component) => (loaded = component));
  function Lazy(/** @type {any} */ props) {
    const [, rerender] = useState(0);
    const [error, setError] = useState('');
    useEffect(() => {
      if (loaded) return;
      loading().then(
        () => rerender(1),
        () => setError('A part of this page could not be loaded. It may have been updated: reload it.'),
      );
    }, []);
    if (error) return html`<p class="face" role="alert">${error}</p>`;
    return loaded ? html`<${loaded} ...${props} />` : html`<div class="loading" aria-busy="true"></div>`;
  }
  return Object.assign(Lazy, { preload: () => void loading().catch(() => {}) });
}
