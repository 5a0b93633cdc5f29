// SPDX-License-Identifier: Apache-2.0
// The memory of a monitor or of a witness that cannot be reached now is not lost: who runs it is told why, and never to begin anew.

import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Unavailable } from '../../core/faults.ts';
import { logVerifierKey } from '../../registry/log/log-key.ts';
import { MonitorStore } from '../../registry/monitor/monitor-store.ts';
import { createWitness, WitnessFolder } from '../../registry/witness/witness-folder.ts';

const WAYBILL = join(import.meta.dirname, '../../cli/waybill.js');

async function newFolder(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'waybill-unopened-'));
  onTestFinished(() => rm(home, { recursive: true }));
  return join(home, 'kept');
}

/** What opens each, and where its database lies. */
const KINDS = [
  ['monitor', 'state', 'MONITOR_STATE_DAMAGED', MonitorStore.open, async () => undefined],
  [
    'witness',
    'lock',
    'WITNESS_DATA_DAMAGED',
    (folder: string) => WitnessFolder.open(folder),
    (folder: string) => createWitness(folder, 'w.example'),
  ],
] as const;

test.each(KINDS)(
  'a %s whose database cannot be reached is unavailable, and opens again when it can',
  async (_who, part, damaged, open, make) => {
    const folder = await newFolder();
    await make(folder);
    await (await open(folder)).close();
    const lock = join(folder, part, 'LOCK');
    await rename(lock, `${folder}.lock`);
    await mkdir(lock);
    const failure = await open(folder).catch((cause) => cause);
    expect(failure).toBeInstanceOf(Unavailable);
    expect(failure).toMatchObject({
      code: 'REGISTRY_STORE_FAILED',
      message: expect.stringMatching(/^could not open ".*" \(IO error: .*LOCK: Is a directory\)/),
    });
    expect(failure.row.remedy).toMatch(/free space.*the user to whom the folder belongs/);
    await rm(lock, { recursive: true });
    await rename(`${folder}.lock`, lock);
    await (await open(folder)).close();

    const current = join(folder, part, 'CURRENT');
    const said = await readFile(current);
    await writeFile(current, 'x');
    await expect(open(folder)).rejects.toMatchObject({ code: damaged });
    await writeFile(current, said);
    await rename(current, `${folder}.current`);
    await expect(open(folder)).rejects.toMatchObject({ code: damaged });
  },
);

test.each(['monitor', 'witness'] as const)('%s on a full disk: exit code 75, and what to do', async (who) => {
  const folder = await newFolder();
  const [, , , open, make] = KINDS[who === 'monitor' ? 0 : 1];
  await make(folder);
  await (await open(folder)).close();
  const watch = `${folder}.yaml`;
  await writeFile(
    watch,
    'identities:\n  - issuer: https://ci.example\n    identity: https://ci.example/build\n',
  );
  const key = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' });
  const vkey = logVerifierKey('log.example', new Uint8Array(key.subarray(-32)));
  const read = ['--watch', watch, '--builds', '/dev/null', '--log-key', vkey];
  const verb =
    who === 'monitor'
      ? ['monitor', 'run', folder, '--once', '--registry', 'http://127.0.0.1:1', ...read]
      : ['witness', 'add', folder, vkey];
  // Each write fails from the first octet on.
  const argv = ['--fsize=0', '--', process.execPath, WAYBILL, ...verb];
  const { status, stderr } = spawnSync('prlimit', argv, { encoding: 'utf8' });
  expect([status, stderr]).toEqual([75, expect.stringMatching(/REGISTRY_STORE_FAILED: .*File too large/)]);
});
