// The ranks of a run: who is slow, a heat map, and the lines of single ranks.
import { useMemo, useState } from 'preact/hooks';
import { decodeCharts } from '../api/binary.js';
import { postForArrays } from '../api/http.js';
import { html } from '../parts/html.js';
import { Curve } from './curve.js';
import { HeatMap } from './heat_map.js';
import { useRefreshed } from './refresh.js';
import { RunCharts } from './run_charts.js';
import { StragglersTable } from './stragglers.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('../api/types.js').Overview} Overview */
/** @typedef {import('../state/chart_view.js').ChartView} ChartView */

const BUCKETS = 240;
const REFRESH_MS = 10_000;
/** Metrics that are durations: the first of these names that a key contains is shown first. */
const DURATIONS = ['step_time', 'iteration_time', 'step_duration', 'time', 'duration', 'seconds', '_ms', '_s'];

/** @param {import('./run_charts.js').ChartsProps} props */
export function Ranks({ runs, overview, view, onView }) {
  const ranks = overview?.ranks ?? [];
  const keys = useMemo(() => [...new Set((overview?.series ?? []).map((series) => series.key))].sort(byDuration), [overview]);
  const metric = keys.includes(view.panels.rank_metric) ? view.panels.rank_metric : keys[0];
  const run = runs[0];
  const isRunning = run?.status === 'running';
  const { curves, cut, error } = useRankCurves(ranks.length > 1 ? run.run_id : '', metric ?? '', isRunning);
  if (!run || ranks.length < 2 || !metric) {
    return html`<div class="face"><h2>One rank</h2><p>Only one process has logged to this run. If several ranks log to a run, this page shows which of them are slow, and since when.</p></div>`;
  }
  const choose = (/** @type {any} */ event) => onView({ panels: { ...view.panels, rank_metric: event.target.value } });
  const onRank = (/** @type {number} */ rank) => onView({ ranks: withRank(view.ranks, rank) });
  return html`
    <div class="ranks">
      <p class="chart-bar"><label>metric <select aria-label="Metric" value=${metric} onChange=${choose}>${keys.map((key) => html`<option value=${key} selected=${key === metric}>${key}</option>`)}</select></label>
        <span class="quiet">${ranks.length} ranks</span></p>
      ${error && html`<p class="left-out" role="alert">${error}</p>`}
      ${cut && html`<p class="left-out">${cut}</p>`}
      ${curves && curves.length > 0 && html`<${HeatMap} metric=${metric} curves=${curves} onRank=${onRank} />`}
      ${isDuration(metric)
        ? html`<${StragglersTable} runId=${run.run_id} metric=${metric} isRunning=${isRunning} onRank=${onRank} />`
        : html`<p class="quiet">To see which ranks are slow, choose a metric that is a duration, such as step_time.</p>`}
    </div>
    <${RunCharts} runs=${runs} overview=${overview} view=${view} onView=${onView} only=${metric} />`;
}

/**
 * @param {string} shown ranks of the view
 * @param {number} rank
 */
function withRank(shown, rank) {
  if (shown === 'band' || shown === 'all') return String(rank);
  const chosen = shown.split(',');
  return (chosen.includes(String(rank)) ? chosen.filter((one) => one !== String(rank)) : [...chosen, String(rank)]).join(',') || 'band';
}

/** @param {string} key */
const isDuration = (key) => DURATIONS.some((name) => key.toLowerCase().includes(name));

/** @param {string} key */
function durationRank(key) {
  const place = DURATIONS.findIndex((name) => key.toLowerCase().includes(name));
  return place < 0 ? DURATIONS.length : place;
}

/**
 * @param {string} a
 * @param {string} b
 */
const byDuration = (a, b) => durationRank(a) - durationRank(b) || (a < b ? -1 : 1);

/**
 * The curves of all ranks of a metric, again and again while the run runs.
 * @param {string} runId
 * @param {string} metric
 * @param {boolean} isRunning
 */
function useRankCurves(runId, metric, isRunning) {
  const [state, setState] = useState({ curves: /** @type {Curve[] | null} */ (null), cut: '', error: '' });
  const read = async (/** @type {AbortSignal} */ signal) => {
    if (!runId || !metric) return;
    try {
      const answer = decodeCharts(await postForArrays('charts', { run_ids: [runId], keys: [metric], max_buckets: BUCKETS }, { signal }));
      setState({ curves: answer.curves.filter((curve) => curve.count > 0).map((curve) => Curve.of(curve)), cut: answer.cut?.message ?? '', error: '' });
    } catch (error) {
      if (!signal.aborted) setState((before) => ({ ...before, error: error instanceof Error ? error.message : String(error) }));
    }
  };
  useRefreshed(read, { isRunning, everyMs: REFRESH_MS }, [runId, metric]);
  return state;
}
