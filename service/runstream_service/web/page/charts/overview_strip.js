// A thin strip with the whole x axis, in which the shown part can be moved and resized.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { followPointer } from '../parts/pointer.js';
import { moved } from './plot.js';
import { drawLines } from './drawing.js';
import { valueRange } from './ranges.js';
import { Line } from './line.js';
import { strokeOf } from '../state/colours.js';
import { theme } from '../state/theme.js';
import { drawnTheme } from './theme.js';

/** @typedef {import('./charts.js').Charts} Charts */

const HEIGHT = 28;
const EDGE = 8; // pixels in which a window's side is taken

/** @param {{charts: Charts, graphKey: string}} props */
export function OverviewStrip({ charts, graphKey }) {
  const [, setFrame] = useState(0);
  useEffect(() => charts.onFrame(() => setFrame((before) => before + 1)), [charts]);
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const width = useRef(0);
  const lines = useRef(/** @type {Map<string, Line>} */ (new Map()));
  const [min, max] = charts.extent;
  const zoom = charts.zoom;
  const place = (/** @type {number} */ x) => Math.min(Math.max((x - min) / (max - min), 0), 1) * 100;
  const draw = () => canvas.current && width.current > 0 && drawStrip(canvas.current, width.current, charts, graphKey, lines.current);
  useEffect(() => {
    const sizes = new ResizeObserver(([entry]) => {
      width.current = Math.floor(entry.contentRect.width);
      draw();
    });
    sizes.observe(/** @type {Element} */ (canvas.current?.parentElement));
    return () => sizes.disconnect();
  }, [charts, graphKey]);
  useEffect(() => charts.setStripKey(graphKey), [charts, graphKey]);
  useEffect(() => void (charts.isMoving || draw()));
  const [left, right] = zoom ? [place(zoom[0]), place(zoom[1])] : [0, 100];
  return html`
    <div class="strip" onPointerDown=${(/** @type {PointerEvent} */ event) => grab(event, charts)} onDblClick=${() => charts.zoomTo(null, { isOver: true })}
      title="The part of the x axis that is shown: drag it to move it, drag its sides to resize it, double click to show everything">
      <canvas ref=${canvas} aria-hidden="true"></canvas>
      ${zoom && html`<div class="window" style=${`left: ${left}%; width: ${Math.max(right - left, 0.3)}%`}></div>`}
    </div>
  `;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {Charts} charts
 * @param {string} key
 * @param {Map<string, Line>} known
 */
function drawStrip(canvas, width, charts, key, known) {
  const ratio = devicePixelRatio;
  if (canvas.width !== width * ratio) [canvas.width, canvas.height] = [width * ratio, HEIGHT * ratio];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const [min, max] = charts.extent;
  const lines = [];
  for (const whole of charts.data(key).whole ?? []) {
    const toX = charts.toX(whole);
    if (!toX) continue;
    const line = known.get(whole.id) ?? new Line(whole, { name: '', stroke: strokeOf(whole.run_id, theme.get()) });
    known.set(whole.id, line);
    line.stroke = strokeOf(whole.run_id, theme.get());
    line.show(whole, toX, 0);
    line.clipTo(min, max);
    lines.push(line);
  }
  const y = valueRange(lines, { log: false, clip: true });
  const frame = { left: 0, top: 0, width: canvas.width, height: canvas.height, ratio, x: { min, max, log: false }, y: { ...y, log: false } };
  drawLines(pen, frame, lines, { theme: drawnTheme(ratio), focus: null });
}

/**
 * @param {PointerEvent} event
 * @param {Charts} charts
 */
function grab(event, charts) {
  if (event.button !== 0) return;
  event.preventDefault();
  const strip = /** @type {HTMLElement} */ (event.currentTarget);
  const { left, width } = strip.getBoundingClientRect();
  const [min, max] = charts.extent;
  const toX = (/** @type {PointerEvent} */ now) => min + ((now.clientX - left) / width) * (max - min);
  const start = charts.zoom ?? /** @type {[number, number]} */ ([min, max]);
  const at = toX(event);
  const reach = (EDGE / width) * (max - min);
  const isLow = Math.abs(at - start[0]) < reach;
  const isHigh = !isLow && Math.abs(at - start[1]) < reach;
  const isInside = charts.zoom !== null && at > start[0] && at < start[1];
  const zoomOf = (/** @type {PointerEvent} */ now) => {
    const x = toX(now);
    if (isLow && charts.zoom) return ordered(x, start[1]);
    if (isHigh && charts.zoom) return ordered(start[0], x);
    return isInside ? moved(start[0], start[1], (x - at) / (start[1] - start[0]), false) : ordered(at, x);
  };
  const zoom = (/** @type {PointerEvent} */ now, /** @type {boolean} */ isOver) => {
    if (Math.abs(now.clientX - event.clientX) > 3) charts.zoomTo(zoomOf(now), { isOver });
  };
  followPointer((now) => zoom(now, false), (now) => zoom(now, true));
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {[number, number]}
 */
const ordered = (a, b) => (a < b ? [a, b] : [b, a]);
