// SPDX-License-Identifier: Apache-2.0
// Unpacking one package, stopped in the middle.

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { unpackPackage } from '../../builder/unpack.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-unpack-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** A package of one file of zeros, too large for the pipes on its way. */
function makePackage(sizeBytes: number): string {
  const tree = join(base, 'tree');
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
  const control = [
    'Package: zeros',
    'Version: 1',
    'Architecture: all',
    'Maintainer: nobody',
    'Description: zeros',
  ];
  writeFileSync(join(tree, 'DEBIAN/control'), `${control.join('\n')}\n`);
  writeFileSync(join(tree, 'zeros'), '');
  truncateSync(join(tree, 'zeros'), sizeBytes);
  const file = join(base, 'zeros.deb');
  execFileSync('dpkg-deb', ['-Znone', '--build', tree, file], { stdio: 'ignore' });
  return file;
}

function commandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    });
}

test('ends when it is cancelled in the middle, and so do its processes', async () => {
  const file = makePackage(128 * 1024 * 1024);
  // Which of the two processes is gone first is chance.
  for (let round = 0; round < 6; round++) {
    const root = join(base, `root-${round}`);
    mkdirSync(root);
    const stop = new AbortController();
    const unpacked = unpackPackage(file, root, 'zeros', stop.signal);
    const ended = expect(unpacked).rejects.toThrow('stop');
    await expect.poll(() => existsSync(join(root, 'zeros')), { interval: 1, timeout: 20_000 }).toBe(true);
    stop.abort(new Error('stop'));
    await ended;
    rmSync(root, { recursive: true });
  }
  await expect
    .poll(() => commandLines().some((line) => line.includes(file)), { timeout: 10_000 })
    .toBe(false);
}, 60_000);
