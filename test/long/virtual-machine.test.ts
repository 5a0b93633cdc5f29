// SPDX-License-Identifier: Apache-2.0
// Builds on another kernel than this machine's: the host's files in a virtual machine with control groups of version 2. And that a machine which
// dies or never ends is noticed.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../../builder/build.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock } from '../../builder/lock-file.ts';
import { buildPackage } from '../../scripts/build.ts';
import { ARCHITECTURE, type Archive, makeArchive, TOOLBOX } from '../builder/archive.ts';
import { readYaml, stepYaml, yamlOver } from '../builder/definitions.ts';
import { bringKernel, type Kernel } from './debian-kernel.ts';
import { runInMachine } from './virtual-machine.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-kernel-'));
const waybill = join(base, 'package/cli/waybill.js');
const VERSION: string = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
).version;
const BUILDER_ID = 'https://waybill.example/builders/test';
const PATH = '/usr/bin:/bin:/usr/sbin:/sbin';
let kernel: Kernel;
let archive: Archive;
beforeAll(async () => {
  // Compiled: what strips types from sources is very slow where the processor is emulated.
  buildPackage(join(base, 'package'));
  symlinkSync(
    fileURLToPath(new URL('../../node_modules', import.meta.url)),
    join(base, 'package/node_modules'),
  );
  archive = makeArchive([TOOLBOX]);
  kernel = await bringKernel(
    ARCHITECTURE as Kernel['architecture'],
    `linux-image-${ARCHITECTURE}`,
    join(base, 'kernel'),
  );
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true });
});

/** A shell line in a machine that sees this one's files. */
const shell = (line: string, timeoutMs = 600_000) =>
  runInMachine({
    kernel,
    hostRoot: true,
    memoryMebibytes: 2048,
    command: ['/bin/sh', '-c', line],
    environment: { PATH, HOME: '/tmp', WAYBILL_MIRROR: archive.url, XDG_CACHE_HOME: '/tmp/cache-of-machine' },
    folder: base,
    timeoutMs,
  });

/** Writes a definition of one step, and its lock, into a folder of their own. */
async function writeDefinition(name: string, step: string) {
  const text = yamlOver(archive, step);
  const definition = readYaml(text);
  const lock = await lockInputs(definition, { folder: '/', mirror: archive.url });
  const bytes = { definitionBytes: Buffer.from(text), lockBytes: formatLock(lock) };
  mkdirSync(join(base, name));
  writeFileSync(join(base, name, 'waybill.yaml'), bytes.definitionBytes);
  writeFileSync(join(base, name, 'waybill.lock'), bytes.lockBytes);
  return { definition, lock, ...bytes };
}

/** Runs `waybill build --json` in the machine. */
async function buildThere(name: string) {
  const line = `cd ${name} && ${process.execPath} ${waybill} build --builder-id ${BUILDER_ID} --out /tmp/out --json 2>/tmp/said || cat /tmp/said`;
  const { output } = await shell(line, 1_800_000);
  expect(output).toMatch(/^\{/);
  return JSON.parse(/^\{[\s\S]*?^\}/m.exec(output)?.[0] ?? '');
}

test('a build on another kernel gives the same bytes, and says which kernel it was', async () => {
  const read = await writeDefinition(
    'usual',
    stepYaml(
      'cat /bin/* >image.bin; nproc >>image.bin; stat --format="%a %u %g %Y %n" /bin /bin/* /etc /etc/* >>image.bin',
    ),
  );
  const here = await build({
    ...{ ...read, out: join(base, 'out'), replace: false, cache: join(base, 'cache'), mirror: archive.url },
    ...{ builderId: BUILDER_ID, toolVersion: VERSION },
  });
  const there = await buildThere('usual');
  expect(there.images).toEqual(here.images);
  expect(here.sandbox.kernel).toBe(release());
  expect(there.sandbox).toEqual({ ...here.sandbox, kernel: kernel.release, limits: 'cgroup' });
});

test('a step is bound by a control group of version 2: memory of all its processes together', async () => {
  const holding = `perl -e 'vec($x, 24 << 20, 8) = 1; sleep 5'`;
  const step = stepYaml(`for i in 1 2 3 4; do ${holding} & done; wait; echo x >image.bin`);
  await writeDefinition('greedy', `${step}    memoryMebibytes: 64\n`);
  expect((await buildThere('greedy')).error).toMatchObject({ code: 'STEP_MEMORY_TOO_LARGE' });
});

test('the command has control groups of version 2 to itself, memory for files, and its own exit code', async () => {
  const { exitCode, output } = await shell(
    `cat /proc/self/cgroup /sys/fs/cgroup/machine/cgroup.subtree_control
    mkdir /sys/fs/cgroup/machine/one && cat /sys/fs/cgroup/machine/one/memory.max /sys/fs/cgroup/machine/one/pids.max
    touch ${base}/left && ls ${base}/left; kill -9 $$`,
  );
  expect(output.split('\n').slice(0, 5)).toEqual([
    '0::/machine/command',
    expect.stringMatching(/\bcpu\b.*\bmemory\b.*\bpids\b/),
    'max',
    'max',
    `${base}/left`,
  ]);
  expect(exitCode).toBe(137);
  // What was written there is not here.
  expect(() => rmSync(join(base, 'left'))).toThrow('ENOENT');
});

test('a machine that panics, and one that does not end, are failures', async () => {
  await expect(shell('echo last words; echo c >/proc/sysrq-trigger; sleep 60')).rejects.toThrow(
    /last words[\s\S]*Kernel panic/,
  );
  const started = performance.now();
  await expect(shell('sleep 10000', 60_000)).rejects.toThrow('before the command did');
  expect(performance.now() - started).toBeLessThan(120_000);
});
