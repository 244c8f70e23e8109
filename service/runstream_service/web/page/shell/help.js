// The dialog with the keyboard shortcuts.
import { html } from '../parts/html.js';
import { account, mayAs } from '../state/account.js';
import { useStore } from '../state/use_store.js';
import { Dialog } from './dialog.js';

/** @type {[string[], string, import('../state/account.js').Role?][]} keys, what they do, and the role that this needs */
const KEYS = [
  [['Ctrl', 'K'], 'Find a run, an experiment, a view or a command'],
  [['/'], 'Filter the table'],
  [['↓', 'j'], 'Next run'],
  [['↑', 'k'], 'Previous run'],
  [['Enter'], 'Open the run'],
  [['x', 'Space'], 'Select the run'],
  [['a'], 'Select all loaded runs, or none'],
  [['c'], 'Choose the colour of the run'],
  [['r'], 'Rename the run', 'write'],
  [['Delete'], 'Delete the selected runs', 'manage'],
  [['['], 'Show or hide the list of experiments'],
  [['t'], 'Change between light and dark'],
  [['Esc'], 'Close, or clear the selection'],
  [['?'], 'Show this list'],
];

/** @param {{onClose: () => void}} props */
export function Help({ onClose }) {
  const own = useStore(account)?.role;
  return html`
    <${Dialog} title="Keyboard shortcuts" className="help" onClose=${onClose}>
      <dl>
        ${KEYS.filter(([, , role]) => mayAs(own, role ?? 'read')).map(
          ([keys, what]) => html`<div><dt>${keys.map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${what}</dd></div>`,
        )}
      </dl>
      <button onClick=${onClose}>Close</button>
    <//>
  `;
}
