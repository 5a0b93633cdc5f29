// SPDX-License-Identifier: Apache-2.0
// Power cuts over real LevelDB files, a sample of what test/long/power-cuts.test.ts tries everywhere.

import { expect, test } from 'vitest';
import { diskAfter } from './crash-disk.ts';
import { newFolder } from './log-folder.ts';
import { cutPower } from './power-cuts.ts';

test('whatever was not synced may be lost, torn or out of order: nothing acknowledged is, and nothing forks', {
  timeout: 120_000,
}, async () => {
  const tried = await cutPower(await newFolder(), 250, 11);
  expect(tried).toBeGreaterThan(50);
});

test('a power cut at any operation of the beginning', { timeout: 120_000 }, async () => {
  expect(await cutPower(await newFolder(), 1)).toBeGreaterThan(100);
});

test('the disk that is pretended loses what was not synced, and nothing else', () => {
  const bytes = (text: string) => Buffer.from(text);
  const run = [
    { kind: 'make', file: 0, path: '/a' },
    { kind: 'write', file: 0, offset: 0, bytes: bytes('1234'), synced: false },
    { kind: 'sync', file: 0 },
    { kind: 'write', file: 0, offset: 4, bytes: bytes('5678'), synced: false },
    { kind: 'write', file: 0, offset: 8, bytes: bytes('90ab'), synced: false },
    { kind: 'rename', path: '/a', to: '/b' },
    { kind: 'make', file: 1, path: '/c' },
    { kind: 'write', file: 1, offset: 0, bytes: bytes('xy'), synced: true },
  ] as const;
  const disk = (cut: number, treatment: Parameters<typeof diskAfter>[2]) =>
    Object.fromEntries([...diskAfter(run, cut, treatment)].map(([path, held]) => [path, held.toString()]));
  expect(disk(2, 'dropped')).toEqual({});
  expect(disk(3, 'dropped')).toEqual({ '/a': '1234' });
  expect(disk(8, 'dropped')).toEqual({ '/a': '1234' });
  expect(disk(8, 'kept')).toEqual({ '/b': '1234567890ab', '/c': 'xy' });
  expect(disk(8, 'torn')).toEqual({ '/b': '1234567890', '/c': 'xy' });
  expect(disk(8, 'blank')).toEqual({ '/b': `1234${'\0'.repeat(8)}`, '/c': 'xy' });
  expect(disk(8, 'later survives')).toEqual({ '/b': `1234${'\0'.repeat(4)}90ab`, '/c': 'xy' });
});
