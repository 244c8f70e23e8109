// Draws bands, lines and marks with a pen: the 2D context of a canvas, or svg_pen.js.

import { textWidth } from './label_room.js';
import { drawDenseBand, drawDenseLine, isDense } from './dense_drawing.js';

/** @typedef {import('./label_room.js').LabelRoom} LabelRoom */
/** @typedef {import('./line.js').Line} Line */
/** @typedef {{min: number, max: number, log: boolean}} Scale */

/**
 * Where on the canvas, in its pixels, which part of the axes is drawn.
 * @typedef {object} Frame
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {Scale} x
 * @property {Scale} y
 * @property {number} ratio canvas pixels of a CSS pixel
 */

/** @typedef {{ink: string, faint: string, warn: string, paper: string, font: string}} Theme */

/** Height of the theme's font, and of a line of it, in CSS pixels. */
const FONT = 11;
const LABEL = 14;

/** What a pen can do: a part of CanvasRenderingContext2D. */
/** @typedef {Pick<CanvasRenderingContext2D, 'beginPath' | 'moveTo' | 'lineTo' | 'closePath' | 'fill' | 'stroke' | 'save' | 'restore' | 'rect'
 *   | 'clip' | 'setLineDash' | 'fillText' | 'strokeText' | 'strokeStyle' | 'fillStyle' | 'lineWidth' | 'globalAlpha' | 'lineJoin' | 'font' | 'textAlign' | 'textBaseline'>} Pen */

/**
 * From values to pixels.
 * @param {Scale} scale
 * @param {number} at pixel of its beginning
 * @param {number} size in pixels, negative for axes that go up
 * @returns {(value: number) => number}
 */
export function projection({ min, max, log }, at, size) {
  if (log) {
    const from = Math.log10(min);
    const factor = size / (Math.log10(max) - from);
    // What a logarithm does not have is drawn below the axis, where it is clipped.
    return (value) => (value > 0 ? at + (Math.log10(value) - from) * factor : at - Math.sign(size) * 20);
  }
  const factor = size / (max - min);
  return (value) => at + (value - min) * factor;
}

/**
 * @param {Pen} pen
 * @param {Frame} frame
 * @param {Line[]} lines
 * @param {{theme: Theme, focus: Line | null}} how
 */
export function drawLines(pen, frame, lines, how) {
  const toX = projection(frame.x, frame.left, frame.width);
  const toY = projection(frame.y, frame.top + frame.height, -frame.height);
  pen.save();
  pen.beginPath();
  pen.rect(frame.left, frame.top - frame.ratio, frame.width, frame.height + 2 * frame.ratio);
  pen.clip();
  pen.lineJoin = 'bevel'; // rounding takes most of the time of a long line
  const dimmed = (/** @type {Line} */ line) => (how.focus && how.focus !== line ? 0.25 : 1);
  const alpha = lines.length > 3 ? 0.12 : 0.2;
  // Only a canvas has pixels.
  const canvas = typeof CanvasRenderingContext2D !== 'undefined' && pen instanceof CanvasRenderingContext2D ? pen : null;
  for (const line of lines) {
    const look = { alpha: alpha * dimmed(line) };
    if (canvas && isDense(line, toX)) drawDenseBand(canvas, line, frame, toX, toY, look);
    else drawBand(pen, line, toX, toY, frame.ratio, look.alpha);
  }
  for (const line of lines) {
    const draw = (/** @type {Float64Array} */ values, /** @type {{width: number, alpha: number}} */ look) => {
      if (canvas && isDense(line, toX)) drawDenseLine(canvas, line, values, frame, toX, toY, look);
      else drawLine(pen, line, values, toX, toY, look);
    };
    if (line.smooth) draw(line.curve.mean, { width: frame.ratio, alpha: 0.25 * dimmed(line) });
    draw(line.values, { width: 1.5 * frame.ratio, alpha: dimmed(line) });
  }
  for (const line of lines) drawNonFinite(pen, line, toX, frame, how.theme);
  pen.restore();
}

/**
 * Points that count no more, below those that do.
 * @param {Pen} pen
 * @param {Frame} frame
 * @param {Line[]} lines
 */
export function drawReplaced(pen, frame, lines) {
  const toX = projection(frame.x, frame.left, frame.width);
  const toY = projection(frame.y, frame.top + frame.height, -frame.height);
  pen.save();
  pen.beginPath();
  pen.rect(frame.left, frame.top, frame.width, frame.height);
  pen.clip();
  for (const line of lines) {
    drawBand(pen, line, toX, toY, frame.ratio, 0.06);
    drawLine(pen, line, line.curve.mean, toX, toY, { width: frame.ratio, alpha: 0.3 });
  }
  pen.restore();
}

/**
 * The envelope of all points. It has an outline, so that a spike of a single point is seen: its area is nearly nothing.
 * @param {Pen} pen
 * @param {Line} line
 * @param {(x: number) => number} toX
 * @param {(y: number) => number} toY
 * @param {number} ratio
 * @param {number} alpha
 */
function drawBand(pen, line, toX, toY, ratio, alpha) {
  const { x, from, to } = line;
  const { min, max } = line.curve;
  pen.fillStyle = pen.strokeStyle = line.stroke.colour;
  pen.lineWidth = ratio;
  pen.setLineDash([]);
  let row = from;
  while (row < to) {
    while (row < to && !(max[row] > min[row])) row++;
    if (row >= to) break;
    // From the point before it to the point after it, so that the band joins the line.
    const first = row > from && isNumber(max[row - 1]) ? row - 1 : row;
    while (row < to && max[row] > min[row]) row++;
    const end = row < to && isNumber(max[row]) ? row + 1 : row;
    pen.beginPath();
    pen.moveTo(toX(x[first]), toY(max[first]));
    for (let i = first + 1; i < end; i++) pen.lineTo(toX(x[i]), toY(max[i]));
    for (let i = end - 1; i >= first; i--) pen.lineTo(toX(x[i]), toY(min[i]));
    pen.closePath();
    pen.globalAlpha = alpha;
    pen.fill();
    pen.globalAlpha = Math.min(1, 2 * alpha);
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

/**
 * @param {Pen} pen
 * @param {Line} line
 * @param {Float64Array} values
 * @param {(x: number) => number} toX
 * @param {(y: number) => number} toY
 * @param {{width: number, alpha: number}} look
 */
function drawLine(pen, line, values, toX, toY, look) {
  pen.beginPath();
  let isDown = false;
  let alone = NaN; // a point without neighbours is a dot
  for (let row = line.from; row < line.to; row++) {
    if (!isNumber(values[row]) || Number.isNaN(line.x[row])) {
      isDown = false;
      continue;
    }
    const x = toX(line.x[row]);
    const y = toY(values[row]);
    if (isDown) pen.lineTo(x, y);
    else {
      pen.moveTo(x, y);
      if (row + 1 >= line.to || !isNumber(values[row + 1])) alone = row;
      if (alone === row) pen.lineTo(x + 2 * look.width, y);
    }
    isDown = true;
  }
  pen.globalAlpha = look.alpha;
  pen.strokeStyle = line.stroke.colour;
  pen.lineWidth = look.width;
  pen.setLineDash(line.stroke.dash.map((length) => length * look.width));
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

/**
 * NaN: a tick on the x axis. Infinities: a triangle at the edge to which they go.
 * @param {Pen} pen
 * @param {Line} line
 * @param {(x: number) => number} toX
 * @param {Frame} frame
 * @param {Theme} theme
 */
function drawNonFinite(pen, line, toX, frame, theme) {
  const { ratio } = frame;
  const { non_finite_count, first, last } = line.curve;
  const bottom = frame.top + frame.height;
  pen.fillStyle = pen.strokeStyle = theme.warn;
  pen.lineWidth = 2 * ratio;
  for (let row = line.from; row < line.to; row++) {
    if (!(non_finite_count[row] > 0)) continue;
    const x = toX(line.x[row]);
    const isUp = first[row] === Infinity || last[row] === Infinity;
    const isDown = first[row] === -Infinity || last[row] === -Infinity;
    if (isUp) drawTriangle(pen, x, frame.top, 6 * ratio);
    if (isDown) drawTriangle(pen, x, bottom, -6 * ratio);
    if (isUp || isDown) continue;
    pen.beginPath();
    pen.moveTo(x, bottom - 7 * ratio);
    pen.lineTo(x, bottom);
    pen.stroke();
  }
}

/**
 * @param {Pen} pen
 * @param {number} x
 * @param {number} tip at the edge
 * @param {number} size negative: pointing down
 */
function drawTriangle(pen, x, tip, size) {
  pen.beginPath();
  pen.moveTo(x, tip);
  pen.lineTo(x - Math.abs(size) * 0.7, tip + size);
  pen.lineTo(x + Math.abs(size) * 0.7, tip + size);
  pen.closePath();
  pen.fill();
}

/**
 * Marks where values go beyond a clipped axis.
 * @param {Pen} pen
 * @param {Frame} frame
 * @param {Line[]} lines
 */
export function drawClipped(pen, frame, lines) {
  const toX = projection(frame.x, frame.left, frame.width);
  for (const line of lines) {
    pen.fillStyle = line.stroke.colour;
    for (let row = line.from; row < line.to; row++) {
      const x = toX(line.x[row]);
      if (x < frame.left || x > frame.left + frame.width) continue;
      if (line.curve.max[row] > frame.y.max) drawTriangle(pen, x, frame.top, 5 * frame.ratio);
      if (line.curve.min[row] < frame.y.min) drawTriangle(pen, x, frame.top + frame.height, -5 * frame.ratio);
    }
  }
}

/**
 * Restarts of the job: a dashed line where an attempt began, with its number.
 * @param {Pen} pen
 * @param {Frame} frame
 * @param {{x: number, label: string}[]} marks
 * @param {{theme: Theme, room: LabelRoom}} how
 */
export function drawMarks(pen, frame, marks, { theme, room }) {
  const toX = projection(frame.x, frame.left, frame.width);
  pen.strokeStyle = pen.fillStyle = theme.faint;
  pen.lineWidth = frame.ratio;
  pen.font = theme.font;
  pen.textAlign = 'left';
  pen.textBaseline = 'top';
  const right = frame.left + frame.width;
  for (const { x, label } of marks) {
    const at = Math.round(toX(x)) + 0.5;
    if (!(at >= frame.left && at <= right)) continue;
    pen.setLineDash([4 * frame.ratio, 4 * frame.ratio]);
    pen.beginPath();
    pen.moveTo(at, frame.top);
    pen.lineTo(at, frame.top + frame.height);
    pen.stroke();
    pen.setLineDash([]);
    const [width, height] = [textWidth(label, FONT * frame.ratio), LABEL * frame.ratio];
    const after = at + 4 * frame.ratio;
    const left = after + width <= right ? after : Math.max(at - 4 * frame.ratio - width, frame.left);
    const top = room.take({ left, top: frame.top + 2 * frame.ratio, width, height });
    if (top !== null) drawWords(pen, label, left, top, theme.paper, frame.ratio);
  }
}

/**
 * Names at the right edge: the ranks that are outermost.
 * @param {Pen} pen
 * @param {Frame} frame
 * @param {{y: number, label: string, colour: string, above: boolean}[]} labels
 * @param {{theme: Theme, room: LabelRoom}} how
 */
export function drawEdgeLabels(pen, frame, labels, { theme, room }) {
  const toY = projection(frame.y, frame.top + frame.height, -frame.height);
  pen.font = theme.font;
  pen.textAlign = 'right';
  pen.textBaseline = 'top';
  for (const { y, label, colour, above } of labels) {
    const [width, height] = [textWidth(label, FONT * frame.ratio), LABEL * frame.ratio];
    const right = frame.left + frame.width - 4 * frame.ratio;
    const wanted = Math.min(Math.max(toY(y) - (above ? height : 0), frame.top), frame.top + frame.height - height);
    const top = room.take({ left: right - width, top: wanted, width, height });
    if (top === null) continue;
    pen.fillStyle = colour;
    drawWords(pen, label, right, top, theme.paper, frame.ratio);
  }
}

/**
 * Words that can be read where lines pass below them.
 * @param {Pen} pen
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {string} paper
 * @param {number} ratio
 */
function drawWords(pen, text, x, y, paper, ratio) {
  const [stroke, width, join] = [pen.strokeStyle, pen.lineWidth, pen.lineJoin];
  pen.strokeStyle = paper;
  pen.lineWidth = 3 * ratio;
  pen.lineJoin = 'round';
  pen.strokeText(text, x, y);
  [pen.strokeStyle, pen.lineWidth, pen.lineJoin] = [stroke, width, join];
  pen.fillText(text, x, y);
}

/** @param {number} value */
const isNumber = (value) => value - value === 0;
