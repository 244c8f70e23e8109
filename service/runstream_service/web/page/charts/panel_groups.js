// Groups of panels in one grid: those that are small share a row.
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { spanOf } from './layout.js';

/** @typedef {import('./layout.js').Group} Group */
/** @typedef {import('./layout.js').Graph} Graph */

/** The least width of a column, and the distance between two, in pixels. */
const COLUMN = 340;
const GAP = 8;
/** So few panels are higher, and fill the width. */
const FEW = 4;

/** @param {{groups: Group[], panelOf: (group: Group, graph: Graph) => any, onToggle: (group: Group) => void}} props */
export function PanelGroups({ groups, panelOf, onToggle }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const fitting = useFittingColumns(box);
  const all = groups.reduce((sum, group) => sum + group.graphs.length, 0);
  const isFew = all <= FEW;
  const wide = Math.max(1, ...groups.map((group) => spanOf({ ...group, isShut: false }, fitting)));
  const columns = isFew ? Math.min(fitting, Math.max(all, wide)) : fitting;
  return html`
    <div class="groups ${isFew ? 'few' : ''}" ref=${box} style=${`--count: ${columns}`}>
      ${groups.map((group) => html`
        <section class="group" key=${group.prefix} style=${`--span: ${spanOf(group, columns)}`}>
          <h2><button class="plain" aria-expanded=${!group.isShut} onClick=${() => onToggle(group)}>
            <span aria-hidden="true">${group.isShut ? '▸' : '▾'}</span> ${group.title} <span class="quiet">${group.graphs.length}</span>
          </button></h2>
          ${!group.isShut && group.graphs.map((graph) => panelOf(group, graph))}
        </section>`)}
    </div>
  `;
}

/**
 * How many columns fit into an element.
 * @param {{current: HTMLElement | null}} box
 */
function useFittingColumns(box) {
  const [columns, setColumns] = useState(1);
  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (box.current);
    const measure = () => setColumns(Math.max(1, Math.floor((element.clientWidth + GAP) / (COLUMN + GAP))));
    measure();
    const sizes = new ResizeObserver(measure);
    sizes.observe(element);
    return () => sizes.disconnect();
  }, []);
  return columns;
}
