// SPDX-License-Identifier: Apache-2.0
// A registry whose logs and authority have been rotated, with entries of both times: fsck needs none of its keys, and names what it has to
// do without.

import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { formatStatement } from '../../core/intoto/statement.ts';
import { type Finding, fsck } from '../../registry/fsck.ts';
import { type RotationOf, retire, rotate } from '../../registry/rotation.ts';
import { keyPath } from '../../registry/trust/instances.ts';
import { say } from '../cli/command-line.ts';
import { RunningRegistry } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

let home: string;
const at = (...names: string[]) => join(home, 'data', ...names);

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-fsck-keys-'));
  const registry = await RunningRegistry.start();
  const { dataFolder } = registry;
  const submit = async (name: string) => {
    const statement = formatStatement({
      subjects: [{ name, sha256: sha256(name) }],
      predicateType: 'https://example.com/test/v1',
      predicate: {},
    });
    expect((await registry.submit(await registry.sign(statement))).status).toBe(201);
  };
  await submit('before');
  const rotated = registry.rotationOptions();
  await rotate(rotated, { service: 'ct' });
  await rotate(rotated, { service: 'log' });
  await rotate(rotated, { service: 'ca', newRootFolder: join(home, 'offline') });
  await registry.restart();
  const files = await trustFiles(dataFolder);
  const targets = await registry.nextTargets(files);
  expect((await registry.publish('targets', targets, Object.values(files))).status).toBe(201);
  await submit('after');
  await registry.restart(() => cp(dataFolder, join(home, 'sound'), { recursive: true }));
  await registry.close();
}, 60_000);
afterAll(() => rm(home, { recursive: true }));

/** What is to be published of a data folder. */
async function trustFiles(dataFolder: string): Promise<Record<string, Uint8Array>> {
  const names = ['trusted_root.json', 'signing_config.v0.2.json', 'tlog-policy'];
  const read = async (name: string) => new Uint8Array(await readFile(join(dataFolder, 'trust', name)));
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)])));
}

/** What is found, and how much was read, once something was done to the folder. */
async function foundAfter(change: () => Promise<unknown>) {
  await rm(at(), { recursive: true, force: true });
  await cp(join(home, 'sound'), at(), { recursive: true });
  await change();
  const { out } = await say(['fsck', at(), '--all', '--json']);
  process.exitCode = undefined;
  const { findings, read } = JSON.parse(out) as { findings: readonly Finding[]; read: unknown };
  return { places: findings.map((finding) => finding.at), read };
}

const ALL = { logEntries: 2, ctEntries: 2, attestations: 2 };
const held = async (key: string) => {
  await rm(at(`keys/${key}.pem`));
  await writeFile(at(`keys/${key}.signer`), '/run/waybill/signer\n');
};

test.each<[string, readonly string[], () => Promise<unknown>]>([
  ['as it is', [], async () => undefined],
  ['without any key', [], () => rm(at('keys'), { recursive: true })],
  ['without its newest keys', [], () => removeKeys('ct-2', 'log-2', 'ca-intermediate-2')],
  ['without certificates', ['trust/ca-chain.pem'], () => rm(at('trust/ca-chain.pem'))],
  ['with damaged ones', ['trust/ca-chain-2.pem'], () => writeFile(at('trust/ca-chain-2.pem'), 'x')],
  [
    'with keys that a signer has, and a trusted root that is damaged',
    ['trust/trusted_root.json'],
    async () => {
      for (const key of ['ct', 'ct-2', 'log', 'log-2']) await held(key);
      await writeFile(at('trust/trusted_root.json'), '{');
    },
  ],
  [
    'with keys that a signer has, and no trusted root',
    ['trust/trusted_root.json'],
    async () => {
      for (const key of ['ct-2', 'log-2']) await held(key);
      await rm(at('trust/trusted_root.json'));
    },
  ],
  [
    'with a trusted root that names another key',
    ['trust/trusted_root.json'],
    async () => {
      const root = JSON.parse(await readFile(at('trust/trusted_root.json'), 'utf8'));
      root.tlogs[1].publicKey = root.tlogs[0].publicKey;
      await writeFile(at('trust/trusted_root.json'), JSON.stringify(root));
    },
  ],
  ['with another key', ['keys/log-2.pem'], () => cp(at('keys/log.pem'), at('keys/log-2.pem'))],
  ['with a damaged key', ['keys/ct.pem'], () => writeFile(at('keys/ct.pem'), 'x')],
  [
    'with a damaged key of the authority',
    ['keys/ca-intermediate-2.pem'],
    () => writeFile(at('keys/ca-intermediate-2.pem'), 'x'),
  ],
  [
    'with the key of another time',
    ['keys/ca-intermediate.pem'],
    () => cp(at('keys/ca-intermediate-2.pem'), at('keys/ca-intermediate.pem')),
  ],
  [
    'with a key of timestamps that is none of them',
    ['keys/tsa.pem'],
    () => cp(at('keys/log.pem'), at('keys/tsa.pem')),
  ],
  ['with a damaged online key', ['state/tuf'], () => writeFile(at('keys/tuf-snapshot.pem'), 'x')],
  ...['tuf-snapshot.pem', 'log.pem', 'log-2.pem', 'tsa.pem', 'ca-intermediate.pem', 'enrolment.token'].map(
    (name): [string, readonly string[], () => Promise<unknown>] => [
      'with a secret that others may read',
      [`keys/${name}`],
      () => chmod(at('keys', name), 0o644),
    ],
  ),
  ['with a folder of keys that others may change', ['keys'], () => chmod(at('keys'), 0o777)],
  [
    'with a signer that others may name',
    ['keys/ct.signer'],
    async () => {
      await held('ct');
      await chmod(at('keys/ct.signer'), 0o666);
    },
  ],
  ['without one of both online keys', ['state/tuf'], () => removeKeys('tuf-timestamp')],
])('%s: %j', async (_what, places, change) => {
  expect(await foundAfter(change)).toMatchObject({ places, read: ALL });
});

async function removeKeys(...names: readonly string[]): Promise<void> {
  for (const name of names) await rm(at(`keys/${name}.pem`));
}

test('a registry is sound at each step of its rotations', async () => {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const { dataFolder } = registry;
  const newRootFolder = await mkdtemp(join(home, 'offline-'));
  const config = { org: 'example', headFolder: undefined };
  const findings: unknown[] = [];
  const look = async (what: string) => {
    const { signal } = new AbortController();
    const check = fsck({ dataFolder, config, signal, progress: () => undefined });
    for await (const finding of check) findings.push([what, finding]);
  };
  /** Does something while the server stands still, then looks at it, and at how a copy without keys would look. */
  const step = (what: string, work: () => Promise<unknown> = async () => undefined) =>
    registry.restart(async () => {
      await work();
      await look(what);
      await rename(join(dataFolder, 'keys'), join(home, 'aside'));
      await look(`${what}, without keys`);
      await rename(join(home, 'aside'), join(dataFolder, 'keys'));
    });
  const publish = async () => {
    const files = await trustFiles(dataFolder);
    const targets = await registry.nextTargets(files);
    expect((await registry.publish('targets', targets, Object.values(files))).status).toBe(201);
  };
  const rotations: RotationOf[] = [
    { service: 'ca', newRootFolder },
    { service: 'tsa', newRootFolder },
    { service: 'ct' },
    { service: 'log' },
  ];
  for (const of of rotations) {
    await step(`${of.service} rotated`, () => rotate(registry.rotationOptions(), of));
    await step(`${of.service} rotated, and served`);
    await publish();
    await step(`${of.service} published`);
    await step(`${of.service} retired`, () => retire(registry.rotationOptions(), of.service));
    await publish();
    await step(`${of.service} without its old key`, () => rm(keyPath(dataFolder, of.service, 1)));
    const stolenMs = Date.now();
    await step(`${of.service} stolen`, () => rotate(registry.rotationOptions(), of, stolenMs));
    await step(`${of.service} stolen again`, () => rotate(registry.rotationOptions(), of, stolenMs));
    await publish();
    await step(`${of.service} published again`);
  }
  expect(findings).toEqual([]);
});

test.each([
  [
    'and without keys',
    { logEntries: 0, ctEntries: 0, attestations: 2 },
    () => rm(at('keys'), { recursive: true }),
  ],
  ['with keys', { logEntries: 2, ctEntries: 0, attestations: 2 }, async () => undefined],
])(
  'without any trusted root %s: what needs one is left out, which is no other finding',
  async (_what, counts, change) => {
    const { places, read } = await foundAfter(async () => {
      await change();
      await rm(at('trust/trusted_root.json'));
      await rm(at('state/tuf/timestamp.json'));
    });
    expect(places).toEqual(['state/tuf', 'trust/trusted_root.json']);
    expect(read).toMatchObject(counts);
  },
);

test('folders and files in each place of the other are findings', async () => {
  const { places } = await foundAfter(async () => {
    await rm(at('state/tuf/2.targets.json'));
    await mkdir(at('state/tuf/2.targets.json'));
    await rm(at('state/blobs/sha256'), { recursive: true });
    await writeFile(at('state/blobs/sha256'), '');
  });
  expect(places).toEqual(['state/blobs/sha256', 'state/tuf']);
});

test('state that is lost has both logs retired, and an exposed key is closed: so the remedy says', async () => {
  await rm(at(), { recursive: true, force: true });
  await cp(join(home, 'sound'), at(), { recursive: true });
  await chmod(at('keys/log.pem'), 0o644);
  const { code, out, err } = await say(['fsck', at()]);
  process.exitCode = undefined;
  expect([code, out]).toEqual([1, expect.stringMatching(/^bad: keys\/log\.pem: expected .* got 0644\n$/)]);
  const section = 'An older copy was restored';
  for (const what of ['chmod 600', 'waybill rotate <folder> log', 'waybill rotate <folder> ct', section]) {
    expect(err).toContain(what);
  }
  expect(await readFile('docs/operating.md', 'utf8')).toContain(`### ${section}\n`);
});
