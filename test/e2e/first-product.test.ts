// SPDX-License-Identifier: Apache-2.0
// docs/first-product.md, command by command as a reader types it. Only the ports and the place of the checkout are others.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort, stop } from '../../examples/demo/processes.ts';

const run = promisify(execFile);
const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '');

let folder: string;
const running: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-first-'));
});

afterAll(async () => {
  await Promise.all(running.map(stop));
  await rm(folder, { recursive: true, force: true });
});

/** The shell blocks of the page, in order. */
async function blocks(): Promise<string[]> {
  const page = await readFile(join(CHECKOUT, 'docs/first-product.md'), 'utf8');
  const [registry, issuer] = [await freePort(), await freePort()];
  const here = page
    .replaceAll('$HOME/waybill', CHECKOUT)
    .replaceAll('8410', `${registry}`)
    .replaceAll('7070', `${issuer}`);
  return [...here.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block as string);
}

/** Starts what the page wants in a terminal of its own, and waits until it has said that it is there. */
async function open(command: string, cwd: string, env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn('bash', ['-c', `exec ${command}`], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  child.stdout.resume();
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const written = async () => !command.includes('ci.env') || (await stat(join(cwd, 'ci.env'))).size > 0;
  await expect.poll(async () => /http:\S+/.test(said) && (await written()), { timeout: 20_000 }).toBe(true);
}

test('the page leads from an empty folder to an installed image', async () => {
  const env = { ...process.env, XDG_STATE_HOME: join(folder, 'state') };
  const [path = '', ...rest] = await blocks();
  const printed: string[] = [];
  for (const block of rest) {
    const cwd = existsSync(join(folder, 'hello')) ? join(folder, 'hello') : folder;
    const [, command] = /^# (?:second|third) terminal\n(.*)\n$/.exec(block) ?? [];
    const bin = { ...env, PATH: `${join(CHECKOUT, 'node_modules/.bin')}:${process.env.PATH}` };
    if (command === undefined) {
      printed.push((await run('bash', ['-euc', `${path}${block}`], { cwd, env })).stdout);
    } else {
      await open(command, cwd, bin);
    }
  }
  const [last = '', next = ''] = printed.slice(-2);
  expect(last).toContain('installed 1.0.0 in slot b\n');
  expect(last).toMatch(/built with: 1 image\n.*hello 1\.0\.0/);
  expect(last).toMatch(/\nhello, device\n$/);
  expect(next).toContain('installed 1.1.0 in slot a\n');
  expect(next).toMatch(/\nhello again, device\n$/);
}, 180_000);
