// Moves runs to another experiment.
import { useState } from 'preact/hooks';
import { plural } from '../parts/format.js';
import { html } from '../parts/html.js';
import { Dialog } from '../shell/dialog.js';
import { experiments } from '../state/experiments.js';
import { useStore } from '../state/use_store.js';
import { moveRuns } from './actions.js';

/** @param {{runs: import('../api/types.js').Run[], onClose: () => void, onDone: () => void}} props */
export function MoveRuns({ runs, onClose, onDone }) {
  const from = new Set(runs.map((run) => run.experiment_id));
  const targets = (useStore(experiments) ?? []).filter((one) => from.size > 1 || !from.has(one.experiment_id));
  const [chosen, setChosen] = useState('');
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const target = targets.find((one) => one.experiment_id === chosen);
    if (target) await moveRuns(runs.map((run) => run.run_id), target, onDone);
    onClose();
  };
  return html`
    <${Dialog} title=${`Move ${plural(runs.length, 'run')}`} onClose=${onClose}>
      <form onSubmit=${submit}>
        <label>Experiment
          <select required autofocus value=${chosen} onChange=${(/** @type {any} */ event) => setChosen(event.target.value)}>
            <option value="" disabled>${targets.length > 0 ? 'Choose one' : 'There is no other experiment'}</option>
            ${targets.map((one) => html`<option key=${one.experiment_id} value=${one.experiment_id}>${one.name}</option>`)}
          </select>
        </label>
        <p class="quiet">Points, params, tags and models are moved, too. Artifacts keep their URIs. Points are then kept as long as the new experiment's retention says.</p>
        <div class="actions"><span class="spacer"></span><button type="button" onClick=${onClose}>Cancel</button><button class="primary">Move</button></div>
      </form>
    <//>
  `;
}
