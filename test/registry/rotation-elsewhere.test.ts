// SPDX-License-Identifier: Apache-2.0
// A rotation beside what was published from elsewhere, and after one that was broken off.

import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { type RotationOf, rotate } from '../../registry/rotation.ts';
import { readPublishedTarget } from '../../registry/tuf/published-target.ts';
import { createWitness } from '../../registry/witness/witness-folder.ts';
import { codeOfAsync } from '../core/tlog/refusal.ts';
import { RunningRegistry } from './running-registry.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(async () => registry.close());

const FILES = ['trusted_root.json', 'signing_config.v0.2.json', 'tlog-policy'] as const;
const path = (name: string): string => join(registry.dataFolder, 'trust', name);
const read = (name: string) => readFile(path(name), 'utf8');
const readAll = () => Promise.all(FILES.map(read));

async function publish(files: Record<string, string>): Promise<void> {
  const bytes = Object.fromEntries(
    Object.entries(files).map(([name, text]) => [name, new Uint8Array(Buffer.from(text))]),
  );
  const answer = await registry.publish('targets', await registry.nextTargets(bytes), Object.values(bytes));
  expect(answer.status).toBe(201);
}

/** What `rotate` makes, and nothing of it stays. */
async function tryRotation(of: RotationOf, stolenSinceMs?: number) {
  const before = await readAll();
  const rotated = await rotate(registry.rotationOptions(), of, stolenSinceMs);
  const [, config = '', policy = ''] = await readAll();
  for (const file of rotated.keys) await rm(file);
  await rm(join(registry.dataFolder, 'unbegun'), { recursive: true, force: true });
  for (const [i, name] of FILES.entries()) await writeFile(path(name), before[i] ?? '');
  return { rotated, config, policy: parseLogPolicy(Buffer.from(policy), nodeCrypto) };
}

const names = ({ logs }: ReturnType<typeof parseLogPolicy>) => logs.map(({ key }) => key.name);

test('witnesses that the policy got elsewhere, and services of the signing configuration, stay', async () => {
  const [, config = '', policy = ''] = await readAll();
  const vkey = await createWitness(join(registry.home, 'w1'), 'w1.example');
  const witnessed = policy.replace('quorum none', `witness w1 ${vkey}\nquorum w1`);
  const other =
    '"tsaUrls":[{"url":"https://tsa.example/other","majorApiVersion":1,"validFor":{"start":"2026-01-01T00:00:00Z"},"operator":"other"},';
  await publish({
    'tlog-policy': witnessed,
    'signing_config.v0.2.json': config.replace('"tsaUrls":[', other),
  });
  const plain = await tryRotation({ service: 'log' });
  expect(plain.rotated.renewed).toEqual(['signing_config.v0.2.json', 'tlog-policy']);
  expect([names(plain.policy), plain.policy.quorum]).toEqual([
    ['log.example.example', 'log2.example.example'],
    'w1',
  ]);
  expect(plain.config).toContain('https://tsa.example/other');
  expect(JSON.parse(plain.config).rekorTlogUrls).toMatchObject([{ url: `${registry.url}/log2` }]);
  // A shard with witnesses stays in the policy, since they cosign no fork of it.
  const stolen = await tryRotation({ service: 'log' }, Date.now());
  expect([names(stolen.policy), stolen.policy.quorum]).toEqual([names(plain.policy), 'w1']);
  await publish({ 'tlog-policy': policy, 'signing_config.v0.2.json': config });
});

test('after a rotation for a stolen key that was broken off, one without it takes no log out of the policy', async () => {
  const stolen = await tryRotation({ service: 'log' }, Date.now());
  expect([names(stolen.policy), stolen.rotated.renewed]).toEqual([['log2.example.example'], undefined]);
  // The policy is written before the trusted root.
  const before = await read('tlog-policy');
  await writeFile(path('tlog-policy'), before.replace('log log.example.example', '#log log.example.example'));
  const plain = await tryRotation({ service: 'log' });
  expect(names(plain.policy)).toEqual(['log.example.example', 'log2.example.example']);
  expect(plain.rotated.renewed).toEqual(['tlog-policy']);
  await writeFile(path('tlog-policy'), before);
});

test('what is ahead of the published one stays', async () => {
  const before = await read('tlog-policy');
  const vkey = await createWitness(join(registry.home, 'w2'), 'w2.example');
  await writeFile(path('tlog-policy'), before.replace('quorum none', `# own\nwitness w2 ${vkey}\nquorum w2`));
  const { rotated, policy } = await tryRotation({ service: 'log' });
  expect([rotated.renewed, policy.quorum]).toEqual([undefined, 'w2']);
  await writeFile(path('tlog-policy'), before);
});

test('a file that cannot be read is named', async () => {
  const before = await read('tlog-policy');
  await writeFile(path('tlog-policy'), `${before}x`);
  const failed = rotate(registry.rotationOptions(), { service: 'log' });
  await expect(failed).rejects.toMatchObject({ code: 'TLOG_POLICY_MALFORMED', at: path('tlog-policy') });
  await writeFile(path('tlog-policy'), before);
  await tryRotation({ service: 'log' });
  // The next one finishes what was broken off, with the key that is there.
  await rm(join(registry.dataFolder, 'keys', 'log-2.pem'));
});

test('copies of private keys that a broken-off write left are removed', async () => {
  const copies = ['log-2.pem.0123456789ab.new', 'tsa-2.pem.0123456789ab.new', 'not-ours.new'];
  const keys = join(registry.dataFolder, 'keys');
  for (const name of copies) await writeFile(join(keys, name), 'secret');
  await tryRotation({ service: 'log' });
  expect((await readdir(keys)).filter((name) => name.endsWith('.new'))).toEqual(['not-ours.new']);
  await rm(join(keys, 'not-ours.new'));
});

test('the key of a root that a broken-off rotation left is told, and stays', async () => {
  const newRootFolder = join(registry.home, 'new-root');
  const of = { service: 'tsa', newRootFolder } as const;
  const made = await rotate(registry.rotationOptions(), of);
  const [root = '', key = ''] = made.keys;
  const before = await readFile(root, 'utf8');
  // Killed before the online key, which is written last, and the trusted root.
  await rm(key);
  await writeFile(
    path('trusted_root.json'),
    await readPublishedTarget(registry.dataFolder, 'trusted_root.json'),
  );
  const again = rotate(registry.rotationOptions(), of);
  await expect(again).rejects.toThrow(/if a rotation that was broken off made it, remove it/);
  expect(await codeOfAsync(again)).toBe('CA_FILES_EXIST');
  expect(await readFile(root, 'utf8')).toBe(before);
  await rm(root);
  expect((await rotate(registry.rotationOptions(), of)).instance).toBe(2);
});
