// How charts are shown: for all panels of a tab.
import { useState } from 'preact/hooks';
import { html } from '../parts/html.js';

/** @typedef {import('../state/chart_view.js').ChartView} ChartView */

/**
 * The slider is finer where smoothing is strong: 0 to 100 <-> 0 to 0.999.
 * @param {number} place
 */
export const strengthAt = (place) => (place <= 0 ? 0 : Number((1 - 10 ** ((-3 * place) / 100)).toFixed(4)));

/** @param {number} strength */
export const placeOf = (strength) => (strength <= 0 ? 0 : Math.round((-100 / 3) * Math.log10(1 - strength)));

/**
 * @param {{view: ChartView, onView: (change: Partial<ChartView>) => void, keys: string[], ranks: number[], smoothing: string, status: string, isLive: boolean,
 *   isZoomed: boolean, find: string, onFind: (text: string) => void}} props
 */
export function Toolbar({ view, onView, keys, ranks, smoothing, status, isLive, isZoomed, find, onFind }) {
  return html`
    <div class="chart-bar" role="toolbar" aria-label="Settings of the charts">
      <input type="search" placeholder="Find a metric" aria-label="Find a metric" value=${find} onInput=${(/** @type {InputEvent} */ event) => onFind(textOf(event))} />
      <label>x <select aria-label="x axis" value=${view.x} onChange=${(/** @type {Event} */ event) => onView({ x: textOf(event), zoom: null })}>
        <option value="step">step</option><option value="time">time</option><option value="relative">relative time</option>
        <optgroup label="another metric">${keys.slice(0, 200).map((key) => html`<option value=${`metric:${key}`} selected=${view.x === `metric:${key}`}>${key}</option>`)}</optgroup>
      </select></label>
      <${Switch} label="log x" on=${view.log_x} set=${(/** @type {boolean} */ on) => onView({ log_x: on })} />
      <${Switch} label="log y" on=${view.log_y} set=${(/** @type {boolean} */ on) => onView({ log_y: on })} />
      <${Switch} label="clip outliers" on=${view.clip} set=${(/** @type {boolean} */ on) => onView({ clip: on })} />
      <label class="smooth" title=${smoothing}>smooth
        <input type="range" min="0" max="100" aria-label="Smoothing" aria-valuetext=${smoothing} value=${placeOf(view.smooth)}
          onInput=${(/** @type {InputEvent} */ event) => onView({ smooth: strengthAt(Number(textOf(event))) })} />
        <span class="number">${view.smooth ? view.smooth.toFixed(view.smooth > 0.99 ? 3 : 2) : 'off'}</span>
      </label>
      ${ranks.length > 1 && html`<${RankChoice} view=${view} onView=${onView} ranks=${ranks} />`}
      ${isZoomed && html`<button onClick=${() => onView({ zoom: null })}>Show everything</button>`}
      <span class="spacer"></span>
      <span class="status ${isLive ? 'running' : ''}" role="status">${isLive && html`<i aria-hidden="true"></i>`}${status}</span>
    </div>
  `;
}

/** @param {{label: string, on: boolean, set: (on: boolean) => void}} props */
function Switch({ label, on, set }) {
  return html`<button class="switch" aria-pressed=${on} onClick=${() => set(!on)}>${label}</button>`;
}

/** @param {{view: ChartView, onView: (change: Partial<ChartView>) => void, ranks: number[]}} props */
function RankChoice({ view, onView, ranks }) {
  const isSome = view.ranks !== 'band' && view.ranks !== 'all';
  const [text, setText] = useState(isSome ? view.ranks : '');
  const choose = (/** @type {string} */ value) => onView({ ranks: value === 'some' ? (text || String(ranks[0])) : value });
  return html`
    <label>ranks <select aria-label="Ranks" value=${isSome ? 'some' : view.ranks} onChange=${(/** @type {Event} */ event) => choose(textOf(event))}>
      <option value="band">band over ${ranks.length}</option><option value="all">each rank</option><option value="some">some…</option>
    </select></label>
    ${isSome && html`<input type="text" class="some-ranks" aria-label="Ranks to draw, with commas between them" value=${view.ranks} onChange=${(/** @type {Event} */ event) => {
      const chosen = textOf(event).split(/[,\s]+/).filter((one) => ranks.includes(Number(one)) && one !== '').join(',');
      setText(chosen);
      onView({ ranks: chosen || 'band' });
    }} />`}
  `;
}

/** @param {Event} event */
const textOf = (event) => /** @type {HTMLInputElement} */ (event.target).value;
