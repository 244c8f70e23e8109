// What is at the cursor: one for all panels. It is written without a component, since it follows the pointer.
import { clock, duration, exactNumber, grouped, localZone, shortNumber } from './axes.js';
import { projection } from './drawing.js';
import { titleOf } from './x_axis.js';

/** @typedef {import('./plot.js').Hover} Hover */
/** @typedef {import('./line.js').Line} Line */

const MOST = 12;
const AWAY = 18; // pixels from the point, so that it is never covered

export class Tooltip {
  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.element = document.createElement('div');
    this.element.className = 'chart-tooltip';
    this.element.setAttribute('role', 'status');
    this.element.hidden = true;
    parent.append(this.element);
    /** @type {Hover | null} */
    this.hover = null;
    this.frame = 0;
  }

  /** @param {Hover | null} hover */
  show(hover) {
    this.hover = hover;
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.#write());
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.element.remove();
  }

  #write() {
    this.frame = 0;
    const { hover } = this;
    if (!hover || !hover.plot.frame) {
      this.element.hidden = true;
      return;
    }
    const found = atCursor(hover);
    hover.plot.setFocus(found.length > 1 ? found[0].line : null);
    this.element.replaceChildren(...rowsOf(hover, found));
    this.element.hidden = found.length === 0;
    this.#place(hover);
  }

  /** @param {Hover} hover */
  #place({ plot, left, top }) {
    // All reads first, then one write.
    const over = /** @type {HTMLElement} */ (plot.element.querySelector('.u-over')).getBoundingClientRect();
    const size = this.element.getBoundingClientRect();
    const x = over.left + left;
    const y = over.top + top;
    const isLeft = x + AWAY + size.width > innerWidth;
    const at = Math.max(isLeft ? x - AWAY - size.width : x + AWAY, 4);
    this.element.style.transform = `translate(${Math.round(at)}px, ${Math.round(Math.max(Math.min(y - size.height / 2, innerHeight - size.height - 4), 4))}px)`;
  }
}

/** @typedef {{line: Line, row: number, distance: number}} Found */

/**
 * The lines at the cursor, nearest first.
 * @param {Hover} hover
 * @returns {Found[]}
 */
function atCursor({ plot, x, top }) {
  const frame = /** @type {import('./drawing.js').Frame} */ (plot.frame);
  const toY = projection(frame.y, frame.height / frame.ratio, -frame.height / frame.ratio);
  const found = [];
  for (const line of plot.lines) {
    const row = line.nearest(x);
    if (row < 0) continue;
    const isPast = x > line.x[line.curve.length - 1] || x < line.x[0];
    const reach = (frame.x.max - frame.x.min) * 0.02;
    if (isPast && Math.abs(line.x[row] - x) > reach) continue; // the line has ended before
    const distance = Math.abs(toY(line.values[row]) - top);
    found.push({ line, row, distance: Number.isNaN(distance) ? Infinity : distance });
  }
  return found.sort((a, b) => a.distance - b.distance);
}

/**
 * @param {Hover} hover
 * @param {Found[]} found
 */
function rowsOf(hover, found) {
  const rows = [part('div', 'at', positionOf(hover, found[0]))];
  for (const one of found.slice(0, MOST)) rows.push(rowOf(one));
  if (found.length > MOST) rows.push(part('div', 'more', `and ${found.length - MOST} more`));
  if (found.length > 0) rows.push(part('div', 'more', standsFor(found[0])));
  return rows;
}

/**
 * @param {Hover} hover
 * @param {Found | undefined} first
 */
function positionOf({ plot, x }, first) {
  const { axis } = plot.charts;
  const at = first ? first.line.x[first.row] : x;
  if (axis.kind === 'time') return clock(at, 1e6, localZone());
  if (axis.kind === 'relative') return `after ${duration(at)}`;
  if (axis.kind === 'metric') return `${titleOf(axis)} ${shortNumber(at)}`;
  if (!first) return `step ${grouped(Math.round(at))}`;
  const { first_position, last_position } = first.line.curve;
  const [from, to] = [first_position[first.row], last_position[first.row]];
  return from === to ? `step ${grouped(from)}` : `steps ${grouped(from)} to ${grouped(to)}`;
}

/** @param {Found} found */
function rowOf({ line, row }) {
  const element = part('div', 'row', '');
  const mark = part('span', 'mark', '');
  mark.style.background = line.stroke.colour;
  const { min, max, min_rank, max_rank } = line.curve;
  element.append(mark, part('span', 'name', line.name), part('span', 'value', exactNumber(line.values[row])));
  if (max[row] > min[row]) {
    const rank = (/** @type {Float64Array | null} */ ranks) => (ranks && ranks[row] >= 0 ? ` (rank ${ranks[row]})` : '');
    element.append(part('span', 'range', `${shortNumber(min[row])}${rank(min_rank)} – ${shortNumber(max[row])}${rank(max_rank)}`));
  }
  return element;
}

/** @param {Found} found */
function standsFor({ line, row }) {
  const { point_count, non_finite_count, min_rank } = line.curve;
  const count = point_count[row];
  const what = min_rank ? (count === 1 ? 'rank' : 'ranks') : count === 1 ? 'point' : 'points';
  const bad = non_finite_count[row] > 0 ? `, ${grouped(non_finite_count[row])} NaN or infinite` : '';
  const smooth = line.smooth ? `, smoothed; exact mean ${shortNumber(line.curve.mean[row])}` : count > 1 ? ': mean, lowest and highest' : '';
  return `${grouped(count)} ${what}${bad}${smooth}`;
}

/**
 * @param {string} tag
 * @param {string} name
 * @param {string} text
 */
function part(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}
