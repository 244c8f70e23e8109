// Params and metrics of runs against each other: parallel coordinates, or a scatter. What is brushed selects runs.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { plural } from '../parts/format.js';
import { html } from '../parts/html.js';
import { Menu } from '../charts/menu.js';
import { strokeAt } from '../state/colours.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { allColumns, columnOf } from '../table/columns.js';
import { axisOf, textOf } from './axis.js';
import { AxisControls } from './axis_controls.js';
import { matching } from './brushes.js';
import { defaultAxes } from './default_axes.js';
import { exportsOf } from './relations_export.js';
import { hasDot } from './pictures.js';
import { runColours, scaleColour } from './run_colours.js';
import { Stage } from './stage.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('./axis.js').Axis} Axis */
/** @typedef {import('./relations_view.js').RelationsView} RelationsView */

/**
 * @typedef {object} RelationsProps
 * @property {Run[]} runs
 * @property {boolean} [isCut] there are more, which are not read
 * @property {import('../api/types.js').Keys} keys what can be an axis
 * @property {RelationsView} view
 * @property {(change: Partial<RelationsView> | null) => void} onView null: close it
 * @property {ReadonlySet<string>} selected
 * @property {(runIds: string[]) => void} onSelect what is brushed
 * @property {(runId: string) => void} onToggle a run was clicked
 */

/** @param {RelationsProps} props */
export function Relations({ runs, isCut = false, keys, view, onView, selected, onSelect, onToggle }) {
  const shown = useStore(theme);
  const [dragged, setDragged] = useState(/** @type {import('./brushes.js').Brushes | null} */ (null));
  const brushes = dragged ?? view.brushes;
  const ids = useChosenAxes(runs, view);
  const axes = useMemo(() => ids.axes.map((id) => axisOf(id, runs, view.log[id])).filter((axis) => axis !== null), [ids.axes.join('\n'), runs, view.log]);
  const colourAxis = useMemo(() => axisOf(ids.colour, runs, view.log[ids.colour]) ?? axes[axes.length - 1], [ids.colour, runs, axes]);
  const colours = useMemo(() => colourAxis && runColours(colourAxis, shown), [colourAxis, shown]);
  const matches = useMemo(() => matching(axes, brushes, runs.length), [axes, brushes]);
  const isBrushed = axes.some((axis) => brushes[axis.id]);
  useBrushedSelection(runs, isBrushed && dragged === null, matches, onSelect);
  const isStrong = useMemo(
    () => (isBrushed || selected.size === 0 ? matches : Uint8Array.from(runs, (run) => (selected.has(run.run_id) ? 1 : 0))),
    [matches, selected, runs, isBrushed],
  );
  const change = (/** @type {import('./brushes.js').Brushes} */ next) => (setDragged(null), onView({ brushes: next }));
  const picture = colours && axes.length > 1 ? { kind: view.kind, axes, colours, isStrong, brushes } : null;
  const count = isStrong.reduce((sum, one) => sum + one, 0);
  const undrawn = picture?.kind === 'scatter' ? runs.reduce((sum, _, index) => sum + (hasDot(picture, index) ? 0 : 1), 0) : 0;
  const words = count < runs.length ? `${count} of ${plural(runs.length, 'run')}` : plural(runs.length, 'run');
  return html`
    <section class="relations" aria-label="Params and metrics of runs">
      <div class="relations-bar" role="toolbar" aria-label="Settings of the picture">
        <button class="switch" aria-pressed=${view.kind === 'parallel'} onClick=${() => onView({ kind: 'parallel' })}>Parallel</button>
        <button class="switch" aria-pressed=${view.kind === 'scatter'} onClick=${() => onView({ kind: 'scatter' })}>Scatter</button>
        ${view.kind === 'scatter'
          ? html`<${AxisChoice} label="x" value=${ids.axes[0]} keys=${keys} onChoose=${(/** @type {string} */ x) => onView({ x })} />
              <${AxisChoice} label="y" value=${ids.axes[1]} keys=${keys} onChoose=${(/** @type {string} */ y) => onView({ y })} />`
          : html`<${AxisChoice} label="Add an axis" value="" keys=${keys} without=${ids.axes} onChoose=${(/** @type {string} */ id) => onView({ axes: [...ids.axes, id] })} />`}
        <${AxisChoice} label="colour" value=${colourAxis?.id ?? ''} keys=${keys} onChoose=${(/** @type {string} */ colour) => onView({ colour })} />
        ${colourAxis && html`<${Scale} axis=${colourAxis} theme=${shown} />`}
        <span class="quiet" role="status">${words}</span>
        ${isCut && html`<span class="left-out">only the first runs are drawn: filter to see others</span>`}
        ${undrawn > 0 && html`<span class="left-out">${plural(undrawn, 'run')} without both values ${undrawn === 1 ? 'is' : 'are'} not drawn</span>`}
        ${isBrushed && html`<button onClick=${() => change({})}>Show all</button>`}
        <span class="spacer"></span>
        <${Menu} label="Save the picture" entries=${() => (picture ? exportsOf(picture, runs, colourAxis) : [])} />
        <button class="plain icon-only" aria-label="Close params and metrics" onClick=${() => onView(null)}>✕</button>
      </div>
      ${picture
        ? html`<${Stage} picture=${picture} runs=${runs} theme=${shown} brushes=${view.brushes} onToggle=${onToggle} onDrag=${setDragged} onBrush=${change}
            words=${`${view.kind === 'scatter' ? 'Scatter' : 'Parallel coordinates'} of ${words} over ${axes.map((axis) => axis.label).join(', ')}`}
            controls=${(/** @type {import('./pictures.js').Picture} */ sized) =>
              view.kind === 'parallel' && html`<${AxisControls} picture=${sized} view=${view} ids=${ids.axes} brushes=${brushes} words=${words} onView=${onView} onDrag=${setDragged} onBrush=${change} />`} />`
        : html`<p class="quiet">${runs.length === 0 ? 'There are no runs.' : 'Choose two params or metrics that these runs have.'}</p>`}
    </section>`;
}

/**
 * The axes that are shown: those of the view, or default ones as soon as there are runs.
 * @param {Run[]} runs
 * @param {RelationsView} view
 */
function useChosenAxes(runs, view) {
  const chosen = useRef(/** @type {string[]} */ ([]));
  if (chosen.current.length < 2 && runs.length > 0) chosen.current = defaultAxes(runs.slice(0, 200));
  const auto = chosen.current;
  if (view.kind === 'scatter') {
    const axes = [view.x || auto[0], view.y || auto[auto.length - 1]].filter(Boolean);
    return { axes, colour: view.colour || axes[1] || '' };
  }
  const axes = view.axes.length > 0 ? view.axes : auto;
  return { axes, colour: view.colour || axes[axes.length - 1] || '' };
}

/**
 * Selects the runs that are brushed, and clears the selection when the last brush is removed. Other selections are kept.
 * @param {Run[]} runs
 * @param {boolean} isBrushed
 * @param {Uint8Array} matches
 * @param {(runIds: string[]) => void} onSelect
 */
function useBrushedSelection(runs, isBrushed, matches, onSelect) {
  const last = useRef('');
  useEffect(() => {
    const ids = isBrushed ? runs.filter((_, index) => matches[index]).map((run) => run.run_id) : [];
    const now = ids.join();
    if (now === last.current || runs.length === 0) return;
    last.current = now;
    onSelect(ids);
  }, [isBrushed, matches]);
}

const KINDS = { field: '', param: '', tag: ' (tag)', latest: ' (latest)', min: ' (lowest)', max: ' (highest)' };

/** @param {{label: string, value: string, keys: import('../api/types.js').Keys, without?: string[], onChoose: (id: string) => void}} props */
function AxisChoice({ label, value, keys, without = [], onChoose }) {
  const all = allColumns(keys).filter((id) => !without.includes(id) && id !== 'status');
  const ids = value && !all.includes(value) ? [value, ...all] : all;
  const nameOf = (/** @type {string} */ id) => {
    const column = columnOf(id);
    return column ? (column.kind === 'field' ? column.label : column.key) + KINDS[column.kind] : id;
  };
  return html`<label>${value || label.length < 3 ? label : ''} <select aria-label=${label} value=${value} onChange=${(/** @type {any} */ event) => {
    if (event.target.value) onChoose(event.target.value);
    if (!value) event.target.value = '';
  }}>
    ${!value && html`<option value="">${label}…</option>`}
    <optgroup label="params">${ids.filter((id) => id.startsWith('p:')).map((id) => html`<option key=${id} value=${id} selected=${id === value}>${nameOf(id)}</option>`)}</optgroup>
    <optgroup label="metrics">${ids.filter((id) => /^(m|min|max):/.test(id)).map((id) => html`<option key=${id} value=${id} selected=${id === value}>${nameOf(id)}</option>`)}</optgroup>
    <optgroup label="others">${ids.filter((id) => !/^(p|m|min|max):/.test(id)).map((id) => html`<option key=${id} value=${id} selected=${id === value}>${nameOf(id)}</option>`)}</optgroup>
  </select></label>`;
}

const MOST_NAMES = 8;

/** @param {{axis: Axis, theme: 'light' | 'dark'}} props */
function Scale({ axis, theme: shown }) {
  if (!axis.isNumeric) {
    const names = [...axis.names].reverse().slice(0, MOST_NAMES);
    return html`<span class="relations-names" title=${`Colours: ${axis.label}`}>
      ${names.map((name, index) => html`<span key=${name}><i class="swatch" style=${`background: ${strokeAt(index, shown).colour}`}></i>${name}</span>`)}
      ${axis.names.length > MOST_NAMES && html`<span class="quiet">and ${axis.names.length - MOST_NAMES} more</span>`}
    </span>`;
  }
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => scaleColour(share, shown)).join(', ');
  return html`<span class="relations-scale" title=${`Colours: ${axis.label}`}>${textOf(axis, axis.min)}<i style=${`background: linear-gradient(to right, ${stops})`}></i>${textOf(axis, axis.max)}</span>`;
}
