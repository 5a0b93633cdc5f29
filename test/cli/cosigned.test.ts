// SPDX-License-Identifier: Apache-2.0
// A registry and its two witnesses, each a process of its own: what is signed gets a proof with both behind it, over kills of all.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { signStatement } from '../../attest/sign.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { verifyWitnessedCheckpoint } from '../../core/tlog/proof.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { freePort, makeDataFolder } from '../registry/running-registry.ts';
import { LoopbackIssuer } from '../registry/trust/loopback-issuer.ts';
import { temporaryFolder } from '../registry/witness/running-witness.ts';
import { say } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));

/** Starts a server and waits until it says that it is ready. */
async function run(...argv: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [WAYBILL, ...argv], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  await expect.poll(() => said, { timeout: 30_000 }).toContain('ready at');
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

test('two witnesses and a log', { timeout: 180_000 }, async () => {
  const home = await temporaryFolder();
  const issuer = await LoopbackIssuer.start();
  onTestFinished(() => issuer.close());
  const ports = [String(await freePort()), String(await freePort())];
  const lines: string[] = [];
  for (const [i, port] of ports.entries()) {
    const folder = join(home, `w${i}`);
    const { out } = await say(['witness', 'init', folder, '--name', `w${i}.example`, '--json']);
    lines.push(JSON.parse(out).policyLine.replace('<url>', `http://127.0.0.1:${port}`));
  }
  const file = join(home, 'witnesses');
  await writeFile(file, `${lines.join('\n')}\ngroup both all w0.example w1.example\nquorum both\n`);
  const made = await makeDataFolder(issuer.url, {}, file);
  onTestFinished(() => rm(made.home, { recursive: true }));
  const published = await readFile(join(made.dataFolder, 'trust', 'tlog-policy'));
  const policy = parseLogPolicy(new Uint8Array(published), nodeCrypto);
  const [, logKey = ''] = published.toString().split(' ');
  for (const i of [0, 1]) expect((await say(['witness', 'add', join(home, `w${i}`), logKey])).code).toBe(0);
  const serve = (i: number) => run('witness', 'serve', join(home, `w${i}`), '--port', ports[i] as string);

  const signingConfig = new Uint8Array(
    await readFile(join(made.dataFolder, 'trust', 'signing_config.v0.2.json')),
  );
  const sign = (n: number) => {
    const subjects = [{ name: 'x', sha256: String(n).repeat(64) }];
    const statement = { subjects, predicateType: 'https://example.com/test/v1', predicate: {} };
    const identity = { token: () => issuer.token() } as never;
    return signStatement(formatStatement(statement), { signingConfig, identity });
  };
  const proof = async (index: number) => {
    const response = await fetch(`${made.url}/log/api/v2/proof?index=${index}`);
    return { status: response.status, body: (await response.json()) as { size: number; checkpoint: string } };
  };
  const names = ({ body }: Awaited<ReturnType<typeof proof>>) => {
    const { witnesses } = verifyWitnessedCheckpoint(body.checkpoint, policy, nodeCrypto);
    return witnesses === 'none' ? [] : witnesses.map(({ name }) => name);
  };

  let registry = await run('serve', made.dataFolder);
  const witnesses = [await serve(0), await serve(1)];
  await sign(1);
  expect(names(await proof(0))).toEqual(['w0.example', 'w1.example']);

  await kill(witnesses[1] as ChildProcess);
  await sign(2);
  expect((await proof(1)).status).toBe(503);
  const before = await proof(0);
  expect([before.body.size, names(before).length]).toEqual([1, 2]);

  await kill(registry);
  registry = await run('serve', made.dataFolder);
  expect(names(await proof(0))).toEqual(['w0.example', 'w1.example']);
  await serve(1);
  await expect.poll(async () => (await proof(1)).status, { timeout: 20_000 }).toBe(200);
  const after = await proof(1);
  expect([after.body.size, names(after)]).toEqual([2, ['w0.example', 'w1.example']]);
  registry.kill('SIGTERM');
  expect(await once(registry, 'exit')).toEqual([0, null]);
});
