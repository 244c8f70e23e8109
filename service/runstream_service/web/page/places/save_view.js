// What is on screen gets a name; views are changed and deleted here, too.
import { useEffect, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { Dialog } from '../shell/dialog.js';
import { tell, tellError } from '../shell/toasts.js';
import { useMay } from '../state/account.js';
import { useStore } from '../state/use_store.js';
import { changeView, currentState, deleteView, loadViews, saveView, viewPath, views } from '../state/views.js';

/** @param {{onClose: () => void}} props */
export function SaveView({ onClose }) {
  const [name, setName] = useState('');
  const all = useStore(views);
  const mayWrite = useMay('write');
  useEffect(() => void loadViews().catch((error) => tellError('The views could not be listed', error)), []);
  /** @param {string} what @param {() => Promise<unknown>} change */
  const attempt = async (what, change) => {
    try {
      await change();
      tell(what);
      return true;
    } catch (error) {
      tellError('The view was not changed', error);
      return false;
    }
  };
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (await attempt(`Saved as “${name}”.`, () => saveView(name.trim()))) onClose();
  };
  return html`
    <${Dialog} title="Views" className="views" onClose=${onClose}>
      ${mayWrite && html`<form onSubmit=${submit}>
        <label>Save what is on screen as<input type="text" required maxlength="200" autofocus placeholder="Name" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} /></label>
        <div class="actions"><span class="quiet">Everybody in the workspace can see it.</span><span class="spacer"></span><button class="primary">Save</button></div>
      </form>`}
      ${!mayWrite && all?.length === 0 && html`<p class="quiet">This workspace has no saved views.</p>`}
      ${all && all.length > 0 && html`
        <h2>Saved</h2>
        <ul>
          ${all.map((view) => html`
            <li key=${view.view_id}>
              <a href=${viewPath(view)} class="name" onClick=${onClose}>${view.name}</a><span class="quiet">${view.owner}</span>
              ${mayWrite && html`<${Change} view=${view} attempt=${attempt} />`}
            </li>
          `)}
        </ul>
      `}
    <//>
  `;
}

/** @param {{view: import('../api/types.js').View, attempt: (what: string, change: () => Promise<unknown>) => Promise<boolean>}} props */
const Change = ({ view, attempt }) => html`
  <button class="plain" aria-label=${`Replace ${view.name} with what is on screen`} onClick=${() => attempt(`“${view.name}” now shows what is on screen.`, () => changeView(view.view_id, { state: currentState() }))}>Replace</button>
  <button class="plain danger" aria-label=${`Delete ${view.name}`} onClick=${() => attempt(`“${view.name}” deleted.`, () => deleteView(view.view_id))}>Delete</button>
`;
