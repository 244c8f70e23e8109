// One graph: uPlot has the axes, the cursor and the selection; curves are drawn by drawing.js, each from its own
// columns, since several runs have no positions in common.
import uPlot from 'uplot';

import { followPointer } from '../parts/pointer.js';
import { linearTicks, logTicks, niceStep, shortNumber } from './axes.js';
import { drawClipped, drawEdgeLabels, drawLines, drawMarks, drawReplaced, projection } from './drawing.js';
import { LabelRoom } from './label_room.js';
import { beyond, valueRange } from './ranges.js';
import { drawnTheme } from './theme.js';
import { xTicks, xTickTexts } from './x_axis.js';

/** @typedef {import('./charts.js').Charts} Charts */
/** @typedef {import('./line.js').Line} Line */

/**
 * Facts about a graph that its panel shows.
 * @typedef {object} Facts
 * @property {string} note a warning, for example that the axis is clipped or curves are missing
 * @property {boolean} isLoading
 * @property {boolean} isEmpty
 * @property {string} error
 * @property {boolean} hasBand
 */

/** @typedef {{canvas: HTMLCanvasElement, x: import('./drawing.js').Scale}} Picture */
/** @typedef {{plot: Plot, x: number, left: number, top: number, isInside: boolean}} Hover */

const Y_AXIS = 52;
const X_AXIS = 24;
const ALL = /** @type {uPlot.AlignedData} */ ([[0, 1], [null, null]]);

export class Plot {
  isSeen = false;
  width = 300;
  height = 180;
  /** @type {uPlot | null} */
  #u = null;
  /** @type {Map<string, Line>} */
  #known = new Map();
  /** @type {Line[]} */
  lines = [];
  /** @type {Line[]} what a newer attempt replaced */
  replaced = [];
  /** @type {Line | null} */
  focus = null;
  #shown = { xMin: 0, xMax: 1, yMin: 0, yMax: 1, log: '' };
  #isMoved = false;
  /** @type {Picture | null} what was drawn before the range began to move */
  #picture = null;

  /**
   * @param {HTMLElement} element
   * @param {Charts} charts
   * @param {string[]} keys
   * @param {{onFacts: (facts: Facts) => void, onHover: (hover: Hover | null) => void}} listener
   */
  constructor(element, charts, keys, listener) {
    this.element = element;
    this.charts = charts;
    this.keys = keys;
    this.listener = listener;
    this.remove = charts.add(this);
  }

  close() {
    this.remove();
    this.#destroy();
  }

  #destroy() {
    this.#u?.destroy();
    this.#u = null;
  }

  /** @param {boolean} isSeen */
  setSeen(isSeen) {
    if (this.isSeen === isSeen) return;
    this.isSeen = isSeen;
    if (!isSeen) return this.#destroy(); // a canvas takes megabytes
    this.charts.load();
    this.charts.draw(this);
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  setSize(width, height) {
    if (width === this.width && height === this.height) return;
    const isWider = width > this.width * 1.3;
    [this.width, this.height] = [width, height];
    this.#u?.setSize({ width, height });
    if (isWider && this.isSeen) this.charts.load();
    this.charts.draw(this);
  }

  /** @param {string[]} keys */
  setKeys(keys) {
    if (keys.join('\n') === this.keys.join('\n')) return;
    this.keys = keys;
    this.#known.clear();
    this.charts.load();
    this.charts.draw(this);
  }

  /** The next frame draws it: called by the charts. */
  draw() {
    const { charts } = this;
    const isStretched = charts.isMoving && this.#u && this.lines.length > 0;
    if (isStretched && !(this.#isLeavingPicture && charts.takeExactTurn())) return this.#stretch(/** @type {uPlot} */ (this.#u));
    this.#picture = null;
    const view = /** @type {import('../state/chart_view.js').ChartView} */ (charts.view);
    this.lines = charts.lines(this.keys, this.#known);
    if (this.#known.size > this.lines.length) this.#forgetLines();
    this.replaced = charts.replacedLines(this.keys);
    const x = charts.range;
    const y = valueRange([...this.lines, ...this.replaced], { log: view.log_y, clip: view.clip });
    const log = (view.log_x ? 'x' : '') + (view.log_y ? 'y' : '');
    if (this.#u && this.#shown.log !== log + view.x) this.#destroy();
    this.#shown = { xMin: x.min, xMax: x.max, yMin: y.min, yMax: y.max, log: log + view.x };
    const u = this.#u ?? (this.#u = this.#create(view));
    u.batch(() => {
      u.setScale('x', x);
      u.setScale('y', y);
      u.redraw(false, true);
    });
    this.#tell(view, y);
  }

  /** Whether much of the shown range lies outside the picture that is being stretched. */
  get #isLeavingPicture() {
    if (!this.#picture) return false;
    const { min, max } = this.charts.range;
    const { x } = this.#picture;
    return Math.min(max, x.max) - Math.max(min, x.min) < 0.7 * (max - min);
  }

  /**
   * While the range moves with every frame, the picture of before is stretched: drawing all lines would take too long.
   * @param {uPlot} u
   */
  #stretch(u) {
    this.#picture ??= { canvas: copyOf(u), x: this.scales.x };
    const x = this.charts.range;
    [this.#shown.xMin, this.#shown.xMax] = [x.min, x.max];
    u.batch(() => {
      u.setScale('x', x);
      u.redraw(false, true);
    });
  }

  /**
   * @param {uPlot} u
   * @param {Picture} picture
   */
  #drawPicture(u, { canvas, x }) {
    const { left, top, width, height } = u.bbox;
    const toX = projection(this.scales.x, left, width);
    const [from, to] = [toX(x.min), toX(x.max)];
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    u.ctx.imageSmoothingEnabled = false;
    u.ctx.drawImage(canvas, from, top, to - from, height);
  }

  #forgetLines() {
    const ids = new Set(this.lines.map((line) => line.whole.id));
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id);
  }

  /**
   * @param {import('../state/chart_view.js').ChartView} view
   * @param {import('./ranges.js').Range} y
   */
  #tell(view, y) {
    const datas = this.keys.map((key) => this.charts.data(key));
    const { above, below } = view.clip ? beyond(this.lines, y) : { above: 0, below: 0 };
    const notes = datas.map((data) => data.cut).filter(Boolean);
    if (this.charts.hidesReplaced(this.keys)) notes.unshift('replaced points are only shown on the step axis');
    if (above + below > 0) notes.unshift(`axis clipped: ${above} above, ${below} below`);
    const nonPositive = view.log_y ? this.lines.reduce((sum, line) => sum + countNonPositive(line), 0) : 0;
    if (nonPositive > 0) notes.unshift(`log axis: ${nonPositive} reach 0 or below`);
    this.listener.onFacts({
      note: notes.join(' · '),
      isLoading: datas.some((data) => data.isLoading && !data.whole),
      isEmpty: datas.every((data) => data.whole !== null) && this.lines.every((line) => line.curve.length === 0),
      error: datas.map((data) => data.error).find(Boolean) ?? '',
      hasBand: this.lines.some((line) => hasBand(line)),
    });
  }

  /** The frame of the last drawing, in canvas pixels, for an export. */
  get scales() {
    const { xMin, xMax, yMin, yMax } = this.#shown;
    const view = this.charts.view;
    return { x: { min: xMin, max: xMax, log: view?.log_x ?? false }, y: { min: yMin, max: yMax, log: view?.log_y ?? false } };
  }

  /** @returns {import('./drawing.js').Frame | null} */
  get frame() {
    const u = this.#u;
    return u && { ...u.bbox, ...this.scales, ratio: uPlot.pxRatio };
  }

  /** @param {import('./drawing.js').Pen} pen */
  drawOn(pen, frame = /** @type {import('./drawing.js').Frame} */ (this.frame)) {
    const theme = drawnTheme(frame.ratio);
    const how = { theme, room: new LabelRoom(frame) };
    drawMarks(pen, frame, this.charts.attempts, how);
    drawReplaced(pen, frame, this.replaced);
    drawLines(pen, frame, this.lines, { theme, focus: this.focus });
    if (this.charts.view?.clip) drawClipped(pen, frame, this.lines);
    drawEdgeLabels(pen, frame, this.lines.flatMap((line) => outermost(line, theme.ink)), how);
  }

  /** @param {Line | null} line */
  setFocus(line) {
    if (this.focus === line) return;
    this.focus = line;
    this.#u?.redraw(false, false);
  }

  // -- cursor, selecting, panning -----------------------------------------------------------------------------------------

  /** @param {number | null} x */
  setCursor(x) {
    const u = this.#u;
    if (!u || this.#isMoved) return;
    const left = x === null ? -10 : u.valToPos(x, 'x');
    u.setCursor({ left, top: -10 }, false);
  }

  /** @param {uPlot} u */
  #cursorMoved(u) {
    const { left = -10, top = -10 } = u.cursor;
    if (left < 0) {
      if (this.#isMoved) {
        this.#isMoved = false;
        this.listener.onHover(null);
        this.charts.setCursor(null);
      }
      return;
    }
    this.#isMoved = true;
    const x = u.posToVal(left, 'x');
    this.charts.setCursor(x);
    this.listener.onHover({ plot: this, x, left, top, isInside: true });
  }

  /** @param {uPlot} u */
  #selected(u) {
    if (u.select.width < 4) return;
    const from = u.posToVal(u.select.left, 'x');
    const to = u.posToVal(u.select.left + u.select.width, 'x');
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.charts.zoomTo([from, to], { isOver: true });
  }

  /** @param {PointerEvent} event */
  #pan(event) {
    const u = this.#u;
    if (!u || !event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const start = event.clientX;
    const { min, max } = this.charts.range;
    const width = u.over.clientWidth;
    const isLog = this.charts.view?.log_x ?? false;
    const zoom = (/** @type {PointerEvent} */ now) => moved(min, max, (start - now.clientX) / width, isLog);
    followPointer(
      (now) => this.charts.zoomTo(zoom(now), { isOver: false }),
      (now) => this.charts.zoomTo(zoom(now), { isOver: true }),
    );
  }

  /** @param {WheelEvent} event sideways pans; with Ctrl, as a pinch on a touchpad, it zooms */
  #wheel(event) {
    const u = this.#u;
    if (!u) return;
    const { min, max } = this.charts.range;
    const isLog = this.charts.view?.log_x ?? false;
    if (event.ctrlKey) {
      event.preventDefault();
      const share = (u.cursor.left ?? 0) / (u.bbox.width / uPlot.pxRatio);
      this.charts.zoomTo(scaled(min, max, Math.min(Math.max(share, 0), 1), Math.exp(event.deltaY / 200), isLog), { isOver: false });
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && this.charts.zoom) {
      event.preventDefault();
      this.charts.zoomTo(moved(min, max, event.deltaX / (u.bbox.width / uPlot.pxRatio), isLog), { isOver: false });
    }
  }

  // -- uPlot ----------------------------------------------------------------------------------------------------------

  /** @param {import('../state/chart_view.js').ChartView} view */
  #create(view) {
    const { xMin, xMax, yMin, yMax } = this.#shown;
    const u = new uPlot(
      {
        width: this.width,
        height: this.height,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        scales: {
          x: { time: false, auto: false, distr: view.log_x ? 3 : 1, min: xMin, max: xMax, range: (_, min, max) => [min, max] },
          y: { auto: false, distr: view.log_y ? 3 : 1, min: yMin, max: yMax, range: (_, min, max) => [min, max] },
        },
        series: [{}, { show: true, paths: () => null, points: { show: false } }],
        axes: [this.#xAxis(view), this.#yAxis(view)],
        cursor: {
          y: false,
          points: { show: false },
          drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => (this.charts.zoomTo(null, { isOver: true }), null) },
        },
        hooks: {
          draw: [
            (self) => {
              const { ctx } = self;
              ctx.save(); // uPlot remembers the context's styles
              if (this.#picture) this.#drawPicture(self, this.#picture);
              else this.drawOn(ctx);
              ctx.restore();
            },
          ],
          setCursor: [(self) => this.#cursorMoved(self)],
          setSelect: [(self) => this.#selected(self)],
        },
      },
      ALL,
      this.element,
    );
    u.over.addEventListener('pointerdown', (event) => this.#pan(event));
    u.over.addEventListener('mousedown', (event) => event.shiftKey && event.stopImmediatePropagation(), true);
    u.over.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    return u;
  }

  /**
   * @param {import('../state/chart_view.js').ChartView} view
   * @returns {uPlot.Axis}
   */
  #xAxis(view) {
    const { kind } = this.charts.axis;
    return {
      ...axisLook(() => this.#picture !== null),
      size: X_AXIS,
      gap: 4,
      filter: (_, splits) => splits,
      splits: (u, _axis, min, max) => {
        const count = Math.max(2, Math.floor(u.bbox.width / uPlot.pxRatio / 70));
        return xTicks(kind, min, max, count, view.log_x);
      },
      values: (_, splits) => xTickTexts(kind, splits, view.log_x),
    };
  }

  /**
   * @param {import('../state/chart_view.js').ChartView} view
   * @returns {uPlot.Axis}
   */
  #yAxis(view) {
    return {
      ...axisLook(() => this.#picture !== null),
      size: Y_AXIS,
      gap: 6,
      filter: (_, splits) => splits,
      splits: (u, _axis, min, max) => {
        const count = Math.max(2, Math.floor(u.bbox.height / uPlot.pxRatio / 36));
        return view.log_y ? logTicks(min, max, count) : linearTicks(min, max, count);
      },
      values: (_, splits) => {
        const isEven = !view.log_y || splits.length < 2 || Math.abs(splits[1] / splits[0] - 10) > 9.5;
        const step = isEven && splits.length > 1 ? niceStep(splits[1] - splits[0], 1) : undefined;
        return splits.map((tick) => shortNumber(tick, view.log_y ? undefined : step));
      },
    };
  }
}

/**
 * The plot without its axes.
 * @param {uPlot} u
 */
function copyOf(u) {
  const { left, top, width, height } = u.bbox;
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [Math.round(width), Math.round(height)];
  canvas.getContext('2d')?.drawImage(u.ctx.canvas, left, top, width, height, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/**
 * @param {() => boolean} isMoving the picture that is stretched has a grid
 * @returns {uPlot.Axis}
 */
function axisLook(isMoving) {
  return {
    stroke: () => drawnTheme(1).faint,
    font: '11px system-ui, sans-serif',
    grid: { stroke: () => (isMoving() ? 'transparent' : drawnTheme(1).grid), width: 1 },
    ticks: { show: false },
    border: { show: false },
  };
}

/**
 * @param {number} min
 * @param {number} max
 * @param {number} share of the shown range
 * @param {boolean} isLog
 * @returns {[number, number]}
 */
export function moved(min, max, share, isLog) {
  if (isLog && min > 0) {
    const factor = (max / min) ** share;
    return [min * factor, max * factor];
  }
  return [min + share * (max - min), max + share * (max - min)];
}

/**
 * @param {number} min
 * @param {number} max
 * @param {number} share where the pointer is, and what stays
 * @param {number} factor above 1: more is shown
 * @param {boolean} isLog
 * @returns {[number, number]}
 */
function scaled(min, max, share, factor, isLog) {
  if (isLog && min > 0) {
    const [low, high] = scaled(Math.log(min), Math.log(max), share, factor, false);
    return [Math.exp(low), Math.exp(high)];
  }
  const centre = min + share * (max - min);
  return [centre - (centre - min) * factor, centre + (max - centre) * factor];
}

/** @param {Line} line */
function countNonPositive(line) {
  let count = 0;
  for (let row = line.from; row < line.to; row++) if (line.curve.min[row] <= 0) count++;
  return count;
}

/** @param {Line} line */
function hasBand(line) {
  for (let row = line.from; row < line.to; row++) if (line.curve.max[row] > line.curve.min[row]) return true;
  return false;
}

/**
 * The rank that is at an edge of a band over ranks in most buckets; none if it is at both edges, as when only one rank logs.
 * @param {Line} line
 * @param {string} colour
 */
function outermost(line, colour) {
  const { max_rank, min_rank, max, min } = line.curve;
  if (!max_rank || !min_rank) return [];
  const highest = mostOften(max_rank, line.from, line.to);
  const lowest = mostOften(min_rank, line.from, line.to);
  if (highest === lowest) return [];
  const last = Math.max(line.to - 2, line.from);
  const labels = [];
  if (highest !== null) labels.push({ y: max[last], label: `rank ${highest} ▲`, colour, above: true });
  if (lowest !== null) labels.push({ y: min[last], label: `rank ${lowest} ▼`, colour, above: false });
  return labels;
}

/**
 * @param {Float64Array} ranks
 * @param {number} from
 * @param {number} to
 * @returns {number | null} null: none has more than half
 */
function mostOften(ranks, from, to) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (let row = from; row < to; row++) if (ranks[row] >= 0) counts.set(ranks[row], (counts.get(ranks[row]) ?? 0) + 1);
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  for (const [rank, count] of counts) if (count > total / 2) return rank;
  return null;
}
