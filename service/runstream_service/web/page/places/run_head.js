// The top line of a run's page: its name and state, and what can be done with it.
import { useState } from 'preact/hooks';
import { formatCount, formatMoment, formatTimeAgo, formatValue } from '../parts/format.js';
import { html } from '../parts/html.js';
import { Status } from '../parts/status.js';
import { copyText } from '../shell/clipboard.js';
import { useMay } from '../state/account.js';
import { runPath, runsPath } from '../state/places.js';
import { deleteRuns, restoreRuns } from '../table/actions.js';
import { duration } from '../table/cells.js';
import { Rename } from '../table/selection_bar.js';
import { SaveView } from './save_view.js';

const PARENT = 'mlflow.parentRunId'; // the tag by which MLflow nests runs

/** @param {{overview: import('../api/types.js').Overview, isAway: boolean, onChanged: () => void}} props */
export function RunHead({ overview, isAway, onChanged }) {
  const { run, points_per_s: rate } = overview;
  const [dialog, setDialog] = useState(/** @type {'' | 'rename' | 'save'} */ (''));
  const [mayWrite, mayManage] = [useMay('write'), useMay('manage')];
  const isGone = run.lifecycle === 'deleted';
  const copy = () => void copyText(run.run_id, 'The id of the run is copied.');
  const act = () => (isGone ? restoreRuns([run.run_id], onChanged) : deleteRuns([run.run_id], onChanged));
  return html`
    <div class="run-head">
      <nav aria-label="Breadcrumb"><a href=${runsPath(run.experiment_id)}>${run.experiment}</a><span aria-hidden="true">/</span></nav>
      <h1 title=${run.name}>${run.name}</h1>
      <${Status} run=${run} />
      <dl class="facts">
        ${fact('Duration', duration(run), `Started ${formatMoment(run.start_time_us)}`)}
        ${run.status === 'running' && rate !== null && fact('Rate', `${formatCount(rate) === '0' && rate > 0 ? formatValue(rate) : formatCount(rate)} points/s`)}
        ${run.status === 'running' && run.last_point_us !== null && fact('Last point', formatTimeAgo(run.last_point_us))}
        ${run.status !== 'running' && fact('Started', formatTimeAgo(run.start_time_us), formatMoment(run.start_time_us))}
        ${run.user && fact('User', run.user)}
        ${run.tags[PARENT] && html`<${Parent} run=${run} parentId=${run.tags[PARENT]} />`}
      </dl>
      ${isAway && html`<span class="away" role="status">reconnecting</span>`}
      <span class="spacer"></span>
      <div class="run-actions">
        ${mayWrite && html`<button class="plain" onClick=${() => setDialog('rename')}>Rename</button>`}
        <button class="plain" title=${run.run_id} onClick=${copy}>Copy id</button>
        <a class="plain-link" href=${mlflowPath(run, '/artifacts')}>Artifacts</a>
        <button class="plain" onClick=${() => setDialog('save')}>${mayWrite ? 'Save view' : 'Views'}</button>
        ${mayManage && html`<button class=${isGone ? 'plain' : 'plain danger'} onClick=${act}>${isGone ? 'Restore' : 'Delete'}</button>`}
      </div>
    </div>
    ${dialog === 'rename' && html`<${Rename} run=${run} onClose=${() => setDialog('')} onChanged=${onChanged} />`}
    ${dialog === 'save' && html`<${SaveView} onClose=${() => setDialog('')} />`}
  `;
}

/**
 * Of a nested run: the way up, and to the others of the same parent.
 * @param {{run: import('../api/types.js').Run, parentId: string}} props
 */
function Parent({ run, parentId }) {
  const filter = `tags.\`${PARENT}\` = '${parentId.replaceAll("'", '')}'`;
  return html`<div><dt>Parent</dt><dd>
    <a href=${runPath(parentId)} title="The parent run">${parentId.slice(0, 8)}</a> <a href=${`${runsPath(run.experiment_id)}?filter=${encodeURIComponent(filter)}`}>all runs of this parent</a>
  </dd></div>`;
}

/**
 * The run in MLflow's UI.
 * @param {import('../api/types.js').Run} run
 * @param {string} tab
 */
const mlflowPath = (run, tab) => `mlflow/#/experiments/${run.experiment_id}/runs/${run.run_id}${tab}`;

/**
 * @param {string} name
 * @param {string} value
 * @param {string} [title]
 */
const fact = (name, value, title) => html`<div title=${title ?? name}><dt>${name}</dt><dd>${value}</dd></div>`;
