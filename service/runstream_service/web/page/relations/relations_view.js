// How params and metrics are related on screen <-> the query string.

/**
 * @typedef {object} RelationsView
 * @property {'parallel' | 'scatter'} kind
 * @property {string[]} axes of parallel coordinates, from the left; none: they are chosen for the person
 * @property {string} x of the scatter
 * @property {string} y
 * @property {string} colour the axis that colours the runs; '': the last one
 * @property {import('./brushes.js').Brushes} brushes
 * @property {Record<string, boolean>} log what the person chose of axes
 */

/** @type {RelationsView} */
export const DEFAULT_RELATIONS = { kind: 'parallel', axes: [], x: '', y: '', colour: '', brushes: {}, log: {} };

/**
 * @param {URLSearchParams} query
 * @returns {RelationsView | null} null: it is not shown
 */
export function readRelations(query) {
  const [param, metric] = (query.get('scatter') ?? '').split('~'); // as links of before have it
  if (metric) return { ...DEFAULT_RELATIONS, kind: 'scatter', x: `p:${param}`, y: `m:${metric}` };
  const text = query.get('relations');
  return text === null ? null : { ...DEFAULT_RELATIONS, ...parsed(text) };
}

/**
 * @param {RelationsView | null} view
 * @returns {Record<string, string | null>} changes of the query string
 */
export function writeRelations(view) {
  if (view === null) return { relations: null, scatter: null };
  const changed = Object.entries(view).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(DEFAULT_RELATIONS[/** @type {keyof RelationsView} */ (name)]));
  return { relations: JSON.stringify(Object.fromEntries(changed)), scatter: null };
}

/**
 * What of a link makes sense.
 * @param {string} text
 * @returns {Partial<RelationsView>}
 */
function parsed(text) {
  let raw;
  try {
    raw = JSON.parse(text);
  } catch {
    return {}; // a link that was cut off
  }
  if (raw === null || typeof raw !== 'object') return {};
  /** @type {Partial<RelationsView>} */
  const view = {};
  if (raw.kind === 'scatter') view.kind = 'scatter';
  if (isTexts(raw.axes)) view.axes = raw.axes;
  for (const name of /** @type {const} */ (['x', 'y', 'colour'])) if (typeof raw[name] === 'string') view[name] = raw[name];
  if (isRecord(raw.brushes)) view.brushes = Object.fromEntries(Object.entries(raw.brushes).filter(([, brush]) => isTexts(brush) || isRange(brush)));
  if (isRecord(raw.log)) view.log = Object.fromEntries(Object.entries(raw.log).filter(([, isLog]) => typeof isLog === 'boolean'));
  return view;
}

/** @param {any} value */
const isRecord = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

/** @param {any} value */
const isTexts = (value) => Array.isArray(value) && value.every((one) => typeof one === 'string');

/** @param {any} value */
const isRange = (value) => Array.isArray(value) && value.length === 2 && value.every((one) => typeof one === 'number');

/**
 * The columns of which a view needs metrics.
 * @param {RelationsView | null} view
 */
export const columnsOfView = (view) => (view ? [...view.axes, view.x, view.y, view.colour].filter((id) => id !== '') : []);
