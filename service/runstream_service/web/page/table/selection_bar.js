// What can be done with the selected runs.
import { useState } from 'preact/hooks';
import { plural } from '../parts/format.js';
import { html } from '../parts/html.js';
import { Dialog } from '../shell/dialog.js';
import { tell } from '../shell/toasts.js';
import { useMay } from '../state/account.js';
import { MOST_COMPARED } from '../state/places.js';
import { deleteRuns, editRun, restoreRuns } from './actions.js';
import { MoveRuns } from './move_runs.js';

/** The most selected runs that the link keeps, since more would make it too long; more are only selected in this tab. */
export const MOST_IN_LINK = 20;

/**
 * @param {{runs: import('../api/types.js').Run[], isInLink: boolean, hasCharts: boolean, onCharts: () => void, onClear: () => void, onChanged: () => void,
 *   asked: '' | 'rename' | 'tag', onAsk: (what: '' | 'rename' | 'tag') => void}} props
 */
export function SelectionBar({ runs, isInLink, hasCharts, onCharts, onClear, onChanged, asked, onAsk }) {
  const ids = runs.map((run) => run.run_id);
  const gone = runs.filter((run) => run.lifecycle === 'deleted').map((run) => run.run_id);
  const there = runs.filter((run) => run.lifecycle === 'active').map((run) => run.run_id);
  const [mayWrite, mayManage] = [useMay('write'), useMay('manage')];
  const [isMoving, setMoving] = useState(false);
  const done = () => (onClear(), onChanged());
  const query = ids.slice(0, MOST_COMPARED).map((id) => `r=${id}`).join('&');
  return html`
    <div class="selection" role="toolbar" aria-label="Selected runs">
      <span class="count">${plural(runs.length, 'run')} selected</span>
      ${!isInLink && html`<span class="quiet">The link does not keep this selection: it has room for ${MOST_IN_LINK} runs</span>`}
      <button aria-pressed=${hasCharts} onClick=${onCharts}>Charts</button>
      ${runs.length > 1 && html`<a class="button" href=${`compare?${query}`}>${runs.length > MOST_COMPARED ? `Compare the first ${MOST_COMPARED}` : 'Compare'}</a>`}
      ${mayWrite && runs.length === 1 && html`<button onClick=${() => onAsk('rename')}>Rename</button>`}
      ${mayWrite && html`<button onClick=${() => onAsk('tag')}>Tag</button>`}
      ${mayManage && there.length > 0 && gone.length === 0 && html`<button onClick=${() => setMoving(true)}>Move</button>`}
      ${mayManage && there.length > 0 && html`<button class="danger" onClick=${() => deleteRuns(there, done)}>Delete</button>`}
      ${mayManage && gone.length > 0 && html`<button onClick=${() => restoreRuns(gone, done)}>Restore</button>`}
      <button class="plain" onClick=${onClear}>Clear</button>
    </div>
    ${asked === 'rename' && runs[0] && html`<${Rename} run=${runs[0]} onClose=${() => onAsk('')} onChanged=${onChanged} />`}
    ${isMoving && html`<${MoveRuns} runs=${runs} onClose=${() => setMoving(false)} onDone=${done} />`}
    ${asked === 'tag' && html`<${TagRuns} ids=${ids} onClose=${() => onAsk('')} onChanged=${onChanged} />`}
  `;
}

/** @param {{run: import('../api/types.js').Run, onClose: () => void, onChanged: () => void}} props */
export function Rename({ run, onClose, onChanged }) {
  const [name, setName] = useState(run.name);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (await editRun(run.run_id, { name })) onChanged();
    onClose();
  };
  return html`
    <${Dialog} title="Rename the run" onClose=${onClose}>
      <form onSubmit=${submit}>
        <label>Name<input type="text" required maxlength="250" autofocus value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} /></label>
        <div class="actions"><span class="spacer"></span><button type="button" onClick=${onClose}>Cancel</button><button class="primary">Rename</button></div>
      </form>
    <//>
  `;
}

/** @param {{ids: string[], onClose: () => void, onChanged: () => void}} props */
function TagRuns({ ids, onClose, onChanged }) {
  const [key, setKey] = useState('');
  const [value, setValue] = useState('');
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    let count = 0;
    for (const id of ids) {
      if (!(await editRun(id, { set_tags: { [key]: value } }))) break; // it says why
      count++;
    }
    if (count > 0) tell(`${plural(count, 'run')} tagged.`);
    onChanged();
    onClose();
  };
  return html`
    <${Dialog} title=${`Tag ${plural(ids.length, 'run')}`} onClose=${onClose}>
      <form onSubmit=${submit}>
        <label>Key<input type="text" required maxlength="250" autofocus value=${key} onInput=${(/** @type {any} */ event) => setKey(event.target.value)} /></label>
        <label>Value<input type="text" maxlength="5000" value=${value} onInput=${(/** @type {any} */ event) => setValue(event.target.value)} /></label>
        <div class="actions"><span class="spacer"></span><button type="button" onClick=${onClose}>Cancel</button><button class="primary">Set the tag</button></div>
      </form>
    <//>
  `;
}
