// The entries of a graph's menu.
import { copyText } from '../shell/clipboard.js';
import { download, toCsv, toPng, toPython, toSql, toSvg } from './export.js';
import { moveOnto, withKeys } from './layout.js';
import { positionsOf } from './x_axis.js';

/** @typedef {import('./layout.js').Panels} Panels */
/** @typedef {import('./plot.js').Plot} Plot */

/**
 * @param {{graph: import('./layout.js').Graph, group: import('./layout.js').Group, keys: string[], charts: import('./charts.js').Charts,
 *   panels: Panels, onPanels: (change: Partial<Panels>) => void}} of
 * @returns {(plot: Plot) => import('./menu.js').Entry[]}
 */
export function menuOf({ graph, group, keys, charts, panels, onPanels }) {
  const ids = group.graphs.map((one) => one.id);
  const at = ids.indexOf(graph.id);
  const name = graph.title.slice(0, 80);
  return (plot) => [
    ...(at > 0 ? [{ label: 'Move left', run: () => onPanels({ order: moveOnto(group, graph.id, ids[at - 1], panels) }) }] : []),
    ...(at < ids.length - 1 ? [{ label: 'Move right', run: () => onPanels({ order: moveOnto(group, graph.id, ids[at + 1], panels) }) }] : []),
    { label: 'Hide', run: () => onPanels({ hidden: [...(panels.hidden ?? []), graph.id] }) },
    ...others(graph, keys).map((key) => ({ label: `Add ${key}`, run: () => onPanels({ graphs: withKeys(graph, [...graph.keys, key], panels) }) })),
    ...(graph.keys.length > 1 ? [{ label: 'Separate the metrics', run: () => onPanels({ graphs: withKeys(graph, [graph.id], panels) }) }] : []),
    { label: 'Save as PNG', run: () => void toPng(plot, name).then((blob) => blob && download(`${name}.png`, blob)) },
    { label: 'Save as SVG', run: () => download(`${name}.svg`, new Blob([toSvg(plot, name)], { type: 'image/svg+xml' })) },
    { label: 'Save as CSV', run: () => download(`${name}.csv`, new Blob([toCsv(plot)], { type: 'text/csv' })) },
    { label: 'Copy Python', run: () => void copyText(toPython(shownOf(graph, plot, charts)), 'The Python code is copied.') },
    { label: 'Copy SQL', run: () => void copyText(toSql(shownOf(graph, plot, charts)), 'The SQL statement is copied.') },
  ];
}

/**
 * Metrics that the user may want to add to the graph; first those that have the same name after another prefix.
 * @param {import('./layout.js').Graph} graph
 * @param {string[]} keys
 */
function others(graph, keys) {
  const last = (/** @type {string} */ key) => key.slice(key.lastIndexOf('/') + 1);
  const name = last(graph.keys[0]);
  const score = (/** @type {string} */ key) => (last(key) === name ? 0 : last(key).includes(name) || name.includes(last(key)) ? 1 : 2);
  return keys.filter((key) => !graph.keys.includes(key)).sort((a, b) => score(a) - score(b)).slice(0, 5);
}

/**
 * @param {import('./layout.js').Graph} graph
 * @param {Plot} plot
 * @param {import('./charts.js').Charts} charts
 */
function shownOf(graph, plot, charts) {
  const [run] = charts.runs;
  const range = charts.zoom && positionsOf(charts.axis, run, charts.axisMetricOf(run.run_id), charts.zoom);
  return {
    runIds: charts.runs.map((one) => one.run_id),
    keys: graph.keys,
    axis: charts.axis.positions,
    range,
    buckets: charts.data(graph.keys[0]).buckets,
    isBand: plot.lines.length > 0 && plot.lines.every((line) => line.curve.rank === null),
  };
}
