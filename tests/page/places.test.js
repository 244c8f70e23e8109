import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_VIEW, readView, writeView } from '../../service/runstream_service/web/page/state/chart_view.js';
import { placeOf, runPath, runsPath } from '../../service/runstream_service/web/page/state/places.js';
import { createStore } from '../../service/runstream_service/web/page/state/store.js';

test('every place has a path', () => {
  assert.deepEqual(placeOf(''), { name: 'runs', experimentId: '' });
  assert.deepEqual(placeOf(runsPath('7')), { name: 'runs', experimentId: '7' });
  assert.deepEqual(placeOf(runPath('ab')), { name: 'run', runId: 'ab' });
  assert.deepEqual(placeOf('compare'), { name: 'compare' });
  assert.deepEqual(placeOf('v/3'), { name: 'view', viewId: '3' });
  for (const other of ['about', 'e', 'e/1/2', 'mlflow/', 'signin']) assert.equal(placeOf(other).name, 'unknown');
});

/** @param {Record<string, string | null>} changes */
const query = (changes) =>
  new URLSearchParams(Object.entries(changes).flatMap(([name, value]) => (value === null ? [] : [[name, value]])));

test('a view of charts comes back from the query string', () => {
  const view = { ...DEFAULT_VIEW, x: 'metric:tokens', log_y: true, smooth: 0.6, zoom: /** @type {[number, number]} */ ([10, 20.5]), panels: { order: ['a'] } };
  assert.deepEqual(readView(query(writeView(view))), view);
});

test('the default view is not in the query string, and a damaged one is the default', () => {
  assert.equal(query(writeView(DEFAULT_VIEW)).toString(), '');
  assert.deepEqual(readView(new URLSearchParams('smooth=7&zoom=3~1&panels=%7B&log=z')), DEFAULT_VIEW);
});

test('a store tells its listeners of changes until they unsubscribe', () => {
  const store = createStore(1);
  /** @type {number[]} */
  const seen = [];
  const end = store.subscribe(() => seen.push(store.get()));
  store.set(2);
  store.set(2);
  end();
  store.set(3);
  assert.deepEqual(seen, [2]);
});
