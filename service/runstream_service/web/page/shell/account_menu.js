// Who is signed in, where they work, and the way out.
import { useState } from 'preact/hooks';
import { signOut } from '../api/http.js';
import { html } from '../parts/html.js';
import { personIcon } from '../parts/icons.js';
import { account } from '../state/account.js';
import { useStore } from '../state/use_store.js';
import { Dialog } from './dialog.js';
import { tellError } from './toasts.js';

/** Nothing without a session, which is all that can be chosen or ended here. */
export function AccountMenu() {
  const me = useStore(account);
  const [isOpen, setOpen] = useState(false);
  if (!me?.signed_in) return null;
  return html`
    <button class="plain account-button" aria-haspopup="dialog" aria-label=${`Account: ${me.principal}, workspace ${me.workspace}`} onClick=${() => setOpen(true)}>
      ${personIcon()}<span class="word">${me.workspace}</span>
    </button>
    ${isOpen && html`<${Account} me=${me} onClose=${() => setOpen(false)} />`}
  `;
}

/** @param {{me: import('../api/types.js').Account, onClose: () => void}} props */
function Account({ me, onClose }) {
  const leave = () => signOut().then((url) => location.assign(url), (error) => tellError('You were not signed out', error));
  return html`
    <${Dialog} title="Account" className="account" hidesTitle onClose=${onClose}>
      <p class="who">${me.principal}</p>
      <p class="quiet">${me.role} in ${me.workspace}</p>
      ${me.workspaces.length > 1 && html`<${Workspaces} me=${me} />`}
      <button class="leave" onClick=${leave}>Sign out</button>
    <//>
  `;
}

/**
 * The form of the page /signin/workspace. What is on screen belongs to the old workspace, so all runs are next.
 * @param {{me: import('../api/types.js').Account}} props
 */
const Workspaces = ({ me }) => html`
  <form method="post" action="signin/workspace?next=%2F" aria-labelledby="workspaces-title">
    <h2 id="workspaces-title">Workspaces</h2>
    <div class="workspaces">
      ${me.workspaces.map((name) => html`<button key=${name} name="workspace" value=${name} class="plain" aria-current=${name === me.workspace ? 'true' : undefined}>${name}</button>`)}
    </div>
  </form>
`;
