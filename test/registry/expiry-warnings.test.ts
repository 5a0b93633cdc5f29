// SPDX-License-Identifier: Apache-2.0
// When the server tells people that they must sign again.

import { rm } from 'node:fs/promises';
import { expect, test, vi } from 'vitest';
import { readConfigFile } from '../../cli/serve.ts';
import { buildServer, openRegistry } from '../../registry/server.ts';
import { ExpiryWarnings } from '../../registry/tuf/expiry-warnings.ts';
import { makeDataFolder } from './running-registry.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const END_MS = Date.UTC(2027, 0, 1);

/** How often it warns in that time, asked every ten minutes, and how loudly at last. */
function warned(fromDays: number, toDays: number): readonly [number, string | undefined] {
  const warnings = new ExpiryWarnings();
  const found = [];
  for (let now = END_MS - fromDays * DAY_MS; now < END_MS - toDays * DAY_MS; now += 600_000) {
    found.push(...warnings.due({ root: END_MS }, now));
  }
  return [found.length, found.at(-1)?.level];
}

test('not for most of the year, then weekly, daily, and every hour in the last week and after', () => {
  expect(warned(365, 90)).toEqual([0, undefined]);
  expect(warned(89, 31)).toEqual([9, 'warn']);
  expect(warned(30, 8)).toEqual([22, 'warn']);
  expect(warned(6, 5)).toEqual([24, 'error']);
  expect(warned(0, -1)).toEqual([24, 'error']);
});

test('each role for itself, with the days that are left', () => {
  const warnings = new ExpiryWarnings();
  const now = END_MS - 10 * DAY_MS;
  const both = { root: END_MS, targets: END_MS + 300 * DAY_MS };
  expect(warnings.due(both, now)).toEqual([{ role: 'root', days: 10, level: 'warn' }]);
  expect(warnings.due({ ...both, targets: END_MS }, now)).toEqual([
    { role: 'targets', days: 10, level: 'warn' },
  ]);
  expect(warnings.due({ root: now - 1 }, now)).toEqual([]);
  expect(warnings.due({ root: now - 1 }, now + HOUR_MS)).toEqual([
    { role: 'root', days: -1, level: 'error' },
  ]);
  expect(warnings.due({ root: now - 1 }, now)).toHaveLength(1);
});

test('the log of a server has it at start', async () => {
  const made = await makeDataFolder('http://127.0.0.1:1');
  const config = await readConfigFile(made.dataFolder);
  const clock = () => Date.now() + 350 * DAY_MS;
  const registry = await openRegistry({ dataFolder: made.dataFolder, config, clock });
  const app = await buildServer(registry);
  try {
    const warn = vi.spyOn(app.log, 'warn');
    await app.ready();
    const roles = warn.mock.calls.map(([what, text]) => [(what as unknown as { role: string }).role, text]);
    const text = 'an offline role expires soon: waybill tuf renew';
    expect(roles).toEqual([
      ['root', text],
      ['targets', text],
    ]);
  } finally {
    await app.close();
    await rm(made.home, { recursive: true });
  }
});
