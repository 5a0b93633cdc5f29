// SPDX-License-Identifier: Apache-2.0
// The filter of system calls for 64-bit ARM, on 64-bit ARM: a machine in QEMU runs Debian's kernel and a program that makes the calls.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ABSENT, DENIED, seccompProgram } from '../../builder/seccomp.ts';
import { formatTrials, readVerdicts, trialsFor } from '../builder/filter-verdicts.ts';
import { callWord, forbiddenCalls, hasCall, usualCalls } from '../builder/tried-calls.ts';
import { bringKernel, type Kernel } from './debian-kernel.ts';
import { compileStatic, runInMachine } from './virtual-machine.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-arm64-'));
const [judge, calls, exit42] = ['judge', 'calls', 'exit42'].map((name) => join(base, name)) as [
  string,
  string,
  string,
];
const filter = seccompProgram('arm64');
const BOOT_TIMEOUT_MS = 600_000;
let kernel: Kernel;
beforeAll(async () => {
  kernel = await bringKernel('arm64', 'linux-image-cloud-arm64', join(base, 'kernel'));
  compileStatic(kernel, new URL('../builder/filter-verdicts.c', import.meta.url), judge);
  compileStatic(kernel, new URL('../builder/system-calls.c', import.meta.url), calls);
  writeFileSync(exit42, arm32Program());
  chmodSync(exit42, 0o755);
});
afterAll(() => rmSync(base, { recursive: true }));

/** A program for 32-bit ARM, head and code in one [ELF-gABI-4.2]: exit(42), by a call with the number of 32-bit ARM. */
function arm32Program(): Buffer {
  const code = [0xe3a0002a, 0xe3a07001, 0xef000000];
  const at = 0x10000;
  const headSize = 52 + 32;
  const size = headSize + 4 * code.length;
  const words = [
    // Magic number, 32 bits, little-endian; executable, ARM; entry, program header at 52, EABI 5, sizes and counts.
    ...[
      0x464c457f,
      0x00010101,
      0,
      0,
      0x00280002,
      1,
      at + headSize,
      52,
      0,
      0x05000000,
      0x00200034,
      0x00280001,
      0,
    ],
    // One segment, the whole file, readable and executable.
    ...[1, 0, at, at, size, size, 5, 0x1000],
    ...code,
  ];
  const bytes = Buffer.alloc(4 * words.length);
  for (const [i, word] of words.entries()) bytes.writeUInt32LE(word, 4 * i);
  return bytes;
}

test('the kernel says of every call what the table says', async () => {
  const trials = trialsFor('arm64');
  const { exitCode, output } = await runInMachine({
    kernel,
    command: ['/judge', '/filter', '/trials'],
    programs: { judge },
    files: { filter, trials: formatTrials(trials) },
    timeoutMs: BOOT_TIMEOUT_MS,
  });
  expect(exitCode).toBe(0);
  const said = readVerdicts(output);
  expect(said.map((verdict, i) => `${trials[i]?.what}: ${verdict}`)).toEqual(
    trials.map(({ what, verdict }) => `${what}: ${verdict}`),
  );
});

test('calls made in earnest are refused by the filter, and by nothing else', async () => {
  const { EPERM, ENOSYS } = constants.errno;
  const denied = DENIED.filter((name) => hasCall('arm64', name)).map((name) => callWord('arm64', name));
  const forbidden = forbiddenCalls('arm64');
  const usual = usualCalls('arm64');
  const foreign = 'exec=/exit42';
  // Without a filter, then with it.
  const bare = [...denied, ...usual.map(({ word }) => word), foreign];
  const under = [
    ...bare,
    ...ABSENT.map((name) => callWord('arm64', name)),
    ...forbidden.map(({ word }) => word),
  ];
  const { exitCode, output } = await runInMachine({
    kernel,
    command: ['/calls', ...bare, 'filter=/filter', ...under],
    programs: { calls, exit42 },
    files: { filter, 'build/f': '' },
    timeoutMs: BOOT_TIMEOUT_MS,
  });
  expect(exitCode).toBe(0);
  const given = output.trim().split('\n');
  expect(given).toHaveLength(bare.length + under.length);
  expect(denied.filter((_, i) => given[i] === String(EPERM))).toEqual([]);
  expect(given.slice(denied.length, bare.length)).toEqual([...usual.map((one) => one.given), '42']);
  expect(given.slice(bare.length)).toEqual([
    ...denied.map(() => String(EPERM)),
    ...usual.map((one) => one.given),
    String(-constants.signals.SIGSYS),
    ...ABSENT.map(() => String(ENOSYS)),
    ...forbidden.map((one) => one.given),
  ]);
});
