// Two parts side by side; the line between them can be dragged, or moved with the arrows of the keyboard.
import { useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { keep, readKept } from '../state/kept.js';

const LEAST = 0.2;

/** @param {{name: string, left: any, right: any}} props */
export function Split({ name, left, right }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [share, setShare] = useState(/** @type {number} */ (readKept(`split.${name}`, 0.45)));
  const move = (/** @type {number} */ next) => {
    const within = Math.min(1 - LEAST, Math.max(LEAST, next));
    setShare(within);
    keep(`split.${name}`, within);
  };
  const onPointerDown = (/** @type {PointerEvent} */ event) => /** @type {Element} */ (event.currentTarget).setPointerCapture(event.pointerId);
  const onPointerMove = (/** @type {PointerEvent} */ event) => {
    if (!(/** @type {Element} */ (event.currentTarget).hasPointerCapture(event.pointerId)) || !box.current) return;
    const { left: start, width } = box.current.getBoundingClientRect();
    move((event.clientX - start) / width);
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    move(share + (event.key === 'ArrowLeft' ? -0.02 : 0.02));
    event.preventDefault();
  };
  return html`
    <div class="split" ref=${box} style=${{ '--share': `${share * 100}%` }}>
      <div class="part">${left}</div>
      <div class="divider" role="separator" tabindex="0" aria-orientation="vertical" aria-label="Width of the table" aria-valuenow=${Math.round(share * 100)}
        aria-valuemin="20" aria-valuemax="80" onPointerDown=${onPointerDown} onPointerMove=${onPointerMove} onKeyDown=${onKeyDown}></div>
      <div class="part">${right}</div>
    </div>
  `;
}
