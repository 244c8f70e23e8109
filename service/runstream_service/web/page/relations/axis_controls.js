// What can be done with the axes of parallel coordinates: brush a part, move, remove, with mouse and keyboard.
import { html } from '../parts/html.js';
import { followPointer } from '../parts/pointer.js';
import { Menu } from '../charts/menu.js';
import { textOf } from './axis.js';
import { brushAfterKey, brushOf, placesOf } from './brushes.js';
import { BOTTOM, placeAtY, TOP, xOfAxis, yOfPlace } from './pictures.js';

/** @typedef {import('./axis.js').Axis} Axis */
/** @typedef {import('./brushes.js').Brush} Brush */
/** @typedef {import('./brushes.js').Brushes} Brushes */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./relations_view.js').RelationsView} RelationsView */

const DRAGGED = 'application/x-runstream-axis';
/** So near to an end of a brush, the pointer takes that end. */
const EDGE = 6;

/**
 * @param {{picture: Picture, view: RelationsView, ids: string[], brushes: Brushes, words: string, onView: (change: Partial<RelationsView>) => void,
 *   onDrag: (brushes: Brushes) => void, onBrush: (brushes: Brushes) => void}} props
 */
export function AxisControls({ picture, view, ids, brushes, words, onView, onDrag, onBrush }) {
  const move = (/** @type {string} */ id, /** @type {number} */ to) => {
    const next = ids.filter((one) => one !== id);
    next.splice(to, 0, id);
    onView({ axes: next });
  };
  return picture.axes.map((axis, index) => {
    const entries = () => [
      ...(index > 0 ? [{ label: 'Move left', run: () => move(axis.id, index - 1) }] : []),
      ...(index < ids.length - 1 ? [{ label: 'Move right', run: () => move(axis.id, index + 1) }] : []),
      { label: 'Colour by this', run: () => onView({ colour: axis.id }) },
      ...(axis.mayBeLog ? [{ label: axis.isLog ? 'Linear' : 'Logarithmic', run: () => onView({ log: { ...view.log, [axis.id]: !axis.isLog } }) }] : []),
      ...(brushes[axis.id] ? [{ label: 'Remove the brush', run: () => onBrush(without(brushes, axis.id)) }] : []),
      ...(ids.length > 2 ? [{ label: 'Remove the axis', run: () => onView({ axes: ids.filter((id) => id !== axis.id), brushes: without(view.brushes, axis.id) }) }] : []),
    ];
    return html`
      <div class="relations-axis" key=${axis.id} style=${`left: ${xOfAxis(picture, index)}px; max-width: ${axisWidth(picture)}px`} draggable=${true}
        onDragStart=${(/** @type {DragEvent} */ event) => event.dataTransfer?.setData(DRAGGED, axis.id)}
        onDragOver=${(/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes(DRAGGED) && event.preventDefault()}
        onDrop=${(/** @type {DragEvent} */ event) => move(event.dataTransfer?.getData(DRAGGED) ?? '', index)}>
        <${Menu} label=${`Axis ${axis.label}`} text=${axis.label} entries=${entries} />
      </div>
      <${BrushControl} key=${`brush ${axis.id}`} picture=${picture} axis=${axis} index=${index} brush=${brushes[axis.id]} words=${words}
        onDrag=${(/** @type {Brush | null} */ brush) => onDrag(changed(brushes, axis.id, brush))} onBrush=${(/** @type {Brush | null} */ brush) => onBrush(changed(brushes, axis.id, brush))} />`;
  });
}

/** @param {Picture} picture */
const axisWidth = ({ axes, width }) => Math.max(width / axes.length - 8, 40);

/**
 * @param {Brushes} brushes
 * @param {string} id
 * @param {Brush | null} brush
 */
const changed = (brushes, id, brush) => (brush ? { ...brushes, [id]: brush } : without(brushes, id));

/**
 * @param {Brushes} brushes
 * @param {string} id
 */
const without = (brushes, id) => Object.fromEntries(Object.entries(brushes).filter(([other]) => other !== id));

/**
 * @param {{picture: Picture, axis: Axis, index: number, brush: Brush | undefined, words: string, onDrag: (brush: Brush | null) => void, onBrush: (brush: Brush | null) => void}} props
 */
function BrushControl({ picture, axis, index, brush, words, onDrag, onBrush }) {
  const places = (brush && placesOf(axis, brush)) ?? null;
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const next = brushAfterKey(axis, brush, event);
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    onBrush(next);
  };
  return html`
    <div class="relations-brush" role="slider" tabindex="0" aria-orientation="vertical" aria-label=${`Range of ${axis.label}`} aria-valuemin="0" aria-valuemax="100"
      aria-valuenow=${places ? Math.round(50 * (places[0] + places[1])) : 50} aria-valuetext=${places ? `${inWords(axis, /** @type {Brush} */ (brush))}: ${words}` : 'all'}
      style=${`left: ${xOfAxis(picture, index) - 12}px; top: ${TOP - 6}px; bottom: ${BOTTOM - 6}px`} onKeyDown=${onKeyDown}
      onPointerDown=${(/** @type {PointerEvent} */ event) => grab(event, picture, axis, places, onDrag, onBrush)}></div>`;
}

/**
 * @param {Axis} axis
 * @param {Brush} brush
 */
function inWords(axis, brush) {
  if (axis.isNumeric) return `${textOf(axis, brush[0])} to ${textOf(axis, brush[1])}`;
  return brush.join(', ');
}

/**
 * A drag makes a brush, or moves it or one of its ends; a click removes it.
 * @param {PointerEvent} event
 * @param {Picture} picture
 * @param {Axis} axis
 * @param {[number, number] | null} places of the brush before
 * @param {(brush: Brush | null) => void} onDrag
 * @param {(brush: Brush | null) => void} onBrush
 */
function grab(event, picture, axis, places, onDrag, onBrush) {
  if (event.button !== 0) return;
  const control = /** @type {HTMLElement} */ (event.currentTarget);
  const top = /** @type {HTMLElement} */ (control.parentElement).getBoundingClientRect().top;
  const placeOf = (/** @type {PointerEvent} */ now) => placeAtY(picture, now.clientY - top);
  const start = placeOf(event);
  const y = event.clientY - top;
  const isNear = (/** @type {number} */ place) => Math.abs(yOfPlace(picture, place) - y) < EDGE;
  const brushTo = (/** @type {PointerEvent} */ now) => {
    const at = placeOf(now);
    if (places && isNear(places[0])) return brushOf(axis, at, places[1]);
    if (places && isNear(places[1])) return brushOf(axis, places[0], at);
    if (!places || start < places[0] || start > places[1]) return brushOf(axis, start, at);
    const moved = Math.min(Math.max(at - start, -places[0]), 1 - places[1]);
    return brushOf(axis, places[0] + moved, places[1] + moved);
  };
  const isDrag = (/** @type {PointerEvent} */ now) => Math.abs(now.clientY - event.clientY) > 3;
  followPointer((now) => isDrag(now) && onDrag(brushTo(now)), (now) => onBrush(isDrag(now) ? brushTo(now) : null));
}
