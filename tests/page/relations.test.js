// Parallel coordinates and scatter without a page: axes, brushes, links, what is under the pointer.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axisOf, ticksOf } from '../../service/runstream_service/web/page/relations/axis.js';
import { brushAfterKey, brushOf, matching, placesOf } from '../../service/runstream_service/web/page/relations/brushes.js';
import { defaultAxes } from '../../service/runstream_service/web/page/relations/default_axes.js';
import { nearestRun } from '../../service/runstream_service/web/page/relations/nearest_run.js';
import { xOfAxis, yOfPlace } from '../../service/runstream_service/web/page/relations/pictures.js';
import { DEFAULT_RELATIONS, readRelations, writeRelations } from '../../service/runstream_service/web/page/relations/relations_view.js';
import { runColours } from '../../service/runstream_service/web/page/relations/run_colours.js';

/**
 * @param {Record<string, string>} params
 * @param {any} [loss]
 */
const run = (params, loss) => /** @type {any} */ ({ run_id: JSON.stringify(params), name: '', params, tags: {}, metrics: loss === undefined ? {} : { loss: { latest: loss, min: loss, max: loss } } });
const RUNS = [run({ lr: '0.001', opt: 'adam' }, 1), run({ lr: '0.01', opt: 'sgd' }, 3), run({ lr: '0.1', opt: 'adam' }, 'NaN'), run({ lr: '1' }, 2)];

/** @param {number} low @param {number} high */
const range = (low, high) => /** @type {[number, number]} */ ([low, high]);

/** @param {string} id @param {boolean} [isLog] */
const axis = (id, isLog) => /** @type {import('../../service/runstream_service/web/page/relations/axis.js').Axis} */ (axisOf(id, RUNS, isLog));

test('numbers that are far apart are on a logarithmic axis, others and what the person wants on a linear one', () => {
  assert.deepEqual([...axis('p:lr').places].map((place) => Number(place.toFixed(3))), [0, 0.333, 0.667, 1]);
  assert.equal(axis('p:lr', false).isLog, false);
  assert.equal(axis('m:loss').isLog, false);
  assert.equal(axisOf('nothing', RUNS), null);
  assert.deepEqual(ticksOf(axis('p:lr'), 4).map(({ text }) => text), ['0.001', '0.01', '0.1', '1']);
});

test('names have places in their order, and a run without a value has none', () => {
  const opt = axis('p:opt');
  assert.deepEqual(opt.names, ['sgd', 'adam']);
  assert.deepEqual([...opt.places], [0.75, 0.25, 0.75, NaN]);
  assert.deepEqual(axis('m:loss').values, [1, 3, null, 2]);
  const mixed = axisOf('p:opt', [run({ opt: '1' }), run({ opt: 'one' })]);
  assert.equal(mixed?.isNumeric, false);
});

test('a brush selects the runs in it, and several brushes those in all of them', () => {
  const [lr, opt, loss] = [axis('p:lr'), axis('p:opt'), axis('m:loss')];
  assert.deepEqual([...matching([lr, opt, loss], { 'p:lr': [0.01, 1] }, 4)], [0, 1, 1, 1]);
  assert.deepEqual([...matching([lr, opt, loss], { 'p:lr': [0.01, 1], 'm:loss': [0, 2.5] }, 4)], [0, 0, 0, 1]);
  assert.deepEqual([...matching([lr, opt, loss], { 'p:opt': ['adam'] }, 4)], [1, 0, 1, 0]);
  assert.deepEqual([...matching([loss], { 'p:lr': [5, 6] }, 4)], [1, 1, 1, 1], 'a brush of an axis that is not shown says nothing');
});

test('a brush from end to end has the extremes, whatever rounding does', () => {
  const odd = /** @type {any} */ (axisOf('p:v', [run({ v: '0.123456789' }), run({ v: '7.987654321' })]));
  const brush = /** @type {any} */ (brushOf(odd, 1.2, -0.1));
  assert.deepEqual(brush, [0.123456789, 7.987654321]);
  assert.deepEqual(placesOf(odd, range(0.123456789, 7.987654321)), [0, 1]);
  assert.equal(brushOf(odd, 0.5, 0.5), null);
  assert.deepEqual(brushOf(axis('p:opt'), 0.6, 0.9), ['adam']);
});

test('keys make a brush, move it, make it larger and take it away', () => {
  const loss = axis('m:loss');
  const first = range(2, 3);
  assert.deepEqual(brushAfterKey(loss, undefined, { key: 'ArrowUp', shiftKey: false }), [2, 3]);
  assert.deepEqual(brushAfterKey(loss, first, { key: 'ArrowUp', shiftKey: false }), [2, 3], 'it stays on the axis');
  assert.deepEqual(brushAfterKey(loss, first, { key: 'ArrowDown', shiftKey: false }), [1.9, 2.9]);
  assert.deepEqual(brushAfterKey(loss, range(1, 2), { key: 'ArrowUp', shiftKey: true }), [1, 2.1]);
  assert.equal(brushAfterKey(loss, first, { key: 'Delete', shiftKey: false }), null);
  assert.equal(brushAfterKey(loss, first, { key: 'a', shiftKey: false }), undefined);
  const opt = axis('p:opt');
  assert.deepEqual(brushAfterKey(opt, ['adam'], { key: 'ArrowDown', shiftKey: false }), ['sgd']);
});

test('a link has what was changed, and survives what makes no sense', () => {
  const view = { ...DEFAULT_RELATIONS, axes: ['p:lr', 'm:a,b'], brushes: { 'p:lr': /** @type {[number, number]} */ ([0.1, 1]), 'p:opt': ['a'] }, log: { 'p:lr': false } };
  const query = new URLSearchParams(/** @type {any} */ (writeRelations(view)));
  assert.deepEqual(readRelations(query), view);
  assert.equal(writeRelations(DEFAULT_RELATIONS).relations, '{}');
  assert.deepEqual(readRelations(new URLSearchParams({ relations: '{"axes":7,"kind":"x","brushes":{"a":[1]},"log":{"a":2}}' })), DEFAULT_RELATIONS);
  assert.deepEqual(readRelations(new URLSearchParams({ relations: '{"ax' })), DEFAULT_RELATIONS);
  assert.equal(readRelations(new URLSearchParams()), null);
  assert.equal(readRelations(new URLSearchParams({ scatter: 'lr~loss' }))?.x, 'p:lr', 'links of before');
});

test('axes that nobody chose are the params that differ and a metric', () => {
  assert.deepEqual(defaultAxes(RUNS), ['p:opt', 'p:lr', 'm:loss']);
});

test('the line nearest to the pointer is found between axes, and a strong one before a faint one', () => {
  const axes = [axis('p:lr'), axis('m:loss')];
  const picture = /** @type {any} */ ({ kind: 'parallel', axes, colours: runColours(axes[1], 'light'), isStrong: new Uint8Array([1, 1, 1, 1]), brushes: {}, width: 600, height: 300 });
  const middle = (/** @type {number} */ index) => (yOfPlace(picture, axes[0].places[index]) + yOfPlace(picture, axes[1].places[index])) / 2;
  const x = (xOfAxis(picture, 0) + xOfAxis(picture, 1)) / 2;
  assert.equal(nearestRun(picture, x, middle(1) + 2), 1);
  assert.equal(nearestRun(picture, x, middle(0) - 3), 0);
  assert.equal(nearestRun(picture, x, 5), -1);
  picture.isStrong[1] = 0;
  assert.notEqual(nearestRun(picture, x, middle(0)), 1);
  assert.equal(runColours(axes[1], 'dark').shade[2], -1, 'no value, no colour');
});
