// SPDX-License-Identifier: Apache-2.0
// Answers that are the same on every machine [docs/spec/build-type.md §The same answer every time]: files of /proc about the
// machine, and the time of day through Debian's libfaketime.

import { chmodSync, existsSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { StepLimits } from './resource-limits.ts';
import type { StepRoot } from './root.ts';

/** The machine that every step runs on, by path under /proc. */
function machineFiles(limits: StepLimits, sourceDateEpoch: number): Readonly<Record<string, string>> {
  const each = (line: (cpu: number) => string) =>
    Array.from({ length: limits.cpus }, (_, cpu) => line(cpu)).join('');
  const kilobytes = Math.floor(limits.memorySizeBytesMax / 1024);
  const memory = (name: string, size: number) => `${`${name}:`.padEnd(16)}${String(size).padStart(8)} kB\n`;
  return {
    cpuinfo: each((cpu) => `processor\t: ${cpu}\nmodel name\t: waybill\ncpu cores\t: ${limits.cpus}\n\n`),
    loadavg: '0.00 0.00 0.00 1/1 1\n',
    meminfo:
      memory('MemTotal', kilobytes) +
      memory('MemFree', kilobytes) +
      memory('MemAvailable', kilobytes) +
      ['Buffers', 'Cached', 'SwapTotal', 'SwapFree'].map((name) => memory(name, 0)).join(''),
    stat:
      `cpu  0 0 0 0 0 0 0 0 0 0\n${each((cpu) => `cpu${cpu} 0 0 0 0 0 0 0 0 0 0\n`)}` +
      `intr 0\nctxt 0\nbtime ${sourceDateEpoch}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\nsoftirq 0\n`,
    uptime: '1.00 1.00\n',
    version: 'Linux version 0.0.0 (build@waybill) #1 SMP\n',
    'sys/kernel/random/boot_id': '00000000-0000-4000-8000-000000000000\n',
    // What nobody asks in earnest is empty.
    ...Object.fromEntries(
      ['buddyinfo', 'cmdline', 'diskstats', 'interrupts', 'key-users', 'keys', 'modules', 'partitions']
        .concat('schedstat', 'softirqs', 'swaps', 'vmstat', 'zoneinfo')
        .map((name) => [name, '']),
    ),
  };
}

/** Writes the files into a folder on the host; returns their paths under /proc that this kernel has. */
export function writeMachineFiles(folder: string, limits: StepLimits, sourceDateEpoch: number): string[] {
  const written: string[] = [];
  for (const [name, text] of Object.entries(machineFiles(limits, sourceDateEpoch))) {
    if (!existsSync(`/proc/${name}`)) continue;
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    // Whatever umask this process has.
    chmodSync(path, 0o444);
    utimesSync(path, sourceDateEpoch, sourceDateEpoch);
    written.push(name);
  }
  return written;
}

/** The Debian package that is a step's clock. */
export const CLOCK_PACKAGE = 'libfaketime';
export const CLOCK_LIBRARY = /^usr\/lib\/[^/]+\/faketime\/libfaketime\.so\.1$/;

/** The clock library that a root holds because the definition named the package, as a path inside the sandbox. */
export function clockLibrary(root: StepRoot): string | undefined {
  for (const [path, { name }] of root.owners) {
    if (name === CLOCK_PACKAGE && CLOCK_LIBRARY.test(path)) return `/${path}`;
  }
  return undefined;
}

/** Programs that put no time into what they make, however long they run. */
export const TIMELESS = ['make', 'gmake', 'sleep'];

/**
 * Each process starts at SOURCE_DATE_EPOCH and sees its own time pass: a clock that stands still makes `make` blind. `slow`: it passes
 * half as fast.
 */
export function clockEnvironment(
  library: string,
  sourceDateEpoch: number,
  slow: boolean,
): [string, string][] {
  return [
    ['LD_PRELOAD', library],
    ['FAKETIME', `@${sourceDateEpoch}${slow ? ' x0.5' : ''}`],
    ['FAKETIME_FMT', '%s'],
    // Timeouts and sleeps go by the monotonic clock and must stay true.
    ['FAKETIME_DONT_FAKE_MONOTONIC', '1'],
    ['DONT_FAKE_MONOTONIC', '1'],
    // Else times of files would be moved by as much as now is from then: the same file another time in each build.
    ['NO_FAKE_STAT', '1'],
    // make compares times of files, which are true, with now; sleep would sleep longer by a slow clock, and nobody would see a
    // difference. What make starts has the clock again.
    ['FAKETIME_SKIP_CMDS', TIMELESS.join(',')],
  ];
}
