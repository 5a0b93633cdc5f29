// SPDX-License-Identifier: Apache-2.0
// A registry whose log shrinks and forks, as a restored backup or a stolen key makes it: seen, and proven to others.

import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { parseTrustedRoot } from '../../../core/sigstore/trusted-root.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import type { Alarm } from '../../../registry/monitor/alarms.ts';
import { verifyCertificateHead, verifySignatureHead } from '../../../registry/monitor/checkpoints.ts';
import { checkForkProof } from '../../../registry/monitor/fork-proof.ts';
import { RunningRegistry } from '../running-registry.ts';
import { temporaryFolder } from '../witness/running-witness.ts';
import { signInRun, watch } from './watching.ts';

/** A registry with an older copy of its data folder, at size 3, and a monitor's state folder that has seen size 6. */
async function makeGround() {
  const registry = await RunningRegistry.start();
  onTestFinished(() => registry.close());
  const sign = async (count: number) => {
    for (let i = 0; i < count; i++)
      await registry.submit(await signInRun(registry, { run_id: String(i + 1) }));
  };
  const home = await temporaryFolder();
  const [backup, seen] = [join(home, 'backup'), join(home, 'seen')];
  await sign(3);
  await registry.restart(() => cp(registry.dataFolder, backup, { recursive: true }));
  await sign(3);
  const first = await watch(registry, { folder: seen });
  expect((await first.round()).logs).toMatchObject([{ size: '6' }, { size: '6' }]);
  await first.close();
  const restore = () =>
    registry.restart(async () => {
      await rm(registry.dataFolder, { recursive: true });
      await cp(backup, registry.dataFolder, { recursive: true });
    });
  let rounds = 0;
  /** A round of a monitor that saw size 6 last. */
  const look = async () => {
    const folder = join(home, `state ${rounds++}`);
    await cp(seen, folder, { recursive: true });
    const watching = await watch(registry, { folder });
    const result = { folder, ...(await watching.round()) };
    await watching.close();
    return result;
  };
  const trust = async (name: string) =>
    new Uint8Array(await readFile(join(registry.dataFolder, 'trust', name)));
  const policy = parseLogPolicy(await trust('tlog-policy'), nodeCrypto);
  const keys = parseTrustedRoot(await trust('trusted_root.json')).certificateLogs.map(
    (log) => log.publicKey.spki,
  );
  /** Checks the proof of an alarm as somebody else would. */
  const prove = async (folder: string, { id, log }: Alarm) => {
    const bytes = new Uint8Array(await readFile(join(folder, 'alarms', `${id}.proof.json`)));
    const verify = (note: string) =>
      log === 'signatures' ? verifySignatureHead(note, policy) : verifyCertificateHead(note, keys);
    const { older, newer } = checkForkProof(bytes, verify, nodeCrypto);
    return [older.size, newer.size];
  };
  return { registry, sign, restore, look, prove };
}

test('a restored backup: smaller, then forked at every size, in both logs', {
  timeout: 120_000,
}, async () => {
  const { sign, restore, look, prove } = await makeGround();
  expect((await look()).alarms).toEqual([]);
  await restore();
  const shrunk = await look();
  expect(shrunk.alarms).toMatchObject([
    { kind: 'shrunk', log: 'certificates', message: expect.stringContaining('size 6') },
    { kind: 'shrunk', log: 'signatures', message: expect.stringContaining('then size 3') },
  ]);
  for (const { notes } of shrunk.alarms) expect(notes).toHaveLength(2);
  // What was seen stays what was seen.
  expect(shrunk.logs).toMatchObject([{ size: '6' }, { size: '6' }]);

  for (const [more, sizes] of [
    [1, [4n, 6n]],
    [2, [6n, 6n]],
    [1, [6n, 7n]],
    [2, [6n, 9n]],
  ] as const) {
    await sign(more);
    const { alarms, folder, open } = await look();
    expect(alarms).toMatchObject([
      { kind: 'forked', log: 'certificates' },
      { kind: 'forked', log: 'signatures' },
    ]);
    expect(open).toHaveLength(2);
    for (const alarm of alarms) expect(await prove(folder, alarm)).toEqual(sizes);
  }
});

test('a fork is one alarm, however often it is looked at and however it grows', {
  timeout: 120_000,
}, async () => {
  const { registry, sign, restore } = await makeGround();
  const watching = await watch(registry);
  await watching.round();
  await restore();
  await sign(4);
  expect((await watching.round()).alarms).toHaveLength(2);
  await sign(1);
  expect(await watching.round()).toMatchObject({ alarms: [], logs: [{ size: '6' }, { size: '6' }] });
});
