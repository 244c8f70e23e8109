// Keys of metrics, params and tags, for completion and the choice of columns.
import { getJson } from '../api/http.js';

/** @typedef {import('../api/types.js').Keys} Keys */

/** @type {Keys} */
export const NO_KEYS = { metrics: [], params: [], tags: [] };

/**
 * @param {string} experimentId empty: of all
 * @returns {Promise<Keys>}
 */
export const loadKeys = (experimentId) => getJson('keys', experimentId ? { experiment_id: experimentId } : {});
