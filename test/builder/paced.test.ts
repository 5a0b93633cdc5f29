// SPDX-License-Identifier: Apache-2.0
// Progress: once a second at most, and the last; and that whoever unpacks much says so.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { build } from '../../builder/build.ts';
import { paced } from '../../builder/paced.ts';
import { makeArchive, TOOLBOX } from './archive.ts';
import { buildRequests } from './build-requests.ts';
import { stepYaml } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-paced-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
afterEach(() => vi.useRealTimers());

test('a line a second at most, and the last', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const told: number[] = [];
  const done = paced(({ count }) => told.push(count));
  for (let count = 1; count <= 30; count++) {
    vi.advanceTimersByTime(300);
    done({ count, of: 30 });
  }
  expect(told).toEqual([4, 8, 12, 16, 20, 24, 28, 30]);
});

test('a build that unpacks packages and inputs says how far it is', async () => {
  const names = Array.from({ length: 12 }, (_, i) => `p${i}`);
  const archive = makeArchive([
    TOOLBOX,
    ...names.map((name) => ({ name, files: { [`usr/share/${name}`]: name } })),
  ]);
  const told: string[] = [];
  try {
    const request = buildRequests({ archive: () => archive, base, cache: join(base, 'cache') });
    const asked = await request(stepYaml('echo x >image.bin'), { packages: ['toolbox', ...names] });
    await build({ ...asked, onEvent: (event) => event.kind === 'progress' && told.push(event.text) });
  } finally {
    archive.close();
  }
  expect(told).toContain('unpacking 13 packages');
  expect(told).toContain('unpacked 13 of 13 packages');
}, 60_000);
