import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAge, formatCount, formatDuration, formatTimeAgo, formatValue } from '../../service/runstream_service/web/page/parts/format.js';
import { readColours, writeColours } from '../../service/runstream_service/web/page/state/colours.js';
import { ranked } from '../../service/runstream_service/web/page/shell/ranking.js';
import { allColumns, autoColumns, columnOf, metricsOf, movedColumn, nextSort, orderBy, readColumns, readWidths, writeColumns, writeWidths } from '../../service/runstream_service/web/page/table/columns.js';
import { complete, filterOf, placeInText } from '../../service/runstream_service/web/page/table/completion.js';
import { appendPage, inOrderOf, linesOf, mergeHead } from '../../service/runstream_service/web/page/table/rows.js';

/**
 * @param {string} id
 * @param {object} [more]
 * @returns {any}
 */
const run = (id, more = {}) => ({ run_id: id, params: {}, tags: {}, metrics: {}, status: 'finished', ...more });
/** @param {string} ids */
const runs = (ids) => [...ids].map((id) => run(id));
/** @param {any[]} rows */
const idsOf = (rows) => rows.map((row) => row.run_id).join('');

test('new runs come to their place, and all others keep theirs', () => {
  assert.equal(idsOf(mergeHead(runs('abcdef'), 3, runs('xab'))), 'xabcdef');
  assert.equal(idsOf(mergeHead(runs('abcdef'), 3, runs('axb'))), 'axbcdef');
  assert.equal(idsOf(mergeHead(runs('abc'), 3, runs('xyz'))), 'xyzabc');
  assert.equal(idsOf(mergeHead([], 0, runs('ab'))), 'ab');
});

test('a run that is gone leaves, and one that was pushed off the first page stays', () => {
  assert.equal(idsOf(mergeHead(runs('abcdef'), 3, runs('acd'))), 'acdef');
  assert.equal(idsOf(mergeHead(runs('abc'), 3, runs('ab'))), 'ab');
});

test('runs that changed places keep those that they had', () => {
  assert.equal(idsOf(mergeHead(runs('abcd'), 3, runs('bac'))), 'abcd');
});

test('values are replaced in place', () => {
  const merged = mergeHead(runs('ab'), 2, [run('a', { status: 'failed' }), run('b')]);
  assert.deepEqual(merged.map((one) => one.status), ['failed', 'finished']);
});

test('a run that moved between two pages is shown once', () => {
  assert.equal(idsOf(appendPage(runs('abc'), runs('cde'))), 'abcde');
});

test('groups are in the order in which they first appear, and closed ones have no runs', () => {
  const rows = [run('a', { params: { o: 'adam' } }), run('b', { params: { o: 'sgd' } }), run('c', { params: { o: 'adam' } })];
  const lines = linesOf(rows, (one) => one.params.o ?? '', new Set(['sgd']));
  assert.deepEqual(lines.map((line) => (line.kind === 'group' ? `${line.value} ${line.count}` : line.run.run_id)), ['adam 2', 'a', 'c', 'sgd 1']);
});

test('columns come back from the URL, also those of keys with commas', () => {
  const ids = ['status', 'p:a,b', 'min:val/loss', 't:team'];
  assert.deepEqual(readColumns(writeColumns(ids)), ids);
  assert.deepEqual(readColumns('nonsense,p:,m:loss'), ['m:loss']);
  assert.deepEqual(readColumns(null), []);
});

test('only metrics that are shown are asked for', () => {
  assert.deepEqual(metricsOf(['status', 'm:loss', 'min:loss', 'p:lr']), ['loss']);
  assert.equal(metricsOf([]), null);
});

test('orders are those of the search language', () => {
  assert.deepEqual(orderBy('-m:val/loss'), ['metrics.`val/loss` DESC']);
  assert.deepEqual(orderBy('min:loss'), ['min(metrics.loss) ASC']);
  assert.deepEqual(orderBy('p:lr'), ['params.lr ASC']);
  assert.deepEqual(orderBy('-started'), ['attributes.start_time ASC'], 'the oldest first');
  for (const none of ['', 'duration', 'm:']) assert.deepEqual(orderBy(none), []);
});

test('three clicks on a head sort, sort the other way, and stop', () => {
  const loss = /** @type {import('../../service/runstream_service/web/page/table/columns.js').Column} */ (columnOf('m:loss'));
  assert.equal(nextSort(loss, ''), '-m:loss');
  assert.equal(nextSort(loss, '-m:loss'), 'm:loss');
  assert.equal(nextSort(loss, 'm:loss'), '');
});

test('without a choice, params that differ come before those that do not', () => {
  const rows = [run('a', { params: { a: '1', lr: '0.1' }, metrics: { loss: {} } }), run('b', { params: { a: '1', lr: '0.2' }, metrics: { loss: {}, 'system/cpu': {} } })];
  assert.deepEqual(autoColumns(rows, false), ['status', 'started', 'duration', 'm:loss', 'p:lr', 'p:a']);
});

test('what runs are judged by comes first, and a param that some runs lack does not differ', () => {
  const metrics = { 'a/step_time': {}, 'lossless': {}, 'train/loss': {}, val_acc: {} };
  const rows = [run('a', { params: { a: '1', z: '1' }, metrics }), run('b', { params: { z: '2' }, metrics })];
  assert.deepEqual(autoColumns(rows, false).slice(3), ['m:train/loss', 'm:val_acc', 'm:a/step_time', 'm:lossless', 'p:z', 'p:a']);
});

const keys = { metrics: ['train/loss', 'val/loss', 'lr'], params: ['lr'], tags: ['team', 'mlflow.user'] };

test('tags of MLflow itself are no columns', () => {
  assert.ok(allColumns(keys).includes('t:team'));
  assert.ok(!allColumns(keys).includes('t:mlflow.user'));
});

/** @param {string} text */
const completed = (text) => complete(text, text.length, keys).options;

test('keys are completed, in quotes where they need them', () => {
  assert.deepEqual(completed('los'), ['metrics.`train/loss`', 'metrics.`val/loss`']);
  assert.deepEqual(completed('metrics.val'), ['metrics.`val/loss`']);
  assert.deepEqual(completed('params.lr = 0.1 '), ['AND', 'OR', 'NOT']);
  assert.deepEqual(completed("params.lr = '0.1' a"), ['AND']);
  assert.deepEqual(completed("status = 'fin"), ["'FINISHED'"]);
  assert.deepEqual(completed("params.lr = 'lo"), []);
});

test('words alone are looked for in names', () => {
  assert.equal(filterOf(' mlp large '), "attributes.run_name ILIKE '%mlp large%'");
  assert.equal(filterOf('metrics.loss < 1'), 'metrics.loss < 1');
  assert.equal(filterOf("it's"), "attributes.run_name ILIKE '%its%'");
  assert.equal(filterOf(''), '');
});

test('entries that begin with what was typed are first', () => {
  const entries = ['dark', 'all runs', 'runs of dark'].map((label) => ({ label, kind: '' }));
  assert.deepEqual(ranked(entries, 'dark').map((entry) => entry.label), ['dark', 'runs of dark']);
  assert.deepEqual(ranked(entries, 'dark nothing'), []);
});

test('numbers, durations and ages are short', () => {
  assert.deepEqual([0.123456, 1234567, 12345678, 12345678.5, 1.2e11, 0.00001234, -0.5, 'NaN', null, 1e-4, 0].map((value) => formatValue(/** @type {any} */ (value))),
    ['0.12346', '1,234,567', '12,345,678', '1.235e7', '1.2e11', '1.234e-5', '−0.5', 'NaN', '–', '0.0001', '0']);
  assert.deepEqual([0, 999, 1000, 1234567].map(formatCount), ['0', '999', '1,000', '1,234,567']);
  assert.deepEqual([5, 65, 8040, 90_000].map(formatDuration), ['5 s', '1 m 05 s', '2 h 14 m', '1 d 1 h']);
  assert.deepEqual([1, 30, 200, 8000, 1e6].map((seconds) => formatAge(0, seconds * 1000)), ['now', '30 s', '3 m', '2 h', '11 d']);
  assert.deepEqual([1, 30].map((seconds) => formatTimeAgo(0, seconds * 1000)), ['now', '30 s ago']);
});

test('a place in a filter is found again in what was typed', () => {
  assert.equal(placeInText('params.lr = ', 12), 12);
  assert.equal(placeInText('  params.lr = ', 12), 14);
  const at = (/** @type {string} */ text, /** @type {string} */ part) => filterOf(text).indexOf(part);
  for (const text of ['mlp 12', ' mlp 12', "it's mlp 12"]) assert.equal(placeInText(text, at(text, '12')), text.indexOf('12'));
  assert.equal(placeInText('mlp', 0), 0, 'what was added in front');
  assert.equal(placeInText('mlp', filterOf('mlp').length), 3, 'what was added behind');
});

test('the first page comes in its new order, what follows stays, and nothing moves without need', () => {
  const rows = runs('abcdef');
  assert.equal(idsOf(inOrderOf(rows, 'cab')), 'cabdef');
  assert.equal(idsOf(inOrderOf(rows, 'ad')), 'adbcef');
  assert.equal(inOrderOf(rows, 'abc'), rows);
  assert.equal(idsOf(inOrderOf(rows, 'xba')), 'bacdef');
});

test('columns move to the place of another, and their widths survive a damaged link', () => {
  assert.deepEqual(movedColumn(['a', 'b', 'c', 'd'], 'a', 'c'), ['b', 'c', 'a', 'd']);
  assert.deepEqual(movedColumn(['a', 'b', 'c', 'd'], 'd', 'b'), ['a', 'd', 'b', 'c']);
  assert.deepEqual(movedColumn(['a', 'b'], 'x', 'b'), ['a', 'b']);
  assert.deepEqual(readWidths('{"m:a,b":120,"status":5,"name":9999,"nothing":80,"p:x":"wide"}'), { 'm:a,b': 120, status: 48, name: 800 });
  assert.deepEqual(readWidths('{"m:a'), {});
  assert.deepEqual(readWidths(/** @type {string} */ (writeWidths({ 'm:a': 99 }))), { 'm:a': 99 });
  assert.equal(writeWidths({}), null);
});

test('colours in a link are places in the palette or any others', () => {
  const chosen = readColours('abc.3,rank 2.ff8800,x.99,.1,y.zz');
  assert.deepEqual([...chosen], [['abc', 3], ['rank 2', '#ff8800']]);
  assert.equal(writeColours(chosen), 'abc.3,rank 2.ff8800');
});
