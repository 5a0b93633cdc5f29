// SPDX-License-Identifier: Apache-2.0
// The way out where a log lost what it had published: a new shard of it. The old one is read from then on, and signs nothing any more.

import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { rotate } from '../../registry/rotation.ts';
import { readPublishedTarget } from '../../registry/tuf/published-target.ts';
import { RunningRegistry } from './running-registry.ts';
import { temporaryFolder } from './witness/running-witness.ts';

test('a database older than its heads: the registry starts with new shards alone, and takes entries once they are published', {
  timeout: 60_000,
}, async () => {
  const registry = await RunningRegistry.start();
  const { dataFolder, url } = registry;
  let n = 0;
  const sign = async () => {
    const subjects = [{ name: 'artifact', sha256: (n++).toString(16).padStart(64, '0') }];
    const statement = formatStatement({
      subjects,
      predicateType: 'https://example.com/test/v1',
      predicate: {},
    });
    const signingConfig = await readPublishedTarget(dataFolder, 'signing_config.v0.2.json');
    return signStatement(statement, {
      signingConfig,
      identity: { token: () => registry.issuer.token() } as never,
    });
  };
  const text = async (path: string) => Buffer.from((await registry.send('GET', path)).bytes).toString();
  const [database, copy] = [join(dataFolder, 'state', 'db'), join(await temporaryFolder(), 'db')];
  const early = await sign();
  expect((await registry.submit(early)).status).toBe(201);
  await registry.restart(() => cp(database, copy, { recursive: true }));
  const lost = await sign();
  const headOf = (name: string) => readFile(join(dataFolder, 'state', 'heads', `${name}.example.example`));
  const restored = registry.restart(async () => {
    await rm(database, { recursive: true });
    await cp(copy, database, { recursive: true });
  });
  await expect(restored).rejects.toMatchObject({ code: 'LOG_STORE_BEHIND' });
  const heads = await Promise.all(['log', 'ct'].map(headOf));

  const place = { dataFolder, org: 'example', url, nowMs: Date.now() };
  const changed = new Set((await rotate(place, { service: 'log' })).changed);
  // One log that lost entries and has no other in its place is enough to stay away.
  await expect(registry.restart()).rejects.toMatchObject({ code: 'LOG_STORE_BEHIND' });
  for (const name of (await rotate(place, { service: 'ct' })).changed) changed.add(name);
  await registry.restart();
  expect(await text('/log/checkpoint')).toContain('log.example.example\n1\n');
  expect(await text('/readyz')).toContain('with the published size 2, got one of size 1');
  await expect(sign()).rejects.toThrow(/LOG_SHARD_LOST/);

  const files: Record<string, Uint8Array> = {};
  for (const name of changed) files[name] = new Uint8Array(await readFile(join(dataFolder, 'trust', name)));
  const targets = await registry.nextTargets(files);
  expect((await registry.publish('targets', targets, Object.values(files))).status).toBe(201);
  expect((await registry.send('GET', '/readyz')).status).toBe(200);
  expect((await registry.submit(await sign())).status).toBe(201);
  expect((await registry.submit(early)).status).toBeLessThan(300);
  // It was acknowledged, and is gone: nobody is told otherwise.
  expect((await registry.submit(lost)).status).toBeGreaterThanOrEqual(400);
  await registry.restart();
  expect(await text('/log/checkpoint')).toContain('log.example.example\n1\n');
  expect(await text('/log2/checkpoint')).toContain('log2.example.example\n1\n');
  expect(await Promise.all(['log', 'ct'].map(headOf))).toEqual(heads);
  await registry.close();
});
