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
import { SYSCALL, type SyscallName } from '../../builder/syscalls.ts';

const { EPERM, ENOSYS, EAFNOSUPPORT } = constants.errno;
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

/** A call as the program wants it: `f!` is a file's path; a parameter that is not given is -1. */
const call = (name: SyscallName, ...parameters: (number | 'f!')[]) =>
  [SYSCALL[name][here === 'x64' ? 0 : 1], ...parameters]
    .map((value) => (typeof value === 'number' ? value.toString(16) : value))
    .join(',');
const exists = (name: SyscallName) => SYSCALL[name][here === 'x64' ? 0 : 1] !== undefined;

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
    const names = DENIED.filter(exists);
    const given = await inSandbox(...names.map((name) => call(name)));
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
    const names = DENIED.filter((name) => exists(name) && name !== 'vhangup');
    const bare = [
      '--bind',
      root,
      '/',
      '--dev',
      '/dev',
      '--',
      '/bin/calls',
      ...names.map((name) => call(name)),
    ];
    const given = execFileSync('bwrap', bare, { encoding: 'utf8' }).trim().split('\n');
    expect(names.filter((_, i) => given[i] === String(EPERM))).toEqual([]);
  });

  test('calls whose arguments no filter can read, as if the kernel were older', async () => {
    expect(await inSandbox(...ABSENT.map((name) => call(name)))).toEqual(ABSENT.map(() => String(ENOSYS)));
    expect(await inSandbox('1f4')).toEqual([String(ENOSYS)]);
  });

  test.each([
    ['a user namespace', call('clone', 0x10000011, 0, 0, 0, 0), EPERM],
    ['a mount namespace', call('clone', 0x20011, 0, 0, 0, 0), EPERM],
    ['a network namespace', call('clone', 0x40000011, 0, 0, 0, 0), EPERM],
    ['a set-uid file', call('fchmodat', 0xffffff9c, 'f!', 0o4755), EPERM],
    ['a set-gid file', call('fchmodat', 0xffffff9c, 'f!', 0o2755), EPERM],
    ['a set-uid file of an open one', call('fchmod', 0, 0o4755), EPERM],
    ['a set-uid file by the newer call', call('fchmodat2', 0xffffff9c, 'f!', 0o4755, 0), EPERM],
    ['a set-uid file from the start', call('openat', 0xffffff9c, 'f!', 0o101, 0o4755), EPERM],
    ['a set-uid file without a name', call('openat', 0xffffff9c, 'f!', 0o20200001, 0o4755), EPERM],
    ['a set-uid file by mknod', call('mknodat', 0xffffff9c, 'f!', 0o104755, 0), EPERM],
    ['a socket to the hypervisor', call('socket', 40, 1, 0), EAFNOSUPPORT],
    ['a socket to the kernel', call('socket', 16, 3, 0), EAFNOSUPPORT],
    ['a socket of raw packets', call('socket', 17, 3, 0), EAFNOSUPPORT],
    ['a pair of such', call('socketpair', 16, 3, 0), EAFNOSUPPORT],
    ['another personality', call('personality', 0x20008), EPERM],
    ['words put into a terminal', call('ioctl', 0, 0x5412, 0), EPERM],
  ])('%s', async (_, probe, errno) => {
    expect(await inSandbox(probe)).toEqual([String(errno)]);
  });

  test('set-uid files by the older calls, where there are any', async () => {
    if (here !== 'x64') return;
    const older = [
      call('chmod', 'f!', 0o4755),
      call('creat', 'f!', 0o4755),
      call('open', 'f!', 0o101, 0o4755),
      call('mknod', 'f!', 0o104755, 0),
    ];
    expect(await inSandbox(...older)).toEqual(older.map(() => String(EPERM)));
  });

  test('calls in the way of 32-bit programs and of x32, with its life', async () => {
    const foreign = here === 'x64' ? ['i386', (0x40000000 + 39).toString(16)] : [];
    if (foreign.length > 0) expect(await inSandbox(...foreign)).toEqual(foreign.map(() => SIGSYS));
  });
});

test('what builds do is allowed', async () => {
  const usual = [
    call('clone', 17, 0, 0, 0, 0),
    call('fchmodat', 0xffffff9c, 'f!', 0o755),
    call('openat', 0xffffff9c, 'f!', 0o101, 0o644),
    // Without O_CREAT the fourth is whatever was in the register.
    call('openat', 0xffffff9c, 'f!', 0, 0o7777),
    call('socket', 1, 1, 0),
    call('socket', 2, 1, 0),
    call('socketpair', 1, 1, 0, 0),
    call('personality', 0xffffffff),
    call('personality', 0),
  ];
  const given = await inSandbox(...usual);
  // The pair has nowhere to put its numbers: EFAULT is the kernel's own word.
  expect(given).toEqual(['0', '0', '0', '0', '0', '0', '14', '0', '0']);
});

test('a processor without a filter has no sandbox', () => {
  expect(() => requireFilter('riscv64')).toThrow(expect.objectContaining({ code: 'SANDBOX_FILTER_MISSING' }));
});
