// What can be done to runs: each asks the service, and tells how it went.
import { postJson } from '../api/http.js';
import { plural } from '../parts/format.js';
import { tell, tellError } from '../shell/toasts.js';

/** The most runs in one request. */
const MOST = 100;

/**
 * Deletes runs. They can be restored until they are purged.
 * @param {string[]} runIds
 * @param {() => void} onDone
 */
export async function deleteRuns(runIds, onDone) {
  await inPortions('runs/delete', runIds, 'The runs were not deleted', () => {
    tell(`${plural(runIds.length, 'run')} deleted.`, { label: 'Undo', run: () => void restoreRuns(runIds, onDone) });
    onDone();
  });
}

/**
 * @param {string[]} runIds
 * @param {() => void} onDone
 */
export async function restoreRuns(runIds, onDone) {
  await inPortions('runs/restore', runIds, 'The runs were not restored', () => {
    tell(`${plural(runIds.length, 'run')} restored.`);
    onDone();
  });
}

/**
 * @param {string[]} runIds
 * @param {{experiment_id: string, name: string}} experiment
 * @param {() => void} onDone
 */
export async function moveRuns(runIds, experiment, onDone) {
  await inPortions('runs/move', runIds, 'The runs were not moved', () => {
    tell(`${plural(runIds.length, 'run')} moved to ${experiment.name}.`);
    onDone();
  }, { experiment_id: experiment.experiment_id });
}

/**
 * @param {string} path
 * @param {string[]} runIds
 * @param {string} problem
 * @param {() => void} onDone
 * @param {object} [fields] what else the request has
 */
async function inPortions(path, runIds, problem, onDone, fields = {}) {
  try {
    for (let at = 0; at < runIds.length; at += MOST) await postJson(path, { ...fields, run_ids: runIds.slice(at, at + MOST) });
    onDone();
  } catch (error) {
    tellError(problem, error);
  }
}

/**
 * @param {string} runId
 * @param {{name?: string, set_tags?: Record<string, string>, delete_tags?: string[], note?: string}} changes
 * @returns {Promise<boolean>} whether it worked
 */
export async function editRun(runId, changes) {
  try {
    await postJson(`runs/${runId}/edit`, changes);
    return true;
  } catch (error) {
    tellError('The run was not changed', error);
    return false;
  }
}
