// Several runs next to each other: what differs first, then their charts.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { events } from '../api/events.js';
import { postJson } from '../api/http.js';
import { differences } from '../charts/differences.js';
import { RunCharts } from '../charts/run_charts.js';
import { html } from '../parts/html.js';
import { starIcon } from '../parts/icons.js';
import { Relations } from '../relations/relations.js';
import { DEFAULT_RELATIONS, readRelations, writeRelations } from '../relations/relations_view.js';
import { useMay } from '../state/account.js';
import { readView, writeView } from '../state/chart_view.js';
import { strokeOf } from '../state/colours.js';
import { MOST_COMPARED, runPath } from '../state/places.js';
import { navigate, setQuery } from '../state/router.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { SaveView } from './save_view.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('../api/types.js').Overview} Overview */

/** @param {{query: URLSearchParams}} props */
export function Compare({ query }) {
  const text = query.toString();
  const ids = useMemo(() => [...new Set(query.getAll('r').flatMap((some) => some.split(',')))].filter(Boolean).slice(0, MOST_COMPARED), [text]);
  const view = useMemo(() => readView(query), [text]);
  const { overviews, missing } = useRuns(ids);
  const runs = useMemo(() => overviews.map(({ run, series }) => ({ ...run, metrics: metricsOf(series) })), [overviews]);
  const relations = useMemo(() => readRelations(query), [text]);
  const [brushed, setBrushed] = useState(/** @type {string[]} */ ([]));
  // What is brushed is charted.
  const charted = useMemo(() => (relations && brushed.length > 0 ? runs.filter((run) => brushed.includes(run.run_id)) : runs), [runs, brushed, relations === null]);
  const keys = useMemo(() => keysOf(runs), [runs]);
  const [isSaving, setSaving] = useState(false);
  const mayWrite = useMay('write');
  if (ids.length === 0) {
    return html`<div class="face"><h2>Nothing to compare</h2><p>Select two or more runs in the <a href="./">table of runs</a>, then compare them.</p></div>`;
  }
  if (overviews.length === 0 && missing === 0) return html`<div class="loading" aria-busy="true"></div>`;
  return html`
    <div class="place-head compare-head">
      <h1>${runs.length === 1 ? runs[0].name : `${runs.length} runs compared`}</h1>
      <span class="spacer"></span>
      <button class="plain" onClick=${() => setSaving(true)}>${starIcon()}${mayWrite ? 'Save view' : 'Views'}</button>
    </div>
    ${isSaving && html`<${SaveView} onClose=${() => setSaving(false)} />`}
    <div class="compare">
      ${missing > 0 && html`<p class="left-out">${missing} of ${ids.length} runs do not exist, or could not be loaded.</p>`}
      ${runs.length > 1 && html`<${Differences} runs=${runs} onRelations=${relations ? null : () => setQuery(writeRelations(DEFAULT_RELATIONS))} />`}
    </div>
    ${relations && html`<${Relations} runs=${runs} keys=${keys} view=${relations} selected=${NOBODY} onSelect=${setBrushed} onToggle=${(/** @type {string} */ id) => navigate(runPath(id))}
      onView=${(/** @type {any} */ change) => setQuery(writeRelations(change && { ...relations, ...change }))} />`}
    <${RunCharts} runs=${charted} overviews=${overviews} view=${view} onView=${(/** @type {object} */ change) => setQuery(writeView({ ...view, ...change }))} />
  `;
}

/** @type {ReadonlySet<string>} */
const NOBODY = new Set();

/**
 * What these runs have.
 * @param {Run[]} runs
 */
function keysOf(runs) {
  const names = (/** @type {(run: Run) => object} */ of) => [...new Set(runs.flatMap((run) => Object.keys(of(run))))].sort();
  return { metrics: names((run) => run.metrics ?? {}), params: names((run) => run.params), tags: [] };
}

/** @param {string[]} ids */
function useRuns(ids) {
  const [state, setState] = useState({ overviews: /** @type {Overview[]} */ ([]), missing: 0 });
  useEffect(() => {
    const request = new AbortController();
    const stop = events.watch(ids, {}); // the stream begins meanwhile, and the charts need not wait for it
    const asked = ids.filter((id) => /^[0-9a-f]{32}$/.test(id)); // a link may be damaged
    const show = (/** @type {Overview[]} */ overviews) => setState({ overviews, missing: ids.length - overviews.length });
    if (asked.length === 0) show([]);
    else {
      postJson('runs/overviews', { run_ids: asked }, { signal: request.signal }).then(
        ({ overviews }) => show(overviews),
        () => request.signal.aborted || show([]),
      );
    }
    return () => (request.abort(), stop());
  }, [ids.join()]);
  return state;
}

/**
 * As in the table of runs: the latest value of the lowest rank and its newest attempt, and the extremes of all.
 * @param {import('../api/types.js').Series[]} series
 */
function metricsOf(series) {
  /** @type {Record<string, import('../api/types.js').Series>} */
  const metrics = {};
  for (const one of series) {
    const known = metrics[one.key] ?? one;
    const latest = one.rank === known.rank ? one : known;
    const [least, greatest] = [furthest('min', -1, known, one), furthest('max', 1, known, one)];
    metrics[one.key] = { ...latest, min: least.min, min_step: least.min_step, max: greatest.max, max_step: greatest.max_step };
  }
  return metrics;
}

/**
 * @param {'min' | 'max'} name
 * @param {1 | -1} sign
 * @param {import('../api/types.js').Series} known
 * @param {import('../api/types.js').Series} one
 */
function furthest(name, sign, known, one) {
  const [a, b] = [known[name], one[name]].map((value) => (value === null || value === undefined ? NaN : Number(value)));
  return Number.isNaN(b) || sign * a >= sign * b ? known : one;
}

/** @param {{runs: Run[], onRelations: (() => void) | null}} props */
function Differences({ runs, onRelations }) {
  const shown = useStore(theme);
  const [isAll, setAll] = useState(false);
  const rows = useMemo(() => differences(runs), [runs]);
  const different = rows.filter((row) => row.differs);
  const visible = isAll ? rows : different;
  return html`
    <div class="differences" tabindex="0" role="region" aria-label="Params that differ">
      <table>
        <thead><tr><th scope="col">param</th>${runs.map((run) => html`<th scope="col"><span class="swatch" style=${`background: ${strokeOf(run.run_id, shown).colour}`}></span><a href=${runPath(run.run_id)}>${run.name}</a></th>`)}</tr></thead>
        <tbody>${visible.map((row) => html`<tr class=${row.differs ? 'differs' : ''}><th scope="row">${row.name}</th>${row.values.map((value) => html`<td>${value ?? '–'}</td>`)}</tr>`)}</tbody>
      </table>
    </div>
    <div class="differences-foot">
      <span class="quiet">${different.length} of ${rows.length} params differ.</span>
      ${rows.length > different.length && html`<button class="plain" onClick=${() => setAll(!isAll)}>${isAll ? 'Show only those that differ' : 'Show all'}</button>`}
      ${onRelations && html`<button onClick=${onRelations}>Params and metrics</button>`}
    </div>
  `;
}
