// SPDX-License-Identifier: Apache-2.0
// Builds on another kernel than this machine's: the host's files in a virtual machine with control groups of version 2. And that a machine which
// dies or never ends is noticed.

import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
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

test('a build on another kernel gives the same bytes, and says which kernel it was', async () => {
  const text = yamlOver(
    archive,
    stepYaml(
      'cat /bin/* >image.bin; nproc >>image.bin; stat --format="%a %u %g %Y %n" /bin /bin/* /etc /etc/* >>image.bin',
    ),
  );
  const definition = readYaml(text);
  const lock = await lockInputs(definition, { folder: '/', mirror: archive.url });
  writeFileSync(join(base, 'waybill.yaml'), text);
  writeFileSync(join(base, 'waybill.lock'), formatLock(lock));
  const here = await build({
    definition,
    lock,
    definitionBytes: Buffer.from(text),
    lockBytes: formatLock(lock),
    out: join(base, 'out'),
    replace: false,
    cache: join(base, 'cache'),
    builderId: 'https://waybill.example/builders/test',
    toolVersion: '0.1.0',
    mirror: archive.url,
  });
  const { exitCode, output } = await shell(
    `${process.execPath} ${waybill} build --builder-id https://waybill.example/builders/test --out /tmp/out-of-machine --json 2>/dev/null`,
    1_800_000,
  );
  expect([exitCode, output]).toEqual([0, expect.stringMatching(/^\{/)]);
  const there = JSON.parse(output);
  expect(there.images).toEqual(here.images);
  expect(here.sandbox.kernel).toBe(release());
  expect(there.sandbox).toEqual({ ...here.sandbox, kernel: kernel.release });
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
