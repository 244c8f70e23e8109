// What is shown, as a picture, as a table, and as the code that reads the same.
import { drawnTheme } from './theme.js';
import { projection } from './drawing.js';
import { SvgPen } from './svg_pen.js';
import { linearTicks, logTicks, shortNumber } from './axes.js';
import { titleOf, xTicks, xTickTexts } from './x_axis.js';

/** @typedef {import('./plot.js').Plot} Plot */

const MARGIN = { left: 60, right: 16, top: 36, bottom: 44 };
const LINE = 18;

/**
 * The graph with title, axes and legend.
 * @param {import('./drawing.js').Pen} pen
 * @param {Plot} plot
 * @param {string} title
 * @param {{width: number, height: number, ratio: number}} size
 */
function drawPicture(pen, plot, title, { width, height, ratio }) {
  const theme = drawnTheme(ratio);
  const legend = plot.lines.slice(0, 30);
  const frame = {
    left: MARGIN.left * ratio,
    top: MARGIN.top * ratio,
    width: (width - MARGIN.left - MARGIN.right) * ratio,
    height: (height - MARGIN.top - MARGIN.bottom - LINE * legend.length) * ratio,
    ratio,
    ...plot.scales,
  };
  pen.fillStyle = theme.paper;
  pen.beginPath();
  pen.rect(0, 0, width * ratio, height * ratio);
  pen.fill();
  drawAxes(pen, plot, frame, theme);
  plot.drawOn(pen, frame);
  pen.textAlign = 'left';
  pen.textBaseline = 'top';
  pen.fillStyle = theme.ink;
  pen.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  pen.fillText(title, MARGIN.left * ratio, 10 * ratio);
  pen.font = theme.font;
  legend.forEach((line, index) => {
    const y = (height - LINE * (legend.length - index)) * ratio;
    pen.fillStyle = line.stroke.colour;
    pen.beginPath();
    pen.rect(MARGIN.left * ratio, y + 6 * ratio, 14 * ratio, 2 * ratio);
    pen.fill();
    pen.fillStyle = theme.ink;
    pen.fillText(line.name, (MARGIN.left + 20) * ratio, y);
  });
}

/**
 * @param {import('./drawing.js').Pen} pen
 * @param {Plot} plot
 * @param {import('./drawing.js').Frame} frame
 * @param {import('./theme.js').DrawnTheme} theme
 */
function drawAxes(pen, plot, frame, theme) {
  const { x, y, ratio } = frame;
  const toX = projection(x, frame.left, frame.width);
  const toY = projection(y, frame.top + frame.height, -frame.height);
  const bottom = frame.top + frame.height;
  const values = y.log ? logTicks(y.min, y.max, 6) : linearTicks(y.min, y.max, 6);
  pen.strokeStyle = theme.grid;
  pen.fillStyle = theme.faint;
  pen.font = theme.font;
  pen.lineWidth = ratio;
  pen.textAlign = 'right';
  pen.textBaseline = 'middle';
  for (const tick of values) {
    line(pen, frame.left, toY(tick), frame.left + frame.width, toY(tick));
    pen.fillText(shortNumber(tick, y.log ? undefined : values[1] - values[0]), frame.left - 6 * ratio, toY(tick));
  }
  pen.textAlign = 'center';
  pen.textBaseline = 'top';
  const { kind } = plot.charts.axis;
  const xs = xTicks(kind, x.min, x.max, 7, x.log);
  const texts = xTickTexts(kind, xs, x.log);
  for (const [index, at] of xs.entries()) {
    line(pen, toX(at), frame.top, toX(at), bottom);
    pen.fillText(texts[index], toX(at), bottom + 6 * ratio);
  }
  pen.fillText(titleOf(plot.charts.axis), frame.left + frame.width / 2, bottom + 22 * ratio);
}

/**
 * @param {import('./drawing.js').Pen} pen
 * @param {number} x
 * @param {number} y
 * @param {number} toX
 * @param {number} toY
 */
function line(pen, x, y, toX, toY) {
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
  pen.stroke();
}

/**
 * @param {Plot} plot
 * @param {string} title
 */
export function toSvg(plot, title) {
  const [width, height] = sizeOf(plot);
  const pen = new SvgPen(width, height);
  drawPicture(pen, plot, title, { width, height, ratio: 1 });
  return String(pen);
}

/**
 * @param {Plot} plot
 * @param {string} title
 * @returns {Promise<Blob | null>}
 */
export function toPng(plot, title) {
  const [width, height] = sizeOf(plot);
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [2 * width, 2 * height];
  drawPicture(/** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')), plot, title, { width, height, ratio: 2 });
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/** @param {Plot} plot */
function sizeOf(plot) {
  return [Math.max(plot.width, 640), Math.max(plot.height, 320) + MARGIN.top + LINE * Math.min(plot.lines.length, 30)];
}

const COLUMNS = /** @type {const} */ (['first_position', 'last_position', 'point_count', 'non_finite_count', 'min', 'mean', 'max']);

/**
 * The buckets that are on screen.
 * @param {Plot} plot
 */
export function toCsv(plot) {
  const rows = [['run', 'run_id', 'key', 'rank', 'attempt', 'x', ...COLUMNS, 'smoothed'].join(',')];
  for (const line of plot.lines) {
    const run = plot.charts.runs.find((one) => one.run_id === line.curve.run_id);
    const names = [quoted(run?.name ?? ''), line.curve.run_id, quoted(line.curve.key), line.curve.rank ?? 'all', line.curve.attempt ?? 'newest'];
    for (let row = line.from; row < line.to; row++) {
      rows.push([...names, line.x[row], ...COLUMNS.map((name) => line.curve[name][row]), line.smooth ? line.smooth[row] : ''].join(','));
    }
  }
  return `${rows.join('\n')}\n`;
}

/** @param {string} text */
export function quoted(text) {
  // A spreadsheet would take such a cell for a formula.
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @typedef {{runIds: string[], keys: string[], axis: 'step' | 'time', range: [number, number] | null, buckets: number, isBand: boolean}} Shown */

/**
 * Python that reads the same buckets.
 * @param {Shown} shown
 */
export function toPython({ runIds, keys, axis, range, buckets, isBand }) {
  const lines = ['import runstream', '', 'client = runstream.Client()'];
  if (isBand && axis === 'step') {
    const bounds = range ? `, min_step=${Math.ceil(range[0])}, max_step=${Math.floor(range[1])}` : '';
    for (const runId of runIds) for (const key of keys) lines.push(`band = client.aggregate(${text(runId)}, ${text(key)}${bounds}, max_buckets=${buckets})`);
  } else {
    const bounds = range ? `,\n    min_position=${Math.ceil(range[0])}, max_position=${Math.floor(range[1])}` : '';
    lines.push(`curves = client.chart(\n    [${runIds.map(text).join(', ')}], [${keys.map(text).join(', ')}],\n    axis=${text(axis)}${bounds}, max_buckets=${buckets},\n)`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * SQL that reads the points of which the buckets are made.
 * @param {Shown} shown
 */
export function toSql({ runIds, keys, axis, range }) {
  const column = axis === 'time' ? "(extract(epoch FROM time) * 1000000)::bigint" : 'step';
  const where = [`run_id IN (${runIds.map(literal).join(', ')})`, `key IN (${keys.map(literal).join(', ')})`];
  if (range) where.push(`${column} BETWEEN ${Math.ceil(range[0])} AND ${Math.floor(range[1])}`);
  return `SELECT run_id, key, rank, attempt, step, time, value\n  FROM metric_points\n WHERE ${where.join('\n   AND ')}\n ORDER BY run_id, key, rank, attempt, step, time;\n`;
}

/** @param {string} value */
const text = (value) => JSON.stringify(value);

/** @param {string} value */
const literal = (value) => `'${value.replaceAll("'", "''")}'`;

/**
 * @param {string} name
 * @param {Blob} blob
 */
export function download(name, blob) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.-]+/g, '_');
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
