// SPDX-License-Identifier: Apache-2.0
// A copy of a data folder whose registry went on, with the heads of its logs on another disk [docs/operating.md §Backups].

import { appendFile, cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { say } from '../cli/command-line.ts';
import { RunningRegistry } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

test('it is behind the heads, and sound without them', async () => {
  const home = await mkdtemp(join(tmpdir(), 'waybill-fsck-copy-'));
  onTestFinished(() => rm(home, { recursive: true }));
  const [copy, heads] = [join(home, 'copy'), join(home, 'heads')];
  const registry = await RunningRegistry.start();
  const submit = async (name: string) => {
    const statement = {
      subjects: [{ name, sha256: sha256(name) }],
      predicateType: 'https://example.com/test/v1',
      predicate: {},
    };
    expect((await registry.submit(await registry.sign(statement))).status).toBe(201);
  };
  await submit('before');
  await registry.restart(() => cp(registry.dataFolder, copy, { recursive: true }));
  await submit('after');
  await registry.restart(() => cp(join(registry.dataFolder, 'state', 'heads'), heads, { recursive: true }));
  await registry.close();
  await appendFile(join(copy, 'config.yaml'), `\nheadFolder: ${heads}\n`);
  const compared = await say(['fsck', copy, '--all', '--json']);
  process.exitCode = undefined;
  const { findings } = JSON.parse(compared.out) as { findings: readonly { at: string }[] };
  expect(findings.map(({ at }) => at)).toEqual(['head of log', 'head of ct']);
  const alone = await say(['fsck', copy, '--without-heads', '--json']);
  expect(JSON.parse(alone.out)).toMatchObject({ ok: true, read: { logEntries: 1, attestations: 1 } });
  // Everything else is looked at as before.
  await rm(join(copy, 'trust', 'ca-chain.pem'));
  expect((await say(['fsck', copy, '--without-heads', '--json'])).code).toBe(1);
  process.exitCode = undefined;
});
