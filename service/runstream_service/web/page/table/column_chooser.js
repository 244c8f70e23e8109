// Which columns the table has, and in which order.
import { useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { Dialog } from '../shell/dialog.js';
import { allColumns, columnOf, sensibleWidth } from './columns.js';

/** More than these are found by their names. */
const MOST = 200;
/** Pixels by which a column becomes wider or narrower. */
const WIDEN = 24;
const KINDS = { field: '', param: 'param', tag: 'tag', latest: 'latest', min: 'lowest', max: 'highest' };

/**
 * @param {{ids: string[], keys: import('../api/types.js').Keys, widths: Record<string, number>, onWidths: (widths: Record<string, number>) => void, onChange: (ids: string[]) => void, onAuto: () => void, onClose: () => void}} props
 */
export function ColumnChooser({ ids, keys, widths, onWidths, onChange, onAuto, onClose }) {
  const [text, setText] = useState('');
  const others = allColumns(keys).filter((id) => !ids.includes(id) && id.toLowerCase().includes(text.toLowerCase()));
  const move = (/** @type {number} */ from, /** @type {number} */ to) => {
    if (to < 0 || to >= ids.length) return;
    const next = ids.filter((_, index) => index !== from);
    next.splice(to, 0, /** @type {string} */ (ids[from]));
    onChange(next);
  };
  const widen = (/** @type {string} */ id, /** @type {number} */ by) => onWidths({ ...widths, [id]: sensibleWidth((widths[id] ?? columnOf(id)?.width ?? 100) + by) });
  return html`
    <${Dialog} title="Columns" className="columns" onClose=${onClose}>
      <ol class="chosen">
        ${ids.map((id, index) => html`
          <li key=${id}>
            <label><input type="checkbox" checked onChange=${() => onChange(ids.filter((one) => one !== id))} /><${Name} id=${id} /></label>
            <button class="plain icon-only" aria-label=${`Make ${id} narrower`} title="Narrower" onClick=${() => widen(id, -WIDEN)}>−</button>
            <button class="plain icon-only" aria-label=${`Make ${id} wider`} title="Wider" onClick=${() => widen(id, WIDEN)}>+</button>
            <button class="plain icon-only" aria-label=${`Move ${id} up`} disabled=${index === 0} onClick=${() => move(index, index - 1)}>↑</button>
            <button class="plain icon-only" aria-label=${`Move ${id} down`} disabled=${index === ids.length - 1} onClick=${() => move(index, index + 1)}>↓</button>
          </li>
        `)}
      </ol>
      <input type="search" aria-label="Find a column" placeholder="Find a metric, param or tag" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} />
      <ul class="others">
        ${others.slice(0, MOST).map((id) => html`
          <li key=${id}><label><input type="checkbox" checked=${false} onChange=${() => onChange([...ids, id])} /><${Name} id=${id} /></label></li>
        `)}
        ${others.length > MOST && html`<li class="quiet">and ${others.length - MOST} more: type a part of the name</li>`}
      </ul>
      <div class="actions"><button onClick=${() => (onAuto(), onWidths({}))}>Choose automatically</button><span class="spacer"></span><button class="primary" onClick=${onClose}>Done</button></div>
    <//>
  `;
}

/** @param {{id: string}} props */
function Name({ id }) {
  const column = columnOf(id);
  if (!column) return id;
  return html`<span class="name">${column.kind === 'field' ? column.label : column.key}</span><span class="quiet">${KINDS[column.kind]}</span>`;
}
