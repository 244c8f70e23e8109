// Columns of the table of runs: their names in the URL, what they show, and how they order.

/**
 * @typedef {'field' | 'param' | 'tag' | 'latest' | 'min' | 'max'} Kind
 * @typedef {object} Column
 * @property {string} id as it stands in the URL
 * @property {Kind} kind
 * @property {string} key
 * @property {string} label
 * @property {number} width in pixels
 * @property {boolean} isNumber
 */

/** @typedef {import('../api/types.js').Run} Run */

const PREFIXES = /** @type {const} */ ({ p: 'param', t: 'tag', m: 'latest', min: 'min', max: 'max' });
/**
 * Fields of runs. `isReversed`: the shown value grows when the field by which it is sorted falls.
 * @type {Record<string, {label: string, width: number, order?: string, isReversed?: boolean, isNumber?: boolean}>}
 */
const FIELDS = {
  name: { label: 'Run', width: 260, order: 'attributes.run_name' },
  status: { label: 'Status', width: 96, order: 'attributes.status' },
  started: { label: 'Age', width: 100, order: 'attributes.start_time', isReversed: true, isNumber: true },
  duration: { label: 'Duration', width: 96, isNumber: true },
  experiment: { label: 'Experiment', width: 140 },
  user: { label: 'User', width: 96, order: 'attributes.user_id' },
};
const WIDTHS = { field: 96, param: 104, tag: 120, latest: 104, min: 104, max: 104 };
/** How many columns are chosen for somebody who chose none. */
const AUTO_PARAMS = 4;
const AUTO_METRICS = 5;
/** What runs are judged by: the metrics that are shown first. */
const JUDGED_BY = /(?:^|[/_.-])(?:loss|acc|accuracy|f1|auc|auroc|bleu|rouge|map|iou|perplexity|ppl|reward|return|score|error|wer|mse|mae|rmse)(?:$|[/_.@-])/i;
/** Tags with this prefix are MLflow's and runstream's own. */
const INTERNAL = /^(?:mlflow\.|runstream\.)/;

/**
 * The column of a name; null if there is none.
 * @param {string} id
 * @returns {Column | null}
 */
export function columnOf(id) {
  const field = FIELDS[id];
  if (field) return { id, kind: 'field', key: id, label: field.label, width: field.width, isNumber: field.isNumber ?? false };
  const at = id.indexOf(':');
  const kind = PREFIXES[/** @type {keyof typeof PREFIXES} */ (id.slice(0, at))];
  const key = id.slice(at + 1);
  if (at < 0 || !kind || !key) return null;
  const isNumber = kind !== 'param' && kind !== 'tag';
  const label = kind === 'min' || kind === 'max' ? `${key} ${kind}` : key;
  return { id, kind, key, label, width: widthOf(label, WIDTHS[kind]), isNumber };
}

/**
 * Wide enough for its head, within bounds.
 * @param {string} label
 * @param {number} least
 */
const widthOf = (label, least) => Math.min(Math.max(least, 32 + label.length * 7), 200);

/**
 * Names of columns in the URL: with commas between them.
 * @param {string | null} text
 * @returns {string[]}
 */
export const readColumns = (text) =>
  (text ?? '').split(',').map((part) => part.replaceAll('%2C', ',')).filter((id) => columnOf(id) !== null);

/** @param {string[]} ids */
export const writeColumns = (ids) => ids.map((id) => id.replaceAll(',', '%2C')).join(',');

const LEAST_WIDTH = 48;
const MOST_WIDTH = 800;

/** @param {number} width */
export const sensibleWidth = (width) => Math.min(Math.max(Math.round(width), LEAST_WIDTH), MOST_WIDTH);

/**
 * Widths that somebody has chosen, in the URL: JSON, by the id of the column.
 * @param {string | null} text
 * @returns {Record<string, number>}
 */
export function readWidths(text) {
  try {
    const entries = Object.entries(JSON.parse(text ?? '{}') ?? {}).filter(([id, width]) => columnOf(id) && Number.isFinite(width));
    return Object.fromEntries(entries.map(([id, width]) => [id, sensibleWidth(Number(width))]));
  } catch {
    return {}; // a link that was cut off
  }
}

/**
 * @param {Record<string, number>} widths
 * @returns {string | null}
 */
export const writeWidths = (widths) => (Object.keys(widths).length > 0 ? JSON.stringify(widths) : null);

/**
 * The columns after one was moved to the place of another.
 * @param {string[]} ids
 * @param {string} id
 * @param {string} onto
 */
export function movedColumn(ids, id, onto) {
  const [from, to] = [ids.indexOf(id), ids.indexOf(onto)];
  if (from < 0 || to < 0 || from === to) return ids;
  const next = ids.filter((one) => one !== id);
  next.splice(to, 0, id);
  return next;
}

/**
 * What is shown to somebody who has chosen nothing: the metrics that most runs have, of them first what
 * runs are judged by, and the params that differ.
 * @param {Run[]} runs
 * @param {boolean} isOfAll whether the runs are of several experiments
 */
export function autoColumns(runs, isOfAll) {
  const params = byFrequency(runs.map((run) => run.params));
  const differ = params.filter((key) => new Set(runs.map((run) => run.params[key]).filter((value) => value !== undefined)).size > 1);
  const same = params.filter((key) => !differ.includes(key));
  const logged = byFrequency(runs.map((run) => run.metrics ?? {})).filter((key) => !key.startsWith('system/'));
  const metrics = [...logged.filter((key) => JUDGED_BY.test(key)), ...logged.filter((key) => !JUDGED_BY.test(key))];
  return [
    'status',
    'started',
    'duration',
    ...(isOfAll ? ['experiment'] : []),
    ...metrics.slice(0, AUTO_METRICS).map((key) => `m:${key}`),
    ...[...differ, ...same].slice(0, AUTO_PARAMS).map((key) => `p:${key}`),
  ];
}

/** @param {Record<string, unknown>[]} records */
function byFrequency(records) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const record of records) for (const key of Object.keys(record)) counts.set(key, (counts.get(key) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([key]) => key);
}

/**
 * Every column that can be chosen.
 * @param {import('../api/types.js').Keys} keys
 */
export const allColumns = (keys) => [
  ...Object.keys(FIELDS).filter((id) => id !== 'name'), // which is always the first
  ...keys.metrics.flatMap((key) => [`m:${key}`, `min:${key}`, `max:${key}`]),
  ...keys.params.map((key) => `p:${key}`),
  ...keys.tags.filter((key) => !INTERNAL.test(key)).map((key) => `t:${key}`),
];

/** @param {Run} run */
export const userTags = (run) => Object.entries(run.tags).filter(([key]) => !INTERNAL.test(key));

/**
 * The metrics whose values the table needs; null if it still has to find out which there are.
 * @param {string[]} ids
 */
export function metricsOf(ids) {
  if (ids.length === 0) return null;
  const columns = ids.map(columnOf).filter((column) => column !== null);
  return [...new Set(columns.filter(({ kind }) => kind === 'latest' || kind === 'min' || kind === 'max').map(({ key }) => key))];
}

/**
 * The order of a sort in the URL, such as "-m:loss"; none for the default, newest first.
 * @param {string} sort
 * @returns {string[]}
 */
export function orderBy(sort) {
  const column = columnOf(sort.replace(/^-/, ''));
  const field = column && fieldOf(column);
  if (!field) return [];
  const isDescending = sort.startsWith('-') !== (FIELDS[column.id]?.isReversed ?? false);
  return [`${field} ${isDescending ? 'DESC' : 'ASC'}`];
}

/** @param {Column} column */
export const canSort = (column) => fieldOf(column) !== null;

/**
 * A column in the search language; null if it has no such field.
 * @param {Column} column
 */
function fieldOf({ kind, key }) {
  if (kind === 'field') return FIELDS[key]?.order ?? null;
  if (kind === 'param') return `params.${quotedKey(key)}`;
  if (kind === 'tag') return `tags.${quotedKey(key)}`;
  const metric = `metrics.${quotedKey(key)}`;
  return kind === 'latest' ? metric : `${kind}(${metric})`;
}

/**
 * A key as filters have it.
 * @param {string} key
 */
export const quotedKey = (key) => (/^[\w.]+$/.test(key) && !/^\d/.test(key) ? key : key.includes('`') ? `"${key}"` : `\`${key}\``);

/**
 * The sort after a click on a column's head: numbers begin with the largest, texts with the smallest; the third click
 * goes back to the default.
 * @param {Column} column
 * @param {string} sort what is now
 */
export function nextSort(column, sort) {
  const first = column.isNumber && column.kind !== 'min' ? `-${column.id}` : column.id;
  const second = first.startsWith('-') ? column.id : `-${column.id}`;
  if (sort === first) return second;
  return sort === second ? '' : first;
}
