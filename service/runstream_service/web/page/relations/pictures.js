// Draws runs over axes with a pen: as lines through parallel axes, or as dots between two.
import { ticksOf } from './axis.js';
import { placesOf } from './brushes.js';

/** @typedef {import('./axis.js').Axis} Axis */
/** @typedef {import('../charts/drawing.js').Pen} Pen */
/** @typedef {import('../charts/theme.js').DrawnTheme} DrawnTheme */

/**
 * @typedef {object} Picture
 * @property {'parallel' | 'scatter'} kind
 * @property {Axis[]} axes of a scatter: x and y
 * @property {import('./run_colours.js').RunColours} colours
 * @property {Uint8Array} isStrong one a run: others are faint
 * @property {import('./brushes.js').Brushes} brushes
 * @property {number} width in CSS pixels
 * @property {number} height
 */

export const TOP = 34;
export const BOTTOM = 30;
/** Runs without a value go through here, below the axis. */
const NONE_AT = 14;
const DOT = 4;

/**
 * @param {Picture} picture
 * @param {number} index of the axis
 */
export function xOfAxis({ axes, width }, index) {
  const side = Math.min(72, width / (2 * axes.length));
  return axes.length < 2 ? width / 2 : side + (index * (width - 2 * side)) / (axes.length - 1);
}

/**
 * @param {Picture} picture
 * @param {number} place on an axis; NaN: no value
 */
export function yOfPlace({ height }, place) {
  return Number.isNaN(place) ? height - BOTTOM + NONE_AT : height - BOTTOM - place * (height - TOP - BOTTOM);
}

/**
 * @param {Picture} picture
 * @param {number} y
 */
export const placeAtY = ({ height }, y) => (height - BOTTOM - y) / (height - TOP - BOTTOM);

/** Where a scatter begins and ends, from the left. */
const LEFT = 64;
const RIGHT = 20;

/**
 * @param {Picture} picture
 * @param {number} place NaN: no value
 */
export const xOfPlace = ({ width }, place) => LEFT + place * (width - LEFT - RIGHT);

/**
 * @param {Picture} picture
 * @param {number} x
 */
export const placeAtX = ({ width }, x) => (x - LEFT) / (width - LEFT - RIGHT);

/**
 * @param {Pen} pen
 * @param {Picture} picture
 * @param {DrawnTheme} theme of ratio 1
 */
export function drawPicture(pen, picture, theme) {
  pen.setLineDash([]);
  pen.lineJoin = 'bevel';
  if (picture.kind === 'scatter') {
    drawScatterAxes(pen, picture, theme);
    drawRuns(pen, picture, theme, dots);
  } else {
    drawRuns(pen, picture, theme, polyline);
    picture.axes.forEach((axis, index) => drawAxis(pen, picture, axis, xOfAxis(picture, index), theme));
  }
  pen.globalAlpha = 1;
}

/**
 * One run, above all others.
 * @param {Pen} pen
 * @param {Picture} picture
 * @param {number} run
 * @param {DrawnTheme} theme
 */
export function drawOne(pen, picture, run, theme) {
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 2.5;
  pen.beginPath();
  if (picture.kind === 'parallel') polyline(pen, picture, run);
  else if (hasDot(picture, run)) dot(pen, xOfPlace(picture, picture.axes[0].places[run]), yOfPlace(picture, picture.axes[1].places[run]), DOT + 3);
  pen.stroke();
}

/**
 * First the faint runs, then the strong ones; all of one colour in one path.
 * @param {Pen} pen
 * @param {Picture} picture
 * @param {DrawnTheme} theme
 * @param {(pen: Pen, picture: Picture, run: number) => void} draw
 */
function drawRuns(pen, picture, theme, draw) {
  const { colours, isStrong } = picture;
  const count = isStrong.reduce((sum, one) => sum + one, 0);
  const isAll = count === isStrong.length;
  for (const strong of isAll ? [1] : [0, 1]) {
    const many = strong ? count : isStrong.length - count;
    pen.globalAlpha = strong ? Math.min(1, Math.max(0.25, 12 / Math.sqrt(many || 1))) : 0.09;
    pen.lineWidth = many > 500 ? 1 : 1.4;
    for (let shade = -1; shade < colours.colours.length; shade++) {
      pen.strokeStyle = pen.fillStyle = shade < 0 || !strong ? theme.faint : colours.colours[shade];
      pen.beginPath();
      let isEmpty = true;
      for (let run = 0; run < isStrong.length; run++) {
        if (isStrong[run] !== strong || colours.shade[run] !== shade) continue;
        draw(pen, picture, run);
        isEmpty = false;
      }
      if (isEmpty) continue;
      if (picture.kind === 'scatter') pen.fill();
      else pen.stroke();
    }
  }
}

/**
 * @param {Pen} pen
 * @param {Picture} picture
 * @param {number} run
 */
function polyline(pen, picture, run) {
  for (const [index, axis] of picture.axes.entries()) {
    const [x, y] = [xOfAxis(picture, index), yOfPlace(picture, axis.places[run])];
    if (index === 0) pen.moveTo(x, y);
    else pen.lineTo(x, y);
  }
}

/**
 * @param {Pick<Picture, 'axes'>} picture a scatter
 * @param {number} run
 */
export const hasDot = ({ axes: [x, y] }, run) => !Number.isNaN(x.places[run]) && !Number.isNaN(y.places[run]);

/**
 * @param {Pen} pen
 * @param {Picture} picture
 * @param {number} run
 */
function dots(pen, picture, run) {
  if (hasDot(picture, run)) dot(pen, xOfPlace(picture, picture.axes[0].places[run]), yOfPlace(picture, picture.axes[1].places[run]), DOT);
}

/**
 * A pen has no arcs; twelve corners look round.
 * @param {Pen} pen
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 */
function dot(pen, x, y, radius) {
  for (let corner = 0; corner < 12; corner++) {
    const angle = (corner * Math.PI) / 6;
    const [cx, cy] = [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
    if (corner === 0) pen.moveTo(cx, cy);
    else pen.lineTo(cx, cy);
  }
  pen.closePath();
}

/**
 * @param {Pen} pen
 * @param {Picture} picture
 * @param {Axis} axis
 * @param {number} x
 * @param {DrawnTheme} theme
 */
function drawAxis(pen, picture, axis, x, theme) {
  pen.globalAlpha = 1;
  line(pen, [x, yOfPlace(picture, 0)], [x, yOfPlace(picture, 1)], theme.ink, 1);
  pen.font = theme.font;
  pen.textAlign = 'left';
  pen.textBaseline = 'middle';
  for (const { place, text } of ticksOf(axis, Math.floor((picture.height - TOP - BOTTOM) / 36))) {
    const y = yOfPlace(picture, place);
    line(pen, [x - 3, y], [x + 3, y], theme.ink, 1);
    label(pen, text.slice(0, 16), x + 6, y, theme);
  }
  if (axis.values.includes(null)) label(pen, 'none', x + 6, yOfPlace(picture, NaN), theme);
  const places = picture.brushes[axis.id] && placesOf(axis, picture.brushes[axis.id]);
  if (places) brush(pen, [x - 8, yOfPlace(picture, places[1])], [16, yOfPlace(picture, places[0]) - yOfPlace(picture, places[1])], theme);
}

/**
 * @param {Pen} pen
 * @param {Picture} picture
 * @param {DrawnTheme} theme
 */
function drawScatterAxes(pen, picture, theme) {
  const [x, y] = picture.axes;
  pen.globalAlpha = 1;
  pen.font = theme.font;
  pen.textBaseline = 'middle';
  pen.textAlign = 'right';
  for (const { place, text } of ticksOf(y, Math.floor((picture.height - TOP - BOTTOM) / 36))) {
    const at = yOfPlace(picture, place);
    line(pen, [xOfPlace(picture, 0), at], [xOfPlace(picture, 1), at], theme.grid, 1);
    pen.fillStyle = theme.faint;
    pen.fillText(text.slice(0, 9), xOfPlace(picture, 0) - 8, at);
  }
  pen.textAlign = 'center';
  for (const { place, text } of ticksOf(x, Math.floor(picture.width / 90))) {
    pen.fillStyle = theme.faint;
    pen.fillText(text.slice(0, 16), xOfPlace(picture, place), picture.height - BOTTOM + 14);
  }
  const [bx, by] = [x, y].map((axis) => (picture.brushes[axis.id] ? placesOf(axis, picture.brushes[axis.id]) : null));
  if (!bx && !by) return;
  const [left, right] = (bx ?? [0, 1]).map((place) => xOfPlace(picture, place));
  const [low, high] = (by ?? [0, 1]).map((place) => yOfPlace(picture, place));
  brush(pen, [left, high], [right - left, low - high], theme);
}

/**
 * @param {Pen} pen
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @param {string} colour
 * @param {number} width
 */
function line(pen, from, to, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

/**
 * Draws a text with its own background, so that it can be read on top of lines.
 * @param {Pen} pen
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {DrawnTheme} theme
 */
function label(pen, text, x, y, theme) {
  pen.fillStyle = theme.paper;
  pen.globalAlpha = 0.82;
  pen.beginPath();
  pen.rect(x - 2, y - 7, 6.2 * text.length + 4, 14);
  pen.fill();
  pen.globalAlpha = 1;
  pen.fillStyle = theme.ink;
  pen.fillText(text, x, y);
}

/**
 * @param {Pen} pen
 * @param {[number, number]} at
 * @param {[number, number]} size
 * @param {DrawnTheme} theme
 */
function brush(pen, [x, y], [width, height], theme) {
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.globalAlpha = 0.16;
  pen.fillStyle = theme.ink;
  pen.fill();
  pen.globalAlpha = 0.9;
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1;
  pen.stroke();
  pen.globalAlpha = 1;
}
