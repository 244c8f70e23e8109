// A param against a metric: a dot a run.
import { useMemo } from 'preact/hooks';
import { html } from '../parts/html.js';
import { strokeOf } from '../state/colours.js';
import { runPath } from '../state/places.js';
import { theme } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { exactNumber, linearTicks, logTicks, niceStep, shortNumber } from './axes.js';
import { differences, scatterOf } from './differences.js';
import { projection } from './drawing.js';

/** @typedef {import('../api/types.js').Run} Run */

const [WIDTH, HEIGHT] = [560, 260];
const FRAME = { left: 64, right: 16, top: 12, bottom: 32 };
/** A param whose values are so many times apart has a logarithmic axis: learning rates. */
const LOG_FROM = 30;

/** @param {{runs: Run[], chosen: string, onChoose: (chosen: string) => void}} props chosen: 'param~metric' */
export function Scatter({ runs, chosen, onChoose }) {
  const shown = useStore(theme);
  const params = useMemo(() => differences(runs).filter((row) => row.differs).map((row) => row.name), [runs]);
  const metrics = useMemo(() => [...new Set(runs.flatMap((run) => Object.keys(run.metrics ?? {})))].sort(), [runs]);
  if (params.length === 0 || metrics.length === 0) return null;
  const [param = params[0], metric = metrics[0]] = chosen ? chosen.split('~') : [];
  return html`
    <details class="scatter" open=${chosen !== ''} onToggle=${(/** @type {Event} */ event) => onChoose(/** @type {HTMLDetailsElement} */ (event.target).open ? `${param}~${metric}` : '')}>
      <summary>A param against a metric</summary>
      <p class="chart-bar">
        <label>param <select value=${param} onChange=${(/** @type {any} */ event) => onChoose(`${event.target.value}~${metric}`)}>${params.map((name) => html`<option>${name}</option>`)}</select></label>
        <label>latest <select value=${metric} onChange=${(/** @type {any} */ event) => onChoose(`${param}~${event.target.value}`)}>${metrics.map((name) => html`<option>${name}</option>`)}</select></label>
      </p>
      <${Dots} runs=${runs} param=${param} metric=${metric} theme=${shown} />
    </details>`;
}

/** @param {{runs: Run[], param: string, metric: string, theme: 'light' | 'dark'}} props */
function Dots({ runs, param, metric, theme: shown }) {
  const { points, names } = useMemo(() => scatterOf(runs, param, metric), [runs, param, metric]);
  if (points.length === 0) return html`<p class="quiet">No run has both with a number.</p>`;
  const x = scaleOf(points.map((point) => point.x), names === null);
  const y = scaleOf(points.map((point) => point.y), false);
  const toX = projection(x, FRAME.left, WIDTH - FRAME.left - FRAME.right);
  const toY = projection(y, HEIGHT - FRAME.bottom, -(HEIGHT - FRAME.top - FRAME.bottom));
  const xTicks = names ? names.map((_, index) => index) : x.log ? logTicks(x.min, x.max, 6) : linearTicks(x.min, x.max, 6);
  const yTicks = linearTicks(y.min, y.max, 5);
  const step = yTicks.length > 1 ? niceStep(yTicks[1] - yTicks[0], 1) : undefined;
  return html`
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="group" aria-label=${`${param} against ${metric} of ${points.length} runs`}>
      ${yTicks.map((tick) => html`<line class="rule" x1=${FRAME.left} x2=${WIDTH - FRAME.right} y1=${toY(tick)} y2=${toY(tick)} /><text x=${FRAME.left - 6} y=${toY(tick) + 4} text-anchor="end">${shortNumber(tick, step)}</text>`)}
      ${xTicks.map((tick) => html`<text x=${toX(tick)} y=${HEIGHT - 12} text-anchor="middle">${names ? names[tick].slice(0, 16) : shortNumber(tick)}</text>`)}
      ${points.map(({ run, x: at, y: value }) => html`
        <a href=${runPath(run.run_id)} aria-label=${`${run.name}: ${param} ${run.params[param]}, ${metric} ${exactNumber(value)}`}>
          <circle cx=${toX(at)} cy=${toY(value)} r="5" fill=${strokeOf(run.run_id, shown).colour}><title>${`${run.name}\n${param} ${run.params[param]}\n${metric} ${exactNumber(value)}`}</title></circle>
        </a>`)}
    </svg>`;
}

/**
 * @param {number[]} values
 * @param {boolean} mayBeLog
 */
function scaleOf(values, mayBeLog) {
  const [min, max] = [Math.min(...values), Math.max(...values)];
  if (mayBeLog && min > 0 && max / min >= LOG_FROM) return { min: min / 1.3, max: max * 1.3, log: true };
  const margin = (max - min) * 0.06 || Math.abs(max) * 0.1 || 1;
  return { min: min - margin, max: max + margin, log: false };
}
