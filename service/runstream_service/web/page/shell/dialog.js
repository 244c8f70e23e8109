// A dialog above the page: Escape closes it, and focus stays inside while it is open.
import { useLayoutEffect, useRef } from 'preact/hooks';
import { html } from '../parts/html.js';

/**
 * @param {{title: string, onClose: () => void, className?: string, hidesTitle?: boolean, children: any}} props
 */
export function Dialog({ title, onClose, className = '', hidesTitle = false, children }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  // At once, so that the next key press already goes to the dialog.
  useLayoutEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    ref.current?.showModal();
    return () => before?.focus?.();
  }, []);
  const onClick = (/** @type {MouseEvent} */ event) => event.target === ref.current && onClose();
  return html`
    <dialog ref=${ref} class=${className} aria-label=${title} onClose=${onClose} onClick=${onClick}>
      ${!hidesTitle && html`<h2>${title}</h2>`} ${children}
    </dialog>
  `;
}
