// The table of runs. A row is a DOM node only while it is seen.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { formatCount } from '../parts/format.js';
import { html } from '../parts/html.js';
import { chevronIcon, upIcon } from '../parts/icons.js';
import { cellOf } from './cells.js';
import { NAME, TableHead } from './table_head.js';

/** The height of a row in pixels, as table.css has it. */
const ROW = 32;
/** The number of rows that are rendered above and below the visible ones, and by which the rendered part moves. */
const BEYOND = 12;
const STRIDE = 6;

/**
 * @typedef {object} TableProps
 * @property {import('./rows.js').Line[]} lines
 * @property {import('./columns.js').Column[]} columns
 * @property {string} sort
 * @property {(sort: string) => void} onSort
 * @property {ReadonlySet<string>} selected
 * @property {(runId: string, range: boolean) => void} onSelect
 * @property {(all: boolean) => void} onSelectAll
 * @property {(value: string) => void} onGroup opens or closes a group
 * @property {(run: import('../api/types.js').Run) => void} onOpen
 * @property {(key: string, run: import('../api/types.js').Run | null) => boolean} onKey whether it did something
 * @property {() => void} onEnd the last rows are nearly in sight
 * @property {(runs: import('../api/types.js').Run[]) => void} onInSight
 * @property {(runId: string) => string} colourOf
 * @property {boolean} isDimmed
 * @property {Record<string, number>} widths that somebody has chosen, by column
 * @property {(widths: Record<string, number>) => void} onWidths
 * @property {(id: string, onto: string) => void} onMove a column
 * @property {{current: () => boolean}} isStill is set: whether rows may move, since nobody points at them or is among them
 * @property {(run: import('../api/types.js').Run) => void} onColour
 */

/** @param {TableProps} props */
export function RunsTable(props) {
  const { lines, selected, onEnd, onInSight, isDimmed } = props;
  const [dragged, setDragged] = useState(/** @type {Record<string, number>} */ ({}));
  const widths = { ...props.widths, ...dragged };
  const sized = (/** @type {import('./columns.js').Column} */ column) => (widths[column.id] ? { ...column, width: widths[column.id] } : column);
  const [name, columns] = [sized(NAME), props.columns.map(sized)];
  const onWidth = (/** @type {string} */ id, /** @type {number} */ width, /** @type {boolean} */ isOver) => {
    setDragged(isOver ? {} : { [id]: width });
    if (isOver) props.onWidths({ ...props.widths, [id]: width });
  };
  const scroller = useRef(/** @type {HTMLDivElement | null} */ (null));
  const { first, last, toTop, unseen, isOver } = useWindow(scroller, lines);
  const [cursor, setCursor] = useState('');
  // Somebody who points at a row, or goes through rows with the keyboard, would lose their place.
  props.isStill.current = () => !isOver() && !(cursor && document.activeElement === scroller.current) && (scroller.current?.scrollTop ?? 0) < ROW;
  const seen = lines.slice(first, last);

  useEffect(() => {
    if (last >= lines.length - 2 * BEYOND) onEnd();
  }, [last, lines]);
  useEffect(() => onInSight(seen.flatMap((line) => (line.kind === 'run' ? [line.run] : []))), [first, last, lines]);

  const onKeyDown = useCursor(props, cursor, setCursor, scroller);
  const template = `36px min(${name.width}px, 44vw) ${columns.map(({ width }) => `${width}px`).join(' ')} minmax(16px, 1fr)`;
  const width = 36 + name.width + columns.reduce((sum, column) => sum + column.width, 0) + 16;
  return html`
    <div class=${`table${isDimmed ? ' dimmed' : ''}`} role="grid" aria-label="Runs" aria-rowcount=${lines.length + 1} aria-colcount=${columns.length + 2}
      aria-multiselectable="true" tabindex="0" aria-activedescendant=${cursor ? `row-${cursor}` : undefined} ref=${scroller} onKeyDown=${onKeyDown}
      style=${{ '--template': template, '--width': `${width}px` }}>
      <${TableHead} ...${props} name=${name} columns=${columns} onWidth=${onWidth} />
      <div role="rowgroup" class="rows" style=${{ height: `${lines.length * ROW}px` }}>
        <div role="presentation" class="window" style=${{ transform: `translateY(${first * ROW}px)` }}>
          ${seen.map((line, index) =>
            line.kind === 'group'
              ? html`<${GroupRow} key=${`group ${line.value}`} line=${line} index=${first + index} onGroup=${props.onGroup} />`
              : html`<${Row} key=${line.run.run_id} run=${line.run} index=${first + index} columns=${columns} isSelected=${selected.has(line.run.run_id)}
                  isAt=${cursor === line.run.run_id} colour=${selected.has(line.run.run_id) ? props.colourOf(line.run.run_id) : ''}
                  onSelect=${props.onSelect} onAt=${setCursor} onColour=${props.onColour} />`,
          )}
        </div>
      </div>
    </div>
    ${unseen > 0 && html`<button class="new-runs" onClick=${toTop}>${upIcon()}${formatCount(unseen)} new</button>`}
  `;
}

/**
 * @param {{run: import('../api/types.js').Run, index: number, columns: import('./columns.js').Column[], isSelected: boolean, isAt: boolean,
 *   colour: string, onSelect: (runId: string, range: boolean) => void, onAt: (runId: string) => void, onColour: (run: import('../api/types.js').Run) => void}} props
 */
function Row({ run, index, columns, isSelected, isAt, colour, onSelect, onAt, onColour }) {
  const id = run.run_id;
  return html`
    <div role="row" id=${`row-${id}`} aria-rowindex=${index + 2} aria-selected=${isSelected} class=${isAt ? 'row at' : 'row'} onMouseDown=${() => onAt(id)}>
      <div role="gridcell" class="cell check">
        <input type="checkbox" tabindex="-1" aria-label=${`Select ${run.name}`} checked=${isSelected}
          onClick=${(/** @type {MouseEvent} */ event) => onSelect(id, event.shiftKey)} />
      </div>
      <div role="gridcell" class="cell name">
        ${colour && html`<button class="colour" tabindex="-1" style=${{ background: colour }} title="Another colour (c)" aria-label=${`Colour of ${run.name}`} onClick=${() => onColour(run)}></button>`}
        <a href=${`r/${id}`} tabindex="-1" title=${run.name}>${run.name}</a>
      </div>
      ${columns.map((column) => cellOf(column, run))}
    </div>
  `;
}

/** @param {{line: Extract<import('./rows.js').Line, {kind: 'group'}>, index: number, onGroup: (value: string) => void}} props */
function GroupRow({ line, index, onGroup }) {
  return html`
    <div role="row" aria-rowindex=${index + 2} class="row group">
      <div role="gridcell" class="cell">
        <button class="plain" tabindex="-1" aria-expanded=${line.isOpen} onClick=${() => onGroup(line.value)}>
          <span class=${line.isOpen ? 'turn open' : 'turn'}>${chevronIcon()}</span>${line.value || 'none'}<span class="quiet">${formatCount(line.count)}</span>
        </button>
      </div>
    </div>
  `;
}

/**
 * Which lines are nodes of the DOM. When lines come or go above what is seen, the scroll position follows, so that
 * nothing moves.
 * @param {import('preact').RefObject<HTMLDivElement | null>} scroller
 * @param {import('./rows.js').Line[]} lines
 */
function useWindow(scroller, lines) {
  const [range, setRange] = useState([0, 40]);
  const [unseen, setUnseen] = useState(0);
  const anchor = useRef({ key: '', index: 0, isOver: false });
  const current = useRef(lines);
  current.current = lines;

  const update = () => {
    const element = scroller.current;
    if (!element) return;
    const top = Math.floor(element.scrollTop / ROW);
    const first = Math.max(0, Math.floor((top - BEYOND) / STRIDE) * STRIDE);
    const last = top + Math.ceil(element.clientHeight / ROW) + BEYOND + STRIDE;
    setRange((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    anchor.current = { ...anchor.current, key: keyOf(current.current[top]), index: top };
    if (element.scrollTop < ROW) setUnseen(0);
  };
  useEffect(() => {
    const element = /** @type {HTMLDivElement} */ (scroller.current);
    let frame = 0;
    const onScroll = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(update);
    };
    const over = (/** @type {boolean} */ isOver) => () => (anchor.current = { ...anchor.current, isOver });
    const [enter, leave] = [over(true), over(false)];
    element.addEventListener('scroll', onScroll, { passive: true });
    element.addEventListener('pointerenter', enter);
    element.addEventListener('pointerleave', leave);
    const sizes = new ResizeObserver(onScroll);
    sizes.observe(element);
    return () => {
      cancelAnimationFrame(frame);
      sizes.disconnect();
      element.removeEventListener('scroll', onScroll);
      element.removeEventListener('pointerenter', enter);
      element.removeEventListener('pointerleave', leave);
    };
  }, []);
  useLayoutEffect(() => {
    const element = /** @type {HTMLDivElement} */ (scroller.current);
    const { key, index, isOver } = anchor.current;
    const now = key ? lines.findIndex((line) => keyOf(line) === key) : -1;
    // Somebody who is at the top and does not point at a row wants to see what comes.
    if (now > index && (element.scrollTop > 0 || isOver)) {
      element.scrollTop += (now - index) * ROW;
      setUnseen((count) => count + now - index);
    } else if (now >= 0 && now < index && element.scrollTop > 0) element.scrollTop -= (index - now) * ROW;
    update();
  }, [lines]);
  const toTop = () => scroller.current?.scrollTo({ top: 0 });
  return { first: Math.min(range[0] ?? 0, Math.max(0, lines.length - 1)), last: range[1] ?? 0, toTop, unseen, isOver: () => anchor.current.isOver };
}

/** @param {import('./rows.js').Line | undefined} line */
const keyOf = (line) => (line === undefined ? '' : line.kind === 'run' ? line.run.run_id : `group ${line.value}`);

/**
 * Keys: the cursor moves through runs, and stays in sight.
 * @param {TableProps} props
 * @param {string} cursor
 * @param {(runId: string) => void} setCursor
 * @param {import('preact').RefObject<HTMLDivElement | null>} scroller
 */
function useCursor(props, cursor, setCursor, scroller) {
  const runs = useMemo(() => props.lines.flatMap((line, index) => (line.kind === 'run' ? [{ run: line.run, index }] : [])), [props.lines]);
  const go = (/** @type {number} */ to) => {
    const target = runs[Math.max(0, Math.min(to, runs.length - 1))];
    const element = scroller.current;
    if (!target || !element) return;
    setCursor(target.run.run_id);
    const top = target.index * ROW;
    const height = element.clientHeight - ROW; // below the head
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + height) element.scrollTop = top + ROW - height;
  };
  return (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = runs.findIndex(({ run }) => run.run_id === cursor);
    const run = runs[at]?.run ?? null;
    const page = Math.floor((scroller.current?.clientHeight ?? 0) / ROW) - 2;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => go(at + 1),
      j: () => go(at + 1),
      ArrowUp: () => go(at < 0 ? 0 : at - 1),
      k: () => go(at < 0 ? 0 : at - 1),
      PageDown: () => go(at + page),
      PageUp: () => go(at - page),
      Home: () => go(0),
      End: () => go(runs.length - 1),
      Enter: () => run && props.onOpen(run),
      x: () => run && props.onSelect(run.run_id, false),
      ' ': () => run && props.onSelect(run.run_id, event.shiftKey),
    };
    const action = keys[event.key];
    if (action) action();
    else if (!props.onKey(event.key, run)) return;
    event.preventDefault();
  };
}
