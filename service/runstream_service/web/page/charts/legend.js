// Which colour is which run or rank: once for all panels. A click chooses another one.
import { useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { ColourDialog, Stroke } from '../shell/colour_dialog.js';
import { chosenColours, strokeOf } from '../state/colours.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';

const MOST = 40;

/** @typedef {{id: string, name: string}} Entry */

/** @param {{runs: import('../api/types.js').Run[], ranks: number[]}} props ranks: those with lines of their own */
export function Legend({ runs, ranks }) {
  const shown = useStore(theme);
  useStore(chosenColours);
  const [asked, setAsked] = useState(/** @type {Entry | null} */ (null));
  /** @type {Entry[]} */
  const entries = runs.length > 1 ? runs.map((run) => ({ id: run.run_id, name: run.name })) : ranks.map((rank) => ({ id: `rank ${rank}`, name: `rank ${rank}` }));
  if (entries.length < 2 && ranks.length === 0) return null;
  return html`
    <ul class="legend" aria-label="Colours">
      ${entries.slice(0, MOST).map((entry) => html`
        <li key=${entry.id}><button class="plain" title=${`${entry.name}: change the colour`} aria-label=${`${entry.name}: change the colour`} onClick=${() => setAsked(entry)}>
          <${Stroke} stroke=${strokeOf(entry.id, shown)} /><span class="name">${entry.name}</span>
        </button></li>`)}
      ${entries.length > MOST && html`<li class="quiet">and ${entries.length - MOST} more</li>`}
    </ul>
    ${asked && html`<${ColourDialog} ...${asked} onClose=${() => setAsked(null)} />`}`;
}
