// Vendored libraries are what the packages of the lock file contain.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const vendor = new URL('../../service/runstream_service/web/page/vendor/', import.meta.url);
const modules = new URL('../../node_modules/', import.meta.url);
const rows = readFileSync(new URL('VERSIONS.md', vendor), 'utf8').matchAll(
  /^\| `(\S+)` \| (\S+) \| `(\S+)` \| (\S+) \|/gm,
);

for (const [, file = '', name = '', source = '', version] of rows) {
  test(`${file} is that of ${name} ${version}`, () => {
    const installed = JSON.parse(readFileSync(new URL(`${name}/package.json`, modules), 'utf8'));
    assert.equal(installed.version, version);
    assert.ok(readFileSync(new URL(file, vendor)).equals(readFileSync(new URL(`${name}/${source}`, modules))));
  });
}
