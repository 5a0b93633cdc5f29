// SPDX-License-Identifier: Apache-2.0
// The filter of system calls: each call that it names, made by a program under it and, where root may, without it. What it says
// of every other call, and on the other processor, is in filter-verdicts.test.ts.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runInSandbox } from '../../builder/sandbox.ts';
import { ABSENT, DENIED, requireFilter } from '../../builder/seccomp.ts';
import { callWord, forbiddenCalls, hasCall, usualCalls } from './tried-calls.ts';

const { EPERM, ENOSYS } = constants.errno;
const SIGSYS = '-31';
const here = requireFilter();
const base = mkdtempSync(join(tmpdir(), 'waybill-seccomp-'));
const root = join(base, 'root');

beforeAll(() => {
  chmodSync(base, 0o755);
  for (const name of ['bin', 'proc', 'dev', 'tmp', 'build', 'materials', 'etc'])
    mkdirSync(join(root, name), { recursive: true });
  const source = fileURLToPath(new URL('system-calls.c', import.meta.url));
  execFileSync('gcc', ['-static', '-O1', '-o', join(root, 'bin/calls'), source]);
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** What each call gives in the sandbox of a step. */
let runs = 0;
async function inSandbox(...calls: string[]): Promise<string[]> {
  const work = join(base, `work-${++runs}`);
  const materials = join(base, `materials-${runs}`);
  mkdirSync(work);
  mkdirSync(materials);
  writeFileSync(join(work, 'f'), '');
  const run = { environment: [], sourceDateEpoch: 0, timeoutMs: 20_000 };
  return (await runInSandbox({ root, work, materials, command: ['/bin/calls', ...calls], ...run })).log
    .trim()
    .split('\n');
}

describe('a step is refused', () => {
  test('each call of the list, whatever its arguments', async () => {
    const names = DENIED.filter((name) => hasCall(here, name));
    const given = await inSandbox(...names.map((name) => callWord(here, name)));
    expect(Object.fromEntries(names.map((name, i) => [name, given[i]]))).toEqual(
      Object.fromEntries(names.map((name) => [name, String(EPERM)])),
    );
  });

  test('which the kernel alone would not have refused to root', () => {
    if (process.getuid?.() !== 0) {
      console.log('not root: what the kernel would say without the filter cannot be told from the filter');
      return;
    }
    // Without arguments it would do what it is for.
    const names = DENIED.filter((name) => hasCall(here, name) && name !== 'vhangup');
    const bare = [
      '--bind',
      root,
      '/',
      '--dev',
      '/dev',
      '--',
      '/bin/calls',
      ...names.map((name) => callWord(here, name)),
    ];
    const given = execFileSync('bwrap', bare, { encoding: 'utf8' }).trim().split('\n');
    expect(names.filter((_, i) => given[i] === String(EPERM))).toEqual([]);
  });

  test('calls whose arguments no filter can read, as if the kernel were older', async () => {
    expect(await inSandbox(...ABSENT.map((name) => callWord(here, name)))).toEqual(
      ABSENT.map(() => String(ENOSYS)),
    );
    expect(await inSandbox('1f4')).toEqual([String(ENOSYS)]);
  });

  test.each(forbiddenCalls(here))('$what', async ({ word, given }) => {
    expect(await inSandbox(word)).toEqual([given]);
  });

  test('calls in the way of 32-bit programs and of x32, with its life', async () => {
    const foreign = here === 'x64' ? ['i386', (0x40000000 + 39).toString(16)] : [];
    if (foreign.length > 0) expect(await inSandbox(...foreign)).toEqual(foreign.map(() => SIGSYS));
  });
});

test('what builds do is allowed', async () => {
  const usual = usualCalls(here);
  expect(await inSandbox(...usual.map(({ word }) => word))).toEqual(usual.map(({ given }) => given));
});

test('a processor without a filter has no sandbox', () => {
  expect(() => requireFilter('riscv64')).toThrow(expect.objectContaining({ code: 'SANDBOX_FILTER_MISSING' }));
});
