// SPDX-License-Identifier: Apache-2.0
// `waybill rotate` of both logs while `waybill monitor run` follows them by a TUF root: nothing is an alarm, and every shard is read.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { stringify } from 'yaml';
import { IDENTITY, runOf, signInRun } from '../registry/monitor/watching.ts';
import { RunningRegistry } from '../registry/running-registry.ts';
import { temporaryFolder } from '../registry/witness/running-witness.ts';
import { say, waybill } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));

test('a running monitor goes on through a rotation of both logs', { timeout: 180_000 }, async () => {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const home = await temporaryFolder();
  await cp(join(registry.dataFolder, 'root.json'), join(home, 'root.json'));
  const identities = [{ issuer: registry.issuer.url, identity: IDENTITY }];
  await writeFile(join(home, 'watch.yaml'), stringify({ identities }));
  await writeFile(join(home, 'builds.jsonl'), '');
  const files = ['--root', 'root.json', '--watch', 'watch.yaml', '--builds', 'builds.jsonl'];
  const argv = ['monitor', 'run', 'state', '--registry', registry.url, ...files, '--json'];

  const child = spawn(process.execPath, [WAYBILL, ...argv, '--every', '1'], {
    cwd: home,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  /** What is read and explained by the last whole round. */
  const state = () => {
    const [last] = said
      .split('\n')
      .flatMap((line) => (line.startsWith('{"event":"round"') ? [line] : []))
      .slice(-1);
    const { logs = [], pending, open } = JSON.parse(last ?? '{}');
    const sizes = logs.map(
      ({ origin, size }: { origin: string; size: string }) => `${origin.split('.')[0]} ${size}`,
    );
    return `${sizes.join(', ')}; ${pending} pending, ${open?.length} open`;
  };
  const expectRound = (expected: string) =>
    expect.poll(state, { timeout: 60_000, interval: 200 }).toBe(expected);

  let run = 1;
  const build = async () => {
    const run_id = String(run++);
    await appendFile(join(home, 'builds.jsonl'), `${JSON.stringify({ run: runOf(run_id) })}\n`);
    expect((await registry.submit(await signInRun(registry, { run_id }))).status).toBe(201);
  };
  /** As docs/rotation.md says: rotate, restart, publish. */
  const rotate = async (service: 'log' | 'ct', ...more: readonly string[]) => {
    const { code, out, err } = await say(['rotate', registry.dataFolder, service, ...more, '--json']);
    expect(code, err).toBe(0);
    await registry.restart();
    const changed: Record<string, Uint8Array> = {};
    for (const name of JSON.parse(out).changed) {
      changed[name] = new Uint8Array(await readFile(join(registry.dataFolder, 'trust', name)));
    }
    const targets = await registry.nextTargets(changed);
    expect((await registry.publish('targets', targets, Object.values(changed))).status).toBe(201);
  };

  await build();
  await expectRound('log 1, ct 1; 0 pending, 0 open');
  await rotate('log');
  await build();
  await expectRound('log 1, log2 1, ct 2; 0 pending, 0 open');
  // The older shard leaves the log policy, which asks for no witnesses; it is followed still.
  await rotate('log', '--stolen-since', new Date(Date.now() - 1000).toISOString().replace(/\.\d+/, ''));
  await rotate('ct');
  await build();
  await expectRound('log 1, log2 1, log3 1, ct 2, ct2 1; 0 pending, 0 open');
  expect(said).not.toContain('"event":"alarm"');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);

  const again = await waybill([...argv, '--once'], home);
  expect(again.code, again.out).toBe(0);
  expect(again.out).not.toContain('"event":"progress"');
});
