// The canvas of parallel coordinates or a scatter plot, with a description of the run under the pointer.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { drawnTheme } from '../charts/theme.js';
import { html } from '../parts/html.js';
import { followPointer } from '../parts/pointer.js';
import { textOf } from './axis.js';
import { brushOf } from './brushes.js';
import { nearestRun } from './nearest_run.js';
import { drawOne, drawPicture, placeAtX, placeAtY } from './pictures.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./brushes.js').Brushes} Brushes */

/**
 * @typedef {object} StageProps
 * @property {Omit<Picture, 'width' | 'height'>} picture
 * @property {Run[]} runs
 * @property {'light' | 'dark'} theme
 * @property {Brushes} brushes before a drag
 * @property {string} words
 * @property {(runId: string) => void} onToggle
 * @property {(brushes: Brushes | null) => void} onDrag
 * @property {(brushes: Brushes) => void} onBrush
 * @property {(picture: Picture) => any} controls
 */

/** Less than this is a click and no drag. */
const CLICK = 4;

/** @param {StageProps} props */
export function Stage(props) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const size = useSize(box);
  const base = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const above = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [hover, setHover] = useState(/** @type {{run: number, x: number, y: number} | null} */ (null));
  const picture = { ...props.picture, ...size };
  useFrame(() => size.width > 0 && draw(base.current, picture, (pen, theme) => drawPicture(pen, picture, theme)), [props.picture.axes, props.picture.colours, props.picture.isStrong, props.picture.brushes, props.picture.kind, size, props.theme]);
  const run = hover ? props.runs[hover.run] : undefined;
  useFrame(() => size.width > 0 && draw(above.current, picture, (pen, theme) => hover && run && drawOne(pen, picture, hover.run, theme)), [hover?.run, size, props.theme]);
  const placeOf = (/** @type {PointerEvent} */ event) => {
    const { left, top } = /** @type {HTMLElement} */ (box.current).getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const onMove = (/** @type {PointerEvent} */ event) => {
    const { x, y } = placeOf(event);
    const found = nearestRun(picture, x, y);
    setHover(found < 0 ? null : { run: found, x, y });
  };
  const onDown = (/** @type {PointerEvent} */ event) => {
    if (event.button !== 0) return;
    const from = placeOf(event);
    const brushesTo = (/** @type {PointerEvent} */ now) => rectangle(picture, props.brushes, from, placeOf(now));
    const isDrag = (/** @type {PointerEvent} */ now) => Math.hypot(now.clientX - event.clientX, now.clientY - event.clientY) >= CLICK;
    followPointer((now) => props.picture.kind === 'scatter' && isDrag(now) && props.onDrag(brushesTo(now)), (now) => {
      if (!isDrag(now)) {
        const found = nearestRun(picture, from.x, from.y);
        if (found >= 0) props.onToggle(props.runs[found].run_id);
      } else if (props.picture.kind === 'scatter') props.onBrush(brushesTo(now));
    });
  };
  return html`
    <div class="relations-box" ref=${box} onPointerMove=${onMove} onPointerLeave=${() => setHover(null)}>
      <div role="img" aria-label=${props.words} onPointerDown=${onDown}>
        <canvas ref=${base}></canvas><canvas ref=${above} class="above"></canvas>
      </div>
      ${size.width > 0 && props.controls(picture)}
      ${hover && run && html`<${Tip} run=${run} index=${hover.run} axes=${picture.axes} x=${hover.x} y=${hover.y} width=${size.width} height=${size.height} />`}
    </div>`;
}

/** @param {{run: Run, index: number, axes: import('./axis.js').Axis[], x: number, y: number, width: number, height: number}} props */
function Tip({ run, index, axes, x, y, width, height }) {
  const style = `${x > width / 2 ? `right: ${width - x + 14}px` : `left: ${x + 14}px`}; ${y > height / 2 ? `bottom: ${height - y}px` : `top: ${y}px`}`;
  return html`<div class="chart-tooltip relations-tip" role="status" style=${style}>
    <div class="value">${run.name}</div>
    ${axes.map((axis) => html`<div class="row" key=${axis.id}><span class="name">${axis.label}</span><span>${textOf(axis, axis.values[index])}</span></div>`)}
  </div>`;
}

/**
 * @param {Picture} picture a scatter
 * @param {Brushes} before
 * @param {{x: number, y: number}} from
 * @param {{x: number, y: number}} to
 * @returns {Brushes}
 */
function rectangle(picture, before, from, to) {
  const [x, y] = picture.axes;
  const next = { ...before };
  const set = (/** @type {import('./axis.js').Axis} */ axis, /** @type {import('./brushes.js').Brush | null} */ brush) => brush && (next[axis.id] = brush);
  set(x, brushOf(x, placeAtX(picture, from.x), placeAtX(picture, to.x)));
  set(y, brushOf(y, placeAtY(picture, from.y), placeAtY(picture, to.y)));
  return next;
}

/** @param {{current: HTMLElement | null}} box */
function useSize(box) {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (box.current);
    const sizes = new ResizeObserver(([entry]) => {
      const [width, height] = [Math.floor(entry.contentRect.width), Math.floor(entry.contentRect.height)];
      setSize((before) => (before.width === width && before.height === height ? before : { width, height }));
    });
    sizes.observe(element);
    return () => sizes.disconnect();
  }, []);
  return size;
}

/**
 * Draws in the next frame, once, however often something changes before.
 * @param {() => void} drawNow
 * @param {unknown[]} dependencies
 */
function useFrame(drawNow, dependencies) {
  useEffect(() => {
    const frame = requestAnimationFrame(drawNow);
    return () => cancelAnimationFrame(frame);
  }, dependencies);
}

/**
 * @param {HTMLCanvasElement | null} canvas
 * @param {Picture} picture
 * @param {(pen: CanvasRenderingContext2D, theme: import('../charts/theme.js').DrawnTheme) => void} drawOn
 */
function draw(canvas, { width, height }, drawOn) {
  if (!canvas) return;
  const ratio = devicePixelRatio;
  if (canvas.width !== width * ratio || canvas.height !== height * ratio) [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  drawOn(pen, drawnTheme(1));
}
