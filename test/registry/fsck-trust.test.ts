// SPDX-License-Identifier: Apache-2.0
// The trust material of a data folder, each file of it changed, removed or of another time: fsck names exactly that place.

import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkTrust } from '../../registry/fsck-trust.ts';
import { rotate } from '../../registry/rotation.ts';
import { serviceNames } from '../../registry/trust/services.ts';
import { say } from '../cli/command-line.ts';
import { makeDataFolder, RunningRegistry } from './running-registry.ts';

let home: string;
const at = (...names: string[]) => join(home, 'data', ...names);

/** A registry with three roots, whose first key of the certificate log is published as stolen. */
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-fsck-trust-'));
  process.env.XDG_STATE_HOME = join(home, 'state-home');
  const registry = await RunningRegistry.start();
  const { dataFolder, url, offline } = registry;
  const root = ['--root', join(dataFolder, 'root.json')];
  const keys = (await readdir(offline)).filter((name) => /^root-[12]\.pem$/.test(name));
  const key = ['--key', ...keys.map((name) => join(offline, name))];
  for (let version = 2; version <= 3; version++) {
    const { code, err } = await say(['tuf', 'renew', url, ...root, '--role', 'root', ...key]);
    expect(code, err).toBe(0);
  }
  await cp(join(dataFolder, 'trust', 'trusted_root.json'), join(home, 'older.json'));
  await rotate({ dataFolder, org: 'example', url, nowMs: Date.now() }, { service: 'ct' }, Date.now());
  await registry.restart();
  const files = {
    'trusted_root.json': new Uint8Array(await readFile(join(dataFolder, 'trust', 'trusted_root.json'))),
  };
  const published = await registry.publish(
    'targets',
    await registry.nextTargets(files),
    Object.values(files),
  );
  expect(published.status).toBe(201);
  await registry.restart(() => cp(dataFolder, join(home, 'sound'), { recursive: true }));
  await registry.close();
  const other = await makeDataFolder('http://127.0.0.1:1');
  await cp(join(other.dataFolder, 'root.json'), join(home, 'other.root.json'));
  await rm(other.home, { recursive: true });
}, 60_000);
afterAll(() => rm(home, { recursive: true }));

/** The places that are named once something was done to the folder. */
async function placesAfter(change: () => Promise<unknown>): Promise<readonly string[]> {
  await rm(at(), { recursive: true, force: true });
  await cp(join(home, 'sound'), at(), { recursive: true });
  await change();
  const places: string[] = [];
  for await (const { at: place, problem } of checkTrust(at(), serviceNames('example'))) {
    expect(problem).toMatch(/expected/);
    places.push(place);
  }
  return places;
}

const changed = (path: string, from: string | RegExp, to: string) => async () => {
  const text = await readFile(at(path), 'utf8');
  expect(text).toMatch(from);
  await writeFile(at(path), text.replace(from, to));
};

test.each<[string, () => Promise<unknown>]>([
  ['as it is', async () => undefined],
  ['root.json moved away', () => rm(at('root.json'))],
  ['root.json brought up to date', () => cp(at('state/tuf/3.root.json'), at('root.json'))],
])('sound: %s', async (_what, change) => {
  expect(await placesAfter(change)).toEqual([]);
});

test.each<[string, string, () => Promise<unknown>]>([
  [
    'state/tuf/1.root.json',
    'a later one',
    async () => {
      await rm(at('root.json'));
      await cp(at('state/tuf/2.root.json'), at('state/tuf/1.root.json'));
    },
  ],
  ['state/tuf/2.root.json', 'removed', () => rm(at('state/tuf/2.root.json'))],
  ['state/tuf/2.root.json', 'changed', changed('state/tuf/2.root.json', /"threshold": 2/, '"threshold": 1')],
  [
    'state/tuf/3.root.json',
    'of others',
    () => cp(join(home, 'other.root.json'), at('state/tuf/3.root.json')),
  ],
  ['state/tuf/3.root.json', 'emptied', () => writeFile(at('state/tuf/3.root.json'), '')],
  ['root.json', 'of others', () => cp(join(home, 'other.root.json'), at('root.json'))],
  ['root.json', 'changed', changed('root.json', /"threshold": 2/, '"threshold": 1')],
  ['trust/trusted_root.json', 'removed', () => rm(at('trust/trusted_root.json'))],
  ['trust/trusted_root.json', 'cut short', changed('trust/trusted_root.json', /\}\n$/, '')],
  ['trust/trusted_root.json', 'older', () => cp(join(home, 'older.json'), at('trust/trusted_root.json'))],
  [
    'trust/trusted_root.json',
    'the newest key left out',
    async () => {
      const root = JSON.parse(await readFile(at('trust/trusted_root.json'), 'utf8'));
      root.ctlogs.pop();
      await writeFile(at('trust/trusted_root.json'), JSON.stringify(root));
    },
  ],
  [
    'trust/trusted_root.json',
    'a stolen key without its end',
    changed('trust/trusted_root.json', /"end":"[^"]*",/, ''),
  ],
  [
    'trust/signing_config.v0.2.json',
    'changed',
    changed('trust/signing_config.v0.2.json', 'rekorTlogUrls', 'x'),
  ],
  ['trust/tlog-policy', 'changed', changed('trust/tlog-policy', 'log ', 'lag ')],
  ['trust/ca-chain.pem', 'changed', changed('trust/ca-chain.pem', 'MII', 'AAA')],
  ['trust/tsa-chain.pem', 'changed', changed('trust/tsa-chain.pem', 'MII', 'AAA')],
])('names %s: %s', async (place, _what, harm) => {
  expect(await placesAfter(harm)).toEqual([place]);
});

test('`waybill fsck` looks at it', async () => {
  await placesAfter(() => cp(join(home, 'other.root.json'), at('root.json')));
  const { code, out, err } = await say(['fsck', at()]);
  expect([code, out]).toEqual([1, expect.stringMatching(/^bad: root\.json: expected the published root/)]);
  expect(err).toContain('REGISTRY_FSCK_DAMAGED');
});
