// Completion in the filter box.
import { quotedKey } from './columns.js';

const ATTRIBUTES = ['run_name', 'status', 'start_time', 'end_time', 'user_id', 'run_id'];
const WORDS = ['AND', 'OR', 'NOT'];
const STATUSES = ['RUNNING', 'FINISHED', 'FAILED', 'KILLED', 'SCHEDULED'];
const MOST = 12;
const NAME_IS_LIKE = "attributes.run_name ILIKE '%";

/**
 * What may stand at the cursor: texts that replace what was typed from `from` on.
 * @param {string} text
 * @param {number} cursor
 * @param {import('../api/types.js').Keys} keys
 * @returns {{from: number, options: string[]}}
 */
export function complete(text, cursor, keys) {
  const before = text.slice(0, cursor);
  const status = /status\s*(?:=|!=)\s*('?)(\w*)$/i.exec(before);
  if (status) return ofWord(before, `${status[1]}${status[2]}`, STATUSES.map((one) => `'${one}'`));
  if (isInText(before)) return { from: cursor, options: [] };
  const word = /[\w.`"/:-]*$/.exec(before)?.[0] ?? '';
  const isAfterValue = /(?:'[^']*'|[\s]-?\d[\d.e-]*|null|\))\s+\w*$/i.test(before);
  return ofWord(before, word, isAfterValue ? WORDS : [...fields(keys), 'NOT ']);
}

/**
 * @param {string} before
 * @param {string} word
 * @param {string[]} all
 */
function ofWord(before, word, all) {
  const typed = plain(word);
  const begins = all.filter((option) => plain(option).startsWith(typed) || plain(option.slice(option.indexOf('.') + 1)).startsWith(typed));
  const contains = all.filter((option) => !begins.includes(option) && typed.length > 1 && plain(option).includes(typed));
  const options = [...begins, ...contains].filter((option) => option.trim() !== word).slice(0, MOST);
  return { from: before.length - word.length, options };
}

/** @param {import('../api/types.js').Keys} keys */
const fields = (keys) => [
  ...keys.metrics.map((key) => `metrics.${quotedKey(key)}`),
  ...keys.params.map((key) => `params.${quotedKey(key)}`),
  ...ATTRIBUTES.map((key) => `attributes.${key}`),
  ...keys.tags.filter((key) => !key.startsWith('mlflow.')).map((key) => `tags.${quotedKey(key)}`),
];

/** @param {string} text */
const plain = (text) => text.toLowerCase().replace(/[`"']/g, '');

/**
 * Whether the end of a filter is within a text in quotes.
 * @param {string} before
 */
const isInText = (before) => (before.match(/'/g) ?? []).length % 2 === 1;

/**
 * The filter of what somebody typed: words without an operator are looked for in the names of runs.
 * @param {string} text
 */
export function filterOf(text) {
  const typed = text.trim();
  return isFilter(typed) ? typed : `${NAME_IS_LIKE}${typed.replaceAll("'", '')}%'`;
}

/** @param {string} typed */
const isFilter = (typed) => typed === '' || /[<>=()]|\b(?:like|ilike|in|is)\b/i.test(typed);

/**
 * The place in what somebody typed of a place in its filter.
 * @param {string} text
 * @param {number} position
 */
export function placeInText(text, position) {
  const typed = text.trim();
  const before = text.indexOf(typed);
  if (isFilter(typed)) return before + position;
  let left = position - NAME_IS_LIKE.length;
  const at = [...typed].findIndex((character) => character !== "'" && left-- <= 0);
  return before + (at < 0 ? typed.length : at);
}
