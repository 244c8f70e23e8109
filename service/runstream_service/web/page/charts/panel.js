// A panel: the title, the graph, notes about it, and its menu.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { followPointer } from '../parts/pointer.js';
import { HEIGHT } from './layout.js';
import { Menu } from './menu.js';
import { Plot } from './plot.js';

/** @typedef {import('./layout.js').Graph} Graph */
/** @typedef {import('./charts.js').Charts} Charts */
/** @typedef {import('./plot.js').Facts} Facts */

/**
 * @typedef {object} PanelProps
 * @property {Graph} graph
 * @property {Charts} charts
 * @property {(hover: import('./plot.js').Hover | null) => void} onHover
 * @property {(plot: Plot) => import('./menu.js').Entry[]} menu
 * @property {() => void} onEnlarge
 * @property {(columns: number, height: number) => void} [onSize]
 * @property {(id: string) => void} [onDrop] another graph was dropped here
 * @property {boolean} [isLarge]
 */

const DRAGGED = 'application/x-runstream-graph';
/** @type {Facts} */
const NO_FACTS = { note: '', isLoading: true, isEmpty: false, error: '', hasBand: false };

/** @param {PanelProps} props */
export function Panel({ graph, charts, onHover, menu, onEnlarge, onSize, onDrop, isLarge = false }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {Plot | null} */ (null));
  const [facts, setFacts] = useState(NO_FACTS);
  const [isTarget, setTarget] = useState(false);
  const latest = useRef(onHover);
  latest.current = onHover;
  useEffect(() => openPlot(/** @type {HTMLElement} */ (box.current), charts, graph.keys, plot, setFacts, latest), [charts]);
  useEffect(() => plot.current?.setKeys(graph.keys), [graph.keys.join('\n')]);
  const drop = {
    onDragOver: (/** @type {DragEvent} */ event) => {
      if (!onDrop || !event.dataTransfer?.types.includes(DRAGGED)) return;
      event.preventDefault();
      setTarget(true);
    },
    onDragLeave: () => setTarget(false),
    onDrop: (/** @type {DragEvent} */ event) => {
      setTarget(false);
      onDrop?.(event.dataTransfer?.getData(DRAGGED) ?? '');
    },
  };
  const style = isLarge ? '' : styleOf(graph);
  return html`
    <section class="panel ${isTarget ? 'target' : ''}" style=${style} aria-label=${`Chart of ${graph.title}`} data-key=${graph.id} ...${drop}>
      <header
        draggable=${Boolean(onDrop)}
        onDragStart=${(/** @type {DragEvent} */ event) => event.dataTransfer?.setData(DRAGGED, graph.id)}
        onDblClick=${onEnlarge}
      >
        <h3 title=${graph.title}>${graph.title}</h3>
        ${facts.note && html`<span class="note" title=${facts.note}>${facts.note}</span>`}
        <button class="plain icon" title="Enlarge (or double click the title)" aria-label=${isLarge ? 'Close' : `Enlarge ${graph.title}`} onClick=${onEnlarge}>${isLarge ? '✕' : '⤢'}</button>
        <${Menu} label=${`Menu of ${graph.title}`} entries=${() => (plot.current ? menu(plot.current) : [])} />
      </header>
      <div class="plot ${facts.isLoading ? 'waiting' : ''}" ref=${box} tabindex="0" role="img" aria-label=${`${graph.title}. Arrow keys move what is shown, plus and minus zoom.`}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => onKey(event, charts, onEnlarge)}>
        ${facts.error && html`<p class="say" role="alert">${facts.error}</p>`}
        ${facts.isEmpty && !facts.error && html`<p class="say">No points here.</p>`}
      </div>
      ${onSize && html`<div class="corner" aria-hidden="true" title="Drag to resize" onPointerDown=${(/** @type {PointerEvent} */ event) => resize(event, onSize)}></div>`}
    </section>
  `;
}

/**
 * @param {HTMLElement} element
 * @param {Charts} charts
 * @param {string[]} keys
 * @param {{current: Plot | null}} into
 * @param {(update: (before: Facts) => Facts) => void} setFacts
 * @param {{current: (hover: import('./plot.js').Hover | null) => void}} hover
 */
function openPlot(element, charts, keys, into, setFacts, hover) {
  const plot = new Plot(element, charts, keys, {
    onFacts: (facts) => setFacts((before) => (isSame(before, facts) ? before : facts)),
    onHover: (one) => hover.current(one),
  });
  into.current = plot;
  /** @type {any} */ (element).plot = plot; // for tests, which compare what is drawn with SQL
  const sizes = new ResizeObserver(([entry]) => {
    const { width, height } = entry.contentRect;
    if (width > 0 && height > 0) plot.setSize(Math.floor(width), Math.floor(height));
  });
  const seen = new IntersectionObserver((entries) => plot.setSeen(entries[entries.length - 1].isIntersecting), { rootMargin: '150px' });
  sizes.observe(element);
  seen.observe(element);
  return () => {
    sizes.disconnect();
    seen.disconnect();
    plot.close();
    into.current = null;
  };
}

/**
 * @param {Facts} a
 * @param {Facts} b
 */
const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/**
 * @param {KeyboardEvent} event
 * @param {Charts} charts
 * @param {() => void} onEnlarge
 */
function onKey(event, charts, onEnlarge) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { min, max } = charts.range;
  const size = max - min;
  /** @type {Record<string, () => void>} */
  const actions = {
    ArrowLeft: () => charts.zoomTo([min - size / 4, max - size / 4], { isOver: false }),
    ArrowRight: () => charts.zoomTo([min + size / 4, max + size / 4], { isOver: false }),
    '+': () => charts.zoomTo([min + size / 4, max - size / 4], { isOver: false }),
    '-': () => charts.zoomTo([min - size / 2, max + size / 2], { isOver: false }),
    0: () => charts.zoomTo(null, { isOver: true }),
    Enter: onEnlarge,
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  event.stopPropagation();
  actions[event.key]();
}

/**
 * @param {PointerEvent} event
 * @param {(columns: number, height: number) => void} onSize
 */
function resize(event, onSize) {
  event.preventDefault();
  const panel = /** @type {HTMLElement} */ (/** @type {HTMLElement} */ (event.target).closest('.panel'));
  const group = /** @type {HTMLElement} */ (panel.parentElement);
  const grid = /** @type {HTMLElement} */ (panel.closest('.groups'));
  const count = getComputedStyle(grid).gridTemplateColumns.split(' ').length;
  const column = (grid.clientWidth + 8) / count;
  const { left, height } = panel.getBoundingClientRect();
  const from = event.clientY;
  const others = Number(group.style.getPropertyValue('--span')) - Number(panel.style.getPropertyValue('--columns'));
  const size = (/** @type {PointerEvent} */ now) =>
    /** @type {[number, number]} */ ([Math.max(1, Math.round((now.clientX - left) / column)), Math.min(Math.max(Math.round((height + now.clientY - from - 36) / 8) * 8, 120), 1200)]);
  const move = (/** @type {PointerEvent} */ now) => {
    const [columns, tall] = size(now);
    panel.style.setProperty('--columns', String(columns));
    group.style.setProperty('--span-now', String(Math.min(count, Math.max(1, others + columns)))); // its group becomes as wide
    panel.style.setProperty('--height', `${tall}px`);
  };
  const up = (/** @type {PointerEvent} */ now) => {
    group.style.removeProperty('--span-now');
    onSize(...size(now));
  };
  followPointer(move, up);
}

/** @param {Graph} graph */
function styleOf(graph) {
  const height = graph.height === HEIGHT ? '' : `; --height: ${graph.height}px`;
  return `--columns: ${graph.columns}${height}`;
}
