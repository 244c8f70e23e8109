// Which graphs there are, in which groups and order, and how large: what the person changed is in the URL.

/**
 * What was changed; everything else follows from the metrics.
 * @typedef {object} Panels
 * @property {string[]} [order] graphs that were moved, in front of the others of their group
 * @property {string[]} [hidden]
 * @property {Record<string, [number, number]>} [size] columns and height in pixels
 * @property {string[]} [shut] groups
 * @property {string[]} [open] groups that are shut otherwise
 * @property {string[][]} [graphs] of several metrics each
 * @property {string} [large] the graph that is enlarged
 */

/** @typedef {{id: string, keys: string[], title: string, columns: number, height: number}} Graph */
/** @typedef {{prefix: string, title: string, isShut: boolean, graphs: Graph[]}} Group */

export const HEIGHT = 200;
const SHUT_AT_FIRST = new Set(['system']);

/** @param {string} key */
export const prefixOf = (key) => (key.includes('/') ? key.slice(0, key.indexOf('/')) : '');

/**
 * @param {string[]} keys
 * @param {Panels} panels
 * @param {boolean} [areAskedFor] whether somebody looks for these metrics, also for those of groups that are shut at first
 * @returns {{groups: Group[], hidden: Graph[]}}
 */
export function layout(keys, panels, areAskedFor = false) {
  const graphs = graphsOf(keys, panels);
  const hiddenIds = new Set(panels.hidden ?? []);
  /** @type {Map<string, Graph[]>} */
  const byPrefix = new Map();
  for (const graph of inOrder(graphs, panels.order ?? [])) {
    if (hiddenIds.has(graph.id)) continue;
    const prefix = prefixOf(graph.keys[0]);
    byPrefix.set(prefix, [...(byPrefix.get(prefix) ?? []), graph]);
  }
  const groups = [...byPrefix].map(([prefix, some]) => ({
    prefix,
    title: prefix || 'metrics',
    isShut: isShut(prefix, panels, areAskedFor),
    graphs: some,
  }));
  groups.sort((a, b) => groupRank(a.prefix) - groupRank(b.prefix) || compare(a.prefix, b.prefix));
  return { groups, hidden: graphs.filter((graph) => hiddenIds.has(graph.id)) };
}

/**
 * @param {string} prefix
 * @param {Panels} panels
 * @param {boolean} isAskedFor
 */
function isShut(prefix, panels, isAskedFor) {
  if (panels.shut?.includes(prefix)) return true;
  return !isAskedFor && SHUT_AT_FIRST.has(prefix) && !panels.open?.includes(prefix);
}

/** The order of groups: training first, then what is measured on other data, then metrics without a prefix. */
const FIRST = [/^train/i, /^(?:val|eval|test|dev)/i, /^$/];

/** @param {string} prefix those of the machine come last */
function groupRank(prefix) {
  const rank = FIRST.findIndex((pattern) => pattern.test(prefix));
  return rank >= 0 ? rank : FIRST.length + Number(SHUT_AT_FIRST.has(prefix));
}

/**
 * How many columns of the grid a group takes. A closed group takes a whole row.
 * @param {Pick<Group, 'graphs' | 'isShut'>} group
 * @param {number} columns that the grid has
 */
export const spanOf = ({ graphs, isShut }, columns) => (isShut ? columns : Math.min(columns, graphs.reduce((sum, graph) => sum + graph.columns, 0)));

/**
 * @param {string} a
 * @param {string} b
 */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * @param {string[]} keys
 * @param {Panels} panels
 * @returns {Graph[]}
 */
function graphsOf(keys, panels) {
  const known = new Set(keys);
  const together = (panels.graphs ?? []).map((some) => some.filter((key) => known.has(key))).filter((some) => some.length > 1);
  const taken = new Set(together.flat());
  const single = keys.filter((key) => !taken.has(key)).map((key) => [key]);
  const all = [...together, ...single].sort((a, b) => compare(a[0], b[0]));
  return all.map((some) => {
    const id = some[0];
    const [columns, height] = panels.size?.[id] ?? [1, HEIGHT];
    return { id, keys: some, title: some.join(', '), columns, height };
  });
}

/**
 * @param {Graph[]} graphs
 * @param {string[]} order
 */
function inOrder(graphs, order) {
  const place = new Map(order.map((id, index) => [id, index]));
  return [...graphs].sort((a, b) => (place.get(a.id) ?? order.length) - (place.get(b.id) ?? order.length));
}

/**
 * The order after a graph was dropped on another, or moved by one place.
 * @param {Group} group
 * @param {string} id
 * @param {string} onto
 * @param {Panels} panels
 * @returns {string[]}
 */
export function moveOnto(group, id, onto, panels) {
  const ids = group.graphs.map((graph) => graph.id);
  const [from, to] = [ids.indexOf(id), ids.indexOf(onto)];
  if (from < 0 || to < 0) return panels.order ?? [];
  ids.splice(to, 0, ...ids.splice(from, 1));
  return [...(panels.order ?? []).filter((other) => !ids.includes(other)), ...ids];
}

/**
 * The graphs of several metrics after one was added to a graph, or taken from it.
 * @param {Graph} graph
 * @param {string[]} keys what it is to show
 * @param {Panels} panels
 * @returns {string[][]}
 */
export function withKeys(graph, keys, panels) {
  const others = (panels.graphs ?? []).filter((some) => some[0] !== graph.id).map((some) => some.filter((key) => !keys.includes(key)));
  return [...others, keys].filter((some) => some.length > 1);
}

/**
 * Without what says nothing, so that links stay short.
 * @param {Panels} panels
 * @returns {Panels}
 */
export function shortened(panels) {
  const entries = Object.entries(panels).filter(([, value]) => value && Object.keys(value).length > 0);
  return Object.fromEntries(entries);
}
