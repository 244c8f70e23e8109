// Rank by step: which rank differs, and since when. A cell leads to the rank's own line.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { exactNumber, grouped, shortNumber, stepTicks } from './axes.js';
import { heatCells, heatColour } from './heat_bins.js';

/** @typedef {import('./curve.js').Curve} Curve */
/** @typedef {import('./heat_bins.js').Cells} Cells */

const COLUMNS = 240;
const MOST_ROW = 22; // pixels
const HEIGHT = 320;

/** @param {{metric: string, curves: Curve[], onRank: (rank: number) => void}} props */
export function HeatMap({ metric, curves, onRank }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [at, setAt] = useState(/** @type {{rank: number, from: number, to: number, mean: number} | null} */ (null));
  const shown = useStore(theme);
  const range = useMemo(() => ({ min: Math.min(...curves.map((curve) => curve.start)), max: Math.max(...curves.map((curve) => curve.end)) }), [curves]);
  const cells = useMemo(() => heatCells(curves, range, COLUMNS), [curves]);
  useEffect(() => draw(/** @type {HTMLCanvasElement} */ (canvas.current), cells), [cells, shown]);
  const rowHeight = Math.max(2, Math.min(MOST_ROW, Math.floor(HEIGHT / cells.ranks.length)));
  const cellAt = (/** @type {MouseEvent} */ event) => {
    const { left, top, width, height } = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
    const column = Math.min(Math.floor(((event.clientX - left) / width) * COLUMNS), COLUMNS - 1);
    const row = Math.min(Math.floor(((event.clientY - top) / height) * cells.ranks.length), cells.ranks.length - 1);
    const step = (range.max - range.min) / COLUMNS;
    return { rank: cells.ranks[row], from: Math.ceil(range.min + column * step), to: Math.floor(range.min + (column + 1) * step), mean: cells.mean[row * COLUMNS + column] };
  };
  const every = Math.max(1, Math.ceil(14 / rowHeight));
  return html`
    <figure class="heat">
      <figcaption>${metric}, rank by step <span class="quiet">${at
        ? `rank ${at.rank}, ${at.from >= at.to ? `step ${grouped(at.from)}` : `steps ${grouped(at.from)} to ${grouped(at.to)}`}: ${Number.isNaN(at.mean) ? 'no point' : `mean ${exactNumber(at.mean)}`}`
        : 'click a row to see the line of its rank'}</span></figcaption>
      <div class="cells" style=${`--row: ${rowHeight}px; --rows: ${cells.ranks.length}`}>
        <div class="names">${cells.ranks.map((rank, row) => html`<button class="plain" aria-label=${`Show rank ${rank}`} title=${`rank ${rank}`} onClick=${() => onRank(rank)}>${row % every === 0 ? rank : ''}</button>`)}</div>
        <canvas ref=${canvas} role="img" aria-label=${`Heat map of ${metric}: ${cells.ranks.length} ranks`}
          onMouseMove=${(/** @type {MouseEvent} */ event) => setAt(cellAt(event))} onMouseLeave=${() => setAt(null)} onClick=${(/** @type {MouseEvent} */ event) => onRank(cellAt(event).rank)}></canvas>
        <div class="steps">${stepTicks(range.min, range.max, 6).map((tick) => html`<span style=${`left: ${((tick - range.min) / (range.max - range.min || 1)) * 100}%`}>${shortNumber(tick)}</span>`)}</div>
      </div>
      <div class="scale"><span>${cells.min < cells.low ? '≤ ' : ''}${shortNumber(cells.low)}</span><i aria-hidden="true" style=${`background: linear-gradient(90deg, ${gradient()})`}></i>
        <span>${cells.max > cells.high ? '≥ ' : ''}${shortNumber(cells.high)}</span>${beyond(cells)}</div>
    </figure>`;
}

/** @param {Cells} cells */
function beyond({ min, max, low, high }) {
  if (min >= low && max <= high) return '';
  return html`<span>lowest value ${shortNumber(min)}, highest ${shortNumber(max)}; values beyond the ends of the scale have its end colours</span>`;
}

const gradient = () => Array.from({ length: 9 }, (_, index) => `rgb(${heatColour(index / 8).join(' ')})`).join(', ');

/**
 * A pixel a cell; the style sheet makes it large.
 * @param {HTMLCanvasElement} canvas
 * @param {Cells} cells
 */
function draw(canvas, cells) {
  [canvas.width, canvas.height] = [cells.columns, cells.ranks.length];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const image = pen.createImageData(cells.columns, cells.ranks.length);
  const size = cells.high - cells.low || 1;
  cells.mean.forEach((mean, index) => {
    if (Number.isNaN(mean)) return; // transparent: no point
    const [red, green, blue] = heatColour((mean - cells.low) / size);
    image.data.set([red, green, blue, 255], 4 * index);
  });
  pen.putImageData(image, 0, 0);
}
