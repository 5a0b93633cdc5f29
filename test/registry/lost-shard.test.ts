// SPDX-License-Identifier: Apache-2.0
// The way out where a log lost what it had published: a new shard of it. The old one is read from then on, and signs nothing any more.

import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { expect, onTestFinished, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { Metrics } from '../../registry/http/metrics.ts';
import { rowKey, rowsOf } from '../../registry/log/tile-store.ts';
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

/** A registry that has published one entry in each log, stopped while `harm` is done to its state; and what leads out. */
async function harmed(harm: (state: string) => Promise<void>) {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const { dataFolder, url } = registry;
  let n = 0;
  const sign = async () => {
    const subjects = [{ name: 'artifact', sha256: (n++).toString(16).padStart(64, '0') }];
    const predicateType = 'https://example.com/test/v1';
    const statement = formatStatement({ subjects, predicateType, predicate: {} });
    const signingConfig = await readPublishedTarget(dataFolder, 'signing_config.v0.2.json');
    const identity = { token: () => registry.issuer.token() } as never;
    return signStatement(statement, { signingConfig, identity });
  };
  const text = async (path: string) => Buffer.from((await registry.send('GET', path)).bytes).toString();
  expect((await registry.submit(await sign())).status).toBe(201);
  const refused = registry.restart(() => harm(join(dataFolder, 'state')));
  /** Makes new shards of these logs, starts, and publishes them. */
  const retire = async (...services: readonly ('ct' | 'log')[]) => {
    const changed = new Set<string>();
    for (const service of services) {
      const rotated = await rotate({ dataFolder, org: 'example', url, nowMs: Date.now() }, { service });
      for (const name of rotated.changed) changed.add(name);
    }
    await registry.restart();
    for (const service of services) {
      for (const path of ['checkpoint', 'tile/0/000.p/1']) {
        const answer = await registry.send('GET', `/${service}/${path}`);
        expect([answer.status, Buffer.from(answer.bytes).toString()]).toEqual([
          503,
          expect.stringContaining('LOG_SHARD_LOST'),
        ]);
      }
    }
    await expect(sign()).rejects.toThrow(/LOG_SHARD_LOST/);
    const files: Record<string, Uint8Array> = {};
    for (const name of changed) files[name] = new Uint8Array(await readFile(join(dataFolder, 'trust', name)));
    const targets = await registry.nextTargets(files);
    expect((await registry.publish('targets', targets, Object.values(files))).status).toBe(201);
    expect((await registry.send('GET', '/readyz')).status).toBe(200);
    expect((await registry.submit(await sign())).status).toBe(201);
    for (const service of services) {
      expect(await text(`/${service}2/checkpoint`)).toContain(`${service}2.example.example\n1\n`);
    }
  };
  return { registry, dataFolder, refused, retire };
}

/** What is left is as on the day when `waybill init` made it. */
async function loseLogs(state: string): Promise<void> {
  for (const name of ['db', 'heads']) await rm(join(state, name), { recursive: true });
}

test('database and heads are lost: no second tree begins under the same keys; new shards lead out', {
  timeout: 60_000,
}, async () => {
  const { registry, dataFolder, refused, retire } = await harmed(loseLogs);
  await expect(refused).rejects.toMatchObject({
    code: 'LOG_HEAD_MISSING',
    message: expect.stringMatching(/which began before and whose database is empty, found none$/),
    row: { remedy: expect.stringMatching(/`waybill rotate <folder> log` \(or `ct`/) },
  });
  expect(await readdir(join(dataFolder, 'unbegun'))).toEqual([]);
  await retire('log', 'ct');
  expect(await readdir(join(dataFolder, 'unbegun'))).toEqual([]);
  await registry.restart();
});

test.each(['log', 'ct'] as const)(
  'a damaged %s is refused, with the way out: a new shard in its place',
  { timeout: 60_000 },
  async (service) => {
    const { registry, dataFolder, refused, retire } = await harmed(async (state) => {
      const db = new Level<string, Uint8Array>(join(state, 'db'), { valueEncoding: 'view' });
      const rows = rowsOf(db.sublevel(service));
      await rows.put(rowKey.tile(0, 0n), new Uint8Array(32));
      await db.close();
    });
    await expect(refused).rejects.toMatchObject({
      code: 'LOG_STORE_INCONSISTENT',
      row: {
        remedy: expect.stringMatching(
          /`waybill fsck <folder>`.*restore.*`waybill rotate <folder> log` \(or `ct`/s,
        ),
      },
    });
    await retire(service);
    // What is left of the old shard stays as it is, and the head of it.
    const head = join(dataFolder, 'state', 'heads', `${service}.example.example`);
    const before = await readFile(head);
    await registry.restart();
    expect(await readFile(head)).toEqual(before);
    const { text: figures } = await new Metrics(registry.registry, async () => 0).text();
    const sizes = [...figures.matchAll(/^waybill_log_size\{log="([a-z0-9]+)/gm)].map(([, name]) => name);
    expect(sizes.sort()).toEqual(
      ['ct', 'ct2', 'log', 'log2'].filter((name) =>
        name.startsWith(service) ? name.endsWith('2') : !name.endsWith('2'),
      ),
    );
    expect((await registry.send('GET', `/${service}/checkpoint`)).status).toBe(503);
  },
);

test('an empty head is the word of the operator: the log begins', async () => {
  const { registry, dataFolder, refused } = await harmed(loseLogs);
  await expect(refused).rejects.toMatchObject({ code: 'LOG_HEAD_MISSING' });
  await registry.restart(async () => {
    await mkdir(join(dataFolder, 'state', 'heads'));
    for (const service of ['log', 'ct']) {
      await writeFile(join(dataFolder, 'state', 'heads', `${service}.example.example`), '');
    }
  });
  expect((await registry.send('GET', '/log/checkpoint')).status).toBe(200);
});
