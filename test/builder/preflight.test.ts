// SPDX-License-Identifier: Apache-2.0
// Before a build: whether a sandbox can be made here, and one message that says why not.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { probeSandbox } from '../../builder/preflight.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-preflight-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

describe('before a build', () => {
  const path = process.env.PATH;
  afterEach(() => {
    process.env.PATH = path;
  });
  /** A bwrap that answers `--version` and then fails as told. */
  const pretend = (version: string, complaint: string) => {
    const folder = mkdtempSync(join(base, 'bin-'));
    const text = `#!/bin/sh\n[ "$1" = --version ] && { echo "${version}"; exit; }\necho "${complaint}" >&2\nexit 1\n`;
    writeFileSync(join(folder, 'bwrap'), text, { mode: 0o755 });
    // The user of steps runs it too.
    for (const way of [base, folder]) chmodSync(way, 0o755);
    process.env.PATH = `${folder}:${path}`;
  };

  test('the sandbox is tried, and what it is goes into the statement', async () => {
    const found = await probeSandbox();
    expect(found.hermetic).toBe(true);
    expect(found.mechanism).toMatch(/^bubblewrap \d+\.\d+/);
    expect(found.seccomp).toBe(true);
    // Which of them where is in control-group.test.ts.
    expect(found.limits).toMatch(/^(?:cgroup|rlimits)$/);
    expect(found.kernel).toBe(execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim());
  });

  test('a missing or old bubblewrap is named with its package', async () => {
    process.env.PATH = base;
    await expect(probeSandbox()).rejects.toMatchObject({
      code: 'SANDBOX_TOOL_MISSING',
      message: expect.stringContaining('apt-get install bubblewrap'),
    });
    pretend('bubblewrap 0.6.1', '');
    await expect(probeSandbox()).rejects.toMatchObject({
      code: 'SANDBOX_TOOL_MISSING',
      message: expect.stringContaining('0.8.0'),
    });
  });

  test.each([
    [
      'Ubuntu 24.04',
      'bwrap: setting up uid map: Permission denied',
      /uid map: Permission denied.*; AppArmor.*sysctl -w/,
    ],
    [
      'a bwrap with half a profile',
      'bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted',
      /AppArmor/,
    ],
    ['a container', 'bwrap: No permissions to create new namespace', /inside a container.*--security-opt/],
    [
      "a container's masked /proc",
      "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
      /systempaths=unconfined/,
    ],
  ])('a denial is explained in one message: %s', async (_, complaint, message) => {
    pretend('bubblewrap 0.9.0', complaint);
    await expect(probeSandbox()).rejects.toMatchObject({
      code: 'SANDBOX_NAMESPACES_DENIED',
      message: expect.stringMatching(message),
    });
  });

  test('a sandbox within a sandbox that forbids it is denied by the kernel, and explained', async () => {
    const module = new URL('../../builder/preflight.ts', import.meta.url).href;
    const script = `import { probeSandbox } from ${JSON.stringify(module)};
      await probeSandbox().catch((failure) => console.log(failure.code, failure.message));`;
    const args = [
      '--unshare-user',
      '--disable-userns',
      '--ro-bind',
      '/',
      '/',
      '--proc',
      '/proc',
      '--dev',
      '/dev',
    ];
    const shown = execFileSync('bwrap', [...args, process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(shown).toContain('SANDBOX_NAMESPACES_DENIED');
  });
});
