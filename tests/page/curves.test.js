// Logic of charts without a page: decoding, live buckets, smoothing, mapping, ranges, ticks, cells.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeCharts } from '../../service/runstream_service/web/page/api/binary.js';
import { ChartRequests } from '../../service/runstream_service/web/page/api/charts.js';
import { clock, duration, linearTicks, logTicks, shortNumber, stepTicks, timeTicks } from '../../service/runstream_service/web/page/charts/axes.js';
import { Curve } from '../../service/runstream_service/web/page/charts/curve.js';
import { heatCells, heatColour } from '../../service/runstream_service/web/page/charts/heat_bins.js';
import { LabelRoom } from '../../service/runstream_service/web/page/charts/label_room.js';
import { stepToMetric } from '../../service/runstream_service/web/page/charts/mapping.js';
import { beyond, valueRange } from '../../service/runstream_service/web/page/charts/ranges.js';
import { decayLength, smoothed } from '../../service/runstream_service/web/page/charts/smoothing.js';
import { Places, strokeAt } from '../../service/runstream_service/web/page/state/colours.js';

const COLUMNS = ['first_position', 'last_position', 'point_count', 'non_finite_count', 'first', 'last', 'min', 'max', 'mean'];

/** @param {{key: string, run_id?: string, rows: number[][]}[]} curves */
function encoded(curves) {
  const heads = curves.map(({ key, run_id = 'a', rows }) => ({ run_id, key, rank: 0, attempt: 0, count: rows.length }));
  let head = JSON.stringify({ columns: COLUMNS, curves: heads, cut: null });
  head += ' '.repeat((8 - (head.length % 8)) % 8);
  const values = curves.flatMap(({ rows }) => COLUMNS.flatMap((_, column) => rows.map((row) => row[column])));
  const buffer = new ArrayBuffer(8 + head.length + 8 * values.length);
  new DataView(buffer).setUint32(0, head.length, true);
  new Uint8Array(buffer, 8, head.length).set(new TextEncoder().encode(head));
  new Float64Array(buffer, 8 + head.length).set(values);
  return buffer;
}

/**
 * Exact buckets of points at steps `from` to `to`.
 * @param {(step: number) => number} value
 * @param {{from?: number, to: number, buckets: number, shift?: number}} how
 */
function curveOf(value, { from = 0, to, buckets, shift = 0 }) {
  const curve = new Curve({ run_id: 'a', key: 'loss', rank: 0, attempt: 0 });
  const width = (to - from) / buckets;
  let start = from;
  for (let bucket = 0; bucket < buckets && start < to; bucket++) {
    const end = bucket === buckets - 1 ? to : Math.max(start + 1, Math.round(from + (bucket + 1 + shift) * width));
    const values = Array.from({ length: end - start }, (_, index) => value(start + index));
    const taken = curve.append(
      {
        first_position: start,
        last_position: end - 1,
        point_count: values.length,
        non_finite_count: 0,
        first: values[0],
        last: values[values.length - 1],
        min: Math.min(...values),
        max: Math.max(...values),
        mean: values.reduce((sum, one) => sum + one, 0) / values.length,
      },
      { width: 0, limit: Infinity },
    );
    assert.ok(taken);
    start = end;
  }
  return curve;
}

/**
 * @param {Curve} curve
 * @param {Float64Array} values at the ends of its buckets
 * @param {number} position
 */
function valueAt(curve, values, position) {
  let row = 0;
  while (row < curve.length - 1 && curve.last_position[row + 1] <= position) row++;
  const share = (position - curve.last_position[row]) / (curve.last_position[row + 1] - curve.last_position[row]);
  return row + 1 < curve.length ? values[row] + share * (values[row + 1] - values[row]) : values[row];
}

/** @param {number} seed */
function noise(seed) {
  const values = new Float64Array(20_000);
  for (let i = 0, state = seed; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = state / 2 ** 32 - 0.5;
  }
  return values;
}

test('columns of an answer are views into it', () => {
  const buffer = encoded([
    { key: 'loss', rows: [[0, 4, 5, 1, 9, 8, 1, 9, 5], [5, 9, 5, 0, 7, 6, 6, 7, 6.5]] },
    { key: 'lr', rows: [] },
  ]);
  const { curves, cut } = decodeCharts(buffer);
  assert.deepEqual([...curves[0].columns.mean], [5, 6.5]);
  assert.deepEqual([...curves[0].columns.non_finite_count], [1, 0]);
  assert.equal(curves[0].columns.mean.buffer, buffer);
  assert.equal(curves[1].count, 0);
  assert.equal(cut, null);
});

test('an answer that ends early is an error, not a shorter curve', () => {
  const buffer = encoded([{ key: 'loss', rows: [[0, 4, 5, 1, 9, 8, 1, 9, 5]] }]);
  assert.throws(() => decodeCharts(buffer.slice(0, buffer.byteLength - 8)), /ends early/);
  assert.throws(() => decodeCharts(new ArrayBuffer(4)), RangeError);
});

test('live buckets are merged exactly, and a curve stays within its bound', () => {
  const value = (/** @type {number} */ step) => Math.sin(step / 50) + (step === 1234 ? 100 : 0);
  const curve = new Curve({ run_id: 'a', key: 'loss', rank: 0, attempt: 0 });
  for (let step = 0; step < 5000; step++) {
    const one = value(step);
    const bucket = { first_position: step, last_position: step, point_count: 1, non_finite_count: 0, first: one, last: one, min: one, max: one, mean: one };
    assert.ok(curve.append(bucket, { width: 1, limit: 300 }));
  }
  assert.ok(curve.length <= 300);
  assert.equal(curve.points, 5000);
  assert.equal(Math.max(...curve.max.subarray(0, curve.length)), value(1234));
  const sum = curve.mean.subarray(0, curve.length).reduce((total, mean, row) => total + mean * curve.point_count[row], 0);
  const exact = Array.from({ length: 5000 }, (_, step) => value(step)).reduce((total, one) => total + one, 0);
  assert.ok(Math.abs(sum - exact) < 1e-9);
});

test('points that a curve has already, or that came late, are not appended twice', () => {
  const curve = curveOf((step) => step, { to: 100, buckets: 10 });
  const bucket = { first_position: 99, last_position: 101, point_count: 3, non_finite_count: 0, first: 0, last: 0, min: 0, max: 0, mean: 0 };
  assert.equal(curve.append(bucket, { width: 1, limit: 300 }), false);
  assert.equal(curve.points, 100);
});

test('a bucket without a finite value takes over the values of the next', () => {
  const curve = new Curve({ run_id: 'a', key: 'loss', rank: 0, attempt: 0 });
  curve.append({ first_position: 0, last_position: 0, point_count: 1, non_finite_count: 1, first: NaN, last: NaN, min: NaN, max: NaN, mean: NaN }, { width: 10, limit: 9 });
  curve.append({ first_position: 1, last_position: 1, point_count: 1, non_finite_count: 0, first: 2, last: 2, min: 2, max: 2, mean: 2 }, { width: 10, limit: 9 });
  assert.deepEqual(curve.at(0), { first_position: 0, last_position: 1, point_count: 2, non_finite_count: 1, first: NaN, last: 2, min: 2, max: 2, mean: 2 });
});

test('the bucket nearest to a position is found', () => {
  const curve = curveOf((step) => step, { to: 100, buckets: 10 });
  assert.equal(curve.nearest(-5), 0);
  assert.equal(curve.nearest(15), 1);
  assert.equal(curve.nearest(1000), 9);
  assert.equal(new Curve({ run_id: 'a', key: 'b', rank: 0, attempt: 0 }).nearest(3), -1);
});

test('smoothing of single points is the debiased moving average of TensorBoard', () => {
  const values = noise(3).subarray(0, 200);
  const curve = curveOf((step) => values[step], { to: 200, buckets: 200 });
  const ours = smoothed(curve, decayLength(0.9, { start: 0, end: 199, points: 200 }));
  let last = 0;
  values.forEach((value, index) => {
    last = last * 0.9 + 0.1 * value;
    assert.ok(Math.abs(ours[index] - last / (1 - 0.9 ** (index + 1))) < 1e-12);
  });
});

test('smoothing does not depend on the number of buckets or on their edges', () => {
  for (const seed of [1, 2, 3, 4]) {
    const jitter = noise(seed);
    const value = (/** @type {number} */ step) => 3 * Math.exp(-step / 6000) + Math.sin(step / 900) + jitter[step];
    for (const strength of [0.9, 0.97, 0.99]) {
      const exact = curveOf(value, { to: 20_000, buckets: 20_000 });
      const length = decayLength(strength, exact);
      const truth = smoothed(exact, length);
      const raw = Math.hypot(...jitter) / Math.sqrt(jitter.length);
      for (const [buckets, shift] of [[1000, 0], [600, 0], [600, 0.37], [311, 0.8]]) {
        const coarse = curveOf(value, { to: 20_000, buckets, shift });
        const ours = smoothed(coarse, decayLength(strength, coarse));
        for (let row = 5; row < coarse.length; row++) {
          const difference = Math.abs(ours[row] - truth[coarse.last_position[row]]);
          assert.ok(difference < 0.25 * raw, `${strength} ${buckets} row ${row}: ${difference}`);
        }
      }
    }
  }
});

test('a part that is zoomed to has the smoothing that it has in the whole', () => {
  const jitter = noise(7);
  const value = (/** @type {number} */ step) => Math.cos(step / 700) + jitter[step];
  const whole = curveOf(value, { to: 20_000, buckets: 600 });
  const length = decayLength(0.98, whole);
  const inWhole = smoothed(whole, length);
  for (const [from, to] of [[8000, 12_000], [15_117, 19_013], [3, 999]]) {
    const part = curveOf(value, { from, to, buckets: 600 });
    const inPart = smoothed(part, length, whole);
    for (const position of [from + (to - from) / 20, (from + to) / 2, to - 40]) {
      const difference = Math.abs(valueAt(part, inPart, position) - valueAt(whole, inWhole, position));
      assert.ok(difference < 0.12, `${from}..${to} at ${position}: ${difference}`);
    }
  }
});

test('smoothing leaves out what is not finite, and does not depend on other curves', () => {
  const curve = curveOf(() => 5, { to: 100, buckets: 100 });
  curve.mean[40] = NaN;
  curve.non_finite_count[40] = 1;
  const values = smoothed(curve, decayLength(0.9, curve));
  for (let row = 0; row < 100; row++) assert.ok(Math.abs(values[row] - 5) < 1e-12);
});

test('steps are mapped to another metric, also where its buckets differ', () => {
  const tokens = curveOf((step) => step * 512, { to: 10_000, buckets: 77 });
  const at = stepToMetric(tokens);
  for (const step of [0, 1, 500, 5_000, 9_999]) assert.ok(Math.abs(at(step) - step * 512) < 512, `${step}: ${at(step)}`);
  assert.ok(Number.isNaN(at(10_001)));
  assert.ok(Math.abs(at(500) - 500 * 512) < 512); // and backwards
});

test('a range has every extreme unless outliers are clipped, and then it says how many buckets go beyond', () => {
  const curve = curveOf((step) => (step === 500 ? 1e6 : step % 10), { to: 1000, buckets: 200 });
  const drawn = { min: curve.min, max: curve.max, mean: curve.mean, from: 0, to: curve.length };
  assert.ok(valueRange([drawn], { log: false, clip: false }).max >= 1e6);
  const clipped = valueRange([drawn], { log: false, clip: true });
  assert.ok(clipped.max < 20);
  assert.deepEqual(beyond([drawn], clipped), { above: 1, below: 0 });
  const log = valueRange([drawn], { log: true, clip: false });
  assert.ok(log.min > 0 && log.max >= 1e6);
  assert.deepEqual(valueRange([], { log: false, clip: false }), { min: 0, max: 1 });
});

test('ticks are round, and few', () => {
  assert.deepEqual(linearTicks(0, 1, 5), [0, 0.2, 0.4, 0.6000000000000001, 0.8, 1]);
  assert.deepEqual(stepTicks(0, 3, 10), [0, 1, 2, 3]);
  assert.deepEqual(logTicks(0.001, 1000, 7), [0.001, 0.01, 0.1, 1, 10, 100, 1000]);
  assert.deepEqual(logTicks(1, 100, 8), [1, 2, 5, 10, 20, 50, 100]);
  assert.deepEqual(timeTicks(0, 3600e6, 4), [0, 900e6, 1800e6, 2700e6, 3600e6]);
  for (const ticks of [linearTicks(-1e9, 1e9, 6), linearTicks(1, 1 + 1e-12, 6), logTicks(1e-300, 1e300, 6)]) {
    assert.ok(ticks.length >= 1 && ticks.length <= 14, String(ticks));
  }
});

test('numbers and times are short', () => {
  assert.equal(shortNumber(12_345), '12.3k');
  assert.equal(shortNumber(1_500_000, 500_000), '1.5M');
  assert.equal(shortNumber(0.1, 0.05), '0.1');
  assert.equal(shortNumber(-3.25e-7), '−3.25e-7');
  assert.equal(shortNumber(999_999.9), '1M');
  assert.equal(shortNumber(NaN), 'NaN');
  assert.equal(duration(8_040e6), '2 h 14 m');
  assert.equal(duration(59.99e6), '60 s');
  assert.equal(duration(3_599.9e6), '60 min');
  assert.equal(duration(1500), '1.5 ms');
  assert.equal(clock(Date.UTC(2026, 1, 3, 4, 5, 6) * 1e3, 60e6), '04:05');
  assert.equal(clock(Date.UTC(2026, 1, 3, 4, 5, 6) * 1e3, 86_400e6), '02-03');
});

test('a run keeps its colour, and the first runs have colours of their own', () => {
  const places = new Places();
  const ids = Array.from({ length: 20 }, (_, index) => `run-${index * 7919}`);
  const first = ids.map((id) => places.of(id));
  assert.equal(new Set(first.slice(0, 7)).size, 7);
  assert.ok(first.slice(0, 7).every((place) => strokeAt(place, 'light').dash.length === 0));
  assert.equal(new Set(first).size, 20);
  assert.deepEqual([...ids].reverse().map((id) => places.of(id)), [...first].reverse());
});

test('cells of a heat map have the mean of their points, and its colours rise in lightness', () => {
  const curves = [0, 1, 2].map((rank) => {
    const curve = curveOf((step) => (rank === 1 && step >= 500 ? 2 : 1), { to: 1000, buckets: 100 });
    curve.rank = rank;
    return curve;
  });
  const cells = heatCells(curves.reverse(), { min: 0, max: 999 }, 10);
  assert.deepEqual(cells.ranks, [0, 1, 2]);
  assert.deepEqual([...cells.mean.subarray(10, 20)].map((mean) => Math.round(mean)), [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
  assert.deepEqual([cells.min, cells.max].map((one) => Math.round(one)), [1, 2]);
  const luminance = Array.from({ length: 11 }, (_, i) => heatColour(i / 10)).map(([r, g, b]) => 0.2126 * r ** 2.2 + 0.7152 * g ** 2.2 + 0.0722 * b ** 2.2);
  luminance.slice(1).forEach((one, index) => assert.ok(one > luminance[index]));
});

test('colours of a heat map are for most cells: an outlier lies beyond them, and few that differ do not', () => {
  const of = (/** @type {(step: number) => number} */ value) => heatCells([curveOf(value, { to: 1000, buckets: 100 })], { min: 0, max: 999 }, 100);
  const outlier = of((step) => (step >= 500 && step < 510 ? 24 : 1 + step / 1000));
  assert.equal(outlier.max, 24);
  assert.ok(outlier.low > outlier.min && outlier.low < 1.1 && outlier.high > 1.9 && outlier.high < 2);
  const rare = of((step) => (step >= 500 && step < 510 ? 24 : 1));
  assert.deepEqual([rare.low, rare.high], [1, 24]);
});

test('words in a plot do not overlap, and go where they belong or nowhere', () => {
  const room = new LabelRoom({ left: 0, top: 0, width: 200, height: 60 });
  const label = { left: 10, top: 20, width: 50, height: 14 };
  assert.equal(room.take(label), 20);
  assert.equal(room.take({ ...label, top: 21 }), 34);
  assert.equal(room.take({ ...label, left: 70 }), 20);
  assert.equal(room.take(label), 6);
  assert.equal(room.take(label), null);
});

test('requests of one frame become one, and answers go to who asked', async () => {
  /** @type {any[]} */
  const sent = [];
  /** @type {(() => void)[]} */
  const frames = [];
  const requests = new ChartRequests(async (_path, /** @type {any} */ body) => {
    sent.push(body);
    return encoded(body.keys.map((/** @type {string} */ key) => ({ key, rows: [] })));
  }, (callback) => void frames.push(callback));
  const question = { run_ids: ['a'], axis: /** @type {const} */ ('step'), max_buckets: 600 };
  const { signal } = new AbortController();
  const answers = Promise.all(['loss', 'lr', 'loss'].map((key) => requests.ask({ ...question, key }, signal)));
  const zoomed = requests.ask({ ...question, key: 'loss', min: 5 }, signal);
  for (const frame of frames) frame();
  assert.deepEqual((await answers).map(({ curves }) => curves.map((curve) => curve.key)), [['loss'], ['lr'], ['loss']]);
  await zoomed;
  assert.deepEqual(sent.map(({ keys }) => keys), [['loss', 'lr'], ['loss']]);
});

test('a request is cancelled when nobody waits for it any more, and not before', async () => {
  /** @type {AbortSignal[]} */
  const signals = [];
  /** @type {(() => void)[]} */
  const frames = [];
  const requests = new ChartRequests((_path, _body, { signal }) => {
    signals.push(signal);
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  }, (callback) => void frames.push(callback));
  const question = { run_ids: ['a'], axis: /** @type {const} */ ('step'), max_buckets: 600 };
  const [first, second] = [new AbortController(), new AbortController()];
  const asked = [
    requests.ask({ ...question, key: 'loss' }, first.signal),
    requests.ask({ ...question, key: 'lr' }, second.signal),
  ];
  frames.forEach((frame) => frame());
  await Promise.resolve();
  first.abort(new Error('zoomed'));
  assert.equal(signals[0].aborted, false);
  second.abort(new Error('zoomed'));
  assert.equal(signals[0].aborted, true);
  await Promise.allSettled(asked);
});

test('whole curves are asked for when the drafts of all panels are there, and parts at once', async () => {
  /** @type {{draft?: boolean, keys: string[], answer: () => void}[]} */
  const sent = [];
  const requests = new ChartRequests(
    (_path, /** @type {any} */ body) => new Promise((resolve) => sent.push({ ...body, answer: () => resolve(encoded(body.keys.map((/** @type {string} */ key) => ({ key, rows: [] })))) })),
    (callback) => void Promise.resolve().then(callback),
  );
  const question = { run_ids: Array.from({ length: 100 }, (_, index) => `r${index}`), axis: /** @type {const} */ ('step'), max_buckets: 600 };
  const { signal } = new AbortController();
  const drafts = ['a', 'b'].map((key) => requests.ask({ ...question, key, draft: true }, signal));
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(sent.length, 2);
  sent[0].answer();
  await drafts[0];
  void requests.ask({ ...question, key: 'a' }, signal);
  void requests.ask({ ...question, key: 'a', min: 5, max: 9 }, signal);
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(sent.slice(2).map((one) => Object.hasOwn(one, 'min')), [true]);
  sent[1].answer();
  await drafts[1];
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(sent.length, 4);
});
