// Keys of the keyboard.
import { html } from '../parts/html.js';
import { account, mayAs } from '../state/account.js';
import { useStore } from '../state/use_store.js';
import { Dialog } from './dialog.js';

/** @type {[string[], string, import('../state/account.js').Role?][]} keys, what they do, and who may */
const KEYS = [
  [['Ctrl', 'K'], 'Go to a run, an experiment, a view, or do something'],
  [['/'], 'Filter the table'],
  [['↓', 'j'], 'Next run'],
  [['↑', 'k'], 'Previous run'],
  [['Enter'], 'Open the run'],
  [['x', 'Space'], 'Select the run'],
  [['a'], 'Select all that are loaded, or none'],
  [['c'], 'Choose the colour of the run'],
  [['r'], 'Rename the run', 'write'],
  [['Delete'], 'Delete what is selected', 'manage'],
  [['['], 'Show or hide the list of experiments'],
  [['t'], 'Light or dark'],
  [['Esc'], 'Close, or unselect'],
  [['?'], 'This list'],
];

/** @param {{onClose: () => void}} props */
export function Help({ onClose }) {
  const own = useStore(account)?.role;
  return html`
    <${Dialog} title="Keys" className="help" onClose=${onClose}>
      <dl>
        ${KEYS.filter(([, , role]) => mayAs(own, role ?? 'read')).map(
          ([keys, what]) => html`<div><dt>${keys.map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${what}</dd></div>`,
        )}
      </dl>
      <button onClick=${onClose}>Close</button>
    <//>
  `;
}
