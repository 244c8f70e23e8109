// The dialog of Ctrl-K: finds runs, experiments, views and commands by their names.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { postJson } from '../api/http.js';
import { html } from '../parts/html.js';
import { experiments } from '../state/experiments.js';
import { runPath, runsPath } from '../state/places.js';
import { navigate } from '../state/router.js';
import { chooseTheme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { loadViews, viewPath, views } from '../state/views.js';
import { filterOf } from '../table/completion.js';
import { copyText } from './clipboard.js';
import { Dialog } from './dialog.js';
import { ranked } from './ranking.js';

/** @typedef {{id: string, kind: string, label: string, detail?: string, run: () => void}} Entry */

const MOST = 12;

/** @type {Entry[]} */
const COMMANDS = [
  { id: 'all', kind: 'Go to', label: 'All runs', run: () => navigate('./') },
  { id: 'light', kind: 'Theme', label: 'Light', run: () => chooseTheme('light') },
  { id: 'dark', kind: 'Theme', label: 'Dark', run: () => chooseTheme('dark') },
  { id: 'system', kind: 'Theme', label: 'Same as the system', run: () => chooseTheme('system') },
  { id: 'link', kind: 'Copy', label: 'Link to what is on screen', run: () => void copyText(location.href, 'The link is copied.') },
  { id: 'mlflow', kind: 'Go to', label: "MLflow's UI", run: () => location.assign(new URL('mlflow/', document.baseURI)) },
  { id: 'about', kind: 'Go to', label: 'About this service', run: () => location.assign(new URL('about', document.baseURI)) },
];

/** @param {{onClose: () => void, onHelp: () => void}} props */
export function Palette({ onClose, onHelp }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const runs = useRunsNamed(text);
  const all = useEntries(onHelp);
  const found = useMemo(() => [...ranked(all, text).slice(0, MOST), ...runs].slice(0, MOST + 5), [all, text, runs]);
  useEffect(() => setAt(0), [text]);

  const choose = (/** @type {Entry | undefined} */ entry) => {
    if (!entry) return;
    onClose();
    entry.run();
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'ArrowDown') setAt(Math.min(at + 1, found.length - 1));
    else if (event.key === 'ArrowUp') setAt(Math.max(at - 1, 0));
    else if (event.key === 'Enter') choose(found[at]);
    else return;
    event.preventDefault();
  };
  return html`
    <${Dialog} title="Go to" className="palette" hidesTitle onClose=${onClose}>
      <input type="text" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-label="Find a run, an experiment, a view or a command"
        aria-activedescendant=${found[at] ? `palette-${at}` : undefined} placeholder="Runs, experiments, views, commands"
        autocomplete="off" spellcheck=${false} autofocus value=${text}
        onInput=${(/** @type {any} */ event) => setText(event.target.value)} onKeyDown=${onKeyDown} />
      <div id="palette-list" role="listbox" aria-label="Results">
        ${found.map((entry, index) => html`<${Option} key=${entry.kind + entry.id} entry=${entry} index=${index} isAt=${index === at} onChoose=${choose} />`)}
      </div>
      ${found.length === 0 && html`<p class="quiet nothing">Nothing found.</p>`}
    <//>
  `;
}

/** @param {{entry: Entry, index: number, isAt: boolean, onChoose: (entry: Entry) => void}} props */
function Option({ entry, index, isAt, onChoose }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (isAt) ref.current?.scrollIntoView({ block: 'nearest' });
  }, [isAt]);
  return html`
    <div ref=${ref} id=${`palette-${index}`} role="option" aria-selected=${isAt} class="option" onClick=${() => onChoose(entry)}>
      <span class="kind">${entry.kind}</span><span class="label">${entry.label}</span>
      ${entry.detail && html`<span class="quiet">${entry.detail}</span>`}
    </div>
  `;
}

/**
 * @param {() => void} onHelp
 * @returns {Entry[]}
 */
function useEntries(onHelp) {
  const ofExperiments = useStore(experiments) ?? [];
  const ofViews = useStore(views) ?? [];
  useEffect(() => void loadViews().catch(() => {}), []); // without them, there is everything else
  return useMemo(
    () => [
      ...COMMANDS,
      { id: 'help', kind: 'Show', label: 'Keys of the keyboard', run: onHelp },
      ...ofExperiments.map((one) => ({ id: one.experiment_id, kind: 'Experiment', label: one.name, run: () => navigate(runsPath(one.experiment_id)) })),
      ...ofViews.map((one) => ({ id: one.view_id, kind: 'View', label: one.name, run: () => navigate(viewPath(one)) })),
    ],
    [ofExperiments, ofViews],
  );
}

/**
 * Runs whose names contain what was typed.
 * @param {string} text
 * @returns {Entry[]}
 */
function useRunsNamed(text) {
  const [runs, setRuns] = useState(/** @type {Entry[]} */ ([]));
  useEffect(() => {
    const typed = text.trim();
    if (typed.length < 2) return setRuns([]);
    const abort = new AbortController();
    const timer = setTimeout(() => {
      const filter = /^[0-9a-f]{32}$/.test(typed) ? `attributes.run_id = '${typed}'` : filterOf(typed.replace(/[<>=()%']/g, ''));
      postJson('runs/search', { filter, page_size: 5, metrics: [] }, { signal: abort.signal }).then(
        ({ runs: found }) => setRuns(found.map(entryOf)),
        () => setRuns([]), // such as a name that cannot be searched for
      );
    }, 120);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  return runs;
}

/**
 * @param {import('../api/types.js').Run} run
 * @returns {Entry}
 */
const entryOf = (run) => ({ id: run.run_id, kind: 'Run', label: run.name, detail: run.experiment, run: () => navigate(runPath(run.run_id)) });
