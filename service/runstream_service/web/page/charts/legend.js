// Which colour is which run or rank: once for all panels.
import { html } from '../parts/html.js';
import { strokeOf } from '../state/colours.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';

const MOST = 40;

/** @param {{runs: import('../api/types.js').Run[], ranks: number[]}} props ranks: those with lines of their own */
export function Legend({ runs, ranks }) {
  const shown = useStore(theme);
  const entries = runs.length > 1 ? runs.map((run) => ({ id: run.run_id, name: run.name })) : ranks.map((rank) => ({ id: `rank ${rank}`, name: `rank ${rank}` }));
  if (entries.length < 2 && ranks.length === 0) return null;
  return html`
    <ul class="legend" aria-label="Colours">
      ${entries.slice(0, MOST).map(({ id, name }) => html`<li key=${id} title=${name}><${Swatch} stroke=${strokeOf(id, shown)} />${name}</li>`)}
      ${entries.length > MOST && html`<li class="quiet">and ${entries.length - MOST} more</li>`}
    </ul>`;
}

/** @param {{stroke: import('../state/colours.js').Stroke}} props */
function Swatch({ stroke }) {
  return html`<svg width="18" height="8" aria-hidden="true"><line x1="0" x2="18" y1="4" y2="4" stroke=${stroke.colour} stroke-width="3" stroke-dasharray=${stroke.dash.join(' ')} /></svg>`;
}
