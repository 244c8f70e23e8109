// One run: what it is in one line, then its charts, ranks, params and notes.
import { useEffect, useState } from 'preact/hooks';
import { events } from '../api/events.js';
import { readOverview } from '../api/overviews.js';
import { Ranks } from '../charts/ranks.js';
import { RunCharts } from '../charts/run_charts.js';
import { html } from '../parts/html.js';
import { signInUrl } from '../shell/toasts.js';
import { readView, writeView } from '../state/chart_view.js';
import { setQuery } from '../state/router.js';
import { RunHead } from './run_head.js';
import { Notes, ParamsAndTags } from './run_texts.js';

/** @typedef {import('../api/types.js').Overview} Overview */

const TABS = /** @type {const} */ ([
  ['charts', 'Charts'],
  ['ranks', 'Ranks'],
  ['system', 'System'],
  ['params', 'Params'],
  ['notes', 'Notes'],
]);
/** How often rates and series of a running run are requested, in milliseconds. */
const EVERY_MS = 5_000;

/** @param {{runId: string, query: URLSearchParams}} props */
export function Run({ runId, query }) {
  const { overview, error, connection, reload } = useOverview(runId);
  const name = overview?.run.name ?? '';
  useEffect(() => void (document.title = name ? `${name} · runstream` : 'runstream'), [name]);
  if (!overview) return error ? html`<${Missing} error=${error} onRetry=${reload} />` : html`<div class="loading" aria-busy="true"></div>`;
  const tab = TABS.find(([id]) => id === query.get('tab'))?.[0] ?? 'charts';
  return html`
    <${RunHead} overview=${overview} isAway=${connection === 'reconnecting' || (error !== null && error.status !== 401)} onChanged=${reload} />
    <${Tabs} tab=${tab} overview=${overview} />
    <section id="tab" class="tab" role="tabpanel" aria-labelledby=${`tab-${tab}`} tabindex="0">${content(tab, overview, query, reload)}</section>
  `;
}

/**
 * @param {string} tab
 * @param {Overview} overview
 * @param {URLSearchParams} query
 * @param {() => void} onChanged
 */
function content(tab, overview, query, onChanged) {
  if (tab === 'params') return html`<${ParamsAndTags} run=${overview.run} onChanged=${onChanged} />`;
  if (tab === 'notes') return html`<${Notes} run=${overview.run} onChanged=${onChanged} />`;
  const view = readView(query);
  const props = { runs: [overview.run], overview, view, onView: (/** @type {any} */ change) => setQuery(writeView({ ...view, ...change })) };
  if (tab === 'ranks') return html`<${Ranks} ...${props} />`;
  if (overview.series.length === 0) return html`<${NoPoints} overview=${overview} />`;
  return html`<${RunCharts} key=${tab} ...${props} prefix=${tab === 'system' ? 'system/' : undefined} />`;
}

/** @param {{tab: string, overview: Overview}} props */
function Tabs({ tab, overview }) {
  const go = (/** @type {string} */ id) => setQuery({ tab: id === 'charts' ? null : id });
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.findIndex(([id]) => id === tab) + step + TABS.length) % TABS.length];
    if (!next) return;
    go(next[0]);
    document.getElementById(`tab-${next[0]}`)?.focus();
  };
  return html`
    <div class="tabs" role="tablist" aria-label="Parts of the run" onKeyDown=${onKeyDown}>
      ${TABS.map(([id, label]) => html`
        <button key=${id} id=${`tab-${id}`} role="tab" aria-selected=${id === tab} aria-controls="tab" tabindex=${id === tab ? 0 : -1} onClick=${() => go(id)}>
          ${label}${id === 'ranks' && overview.ranks.length > 1 && html`<span class="count">${overview.ranks.length}</span>`}
        </button>
      `)}
    </div>
  `;
}

/** @param {{overview: Overview}} props */
function NoPoints({ overview }) {
  const isRunning = overview.run.status === 'running';
  return html`
    <div class="face">
      <h2>No points yet</h2>
      <p>${isRunning ? 'Metrics appear here as soon as the run logs them:' : 'This run has logged no metrics. To log one:'}</p>
      <pre>run.log({"loss": 0.5}, step=1)</pre>
    </div>
  `;
}

/** @param {{error: import('../api/http.js').ApiError, onRetry: () => void}} props */
function Missing({ error, onRetry }) {
  const isNone = error.status === 404 || error.status === 400; // of a link that was cut off
  return html`
    <div class="face" role="alert">
      <h2>${isNone ? 'There is no such run' : 'The run could not be loaded'}</h2>
      <p>${isNone ? 'The link may be incomplete, or the run was purged.' : error.message}</p>
      <div class="actions">
        ${error.status === 401 && html`<a class="button primary" href=${signInUrl()}>Sign in</a>`}
        ${error.status !== 401 && !isNone && html`<button onClick=${onRetry}>Try again</button>`}
        <a class="button" href="./">All runs</a>
      </div>
    </div>
  `;
}

/**
 * The run, kept up to date: its state by events, its series and its rate every few seconds.
 * @param {string} runId
 */
function useOverview(runId) {
  const [overview, setOverview] = useState(/** @type {Overview | null} */ (null));
  const [error, setError] = useState(/** @type {import('../api/http.js').ApiError | null} */ (null));
  const [connection, setConnection] = useState('connecting');
  const [wanted, setWanted] = useState(0);
  const isRunning = overview?.run.status === 'running';
  useEffect(() => {
    const abort = new AbortController();
    const load = () =>
      readOverview(runId, abort.signal).then(
        (found) => (setOverview(found), setError(null)),
        (problem) => abort.signal.aborted || setError(problem),
      );
    void load();
    const timer = isRunning || error?.isTemporary ? setInterval(() => document.hidden || void load(), EVERY_MS) : undefined;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [runId, isRunning, wanted, error?.isTemporary]);
  useEffect(
    () =>
      events.watch([runId], {
        run: (run) => setOverview((before) => before && { ...before, run: { ...before.run, ...run } }),
        connection: setConnection,
      }),
    [runId],
  );
  return { overview, error, connection, reload: () => setWanted((count) => count + 1) };
}
