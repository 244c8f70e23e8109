// A small menu below a button.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';

/** @typedef {{label: string, run: () => void}} Entry */

/** @param {{label: string, entries: () => Entry[], text?: string}} props text: of the button, instead of dots */
export function Menu({ label, entries, text = '⋯' }) {
  const [shown, setShown] = useState(/** @type {Entry[] | null} */ (null));
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!shown) return;
    box.current?.querySelector('[role=menu]')?.scrollIntoView({ block: 'nearest' }); // it may end below the window
    /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector('[role=menuitem]'))?.focus({ preventScroll: true });
    const close = (/** @type {Event} */ event) => {
      if (!box.current?.contains(/** @type {Node} */ (event.target))) setShown(null);
    };
    addEventListener('pointerdown', close);
    return () => removeEventListener('pointerdown', close);
  }, [shown]);
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (!shown) return;
    event.stopPropagation();
    if (event.key === 'Escape') {
      setShown(null);
      box.current?.querySelector('button')?.focus();
    }
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      const items = /** @type {HTMLElement[]} */ ([...(box.current?.querySelectorAll('[role=menuitem]') ?? [])]);
      const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
      items[(at + (event.key === 'ArrowDown' ? 1 : -1) + items.length) % items.length].focus();
    }
  };
  return html`
    <div class="menu" ref=${box} onKeyDown=${onKeyDown}>
      <button class="plain icon" aria-label=${label} aria-haspopup="menu" aria-expanded=${shown !== null} onClick=${() => setShown(shown ? null : entries())}>${text}</button>
      ${shown && html`<div role="menu" aria-label=${label}>
        ${shown.map((entry) => html`<button role="menuitem" class="plain" onClick=${() => (setShown(null), entry.run())}>${entry.label}</button>`)}
      </div>`}
    </div>
  `;
}
