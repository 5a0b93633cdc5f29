// SPDX-License-Identifier: Apache-2.0
// The tests of control groups and of where they may be made, in a Linux whose hierarchy is version 2 and nobody else's: user-mode Linux, a kernel that runs
// as an ordinary program over the files of this machine, which it can only read.

import { spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const KERNEL = '/usr/bin/linux.uml';
const repository = fileURLToPath(new URL('../../', import.meta.url));
const base = mkdtempSync(join(tmpdir(), 'waybill-linux-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** What the kernel runs first: it mounts what a machine has, runs the tests, shows their report and switches off. */
const INIT = `#!/bin/sh
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd "${repository}"
"${process.execPath}" node_modules/vitest/vitest.mjs run test/builder/control-group.test.ts test/builder/delegation.test.ts \\
  --no-cache --configLoader=native --no-file-parallelism --testTimeout=600000 --hookTimeout=600000 \\
  --reporter=json --outputFile=/tmp/report.json
echo REPORT
cat /tmp/report.json
echo END
poweroff -f
`;

interface Report {
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

test('control groups hold in version 2', { timeout: 1_800_000 }, async (context) => {
  try {
    accessSync(KERNEL, constants.X_OK);
  } catch {
    context.skip('needs the Debian package user-mode-linux, which is for x86-64');
  }
  // An ordinary user cannot give the guest an owner of files other than itself.
  if (process.getuid?.() !== 0) context.skip('not root');
  const init = join(base, 'init');
  writeFileSync(init, INIT, { mode: 0o755 });
  const words = ['mem=2048M', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${init}`, `uml_dir=${base}/`];
  const machine = spawn(KERNEL, [...words, 'con=null', 'con0=fd:0,fd:1', 'quiet'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // All its processes are ended at once if the test is.
    detached: true,
  });
  context.onTestFinished(() => {
    try {
      process.kill(-(machine.pid as number), 'SIGKILL');
    } catch {
      // It was switched off.
    }
  });
  let shown = '';
  machine.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
  });
  await new Promise((resolve) => machine.on('close', resolve));
  const text = /REPORT\s+(\{[\s\S]*\})END/.exec(shown)?.[1];
  if (text === undefined) throw new Error(`expected a report of the tests, got ${shown.slice(-4000)}`);
  const report = JSON.parse(text) as Report;
  const results = report.testResults.flatMap(({ assertionResults }) => assertionResults);
  expect(results.length).toBeGreaterThan(30);
  expect(results.filter(({ status }) => status !== 'passed')).toEqual([]);
  expect(report.testResults.map(({ message }) => message).join('')).toBe('');
});
