// The types of the API's responses: see docs/web-api.md.

/** @typedef {number | 'NaN' | 'Infinity' | '-Infinity'} Value */

/**
 * @typedef {object} Metric
 * @property {Value} latest
 * @property {number} step
 * @property {number} time_us
 * @property {Value | null} [min] null if no value is finite
 * @property {number | null} [min_step]
 * @property {Value | null} [max]
 * @property {number | null} [max_step]
 */

/**
 * @typedef {object} Run
 * @property {string} run_id
 * @property {string} name
 * @property {string} experiment_id
 * @property {string} experiment
 * @property {'running' | 'scheduled' | 'finished' | 'failed' | 'killed'} status
 * @property {'active' | 'deleted'} lifecycle
 * @property {string} user
 * @property {number} start_time_us
 * @property {number | null} end_time_us
 * @property {number | null} last_point_us
 * @property {Record<string, string>} params
 * @property {Record<string, string>} tags
 * @property {Record<string, Metric>} [metrics] only in the table of runs
 */

/**
 * @typedef {Metric & {key: string, rank: number, attempt: number}} Series
 */

/**
 * @typedef {object} Overview
 * @property {Run} run
 * @property {Series[]} series
 * @property {number} series_count
 * @property {{attempt: number, first_step: number, first_time_us: number}[]} attempts
 * @property {number[]} ranks
 * @property {number | null} points_per_s
 */

/**
 * @typedef {object} Experiment
 * @property {string} experiment_id
 * @property {string} name
 * @property {'active' | 'deleted'} lifecycle
 * @property {number} run_count
 * @property {number | null} last_update_us
 * @property {number | null} retention_days
 */

/** @typedef {{metrics: string[], params: string[], tags: string[]}} Keys */

/**
 * @typedef {object} Account
 * @property {string} principal
 * @property {'read' | 'write' | 'manage' | 'admin'} role
 * @property {string} workspace
 * @property {string[]} workspaces
 * @property {boolean} signed_in whether there is a session, which can be ended
 */

/**
 * @typedef {object} View
 * @property {string} view_id
 * @property {string} name
 * @property {string} state a path of the page with its query string
 * @property {string} owner
 * @property {number} created_us
 * @property {number} updated_us
 */

export {};
