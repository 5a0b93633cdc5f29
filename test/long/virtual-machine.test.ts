// SPDX-License-Identifier: Apache-2.0
// Builds on another kernel than this machine's: the host's files in a virtual machine with control groups of version 2. And that a machine which
// dies or never ends is noticed.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
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

/** A shell line that lists an output folder with digests, but for the files that name the very run. */
const listing = (out: string) =>
  `cd ${out} && find . -type f ! -path "./statements/*" ! -name build.json | LC_ALL=C sort | xargs sha256sum`;

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
  const builderId = 'https://waybill.example/builders/test';
  const out = join(base, 'out');
  const { sandbox: here } = await build({
    ...{ definition, lock, lockBytes: formatLock(lock), definitionBytes: Buffer.from(text) },
    ...{
      out,
      cache: join(base, 'cache'),
      replace: false,
      builderId,
      toolVersion: VERSION,
      mirror: archive.url,
    },
  });
  const { exitCode, output } = await shell(
    `${process.execPath} ${waybill} build --builder-id ${builderId} --out /tmp/out-of-machine >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
    cat /tmp/out-of-machine/build.json; echo; ${listing('/tmp/out-of-machine')}`,
    1_800_000,
  );
  expect([exitCode, output]).toEqual([0, expect.stringMatching(/^\{/)]);
  const [summary = '', files = ''] = output.split(/(?<=^\})\n+/m);
  expect(files).toBe(execFileSync('/bin/sh', ['-c', listing(out)], { encoding: 'utf8' }));
  expect(files).toMatch(/products\/image\.bin/);
  expect(here.kernel).toBe(release());
  expect(JSON.parse(summary).sandbox).toEqual({ ...here, kernel: kernel.release });
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
