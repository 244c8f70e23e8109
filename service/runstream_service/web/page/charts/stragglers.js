// Which ranks are slow: the two scores of NVIDIA's resiliency extension, from the service.
import { useState } from 'preact/hooks';
import { getJson } from '../api/http.js';
import { formatTimeAgo } from '../parts/format.js';
import { html } from '../parts/html.js';
import { grouped } from './axes.js';
import { useRefreshed } from './refresh.js';

/**
 * @typedef {object} Straggler
 * @property {number} rank
 * @property {number | null} relative to the best rank: 1 is as fast
 * @property {number | null} individual to its own best
 * @property {number | null} slow_since_step
 * @property {number | null} slow_since_us
 */

/** @typedef {{key: string, window_steps: number, threshold: number, ranks: Straggler[]}} Stragglers */

const REFRESH_MS = 15_000;
const MOST_ROWS = 64;

/** @param {{runId: string, metric: string, isRunning: boolean, onRank: (rank: number) => void}} props */
export function StragglersTable({ runId, metric, isRunning, onRank }) {
  const { answer, error } = useStragglers(runId, metric, isRunning);
  if (error) return html`<p class="quiet" role="alert">${error}</p>`;
  if (!answer) return html`<p class="quiet" aria-busy="true">Reading…</p>`;
  const ranks = [...answer.ranks].sort((a, b) => worst(a) - worst(b));
  const slow = ranks.filter((rank) => worst(rank) < answer.threshold);
  return html`
    <section class="stragglers">
      <h2>${slow.length === 0 ? 'No rank is slow' : slow.length === 1 ? `Rank ${slow[0].rank} is slow` : `${slow.length} of ${ranks.length} ranks are slow`}</h2>
      <p class="quiet">Medians of ${metric} over the last ${grouped(answer.window_steps)} steps. The relative score is the time of the fastest rank, divided by that of this rank; the
        individual score is this rank's own best time, divided by its current one. A rank is slow if one of them is below ${answer.threshold}.</p>
      <table>
        <thead><tr><th scope="col">rank</th><th scope="col">relative</th><th scope="col">individual</th><th scope="col">slow since</th></tr></thead>
        <tbody>${ranks.slice(0, MOST_ROWS).map((rank) => html`
          <tr class=${worst(rank) < answer.threshold ? 'slow' : ''}>
            <th scope="row"><button class="plain" onClick=${() => onRank(rank.rank)}>rank ${rank.rank}</button></th>
            <td><${Score} value=${rank.relative} threshold=${answer.threshold} /></td>
            <td><${Score} value=${rank.individual} threshold=${answer.threshold} /></td>
            <td>${since(rank)}</td>
          </tr>`)}</tbody>
      </table>
      ${ranks.length > MOST_ROWS && html`<p class="quiet">${ranks.length - MOST_ROWS} faster ranks are not listed.</p>`}
    </section>`;
}

/** @param {Straggler} rank */
const worst = ({ relative, individual }) => Math.min(relative ?? 1, individual ?? 1);

/** @param {Straggler} rank */
function since({ slow_since_step, slow_since_us }) {
  if (slow_since_step === null) return '–';
  return `step ${grouped(slow_since_step)}${slow_since_us === null ? '' : `, ${formatTimeAgo(slow_since_us)}`}`;
}

/** @param {{value: number | null, threshold: number}} props */
function Score({ value, threshold }) {
  if (value === null || value === undefined) return html`<span class="quiet">–</span>`;
  return html`<span class=${value < threshold ? 'score low' : 'score'}><i style=${`width: ${Math.round(60 * Math.min(value, 1))}px`}></i>${value.toFixed(2)}</span>`;
}

/**
 * @param {string} runId
 * @param {string} metric
 * @param {boolean} isRunning
 */
function useStragglers(runId, metric, isRunning) {
  const [state, setState] = useState({ answer: /** @type {Stragglers | null} */ (null), error: '' });
  const read = (/** @type {AbortSignal} */ signal) =>
    getJson(`runs/${runId}/stragglers`, { key: metric }, { signal }).then(
      (answer) => setState({ answer, error: '' }),
      (error) => signal.aborted || setState((before) => ({ answer: before.answer, error: before.answer ? '' : error.message })),
    );
  useRefreshed(read, { isRunning, everyMs: REFRESH_MS }, [runId, metric]);
  return state;
}
