// Experiments and saved views, on the left.
import { useEffect, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { formatCount, formatTimeAgo } from '../parts/format.js';
import { experiments } from '../state/experiments.js';
import { runsPath } from '../state/places.js';
import { useStore } from '../state/use_store.js';
import { loadViews, viewPath, views } from '../state/views.js';

/** With more experiments than these, there is a box to filter them. */
const MANY = 12;
/** More than these are found by their names. */
const MOST = 200;

/** @param {{current: string, onGo: () => void}} props */
export function SideList({ current, onGo }) {
  const all = useStore(experiments) ?? [];
  const ofViews = useStore(views) ?? [];
  const [text, setText] = useState('');
  useEffect(() => void loadViews().catch(() => {}), []);
  const found = all.filter((one) => one.name.toLowerCase().includes(text.toLowerCase()));
  return html`
    <nav class="side" aria-label="Experiments and views" onClick=${onGo}>
      <a href="./" class="entry" aria-current=${current === '' ? 'page' : undefined}><span class="name">All runs</span></a>
      ${ofViews.length > 0 && html`<h2>Views</h2>`}
      ${ofViews.map((one) => html`<a key=${one.view_id} class="entry" href=${viewPath(one)} title=${one.name}><span class="name">${one.name}</span></a>`)}
      <h2>Experiments</h2>
      ${all.length > MANY && html`
        <input type="search" aria-label="Filter experiments" placeholder="Filter" value=${text}
          onClick=${(/** @type {Event} */ event) => event.stopPropagation()} onInput=${(/** @type {any} */ event) => setText(event.target.value)} />
      `}
      ${found.slice(0, MOST).map((one) => html`<${Entry} key=${one.experiment_id} experiment=${one} isCurrent=${one.experiment_id === current} />`)}
      ${found.length > MOST && html`<p class="quiet more">${formatCount(found.length - MOST)} more: filter by name</p>`}
    </nav>
  `;
}

/** @param {{experiment: import('../api/types.js').Experiment, isCurrent: boolean}} props */
function Entry({ experiment, isCurrent }) {
  const { name, run_count: count, last_update_us: at } = experiment;
  const age = at === null ? '' : `, last active ${formatTimeAgo(at)}`;
  return html`
    <a href=${runsPath(experiment.experiment_id)} class="entry" aria-current=${isCurrent ? 'page' : undefined} title=${`${name}${age}`}>
      <span class="name">${name}</span><span class="count">${formatCount(count)}</span>
    </a>
  `;
}
