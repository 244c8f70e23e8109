// All panels of one run or of several.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { postJson } from '../api/http.js';
import { formatAge } from '../parts/format.js';
import { html } from '../parts/html.js';
import { duration, grouped } from './axes.js';
import { menuOf } from './graph_menu.js';
import { Legend } from './legend.js';
import { layout, moveOnto, shortened } from './layout.js';
import { OverviewStrip } from './overview_strip.js';
import { Panel } from './panel.js';
import { PanelGroups } from './panel_groups.js';
import { Charts } from './charts.js';
import { decayLength, halfLife } from './smoothing.js';
import { Toolbar } from './toolbar.js';
import { Tooltip } from './tooltip.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('../api/types.js').Overview} Overview */
/** @typedef {import('../state/chart_view.js').ChartView} ChartView */
/** @typedef {import('./layout.js').Panels} Panels */

/**
 * @typedef {object} ChartsProps
 * @property {Run[]} runs
 * @property {Overview} [overview] of the run, if it is one
 * @property {Overview[]} [overviews] of the runs, if they are known
 * @property {ChartView} view
 * @property {(change: Partial<ChartView>) => void} onView
 * @property {string} [prefix] only metrics that begin with it
 * @property {string} [only] one metric
 */

/** The most runs whose ranks are counted; with more runs, each rank is drawn. */
const ASKED_RUNS = 12;
const MOST_RUNS = 50;

/** @param {ChartsProps} props */
export function RunCharts({ runs: allRuns, overview, overviews: known, view, onView, prefix = '', only = '' }) {
  const runs = useSame(allRuns.slice(0, MOST_RUNS));
  const [newKeys, setNewKeys] = useState(/** @type {string[]} */ ([]));
  const [live, setLive] = useState({ connection: 'connecting', lastPointUs: 0 });
  const [states, setStates] = useState(/** @type {Record<string, Run>} */ ({}));
  const [find, setFind] = useState('');
  const latest = useRef(onView);
  latest.current = onView;
  const charts = useMemo(
    () =>
      new Charts({
        onView: (change) => latest.current(change),
        onKeys: (keys) => setNewKeys((before) => added(before, keys)),
        onRun: (run) => setStates((before) => ({ ...before, [run.run_id]: run })),
        onState: (state) => setLive((before) => (before.connection === state.connection && ageOf(before) === ageOf(state) ? before : state)),
      }),
    [],
  );
  useEffect(() => () => charts.close(), []);
  const overviews = useOverviews(runs, known ?? (overview ? [overview] : undefined));
  const tooltip = useTooltip();
  useLayoutEffect(() => charts.show(runs, overviews ?? new Map(), view), [runs, overviews, view]);

  const keys = useMemo(() => keysOf(runs, overviews, newKeys, prefix).filter((key) => !only || key === only), [runs, overviews, newKeys, prefix, only]);
  const panels = /** @type {Panels} */ (view.panels);
  const onPanels = (/** @type {Partial<Panels>} */ change) => onView({ panels: shortened({ ...panels, ...change }) });
  const { groups, hidden } = layout(keys.filter((key) => key.toLowerCase().includes(find.toLowerCase())), panels, Boolean(prefix || only || find));
  const all = groups.flatMap((group) => group.graphs);
  const large = all.find((graph) => graph.id === panels.large);
  const ranks = [...new Set([...(overviews?.values() ?? [])].flatMap((one) => one.ranks))];
  const panelOf = (/** @type {import('./layout.js').Group} */ group, /** @type {import('./layout.js').Graph} */ graph) => html`
    <${Panel} key=${graph.id} graph=${graph} charts=${charts} onHover=${tooltip.show}
      menu=${menuOf({ graph, group, keys, charts, panels, onPanels })}
      onEnlarge=${() => onPanels({ large: graph.id })}
      onSize=${(/** @type {number} */ columns, /** @type {number} */ height) => onPanels({ size: { ...panels.size, [graph.id]: [columns, height] } })}
      onDrop=${(/** @type {string} */ id) => onPanels({ order: moveOnto(group, id, graph.id, panels) })} />`;

  if (runs.length === 0) return html`<${Face} title="No runs selected" text="Select runs in the table to see their charts here." />`;
  if (overviews === null) return html`<div class="charts" aria-busy="true"></div>`;
  return html`
    <div class="charts" ref=${tooltip.parent} data-connection=${live.connection}>
      <${Toolbar} view=${view} onView=${onView} keys=${keys} ranks=${ranks} find=${find} onFind=${setFind} isZoomed=${view.zoom !== null}
        smoothing=${smoothingInWords(charts, view)} ...${statusOf(runs, states, live)} />
      ${keys.length > 0 && html`<${OverviewStrip} charts=${charts} graphKey=${overviewKey(all, keys)} />`}
      ${allRuns.length > MOST_RUNS && html`<p class="left-out">${allRuns.length - MOST_RUNS} of ${allRuns.length} runs are not drawn: select fewer runs to see all of them.</p>`}
      <${Legend} runs=${runs} ranks=${shownRanks(view.ranks, ranks)} />
      ${keys.length === 0 && html`<${NoMetrics} />`}
      <${PanelGroups} groups=${groups} panelOf=${panelOf} onToggle=${(/** @type {import('./layout.js').Group} */ group) => onPanels(toggled(group, panels))} />
      ${hidden.length > 0 && html`<p class="hidden-panels">${hidden.length} hidden:
        ${hidden.map((graph) => html`<button class="plain" onClick=${() => onPanels({ hidden: panels.hidden?.filter((id) => id !== graph.id) })}>show ${graph.title}</button>`)}</p>`}
      ${large && html`<${Enlarged} graph=${large} all=${all} charts=${charts} onHover=${tooltip.show} onPanels=${onPanels}
        menu=${menuOf({ graph: large, group: groups.find((group) => group.graphs.includes(large)) ?? groups[0], keys, charts, panels, onPanels })} />`}
    </div>
  `;
}

/** @param {{graph: import('./layout.js').Graph, all: import('./layout.js').Graph[], charts: Charts, onHover: any, onPanels: (change: Partial<Panels>) => void, menu: any}} props */
function Enlarged({ graph, all, charts, onHover, onPanels, menu }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const close = () => onPanels({ large: '' });
  useEffect(() => {
    /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector('.plot'))?.focus({ preventScroll: true });
  }, [graph.id]);
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape') close();
    const step = { PageDown: 1, PageUp: -1 }[event.key];
    if (step) onPanels({ large: all[(all.findIndex((one) => one.id === graph.id) + step + all.length) % all.length].id });
    if (event.key === 'Escape' || step) event.preventDefault();
  };
  return html`<div class="enlarged" role="dialog" aria-modal="true" aria-label=${graph.title} ref=${box} onKeyDown=${onKeyDown}>
    <${Panel} key=${`large ${graph.id}`} graph=${graph} charts=${charts} onHover=${onHover} menu=${menu} onEnlarge=${close} isLarge=${true} />
  </div>`;
}

/**
 * Which metric the strip shows: a loss if there is one.
 * @param {import('./layout.js').Graph[]} graphs
 * @param {string[]} keys
 */
const overviewKey = (graphs, keys) => (graphs.find((graph) => graph.id.includes('loss')) ?? graphs[0])?.id ?? keys[0];

/**
 * The ranks that have lines of their own.
 * @param {string} shown
 * @param {number[]} ranks
 */
function shownRanks(shown, ranks) {
  if (shown === 'band' || ranks.length < 2) return [];
  return shown === 'all' ? ranks : ranks.filter((rank) => shown.split(',').includes(String(rank)));
}

/** @param {{title: string, text: string}} props */
const Face = ({ title, text }) => html`<div class="face"><h2>${title}</h2><p>${text}</p></div>`;

function NoMetrics() {
  return html`<div class="face"><h2>No metrics yet</h2><p>Two lines of Python log the first one:</p>
    <pre>run = runstream.start_run(experiment="first", name="try")
run.log({"loss": 0.5}, step=1)</pre></div>`;
}

/** @param {Overview[]} overviews */
const byRun = (overviews) => new Map(overviews.map((one) => [one.run.run_id, one]));

/**
 * The same array as long as it has the same runs, so that nothing is requested again.
 * @param {Run[]} runs
 */
function useSame(runs) {
  const before = useRef(runs);
  const isSame = runs.length === before.current.length && runs.every((run, index) => run.run_id === before.current[index].run_id && run.name === before.current[index].name);
  if (!isSame) before.current = runs;
  return before.current;
}

/**
 * @param {Run[]} runs
 * @param {Overview[] | undefined} given
 * @returns {Map<string, Overview> | null} null: not yet known
 */
function useOverviews(runs, given) {
  const [known, setKnown] = useState(given ? byRun(given) : null);
  const ids = runs.map((run) => run.run_id).join();
  // A newer overview of the same run has nothing that events do not bring, except more attempts and ranks.
  const shape = given && JSON.stringify(given.map((one) => [one.run.run_id, one.ranks, one.attempts]));
  useEffect(() => {
    if (given) return setKnown(byRun(given));
    const request = new AbortController();
    const run_ids = runs.slice(0, ASKED_RUNS).map((run) => run.run_id);
    if (run_ids.length === 0) return setKnown(byRun([]));
    postJson('runs/overviews', { run_ids }, { signal: request.signal }).then(
      ({ overviews }) => setKnown(byRun(overviews)),
      () => request.signal.aborted || setKnown(byRun([])),
    );
    return () => request.abort();
  }, [ids, shape]);
  return known;
}

function useTooltip() {
  const tooltip = useRef(/** @type {Tooltip | null} */ (null));
  const parent = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => () => tooltip.current?.close(), []);
  return {
    parent,
    show: (/** @type {import('./plot.js').Hover | null} */ hover) => {
      tooltip.current ??= new Tooltip(document.body);
      tooltip.current.show(hover);
    },
  };
}

/**
 * @param {Run[]} runs
 * @param {Map<string, Overview> | null} overviews
 * @param {string[]} newKeys
 * @param {string} prefix
 */
function keysOf(runs, overviews, newKeys, prefix) {
  const keys = new Set(newKeys);
  for (const run of runs) {
    for (const series of overviews?.get(run.run_id)?.series ?? []) keys.add(series.key);
    for (const key of Object.keys(run.metrics ?? {})) keys.add(key);
  }
  return [...keys].filter((key) => key.startsWith(prefix)).sort();
}

/**
 * @param {string[]} before
 * @param {string[]} keys
 */
const added = (before, keys) => (keys.every((key) => before.includes(key)) ? before : [...new Set([...before, ...keys])].slice(0, 5000));

/**
 * @param {import('./layout.js').Group} group
 * @param {Panels} panels
 * @returns {Partial<Panels>}
 */
function toggled({ prefix, isShut }, panels) {
  const without = (/** @type {string[] | undefined} */ some) => (some ?? []).filter((one) => one !== prefix);
  return isShut ? { shut: without(panels.shut), open: [...without(panels.open), prefix] } : { shut: [...without(panels.shut), prefix], open: without(panels.open) };
}

/**
 * @param {Charts} charts
 * @param {ChartView} view
 */
function smoothingInWords(charts, view) {
  if (!view.smooth) return 'No smoothing: exact means.';
  const [min, max] = charts.extent;
  const distance = halfLife(decayLength(view.smooth, { start: min, end: max, points: Infinity }));
  const shown = charts.axis.positions === 'time' ? duration(distance) : `${grouped(Math.round(distance))} steps`;
  return `Each curve is a running average; a point loses half of its weight after about ${shown}. The band shows every point.`;
}

/** @param {{lastPointUs: number}} state */
const ageOf = ({ lastPointUs }) => (lastPointUs ? formatAge(lastPointUs) : '');

/**
 * How the runs go, in a word or two, and whether points arrive.
 * @param {Run[]} runs
 * @param {Record<string, Run>} states
 * @param {{connection: string, lastPointUs: number}} live
 * @returns {{status: string, isLive: boolean}}
 */
function statusOf(runs, states, live) {
  const now = runs.map((run) => states[run.run_id] ?? run);
  if (live.connection === 'reconnecting') return { status: 'reconnecting…', isLive: false };
  const running = now.filter((run) => run.status === 'running');
  if (running.length === 0) return { status: runs.length === 1 ? now[0].status : 'all have ended', isLive: false };
  const last = Math.max(live.lastPointUs, ...running.map((run) => run.last_point_us ?? 0));
  const age = last === 0 ? 'now' : formatAge(last);
  return age === 'now' ? { status: 'live', isLive: true } : { status: `last point ${age} ago`, isLive: false };
}
