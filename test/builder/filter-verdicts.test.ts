// SPDX-License-Identifier: Apache-2.0
// The filter of system calls over every call there is, for both processors by an interpreter, and for this one by the kernel itself.
// The other one's turn is in test/long/. Calls made in earnest, in the sandbox of a step, are in seccomp.test.ts.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ABSENT, DENIED, requireFilter, seccompProgram } from '../../builder/seccomp.ts';
import { AUDIT_ARCH, type FilterArchitecture, SYSCALL } from '../../builder/syscalls.ts';
import { checkProgram, runProgram } from './classic-bpf.ts';
import {
  formatTrials,
  NAMED,
  NUMBERS,
  readVerdicts,
  type Trial,
  trialsFor,
  type Verdict,
} from './filter-verdicts.ts';

const ARCHITECTURES: readonly FilterArchitecture[] = ['x64', 'arm64'];

/** uretprobe and uprobe: later kernels ask no filter about them [Linux 6.18 kernel/seccomp.c]. */
const KEPT_FROM_FILTERS: Readonly<Record<FilterArchitecture, readonly number[]>> = {
  x64: [335, 336],
  arm64: [],
};

/** What a program's answer means, as struct seccomp_data's documentation has it. */
function verdictOf(answer: number): Verdict {
  if (answer === 0x7fff0000) return 'allow';
  if (answer === 0x80000000) return 'kill';
  expect(answer >>> 16).toBe(0x0005);
  return answer & 0xffff;
}

describe.each(ARCHITECTURES)('the program for %s', (architecture) => {
  const program = seccompProgram(architecture);
  const decide = (
    { number, parameters }: Pick<Trial, 'number' | 'parameters'>,
    audit = AUDIT_ARCH[architecture],
  ) => verdictOf(runProgram(program, { number, architecture: audit, parameters }));

  test('is one that the kernel takes', () => {
    expect(() => checkProgram(program)).not.toThrow();
  });

  test('says of every call what it must', () => {
    const trials = trialsFor(architecture);
    expect(trials.length).toBeGreaterThan(1000);
    const wrong = trials
      .map((trial) => ({ ...trial, got: decide(trial) }))
      .filter(({ got, verdict }) => got !== verdict)
      .map(({ what, got, verdict }) => `${what}: expected ${verdict}, got ${got}`);
    expect(wrong).toEqual([]);
  });

  test('ends whoever calls for another processor', () => {
    // 32-bit x86 and ARM, the other one of ours, and big-endian.
    const others = [0x40000003, 0x40000028, ...Object.values(AUDIT_ARCH), 0x800000b7, 0];
    for (const audit of others.filter((value) => value !== AUDIT_ARCH[architecture]))
      for (const number of [0, 1, 57, 93, 231, 462, 463, 0x40000001])
        expect([audit, number, decide({ number, parameters: [] }, audit)]).toEqual([audit, number, 'kill']);
  });
});

test('the table names what the filter names, and the numbers are those of the kernel', () => {
  const kernel = (name: string) => NUMBERS[name]?.map((number) => number ?? undefined);
  for (const [name, numbers] of Object.entries(SYSCALL))
    expect([name, kernel(name)]).toEqual([name, [...numbers]]);
  expect([...NAMED].sort()).toEqual(Object.keys(SYSCALL).sort());
  expect(NAMED).toEqual(expect.arrayContaining([...DENIED, ...ABSENT]));
});

test('the numbers are those of the headers on this machine', () => {
  let compared = 0;
  for (const [column, compiler] of ['x86_64-linux-gnu-gcc', 'aarch64-linux-gnu-gcc'].entries()) {
    const read = spawnSync(compiler, ['-E', '-dM', '-include', 'asm/unistd.h', '-x', 'c', '/dev/null'], {
      encoding: 'utf8',
    });
    // Only one of the two need be there.
    if (read.status !== 0) continue;
    const defined = new Map(
      [...read.stdout.matchAll(/^#define __NR(3264)?_(\w+) (\d+)$/gm)].map(([, , name, number]) => [
        name,
        Number(number),
      ]),
    );
    for (const [name, numbers] of Object.entries(NUMBERS)) {
      // Headers may be older than the newest calls, and call some by another name.
      const number = defined.get(name);
      if (number === undefined) continue;
      expect([compiler, name, numbers[column]]).toEqual([compiler, name, number]);
      compared++;
    }
  }
  expect(compared).toBeGreaterThan(250);
});

test('the kernel says of every call what the interpreter says', () => {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-verdicts-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const here = requireFilter();
  const [filter, calls, judge] = ['filter', 'calls', 'judge'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  execFileSync('gcc', [
    '-static',
    '-O1',
    '-o',
    judge,
    fileURLToPath(new URL('filter-verdicts.c', import.meta.url)),
  ]);
  const trials = trialsFor(here).filter(({ number }) => !KEPT_FROM_FILTERS[here].includes(number));
  writeFileSync(calls, formatTrials(trials));
  writeFileSync(filter, seccompProgram(here));
  const said = readVerdicts(execFileSync(judge, [filter, calls], { encoding: 'utf8' }));
  expect(said.map((verdict, i) => `${trials[i]?.what}: ${verdict}`)).toEqual(
    trials.map(({ what, verdict }) => `${what}: ${verdict}`),
  );
  // Under a filter that lets all through, all is let through: the judge adds nothing of its own.
  writeFileSync(filter, Buffer.from('060000000000ff7f', 'hex'));
  const all = readVerdicts(execFileSync(judge, [filter, calls], { encoding: 'utf8' }));
  expect(new Set(all)).toEqual(new Set(['allow']));
});

describe('the interpreter refuses, as the kernel does,', () => {
  const program = (...instructions: [code: number, ifTrue: number, ifFalse: number, value: number][]) => {
    const bytes = Buffer.alloc(8 * instructions.length);
    for (const [i, [code, ifTrue, ifFalse, value]] of instructions.entries()) {
      bytes.writeUInt16LE(code, 8 * i);
      bytes.writeUInt8(ifTrue, 8 * i + 2);
      bytes.writeUInt8(ifFalse, 8 * i + 3);
      bytes.writeUInt32LE(value, 8 * i + 4);
    }
    return bytes;
  };
  const end: [number, number, number, number] = [0x06, 0, 0, 0x7fff0000];
  test.each([
    ['no instruction', Buffer.alloc(0)],
    ['half an instruction', Buffer.alloc(12)],
    ['too many instructions', program(...Array(4097).fill(end))],
    ['no return at the end', program([0x20, 0, 0, 0])],
    ['a jump over the end if so', program([0x15, 1, 0, 0], end)],
    ['a jump over the end if not', program([0x15, 0, 1, 0], end)],
    ['a load beside a word', program([0x20, 0, 0, 2], end)],
    ['a load beyond the data', program([0x20, 0, 0, 64], end)],
    ['what is no instruction', program([0x21, 0, 0, 0], end)],
  ])('%s', (_, bytes) => {
    expect(() => checkProgram(bytes)).toThrow();
  });

  test('and takes the shortest filter', () => {
    expect(() => checkProgram(program(end))).not.toThrow();
  });
});
