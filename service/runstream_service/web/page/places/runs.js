// The table of runs, of an experiment or of all; the charts of those that are selected are next to it.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { formatCount, plural } from '../parts/format.js';
import { html } from '../parts/html.js';
import { columnsIcon, starIcon } from '../parts/icons.js';
import { lazy } from '../parts/lazy.js';
import { Split } from '../shell/split.js';
import { useMay } from '../state/account.js';
import { readView, writeView } from '../state/chart_view.js';
import { chosenColours, strokeOf } from '../state/colours.js';
import { experiments, loadExperiments } from '../state/experiments.js';
import { loadKeys, NO_KEYS } from '../state/keys.js';
import { columnsOfView, DEFAULT_RELATIONS, readRelations, writeRelations } from '../relations/relations_view.js';
import { runPath } from '../state/places.js';
import { navigate, setQuery } from '../state/router.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { deleteRuns } from '../table/actions.js';
import { autoColumns, columnOf, metricsOf, movedColumn, orderBy, readColumns, readWidths, writeColumns, writeWidths } from '../table/columns.js';
import { filterOf } from '../table/completion.js';
import { FilterBox } from '../table/filter_box.js';
import { linesOf } from '../table/rows.js';
import { RunList } from '../table/run_list.js';
import { RunsTable } from '../table/runs_table.js';
import { MOST_IN_LINK, SelectionBar } from '../table/selection_bar.js';
import { NoRuns } from './no_runs.js';

const RunCharts = lazy(() => import('../charts/run_charts.js').then((module) => module.RunCharts));
const ColumnChooser = lazy(() => import('../table/column_chooser.js').then((module) => module.ColumnChooser));
const Relations = lazy(() => import('../relations/relations.js').then((module) => module.Relations));
const ColourDialog = lazy(() => import('../shell/colour_dialog.js').then((module) => module.ColourDialog));
const SaveView = lazy(() => import('./save_view.js').then((module) => module.SaveView));

/** @typedef {import('../api/types.js').Run} Run */

/** @param {{experimentId: string, query: URLSearchParams}} props */
export function Runs({ experimentId, query }) {
  const state = useTableState(query);
  const relations = useMemo(() => readRelations(query), [query.get('relations'), query.get('scatter')]);
  const { list, listState, keys } = useRuns(experimentId, state, relations);
  const { rows, phase, isComplete, isStale, error } = listState;
  const [closed, setClosed] = useState(/** @type {ReadonlySet<string>} */ (new Set()));
  const [dialog, setDialog] = useState(/** @type {'' | 'columns' | 'save'} */ (''));
  const [asked, setAsked] = useState(/** @type {'' | 'rename' | 'tag'} */ (''));
  const selection = useSelection(rows, query);
  const inSight = useRef(/** @type {Run[]} */ ([]));
  const isStill = useRef(() => true);
  const [coloured, setColoured] = useState(/** @type {Run | null} */ (null));
  useEffect(() => {
    list.start(() => inSight.current, () => isStill.current());
    return () => list.stop();
  }, [list]);

  const isAllWanted = relations !== null && !isComplete && rows.length < MOST_RELATED;
  useEffect(() => void (isAllWanted && phase === 'ready' && !isStale && list.more()), [isAllWanted, listState]);

  const auto = useRef(/** @type {string[]} */ ([]));
  if (auto.current.length === 0 && rows.length > 0) auto.current = autoColumns(rows.slice(0, 100), experimentId === '');
  const ids = state.columns.length > 0 ? state.columns : auto.current;
  const columns = useMemo(() => ids.map(columnOf).filter((column) => column !== null), [ids.join()]);
  const lines = useMemo(() => linesOf(rows, groupOf(state.group), closed), [rows, state.group, closed]);
  const shownTheme = useStore(theme);
  useStore(chosenColours);
  const widths = useMemo(() => readWidths(query.get('widths')), [query.get('widths')]);
  const onWidths = (/** @type {Record<string, number>} */ next) => setQuery({ widths: writeWidths(next) });
  const [mayWrite, mayManage] = [useMay('write'), useMay('manage')];
  const changed = () => (void list.refresh(), void loadExperiments());
  const onKey = (/** @type {string} */ key, /** @type {Run | null} */ run) => {
    const targets = selection.runs.length > 0 ? selection.runs : run ? [run] : [];
    if (key === 'Escape' && selection.ids.size > 0) selection.clear();
    else if (key === 'a') selection.all(selection.ids.size < rows.length);
    else if (key === 'Delete' && mayManage && targets.length > 0) void deleteRuns(targets.map((one) => one.run_id), () => (selection.clear(), changed()));
    else if (key === 'c' && run) setColoured(run);
    else if (key === 'r' && mayWrite && run) (selection.only(run.run_id), setAsked('rename'));
    else return false;
    return true;
  };
  const isEmpty = phase === 'ready' && rows.length === 0;
  const table = isEmpty
    ? html`<${NoRuns} experimentId=${experimentId} filter=${state.filter} lifecycle=${state.lifecycle} />`
    : html`<${RunsTable} lines=${lines} columns=${columns} sort=${state.sort} onSort=${(/** @type {string} */ sort) => setQuery({ sort })}
        selected=${selection.ids} onSelect=${selection.toggle} onSelectAll=${selection.all} onGroup=${(/** @type {string} */ value) => setClosed(toggled(closed, value))}
        onOpen=${(/** @type {Run} */ run) => navigate(runPath(run.run_id))} onKey=${onKey} onEnd=${() => void list.more()}
        onInSight=${(/** @type {Run[]} */ runs) => (inSight.current = runs)} colourOf=${(/** @type {string} */ id) => strokeOf(id, shownTheme).colour}
        widths=${widths} onWidths=${onWidths} onMove=${(/** @type {string} */ id, /** @type {string} */ onto) => setQuery({ columns: writeColumns(movedColumn(ids, id, onto)) })}
        isStill=${isStill} onColour=${setColoured} isDimmed=${phase !== 'ready' || isStale} />
        ${listState.isUnsorted && html`<button class="new-runs unsorted" onClick=${() => list.sort()}>The values have changed: sort again</button>`}`;
  const hasCharts = query.get('charts') === '1' && selection.runs.length > 0;
  return html`
    <div class="place-head">
      <h1>${useTitle(experimentId)}</h1>
      <span class="quiet" role="status">${summary(listState)}</span>
      <span class="spacer"></span>
      <button class="plain" onClick=${() => setDialog('save')}>${starIcon()}${mayWrite ? 'Save view' : 'Views'}</button>
    </div>
    <div class="tools">
      <${FilterBox} value=${state.filter} keys=${keys} error=${phase === 'failed' && error?.status === 400 ? error : null} onChange=${(/** @type {string} */ filter) => setQuery({ filter })} />
      <${GroupChoice} group=${state.group} keys=${keys} />
      <select aria-label="Which runs" value=${state.lifecycle} onChange=${(/** @type {any} */ event) => setQuery({ runs: event.target.value === 'active' ? null : event.target.value })}>
        <option value="active">Active</option><option value="deleted">Deleted</option><option value="all">All</option>
      </select>
      <button aria-pressed=${relations !== null} class="switch" title="Params and metrics of these runs, as parallel coordinates or a scatter plot" onClick=${() => setQuery(writeRelations(relations ? null : DEFAULT_RELATIONS))}>Parallel</button>
      <button onClick=${() => setDialog('columns')}>${columnsIcon()}Columns</button>
    </div>
    ${relations && rows.length > 0 && html`<${Relations} runs=${rows} isCut=${!isComplete && !isAllWanted} keys=${keys} view=${relations} selected=${selection.ids} onSelect=${selection.replace}
      onToggle=${(/** @type {string} */ id) => selection.toggle(id, false)}
      onView=${(/** @type {any} */ change) => setQuery(writeRelations(change && { ...relations, ...change }))} />`}
    ${phase === 'failed' && error?.status !== 400 && rows.length === 0 && html`<${Failed} error=${error} onRetry=${() => void list.refresh()} />`}
    ${hasCharts ? html`<${Split} name="runs" left=${table} right=${html`<${Charts} runs=${selection.runs} query=${query} />`} />` : html`<div class="table-box">${(phase !== 'failed' || rows.length > 0) && table}</div>`}
    ${selection.runs.length > 0 && html`
      <${SelectionBar} runs=${selection.runs} isInLink=${selection.ids.size <= MOST_IN_LINK || Object.keys(relations?.brushes ?? {}).length > 0} hasCharts=${hasCharts} onCharts=${() => setQuery({ charts: hasCharts ? null : '1' })}
        onClear=${selection.clear} onChanged=${changed} asked=${asked} onAsk=${setAsked} />
    `}
    ${dialog === 'columns' && html`
      <${ColumnChooser} ids=${ids} keys=${keys} widths=${widths} onWidths=${onWidths} onChange=${(/** @type {string[]} */ next) => setQuery({ columns: writeColumns(next) })}
        onAuto=${() => setQuery({ columns: null })} onClose=${() => setDialog('')} />
    `}
    ${coloured && html`<${ColourDialog} id=${coloured.run_id} name=${coloured.name} onClose=${() => setColoured(null)} />`}
    ${dialog === 'save' && html`<${SaveView} onClose=${() => setDialog('')} />`}
    ${!isComplete && phase === 'ready' && rows.length > 0 && html`<span class="visually-hidden" role="status">More runs are loaded while you scroll.</span>`}
  `;
}

/** Params and metrics of more runs than these are not read at once. */
const MOST_RELATED = 5_000;

/** @param {{runs: Run[], query: URLSearchParams}} props */
function Charts({ runs, query }) {
  const view = readView(query);
  return html`<div class="charts-box"><${RunCharts} runs=${runs} view=${view} onView=${(/** @type {any} */ change) => setQuery(writeView({ ...view, ...change }))} /></div>`;
}

/** @param {{error: import('../api/http.js').ApiError | null, onRetry: () => void}} props */
function Failed({ error, onRetry }) {
  return html`
    <div class="face" role="alert">
      <h2>The runs could not be loaded</h2>
      <p>${error?.message}</p>
      <div class="actions"><button class="primary" onClick=${onRetry}>Try again</button></div>
    </div>
  `;
}

/** @param {{group: string, keys: import('../api/types.js').Keys}} props */
function GroupChoice({ group, keys }) {
  const options = [...keys.params.map((key) => `p:${key}`), ...keys.tags.filter((key) => !key.startsWith('mlflow.')).map((key) => `t:${key}`)];
  const all = ['status', 'user', 'experiment', ...options];
  return html`
    <select aria-label="Group by" value=${group} onChange=${(/** @type {any} */ event) => setQuery({ group: event.target.value })}>
      <option value="">No groups</option>
      ${(all.includes(group) || !group ? all : [group, ...all]).map((id) => html`<option key=${id} value=${id}>By ${columnOf(id)?.label ?? id}</option>`)}
    </select>
  `;
}

/**
 * What of the table is in the URL.
 * @param {URLSearchParams} query
 */
function useTableState(query) {
  const lifecycle = query.get('runs');
  return {
    filter: query.get('filter') ?? '',
    sort: query.get('sort') ?? '',
    group: columnOf(query.get('group') ?? '') ? /** @type {string} */ (query.get('group')) : '',
    columns: useMemo(() => readColumns(query.get('columns')), [query.get('columns')]),
    lifecycle: /** @type {'active' | 'deleted' | 'all'} */ (lifecycle === 'deleted' || lifecycle === 'all' ? lifecycle : 'active'),
  };
}

/**
 * The list of runs for the filter, order and experiment in the URL; a new list when these change.
 * @param {string} experimentId
 * @param {ReturnType<typeof useTableState>} state
 * @param {import('../relations/relations_view.js').RelationsView | null} relations
 */
function useRuns(experimentId, state, relations) {
  const metrics = metricsOf(state.columns.length > 0 ? [...state.columns, ...columnsOfView(relations)] : []);
  const asked = JSON.stringify([state.filter, state.sort, state.lifecycle, metrics]);
  const before = useRef(/** @type {Run[]} */ ([]));
  const list = useMemo(
    () =>
      new RunList(
        { experimentIds: experimentId ? [experimentId] : [], filter: filterOf(state.filter), orderBy: orderBy(state.sort), lifecycle: state.lifecycle, metrics },
      ),
    [asked],
  );
  const listState = useStore(list.state);
  // While the next answer is on its way, the old rows stay, dimmed.
  if (listState.phase === 'ready') before.current = listState.rows;
  const rows = listState.phase === 'ready' ? listState.rows : before.current;
  const [keys, setKeys] = useState(NO_KEYS);
  useEffect(() => void loadKeys(experimentId).then(setKeys, () => {}), [experimentId, rows.length > 0]);
  return { list, listState: { ...listState, rows }, keys };
}

/**
 * Which runs are selected: in the link, as long as they are few.
 * @param {Run[]} rows
 * @param {URLSearchParams} query
 */
function useSelection(rows, query) {
  const [ids, setIds] = useState(() => /** @type {ReadonlySet<string>} */ (new Set((query.get('sel') ?? '').split(',').filter((id) => id !== ''))));
  const last = useRef('');
  const current = useRef(ids); // keys may be pressed faster than the table is drawn
  const set = (/** @type {ReadonlySet<string>} */ next) => {
    current.current = next;
    setIds(next);
    setQuery({ sel: next.size <= MOST_IN_LINK ? [...next].join(',') : null });
  };
  const runs = useMemo(() => rows.filter((run) => ids.has(run.run_id)), [rows, ids]);
  return {
    ids,
    runs,
    clear: () => set(new Set()),
    replace: (/** @type {string[]} */ runIds) => set(new Set(runIds)),
    only: (/** @type {string} */ id) => set(new Set([id])),
    all: (/** @type {boolean} */ isOn) => set(new Set(isOn ? rows.map((run) => run.run_id) : [])),
    toggle: (/** @type {string} */ id, /** @type {boolean} */ isRange) => {
      const from = rows.findIndex((run) => run.run_id === last.current);
      const to = rows.findIndex((run) => run.run_id === id);
      last.current = id;
      if (!isRange || from < 0) return set(toggled(current.current, id));
      const range = rows.slice(Math.min(from, to), Math.max(from, to) + 1).map((run) => run.run_id);
      set(new Set([...current.current, ...range]));
    },
  };
}

/**
 * @param {ReadonlySet<string>} values
 * @param {string} value
 * @returns {ReadonlySet<string>}
 */
function toggled(values, value) {
  const next = new Set(values);
  if (!next.delete(value)) next.add(value);
  return next;
}

/**
 * @param {string} id
 * @returns {((run: Run) => string) | null}
 */
function groupOf(id) {
  const column = columnOf(id);
  if (!column) return null;
  if (column.kind === 'param') return (run) => run.params[column.key] ?? '';
  if (column.kind === 'tag') return (run) => run.tags[column.key] ?? '';
  return (run) => String(run[/** @type {'status' | 'user' | 'experiment'} */ (column.key)] ?? '');
}

/** @param {string} experimentId */
function useTitle(experimentId) {
  const all = useStore(experiments);
  const name = experimentId === '' ? 'All runs' : (all?.find((one) => one.experiment_id === experimentId)?.name ?? `Experiment ${experimentId}`);
  useEffect(() => void (document.title = `${name} · runstream`), [name]);
  return name;
}

/** @param {import('../table/run_list.js').ListState} state */
function summary({ rows, phase, isComplete, isStale }) {
  if (phase === 'loading' && rows.length === 0) return 'Loading';
  if (phase === 'failed') return '';
  const running = rows.filter((run) => run.status === 'running').length;
  const count = isComplete ? plural(rows.length, 'run') : `${formatCount(rows.length)}+ runs`;
  return `${count}${running > 0 ? `, ${formatCount(running)} running` : ''}${isStale ? ' · reconnecting' : ''}`;
}
