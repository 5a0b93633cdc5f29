// SPDX-License-Identifier: Apache-2.0
// The trust material of a data folder, each file of it changed, removed or of another time: fsck names exactly that place.

import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Finding } from '../../registry/fsck.ts';
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
  const rotated = { dataFolder, org: 'example', url, nowMs: Date.now() };
  await rotate(rotated, { service: 'ct' }, Date.now());
  await rotate(rotated, { service: 'ca', newRootFolder: join(home, 'offline') });
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
  return (await findingsAfter(change)).map(({ at: place }) => place);
}

async function findingsAfter(change: () => Promise<unknown>): Promise<readonly Finding[]> {
  await rm(at(), { recursive: true, force: true });
  await cp(join(home, 'sound'), at(), { recursive: true });
  await change();
  const findings: Finding[] = [];
  for await (const finding of checkTrust(at(), serviceNames('example'))) {
    expect(finding.problem).toMatch(/expected/);
    findings.push(finding);
  }
  return findings;
}

/** What begins a rotation of the certificate authority and does not get to the trusted root. */
const withoutItsName = async () => {
  const root = await readFile(at('trust/trusted_root.json'));
  await rotate(
    { dataFolder: at(), org: 'example', url: 'http://127.0.0.1:1', nowMs: Date.now() },
    { service: 'tsa', newRootFolder: await mkdtemp(join(home, 'offline-')) },
  );
  await writeFile(at('trust/trusted_root.json'), root);
};
const folderFor = (path: string) => async () => {
  await rm(at(path), { recursive: true });
  await mkdir(at(path));
};

const changed = (path: string, from: string | RegExp, to: string) => async () => {
  const text = await readFile(at(path), 'utf8');
  expect(text).toMatch(from);
  await writeFile(at(path), text.replace(from, to));
};

test.each<[string, () => Promise<unknown>]>([
  ['as it is', async () => undefined],
  ['root.json moved away', () => rm(at('root.json'))],
  ['root.json brought up to date', () => cp(at('state/tuf/3.root.json'), at('root.json'))],
  ['a rotation that was broken off', withoutItsName],
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
  ['trust/tsa-chain.pem', 'in its signature', changed('trust/tsa-chain.pem', /[A-Z](?=[a-z]{1,9}\n)/, '+')],
  ['trust/tsa-chain.pem', 'removed', () => rm(at('trust/tsa-chain.pem'))],
  ['trust/tsa-chain.pem', 'that of another', () => cp(at('trust/ca-chain.pem'), at('trust/tsa-chain.pem'))],
  ['trust/ca-chain.pem', 'removed', () => rm(at('trust/ca-chain.pem'))],
  ['trust/ca-chain-2.pem', 'removed', () => rm(at('trust/ca-chain-2.pem'))],
  ['trust/ca-chain-2.pem', 'the older', () => cp(at('trust/ca-chain.pem'), at('trust/ca-chain-2.pem'))],
  [
    'trust/ca-chain.pem',
    'without its root',
    changed('trust/ca-chain.pem', /(?<=END CERTIFICATE-----\n)-----BEGIN[\s\S]*/, ''),
  ],
  [
    'trust/tsa-chain-2.pem',
    'changed, of a rotation that was broken off',
    async () => {
      await withoutItsName();
      await changed('trust/tsa-chain-2.pem', 'MII', 'AAA')();
    },
  ],
  [
    'trust/trusted_root.json',
    'of services of another name',
    changed('trust/trusted_root.json', 'https://tsa.', 'https://tsa2.'),
  ],
  ...[
    'root.json',
    'trust/trusted_root.json',
    'trust/tlog-policy',
    'trust/ca-chain.pem',
    'state/tuf/2.root.json',
  ].map((path): [string, string, () => Promise<unknown>] => [path, 'a folder', folderFor(path)]),
  [
    'root.json',
    'a link to itself',
    async () => {
      await rm(at('root.json'));
      await symlink('root.json', at('root.json'));
    },
  ],
])('names %s: %s', async (place, _what, harm) => {
  expect(await placesAfter(harm)).toEqual([place]);
});

test.each<[string, () => Promise<unknown>]>([
  ['removed', () => rm(at('state/tuf/1.root.json'))],
  ['changed', changed('state/tuf/1.root.json', /"threshold": 2/, '"threshold": 1')],
  ['a folder', folderFor('state/tuf/1.root.json')],
])('where the published root is %s, root.json is not said to be another', async (_what, harm) => {
  expect(await findingsAfter(harm)).toMatchObject([
    { at: 'state/tuf/1.root.json' },
    {
      at: 'root.json',
      problem: 'expected the published root of version 1 to compare with, found no sound one: keep this file',
    },
  ]);
});

test.each(['trust', 'state/tuf'])('a file in place of the folder %s is a finding', async (folder) => {
  const places = await placesAfter(async () => {
    await rm(at(folder), { recursive: true });
    await writeFile(at(folder), '');
  });
  expect(places).toContain(folder);
});

test('`waybill fsck` looks at it', async () => {
  await placesAfter(() => cp(join(home, 'other.root.json'), at('root.json')));
  const { code, out, err } = await say(['fsck', at()]);
  expect([code, out]).toEqual([1, expect.stringMatching(/^bad: root\.json: expected the published root/)]);
  expect(err).toContain('REGISTRY_FSCK_DAMAGED');
});
