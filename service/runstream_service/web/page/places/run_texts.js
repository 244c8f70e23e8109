// Params, tags and the note of a run.
import { useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { Markdown } from '../parts/markdown.js';
import { useMay } from '../state/account.js';
import { editRun } from '../table/actions.js';
import { userTags } from '../table/columns.js';

/** @typedef {import('../api/types.js').Run} Run */

/** With more params than these, there is a box to find one. */
const MANY = 12;
const NOTE = 'mlflow.note.content';

/** @param {{run: Run, onChanged: () => void}} props */
export function ParamsAndTags({ run, onChanged }) {
  const [text, setText] = useState('');
  const params = Object.entries(run.params).sort(([a], [b]) => (a < b ? -1 : 1));
  const found = params.filter(([key, value]) => `${key} ${value}`.toLowerCase().includes(text.toLowerCase()));
  return html`
    <div class="texts">
      <section aria-labelledby="params-title">
        <h2 id="params-title">Params <span class="count">${params.length}</span></h2>
        ${params.length > MANY && html`<input type="search" aria-label="Find a param" placeholder="Find" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} />`}
        ${params.length === 0 ? html`<p class="quiet">None. <code>run.log_params({"lr": 0.01})</code> logs them.</p>` : html`<${Pairs} pairs=${found} />`}
      </section>
      <section aria-labelledby="tags-title">
        <h2 id="tags-title">Tags</h2>
        <${Tags} run=${run} onChanged=${onChanged} />
      </section>
    </div>
  `;
}

/** @param {{pairs: [string, string][]}} props */
const Pairs = ({ pairs }) => html`
  <table class="pairs"><tbody>${pairs.map(([key, value]) => html`<tr key=${key}><th scope="row">${key}</th><td>${value}</td></tr>`)}</tbody></table>
`;

/** @param {{run: Run, onChanged: () => void}} props */
function Tags({ run, onChanged }) {
  const mayWrite = useMay('write');
  const [key, setKey] = useState('');
  const [value, setValue] = useState('');
  const change = async (/** @type {Parameters<typeof editRun>[1]} */ changes) => {
    const isDone = await editRun(run.run_id, changes);
    if (isDone) onChanged();
    return isDone;
  };
  const add = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (await change({ set_tags: { [key.trim()]: value } })) (setKey(''), setValue(''));
  };
  return html`
    <table class="pairs"><tbody>
      ${userTags(run).map(([name, text]) => html`
        <tr key=${name}><th scope="row">${name}</th><td>${text}</td>
          ${mayWrite && html`<td class="do"><button class="plain icon-only" aria-label=${`Delete the tag ${name}`} onClick=${() => change({ delete_tags: [name] })}>×</button></td>`}</tr>
      `)}
    </tbody></table>
    ${mayWrite && html`<form class="add-tag" onSubmit=${add}>
      <input type="text" required maxlength="250" aria-label="Key of the tag" placeholder="Key" value=${key} onInput=${(/** @type {any} */ event) => setKey(event.target.value)} />
      <input type="text" maxlength="5000" aria-label="Value of the tag" placeholder="Value" value=${value} onInput=${(/** @type {any} */ event) => setValue(event.target.value)} />
      <button>Set</button>
    </form>`}
  `;
}

/** @param {{run: Run, onChanged: () => void}} props */
export function Notes({ run, onChanged }) {
  const mayWrite = useMay('write');
  const note = run.tags[NOTE] ?? '';
  const [draft, setDraft] = useState(/** @type {string | null} */ (null));
  const save = async () => {
    if (!(await editRun(run.run_id, { note: draft ?? '' }))) return;
    setDraft(null);
    onChanged();
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void save();
    if (event.key === 'Escape') setDraft(null);
  };
  if (draft !== null) {
    return html`
      <div class="notes">
        <textarea aria-label="Note in Markdown" rows="16" autofocus value=${draft} onKeyDown=${onKeyDown} onInput=${(/** @type {any} */ event) => setDraft(event.target.value)}></textarea>
        <div class="actions"><span class="quiet">Markdown · Ctrl Enter saves</span><span class="spacer"></span>
          <button onClick=${() => setDraft(null)}>Cancel</button><button class="primary" onClick=${save}>Save</button></div>
      </div>
    `;
  }
  return html`
    <div class="notes">
      ${note ? html`<${Markdown} text=${note} />` : html`<p class="quiet">No note yet.${mayWrite && ' What was tried, what came out, what is next?'}</p>`}
      ${mayWrite && html`<div class="actions"><button onClick=${() => setDraft(note)}>${note ? 'Edit' : 'Write a note'}</button></div>`}
    </div>
  `;
}
