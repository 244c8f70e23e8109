// A colour for a run by hand: from the palette that colour-blind people can tell apart, or any other.
import { html } from '../parts/html.js';
import { chosenColours, RING, strokeAt, strokeOf, writeColours } from '../state/colours.js';
import { setQuery } from '../state/router.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { Dialog } from './dialog.js';

/** Colours of the palette, and what their dashes are called. */
const NAMES = ['blue', 'vermilion', 'green', 'purple', 'orange', 'sky blue', 'grey'];
const DASHES = ['', ', dashed', ', dotted', ', dash and dot'];

/** @param {{id: string, name: string, onClose: () => void}} props id: of a run, or `rank 3` */
export function ColourDialog({ id, name, onClose }) {
  const shown = useStore(theme);
  const chosen = useStore(chosenColours);
  const now = chosen.get(id);
  const choose = (/** @type {import('../state/colours.js').Choice | null} */ choice) => {
    const next = new Map(chosen);
    if (choice === null) next.delete(id);
    else next.set(id, choice);
    setQuery({ colours: writeColours(next) || null });
  };
  const pick = (/** @type {import('../state/colours.js').Choice | null} */ choice) => (choose(choice), onClose());
  const nameOf = (/** @type {number} */ place) => `${NAMES[place % NAMES.length]}${DASHES[Math.floor(place / NAMES.length)]}`;
  return html`
    <${Dialog} title=${`Colour of ${name}`} className="colours" onClose=${onClose}>
      <div class="palette" role="group" aria-label="Colours that colour-blind people can tell apart">
        ${Array.from({ length: RING }, (_, place) => html`
          <button key=${place} class="plain" aria-label=${nameOf(place)} aria-pressed=${now === place} title=${nameOf(place)} onClick=${() => pick(place)}>
            <${Stroke} stroke=${strokeAt(place, shown)} />
          </button>`)}
      </div>
      <div class="actions">
        <label>Another <input type="color" value=${hexOf(strokeOf(id, shown).colour)} onInput=${(/** @type {any} */ event) => choose(event.target.value)} /></label>
        <span class="spacer"></span>
        ${now !== undefined && html`<button onClick=${() => pick(null)}>Automatic</button>`}
        <button class="primary" onClick=${onClose}>Done</button>
      </div>
    <//>
  `;
}

/** @param {{stroke: import('../state/colours.js').Stroke}} props */
export function Stroke({ stroke }) {
  return html`<svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" stroke=${stroke.colour} stroke-width="3" stroke-dasharray=${stroke.dash.join(' ')} /></svg>`;
}

/** @param {string} colour as an input of colours has it */
const hexOf = (colour) => (/^#[0-9a-f]{6}$/.test(colour) ? colour : '#000000');
