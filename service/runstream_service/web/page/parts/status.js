// A run's state in a dot and a word.
import { html } from './html.js';

/** Without points for this long, a running run is called quiet. */
const QUIET_US = 60_000_000;

/**
 * @param {import('../api/types.js').Run} run
 * @param {number} [nowMs]
 * @returns {{name: string, word: string, title: string}}
 */
export function stateOf(run, nowMs = Date.now()) {
  if (run.lifecycle === 'deleted') return { name: 'deleted', word: 'deleted', title: 'Deleted; it can be restored until it is purged' };
  const silentUs = run.last_point_us === null ? 0 : nowMs * 1000 - run.last_point_us;
  if (run.status === 'running' && silentUs > QUIET_US) {
    return { name: 'quiet', word: 'quiet', title: `Running, but its last point is ${Math.floor(silentUs / 1e6)} s old` };
  }
  return { name: run.status, word: run.status, title: '' };
}

/** @param {{run: import('../api/types.js').Run}} props */
export function Status({ run }) {
  const { name, word, title } = stateOf(run);
  return html`<span class=${`status ${name}`} title=${title}><i aria-hidden="true"></i>${word}</span>`;
}
