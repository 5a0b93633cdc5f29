// SPDX-License-Identifier: Apache-2.0
// The public surface: what others may import or run. A change here is a change of the interface; say so in CHANGELOG.md.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ROOT } from './tree.ts';

const manifest = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8'));

test('exports are these', () => {
  expect(manifest.exports).toEqual({ './package.json': './package.json' });
});

test('commands are these', () => {
  expect(manifest.bin).toEqual({ waybill: 'cli/waybill.js' });
});

test('nothing runs on the machine of who installs the package', () => {
  // `prepare` is no danger, but npm 11 refuses `npx waybill` in a checkout that has it.
  const names = Object.keys(manifest.scripts);
  expect(names.filter((name) => /^(pre|post)?(install|prepare)$/.test(name))).toEqual([]);
});

test('the checkout itself cannot be published by mistake; `npm run build` makes what can', () => {
  expect(manifest.private).toBe(true);
});
