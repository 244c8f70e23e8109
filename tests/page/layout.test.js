// Logic of what is around charts: which graphs there are, what differs, what is exported.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bandOfRanks } from '../../service/runstream_service/web/page/charts/band_of_ranks.js';
import { Curve } from '../../service/runstream_service/web/page/charts/curve.js';
import { differences } from '../../service/runstream_service/web/page/charts/differences.js';
import { layout, moveOnto, shortened, spanOf, withKeys } from '../../service/runstream_service/web/page/charts/layout.js';
import { replacedRanges } from '../../service/runstream_service/web/page/charts/replaced.js';
import { SvgPen } from '../../service/runstream_service/web/page/charts/svg_pen.js';

const KEYS = ['loss', 'train/loss', 'train/lr', 'val/loss', 'system/cpu'];

test('graphs are grouped by prefix, training first; those of the machine are last, and shut', () => {
  const { groups, hidden } = layout(KEYS, {});
  assert.deepEqual(groups.map((group) => [group.prefix, group.isShut]), [['train', false], ['val', false], ['', false], ['system', true]]);
  assert.deepEqual(hidden, []);
});

test('a group that is shut at first is open where its metrics are asked for, until somebody shuts it', () => {
  const isShut = (/** @type {any} */ panels) => layout(['system/cpu'], panels, true).groups[0].isShut;
  assert.deepEqual([isShut({}), isShut({ shut: ['system'] })], [false, true]);
});

test('a group takes as many columns as its graphs, one that is shut a whole row', () => {
  const { groups } = layout([...KEYS, 'train/a', 'train/b'], { size: { 'val/loss': [2, 200] } });
  assert.deepEqual(groups.map((group) => spanOf(group, 3)), [3, 2, 1, 3]);
});

test('what was moved, hidden and put together is kept, and the rest follows from the metrics', () => {
  const train = layout(KEYS, {}).groups[0];
  const order = moveOnto(train, 'train/lr', 'train/loss', {});
  const graphs = withKeys(train.graphs[0], ['train/loss', 'val/loss'], {});
  const { groups, hidden } = layout([...KEYS, 'train/new'], { order, graphs, hidden: ['loss'] });
  assert.deepEqual(groups[0].graphs.map((graph) => graph.title), ['train/lr', 'train/loss, val/loss', 'train/new']);
  assert.deepEqual(hidden.map((graph) => graph.id), ['loss']);
  assert.deepEqual(shortened({ order, hidden: [], size: {}, large: '' }), { order });
});

test('a metric of a graph that is gone leaves the others', () => {
  const { groups } = layout(['b'], { graphs: [['a', 'b']], order: ['a'], hidden: ['c'] });
  assert.deepEqual(groups[0].graphs.map((graph) => graph.keys), [['b']]);
});

const run = (/** @type {string} */ name, /** @type {Record<string, string>} */ params, loss = 1) =>
  /** @type {any} */ ({ run_id: name, name, params, metrics: { loss: { latest: loss, step: 1, time_us: 1 } } });

test('params that differ come first, also those that a run does not have', () => {
  const rows = differences([run('a', { seed: '1', lr: '0.1', x: '1' }), run('b', { seed: '1', lr: '0.2' })]);
  assert.deepEqual(rows.map((row) => [row.name, row.differs]), [['lr', true], ['x', true], ['seed', false]]);
  assert.deepEqual(rows[1].values, ['1', undefined]);
});

test('a band over ranks has the extremes of all of them, and who had them', () => {
  const curves = [0, 1, 2].map((rank) => {
    const curve = new Curve({ run_id: 'a', key: 'loss', rank, attempt: 0 });
    for (let at = 0; at < 100; at++) {
      const value = rank + (rank === 1 && at === 57 ? 100 : 0);
      const bucket = { first_position: at, last_position: at, point_count: 1, non_finite_count: 0, first: value, last: value, min: value, max: value, mean: value };
      curve.append(bucket, { width: 0, limit: Infinity });
    }
    return curve;
  });
  const band = bandOfRanks(curves, 10);
  assert.equal(band.length, 10);
  assert.deepEqual([band.at(5).max, band.at(5).max_rank, band.at(5).min_rank, band.at(5).point_count], [101, 1, 0, 3]);
  assert.deepEqual([band.at(2).max, band.at(2).max_rank], [2, 2]);
});

test('a NaN of one rank is counted in the band over ranks', () => {
  const curves = [0, 1].map((rank) => {
    const curve = new Curve({ run_id: 'a', key: 'loss', rank, attempt: 0 });
    for (let at = 0; at < 100; at++) {
      const isOdd = rank === 1 && at === 57;
      const value = isOdd ? NaN : rank;
      const bucket = { first_position: at, last_position: at, point_count: 1, non_finite_count: isOdd ? 1 : 0, first: value, last: value, min: value, max: value, mean: value };
      curve.append(bucket, { width: 0, limit: Infinity });
    }
    return curve;
  });
  const band = bandOfRanks(curves, 100);
  assert.deepEqual([band.at(57).point_count, band.at(57).non_finite_count, band.at(57).mean], [1, 1, 0]);
  assert.deepEqual([band.at(56).point_count, band.at(56).non_finite_count], [2, 0]);
  const later = { first_position: 100, last_position: 100, point_count: 0, non_finite_count: 2, first: NaN, last: NaN, min: NaN, max: NaN, mean: NaN };
  band.absorb(later, { width: 50, limit: 100 });
  assert.deepEqual([band.at(99).non_finite_count, band.at(99).mean], [2, 0.5]);
  band.absorb({ ...later, first_position: 40, last_position: 40 }, { width: 50, limit: 100 });
  assert.deepEqual([band.at(40).non_finite_count, band.at(99).non_finite_count], [2, 2]);
});

test('an older attempt was replaced from where any newer one began, and only metrics that it logged there', () => {
  const attempts = [0, 1, 2].map((attempt) => ({ attempt, first_step: [0, 300, 200][attempt], first_time_us: 0 }));
  const series = /** @type {any[]} */ ([['loss', 0, 350], ['loss', 1, 320], ['loss', 2, 900], ['lr', 0, 100], ['lr', 1, 200]].map(([key, attempt, step]) => ({ key, attempt, step })));
  const ranges = (/** @type {string} */ key, /** @type {[number, number] | null} */ zoom) => replacedRanges({ attempts, series }, key, zoom).map(({ attempt, min, max }) => [attempt, min, max]);
  assert.deepEqual(ranges('loss', null), [[1, 200, 320], [0, 200, 350]]);
  assert.deepEqual(ranges('loss', [330, 340]), [[0, 330, 340]]);
  assert.deepEqual(ranges('loss', [0, 100]), []);
  assert.deepEqual(ranges('lr', null), [[1, 200, 200]]);
  assert.equal(replacedRanges({ attempts, series }, 'loss', [300, 399])[1].share, 0.51);
});

test('text in a picture is escaped', () => {
  const pen = new SvgPen(100, 50);
  pen.fillText('<script>&"', 1, 2);
  assert.ok(String(pen).includes('&lt;script&gt;&amp;&quot;'));
});
