// Numbers, times and durations as people read them.

const DASH = '–';

/**
 * A metric's value in at most about 13 characters; the full value belongs into a title.
 * @param {import('../api/types.js').Value | null | undefined} value
 */
export function formatValue(value) {
  if (value === null || value === undefined) return DASH;
  if (typeof value === 'string') return { NaN: 'NaN', Infinity: '∞', '-Infinity': '−∞' }[value] ?? value;
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (Number.isInteger(value) && size < 1e10) return formatCount(value); // tokens and steps are counted
  if (size >= 1e7 || size < 1e-4) return minus(value.toExponential(3).replace(/\.?0+e/, 'e').replace('e+', 'e'));
  return minus(String(Number(value.toPrecision(size >= 1000 ? 6 : 5))));
}

/** @param {number} count */
export const formatCount = (count) => minus(String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ','));

/** @param {string} text */
const minus = (text) => text.replace('-', '−').replace('e−', 'e-');

/**
 * A duration such as "2 h 14 m".
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${pad(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** @param {number} number */
const pad = (number) => String(number).padStart(2, '0');

/**
 * How long ago, in one unit: "now", "40 s", "3 m", "2 h", "5 d".
 * @param {number} timeUs
 * @param {number} [nowMs]
 */
export function formatAge(timeUs, nowMs = Date.now()) {
  const seconds = Math.floor((nowMs - timeUs / 1000) / 1000);
  if (seconds < 5) return 'now';
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  if (seconds < 365 * 86_400) return `${Math.floor(seconds / 86_400)} d`;
  return `${Math.floor(seconds / (365 * 86_400))} y`;
}

/**
 * How long ago it was, within a sentence: `now`, `3 m ago`.
 * @param {number} timeUs
 * @param {number} [nowMs]
 */
export function formatTimeAgo(timeUs, nowMs = Date.now()) {
  const age = formatAge(timeUs, nowMs);
  return age === 'now' ? age : `${age} ago`;
}

/**
 * A moment in the person's time zone, to the second.
 * @param {number} timeUs
 */
export function formatMoment(timeUs) {
  const at = new Date(timeUs / 1000);
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/**
 * Such as "1 run" or "3 runs".
 * @param {number} count
 * @param {string} noun
 */
export const plural = (count, noun) => `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
