// Lines whose buckets are about a pixel apart, drawn as one upright rectangle a pixel: stroking such a path with
// antialiasing takes ten times as long, and looks the same.

/** @typedef {import('./line.js').Line} Line */
/** @typedef {import('./drawing.js').Frame} Frame */
/** @typedef {(value: number) => number} Projection */

/** Rows that are further apart than this many canvas pixels are drawn as paths. */
const APART = 3;

/** What falls on a column of pixels; the same arrays for all lines. */
class Columns {
  #size = 0;
  top = new Float32Array(0);
  bottom = new Float32Array(0);
  /** Of the line: its ends in this column, in the order of y. */
  high = new Float32Array(0);
  low = new Float32Array(0);

  /** @param {number} size */
  cleared(size) {
    if (size > this.#size) {
      this.#size = size;
      for (const name of /** @type {const} */ (['top', 'bottom', 'high', 'low'])) this[name] = new Float32Array(size);
    }
    this.top.fill(Infinity, 0, size);
    this.bottom.fill(-Infinity, 0, size);
    this.high.fill(Infinity, 0, size);
    this.low.fill(-Infinity, 0, size);
    return this;
  }
}

const columns = new Columns();

/**
 * Whether a line is to be drawn here.
 * @param {Line} line
 * @param {Projection} toX
 */
export function isDense(line, toX) {
  const rows = line.to - line.from;
  if (rows < 30 || !line.isSorted || line.stroke.dash.length > 0) return false;
  return (toX(line.x[line.to - 1]) - toX(line.x[line.from])) / rows < APART;
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Line} line
 * @param {Frame} frame
 * @param {Projection} toX
 * @param {Projection} toY
 * @param {{alpha: number}} how
 */
export function drawDenseBand(pen, line, frame, toX, toY, how) {
  const { min, max } = line.curve;
  const width = Math.ceil(frame.width);
  const { top, bottom } = columns.cleared(width);
  collect(line, frame, toX, (row) => toY(max[row]), (row) => toY(min[row]), top, bottom, width);
  pen.fillStyle = line.stroke.colour;
  pen.globalAlpha = how.alpha;
  const left = Math.round(frame.left);
  for (let at = 0; at < width; at++) if (bottom[at] - top[at] >= 0.5) pen.fillRect(left + at, top[at], 1, bottom[at] - top[at]);
  // What stands out from both neighbours is a spike: a single column would be too faint to be seen.
  pen.globalAlpha = Math.min(1, 3.5 * how.alpha);
  const reach = 10 * frame.ratio;
  for (let at = 1; at < width - 1; at++) {
    const neighbour = Math.min(top[at - 1], top[at + 1]);
    const below = Math.max(bottom[at - 1], bottom[at + 1]);
    if (neighbour - top[at] > reach && neighbour < Infinity) pen.fillRect(left + at, top[at], frame.ratio, neighbour - top[at]);
    if (bottom[at] - below > reach && below > -Infinity) pen.fillRect(left + at, below, frame.ratio, bottom[at] - below);
  }
  pen.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Line} line
 * @param {Float64Array} values
 * @param {Frame} frame
 * @param {Projection} toX
 * @param {Projection} toY
 * @param {{width: number, alpha: number}} look
 */
export function drawDenseLine(pen, line, values, frame, toX, toY, look) {
  const width = Math.ceil(frame.width);
  const { high, low } = columns.cleared(width);
  const y = (/** @type {number} */ row) => toY(values[row]);
  collect(line, frame, toX, y, y, high, low, width);
  pen.fillStyle = line.stroke.colour;
  pen.globalAlpha = look.alpha;
  const left = Math.round(frame.left);
  for (let at = 0; at < width; at++) {
    if (!(low[at] >= high[at])) continue;
    // Down or up to the middle between this column and the one before, so that the line is not broken.
    let [from, to] = [high[at], low[at]];
    if (at > 0 && low[at - 1] >= high[at - 1]) {
      if (low[at - 1] < from) from = (from + low[at - 1]) / 2;
      else if (high[at - 1] > to) to = (to + high[at - 1]) / 2;
    }
    if (at < width - 1 && low[at + 1] >= high[at + 1]) {
      if (low[at + 1] < from) from = (from + low[at + 1]) / 2;
      else if (high[at + 1] > to) to = (to + high[at + 1]) / 2;
    }
    pen.fillRect(left + at, from - look.width / 2, 1, to - from + look.width);
  }
  pen.globalAlpha = 1;
}

/**
 * Puts rows into columns of pixels; columns between two rows get what lies on the line between them.
 * @param {Line} line
 * @param {Frame} frame
 * @param {Projection} toX
 * @param {(row: number) => number} topOf
 * @param {(row: number) => number} bottomOf
 * @param {Float32Array} top
 * @param {Float32Array} bottom
 * @param {number} width
 */
function collect(line, frame, toX, topOf, bottomOf, top, bottom, width) {
  let before = NaN;
  let [topBefore, bottomBefore] = [NaN, NaN];
  for (let row = line.from; row < line.to; row++) {
    const at = Math.floor(toX(line.x[row]) - frame.left);
    const [upper, lower] = [topOf(row), bottomOf(row)];
    if (!(lower >= upper)) {
      before = NaN; // no finite value: a gap
      continue;
    }
    for (let between = before + 1; between < at; between++) {
      const share = (between - before) / (at - before);
      put(top, bottom, between, topBefore + share * (upper - topBefore), bottomBefore + share * (lower - bottomBefore), width);
    }
    put(top, bottom, at, upper, lower, width);
    [before, topBefore, bottomBefore] = [at, upper, lower];
  }
}

/**
 * @param {Float32Array} top
 * @param {Float32Array} bottom
 * @param {number} at
 * @param {number} upper
 * @param {number} lower
 * @param {number} width
 */
function put(top, bottom, at, upper, lower, width) {
  if (at < 0 || at >= width) return;
  if (upper < top[at]) top[at] = upper;
  if (lower > bottom[at]) bottom[at] = lower;
}
