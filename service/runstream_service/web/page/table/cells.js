// What a cell of the table shows.
import { formatAge, formatDuration, formatMoment, formatValue } from '../parts/format.js';
import { html } from '../parts/html.js';
import { Status } from '../parts/status.js';

/** @typedef {import('../api/types.js').Run} Run */

/**
 * @param {import('./columns.js').Column} column
 * @param {Run} run
 */
export function cellOf(column, run) {
  const { text, title, content } = shown(column, run);
  const className = `cell${column.isNumber ? ' number' : ''}${text === '' ? ' empty' : ''}`;
  return html`<div role="gridcell" key=${column.id} class=${className} title=${title}>${content ?? text}</div>`;
}

/**
 * @param {import('./columns.js').Column} column
 * @param {Run} run
 * @returns {{text: string, title?: string, content?: any}}
 */
function shown({ kind, key }, run) {
  switch (kind) {
    case 'field':
      return field(key, run);
    case 'param':
      return same(run.params[key] ?? '');
    case 'tag':
      return same(run.tags[key] ?? '');
    default:
      return metric(run.metrics?.[key], kind);
  }
}

/** @param {string} text */
const same = (text) => ({ text, title: text });

/**
 * @param {string} key
 * @param {Run} run
 */
function field(key, run) {
  switch (key) {
    case 'status':
      return { text: run.status, content: html`<${Status} run=${run} />` };
    case 'started':
      return { text: formatAge(run.start_time_us), title: formatMoment(run.start_time_us) };
    case 'duration':
      return { text: duration(run) };
    case 'experiment':
      return same(run.experiment);
    default:
      return same(run.user);
  }
}

/** @param {Run} run */
export function duration(run) {
  if (run.end_time_us === null && run.status !== 'running') return '';
  return formatDuration(((run.end_time_us ?? Date.now() * 1000) - run.start_time_us) / 1e6);
}

/**
 * @param {import('../api/types.js').Metric | undefined} metric
 * @param {'latest' | 'min' | 'max'} kind
 */
function metric(metric, kind) {
  const value = metric?.[kind];
  if (metric === undefined || value === undefined || value === null) return { text: '' };
  const step = kind === 'latest' ? metric.step : metric[`${kind}_step`];
  return { text: formatValue(value), title: step === undefined || step === null ? String(value) : `${value} at step ${step}` };
}
