// SPDX-License-Identifier: Apache-2.0
// A disk that is full for a while: what is acknowledged outlives it, and no log forks.

import { execFileSync, spawn } from 'node:child_process';
import { sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import { Database } from '../../registry/store/database.ts';
import { SyncedWrites } from '../../registry/store/synced-writes.ts';
import { openTiles } from './log/log-folder.ts';
import { makeDataFolder, newP256 } from './running-registry.ts';

test('after a write that failed half-way nothing is acknowledged until the database is opened again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-full-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const script = join(import.meta.dirname, 'write-past-limit.ts');
  const limit = ['--fsize=100000:unlimited', '--', process.execPath, script, join(folder, 'db')];
  const said = JSON.parse(execFileSync('prlimit', limit, { encoding: 'utf8' }));
  expect(said.acknowledged.length).toBeGreaterThan(10);
  expect(said.atFailure).toContain('REGISTRY_STORE_FAILED');
  expect(said.refused).toEqual(Array(5).fill('REGISTRY_STORE_STOPPED'));
  expect(said.logged).toBe('REGISTRY_STORE_STOPPED');
  expect(said.note).toBe(said.first);

  const database = await Database.open(join(folder, 'db'));
  const { log, close } = await openTiles('', { db: database.sublevel('log') as never });
  const kept = await Promise.all(said.acknowledged.map((id: string) => database.has('device', id)));
  expect(kept).not.toContain(false);
  expect(log.checkpoint().note).toBe(said.note);
  await database.write([{ table: 'device', key: ['late'], value: {} }]);
  await close();
  await database.close();
});

test('writes wait for the one before them, go together, and share its fate', async () => {
  const batches: string[][] = [];
  let end: (failure?: Error) => void = () => {};
  const root = {
    batch: (rows: readonly { key: string }[]) =>
      new Promise<void>((resolve, reject) => {
        batches.push(rows.map(({ key }) => key));
        end = (failure) => (failure === undefined ? resolve() : reject(failure));
      }),
  };
  const writes = SyncedWrites.of(root);
  expect(SyncedWrites.of(root)).toBe(writes);
  const put = (key: string) =>
    writes.write([{ type: 'put', sublevel: root, key, value: new Uint8Array() }]).then(
      () => 'written',
      (failure) => failure.code,
    );
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const first = put('a');
  const [second, third] = [put('b'), put('c')];
  await turn();
  expect(batches).toEqual([['a']]);
  end();
  expect(await first).toBe('written');
  await turn();
  expect(batches).toEqual([['a'], ['b', 'c']]);
  const fourth = put('d');
  end(Object.assign(new Error('full'), { code: 'ENOSPC' }));
  expect(await Promise.all([second, third, fourth, put('e')])).toEqual([
    ...['ENOSPC', 'ENOSPC'],
    ...['REGISTRY_STORE_STOPPED', 'REGISTRY_STORE_STOPPED'],
  ]);
  expect(batches).toHaveLength(2);
});

test('a registry with a full disk says so to whoever watches over it, and goes on reading', async () => {
  const made = await makeDataFolder('http://127.0.0.1:1');
  onTestFinished(() => rm(made.home, { recursive: true }));
  const serve = [
    process.execPath,
    join(import.meta.dirname, '../../cli/waybill.js'),
    'serve',
    made.dataFolder,
  ];
  const server = spawn('prlimit', ['--fsize=20000', '--', ...serve], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(async () => {
    server.kill('SIGKILL');
    await once(server, 'exit');
  });
  await once(server.stdout, 'data');
  const told: string[] = [];
  const send = async (method: string, path: string, body?: string, token = '') => {
    const headers = { connection: 'close', authorization: `Bearer ${token}` };
    const answer = await fetch(`${made.url}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    const text = await answer.text();
    told.push(text);
    return { status: answer.status, code: (JSON.parse(text) as { error?: { code: string } }).error?.code };
  };
  const token = (await readFile(join(made.dataFolder, 'keys/enrolment.token'), 'utf8')).trim();
  const { key, spki } = newP256();
  const statuses: number[] = [];
  for (let n = 0; n < 200 && statuses.at(-1) !== 503; n++) {
    const publicKey = Buffer.from(spki).toString('base64');
    const claim = { deviceId: `dev-${n}`, product: 'optiboot', hardwareId: 'uno', publicKey };
    const proof = sign('sha256', canonicalJsonBytes(claim), key).toString('base64');
    statuses.push((await send('POST', '/api/v1/devices', JSON.stringify({ ...claim, proof }), token)).status);
  }
  expect(statuses.at(-1)).toBe(503);
  expect(told.at(-1)).toContain('the registry could not use its storage; its log says why');
  expect((await send('GET', '/readyz')).status).toBe(503);
  expect(await send('GET', '/healthz')).toEqual({ status: 503, code: 'REGISTRY_STORE_STOPPED' });
  expect((await send('GET', `/api/v1/devices/dev-${statuses.length - 2}`)).status).toBe(200);
  // Where things lie on the server is nobody's business.
  expect(told.join('\n')).not.toMatch(/state\/|IO error|\.log: /);
});
