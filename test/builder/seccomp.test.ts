// SPDX-License-Identifier: Apache-2.0
// The filter of system calls: each call that it names, made by a program under it and, where root may, without it.

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runInSandbox } from '../../builder/sandbox.ts';
import { ABSENT, DENIED, requireFilter, seccompProgram } from '../../builder/seccomp.ts';
import { AUDIT_ARCH, type FilterArchitecture, SYSCALL, type SyscallName } from '../../builder/syscalls.ts';

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

test('numbers are those of the headers of this machine', () => {
  const found = spawnSync('gcc', ['-E', '-dM', '-include', 'sys/syscall.h', '-x', 'c', '/dev/null'], {
    encoding: 'utf8',
  });
  for (const [name, numbers] of Object.entries(SYSCALL)) {
    const header = new RegExp(`^#define __NR_${name} (\\d+)$`, 'm').exec(found.stdout)?.[1];
    // Headers may be older than the newest calls.
    if (header !== undefined) expect([name, numbers[here === 'x64' ? 0 : 1]]).toEqual([name, Number(header)]);
  }
});

/** What a program says of a call: an interpreter of the few instructions that it is made of. */
function decide(program: Buffer, audit: number, number: number, parameters: readonly number[] = []): number {
  const data = Buffer.alloc(64);
  data.writeInt32LE(number, 0);
  data.writeUInt32LE(audit, 4);
  for (const [i, value] of parameters.entries()) data.writeUInt32LE(value >>> 0, 16 + 8 * i);
  let loaded = 0;
  for (let at = 0; at < program.length; at += 8) {
    const [code, value] = [program.readUInt16LE(at), program.readUInt32LE(at + 4)];
    const leap = (holds: boolean) => 8 * program.readUInt8(at + (holds ? 2 : 3));
    if (code === 0x06) return value;
    if (code === 0x20) loaded = data.readUInt32LE(value);
    else if (code === 0x15) at += leap(loaded === value);
    else if (code === 0x25) at += leap(loaded > value);
    else if (code === 0x35) at += leap(loaded >= value);
    else if (code === 0x45) at += leap((loaded & value) !== 0);
    else throw new Error(`no such instruction ${code}`);
  }
  throw new Error('ran over the end');
}

describe.each(['x64', 'arm64'] as const)('the program for %s', (architecture: FilterArchitecture) => {
  const program = seccompProgram(architecture);
  const numberOf = (name: SyscallName) => SYSCALL[name][architecture === 'x64' ? 0 : 1];
  const ask = (name: SyscallName, ...parameters: number[]) =>
    decide(program, AUDIT_ARCH[architecture], numberOf(name) ?? 0, parameters);

  test('refuses, allows and kills', () => {
    for (const name of DENIED)
      if (numberOf(name) !== undefined) expect([name, ask(name)]).toEqual([name, 0x50001]);
    for (const name of ABSENT) expect(ask(name)).toBe(0x50026);
    expect(ask('clone', 0x10000011)).toBe(0x50001);
    expect(ask('clone', 17)).toBe(0x7fff0000);
    expect(ask('openat', 0, 0, 0o100, 0o4000)).toBe(0x50001);
    expect(ask('openat', 0, 0, 0, 0o4000)).toBe(0x7fff0000);
    expect(ask('socket', 40)).toBe(0x50061);
    expect(ask('socket', 10)).toBe(0x7fff0000);
    const other = AUDIT_ARCH[architecture === 'x64' ? 'arm64' : 'x64'];
    expect(decide(program, other, 1)).toBe(0x80000000);
    expect(decide(program, AUDIT_ARCH[architecture], 0x40000001)).toBe(
      architecture === 'x64' ? 0x80000000 : 0x50026,
    );
  });
});

test('a processor without a filter has no sandbox', () => {
  expect(() => requireFilter('riscv64')).toThrow(expect.objectContaining({ code: 'SANDBOX_FILTER_MISSING' }));
});
