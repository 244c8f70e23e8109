// Keys of the keyboard.
import { html } from '../parts/html.js';
import { Dialog } from './dialog.js';

const KEYS = [
  [['Ctrl', 'K'], 'Go to a run, an experiment, a view, or do something'],
  [['/'], 'Filter the table'],
  [['↓', 'j'], 'Next run'],
  [['↑', 'k'], 'Previous run'],
  [['Enter'], 'Open the run'],
  [['x', 'Space'], 'Select the run'],
  [['a'], 'Select all that are loaded, or none'],
  [['r'], 'Rename the run'],
  [['Delete'], 'Delete what is selected'],
  [['['], 'Show or hide the list of experiments'],
  [['t'], 'Light or dark'],
  [['Esc'], 'Close, or unselect'],
  [['?'], 'This list'],
];

/** @param {{onClose: () => void}} props */
export function Help({ onClose }) {
  return html`
    <${Dialog} title="Keys" className="help" onClose=${onClose}>
      <dl>
        ${KEYS.map(
          ([keys, what]) => html`<div><dt>${/** @type {string[]} */ (keys).map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${what}</dd></div>`,
        )}
      </dl>
      <button onClick=${onClose}>Close</button>
    <//>
  `;
}
