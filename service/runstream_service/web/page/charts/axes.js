// Ticks of axes and how numbers are written on them.

const PREFIXES = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];
const SECOND = 1e6; // positions on axes of time are microseconds
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TIME_STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, SECOND, 2 * SECOND, 5 * SECOND,
  10 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR,
  2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 10 * DAY, 20 * DAY, 50 * DAY, 100 * DAY, 365 * DAY,
];

/**
 * A distance of 1, 2 or 5 times a power of ten, so that about `count` of them fit.
 * @param {number} size
 * @param {number} count
 */
export function niceStep(size, count) {
  const rough = size / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((one) => one * power >= rough * 0.75) ?? 10;
  return factor * power;
}

/**
 * @param {number} min
 * @param {number} max
 * @param {number} step
 * @returns {number[]}
 */
function multiples(min, max, step) {
  const first = Math.ceil(min / step - 1e-9);
  const count = Math.min(Math.floor(max / step + 1e-9) - first + 1, 200);
  return Array.from({ length: Math.max(count, 0) }, (_, index) => (first + index) * step);
}

/**
 * @param {number} min
 * @param {number} max
 * @param {number} count about how many
 * @returns {number[]}
 */
export function linearTicks(min, max, count) {
  return max > min ? multiples(min, max, niceStep(max - min, count)) : [min];
}

/**
 * Ticks of steps: whole numbers only.
 * @param {number} min
 * @param {number} max
 * @param {number} count
 */
export function stepTicks(min, max, count) {
  return max > min ? multiples(min, max, Math.max(1, niceStep(max - min, count))) : [min];
}

/**
 * Powers of ten, with 2 and 5 between them where few fit; on a narrow range as on a linear axis.
 * @param {number} min above 0
 * @param {number} max
 * @param {number} count
 */
export function logTicks(min, max, count) {
  const decades = Math.log10(max) - Math.log10(min);
  if (!(decades > 0)) return [min];
  if (decades < 1.2) return linearTicks(min, max, count).filter((tick) => tick > 0);
  const every = Math.max(1, Math.ceil(decades / count));
  const factors = decades * 3 <= count + 1 ? [1, 2, 5] : [1];
  const ticks = [];
  const from = Math.floor(Math.log10(min));
  for (let power = Math.ceil(from / every) * every - every; power <= Math.log10(max); power += every) {
    for (const factor of factors) {
      const tick = Number(`${factor}e${power}`);
      if (tick >= min && tick <= max) ticks.push(tick);
    }
  }
  return ticks;
}

/**
 * Ticks of times, in microseconds: whole seconds, minutes, hours, days of the person's time zone.
 * @param {number} min
 * @param {number} max
 * @param {number} count
 * @param {number} [zone] the offset of the local time, in microseconds; 0 for relative times
 */
export function timeTicks(min, max, count, zone = 0) {
  const rough = (max - min) / Math.max(count, 1);
  const step = TIME_STEPS.find((one) => one >= rough) ?? niceStep(max - min, count);
  return multiples(min + zone, max + zone, step).map((tick) => tick - zone);
}

/**
 * A number in few characters: 12.3k, 4.5M, 0.00012, 1.2e-7. `step` is the distance of ticks: digits below it are left out.
 * @param {number} value
 * @param {number} [step]
 */
export function shortNumber(value, step) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? '+∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e15) return exponential(value, step);
  // Ticks that lie close together far from 0 differ in their last digits: those are written out.
  if (step && step >= 1 && size < 1e9 && size / step > 500) return minus(grouped(Math.round(value)));
  const [unit, prefix] = PREFIXES.find(([one]) => size >= Number(one) * 0.99999) ?? [1, ''];
  const digits = step ? digitsFor(step / Number(unit)) : Math.max(0, 3 - Math.ceil(Math.log10(size / Number(unit))));
  const text = (value / Number(unit)).toFixed(Math.min(digits, 12));
  return minus(trimmed(text)) + prefix;
}

/**
 * @param {number} value
 * @param {number} [step]
 */
function exponential(value, step) {
  const power = Math.floor(Math.log10(Math.abs(value)));
  const digits = step ? Math.min(Math.max(power - Math.floor(Math.log10(step) + 1e-9), 0), 12) : 2;
  const [mantissa, exponent] = value.toExponential(digits).split('e');
  return minus(`${trimmed(mantissa)}e${exponent.replace('+', '')}`);
}

/** @param {number} step */
const digitsFor = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));

/** @param {string} text */
const trimmed = (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

/** @param {string} text */
const minus = (text) => text.replace('-', '−');

/**
 * A value as a person copies it: all digits that count.
 * @param {number} value
 */
export function exactNumber(value) {
  if (!Number.isFinite(value)) return shortNumber(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return minus(grouped(value));
  return minus(size !== 0 && (size < 1e-4 || size >= 1e9) ? value.toExponential(5) : String(Number(value.toPrecision(7))));
}

/**
 * A whole number with commas between thousands.
 * @param {number} value
 */
export const grouped = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');

/**
 * A duration in microseconds: 450 ms, 12 s, 3 min 20 s, 2 h 14 m, 3 d 4 h.
 * @param {number} us
 * @returns {string}
 */
export function duration(us) {
  if (us < 0) return `−${duration(-us)}`;
  if (us === 0) return '0';
  if (us < 1e3) return `${Math.round(us)} µs`;
  if (us < SECOND) return `${trimmed((us / 1e3).toFixed(1))} ms`;
  if (us < MINUTE) return `${trimmed((us / SECOND).toFixed(us < 10 * SECOND ? 2 : 1))} s`;
  if (us < HOUR) return twoUnits(us, MINUTE, 'min', SECOND, 's');
  if (us < DAY) return twoUnits(us, HOUR, 'h', MINUTE, 'm');
  return twoUnits(us, DAY, 'd', HOUR, 'h');
}

/**
 * @param {number} us
 * @param {number} large
 * @param {string} largeName
 * @param {number} small
 * @param {string} smallName
 */
function twoUnits(us, large, largeName, small, smallName) {
  const whole = Math.floor(Math.round(us / small) / (large / small));
  const rest = Math.round(us / small) - whole * (large / small);
  return rest === 0 ? `${whole} ${largeName}` : `${whole} ${largeName} ${rest} ${smallName}`;
}

/**
 * A time of day or a date, as exact as the distance of ticks needs.
 * @param {number} us since 1970
 * @param {number} step distance of the ticks in microseconds
 * @param {number} [zone] as in timeTicks
 */
export function clock(us, step, zone = 0) {
  const iso = new Date(Math.round((us + zone) / 1e3)).toISOString();
  const [date, time] = [iso.slice(5, 10), iso.slice(11)];
  if (step >= DAY) return date;
  if (step >= MINUTE) return time.slice(0, 5) === '00:00' ? date : time.slice(0, 5);
  return step >= SECOND ? time.slice(0, 8) : time.slice(3, 12);
}

/** What is added to a UTC time to get to the local one, in microseconds. */
export const localZone = () => -new Date().getTimezoneOffset() * MINUTE;
