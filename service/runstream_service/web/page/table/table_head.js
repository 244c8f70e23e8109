// The heads of the table's columns: a click sorts, a drag moves a column, its edge resizes it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { downIcon, upIcon } from '../parts/icons.js';
import { followPointer } from '../parts/pointer.js';
import { canSort, columnOf, nextSort, sensibleWidth } from './columns.js';

/** @typedef {import('./columns.js').Column} Column */

export const NAME = /** @type {Column} */ (columnOf('name'));
const DRAGGED = 'application/x-runstream-column';

/**
 * @typedef {object} HeadProps
 * @property {import('./rows.js').Line[]} lines
 * @property {Column[]} columns
 * @property {Column} name the first one, with its width
 * @property {string} sort
 * @property {(sort: string) => void} onSort
 * @property {ReadonlySet<string>} selected
 * @property {(all: boolean) => void} onSelectAll
 * @property {(id: string, onto: string) => void} onMove
 * @property {(id: string, width: number, isOver: boolean) => void} onWidth
 */

/** @param {HeadProps} props */
export function TableHead(props) {
  const { lines, columns, name, selected, onSelectAll } = props;
  const box = useRef(/** @type {HTMLInputElement | null} */ (null));
  const count = lines.reduce((sum, line) => sum + (line.kind === 'run' ? 1 : 0), 0);
  useEffect(() => {
    if (box.current) box.current.indeterminate = selected.size > 0 && selected.size < count;
  });
  return html`
    <div role="rowgroup" class="head">
      <div role="row" aria-rowindex="1" class="row">
        <div role="columnheader" class="cell check">
          <input ref=${box} type="checkbox" tabindex="-1" aria-label="Select all" checked=${count > 0 && selected.size >= count}
            onChange=${(/** @type {any} */ event) => onSelectAll(event.target.checked)} />
        </div>
        ${[name, ...columns].map((column) => html`<${HeadCell} key=${column.id} column=${column} ...${props} />`)}
      </div>
    </div>
  `;
}

/** @param {HeadProps & {column: Column}} props */
function HeadCell({ column, sort, onSort, onMove, onWidth }) {
  const [isTarget, setTarget] = useState(false);
  const isName = column.id === NAME.id;
  const isSorted = sort.replace(/^-/, '') === column.id;
  const isDescending = sort.startsWith('-');
  const order = isSorted ? (isDescending ? 'descending' : 'ascending') : undefined;
  const className = `cell${isName ? ' name' : ''}${column.isNumber ? ' number' : ''}${isSorted ? ' sorted' : ''}${isTarget ? ' target' : ''}`;
  const label = html`<span class="label" title=${titleOf(column)}>${column.label}</span>`;
  const isOurs = (/** @type {DragEvent} */ event) => !isName && event.dataTransfer?.types.includes(DRAGGED);
  return html`
    <div role="columnheader" aria-sort=${order} class=${className} draggable=${!isName}
      onDragStart=${(/** @type {DragEvent} */ event) => event.dataTransfer?.setData(DRAGGED, column.id)}
      onDragOver=${(/** @type {DragEvent} */ event) => isOurs(event) && (event.preventDefault(), setTarget(true))}
      onDragLeave=${() => setTarget(false)}
      onDrop=${(/** @type {DragEvent} */ event) => (setTarget(false), isOurs(event) && onMove(event.dataTransfer?.getData(DRAGGED) ?? '', column.id))}>
      ${canSort(column)
        ? html`<button class="plain" tabindex="-1" onClick=${() => onSort(nextSort(column, sort))}>${label}${isSorted && (isDescending ? downIcon() : upIcon())}</button>`
        : label}
      <span class="edge" aria-hidden="true" title="Drag to resize" draggable=${true} onDragStart=${(/** @type {Event} */ event) => (event.preventDefault(), event.stopPropagation())}
        onPointerDown=${(/** @type {PointerEvent} */ event) => resize(event, column, onWidth)}></span>
    </div>
  `;
}

/**
 * @param {PointerEvent} event
 * @param {Column} column
 * @param {(id: string, width: number, isOver: boolean) => void} onWidth
 */
function resize(event, column, onWidth) {
  if (event.button !== 0) return;
  event.preventDefault();
  event.stopPropagation();
  const widthAt = (/** @type {PointerEvent} */ now) => sensibleWidth(column.width + now.clientX - event.clientX);
  followPointer((now) => onWidth(column.id, widthAt(now), false), (now) => onWidth(column.id, widthAt(now), true));
}

/** @param {import('./columns.js').Column} column */
function titleOf({ kind, key, label }) {
  if (kind === 'field') return key === 'started' ? 'Age: the time since it started' : label;
  return { param: `Param ${key}`, tag: `Tag ${key}`, latest: `${key}, its latest value`, min: `${key}, its lowest value`, max: `${key}, its highest value` }[kind];
}
