// SPDX-License-Identifier: Apache-2.0
// The server's own TUF keys are exchanged: staged beside those in force, and used from the root on that names them, wherever the
// switch is cut off.

import { spawn } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Metadata, MetadataKind } from '@tufjs/models';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DurableFiles, diskFiles, storeFailure } from '../../registry/store/durable-files.ts';
import { createTufOnlineKeys, type OnlineKey, openTufOnlineKeys } from '../../registry/tuf/online-keys.ts';
import type { TufRepository } from '../../registry/tuf/repository.ts';
import { roleKey } from '../../release/role-metadata.ts';
import { buildHouse, type House, NOW, quiet, signRole } from './tuf-house.ts';

let house: House;
beforeEach(async () => {
  house = await buildHouse();
});
afterEach(() => house.remove());
const keysFolder = () => join(house.folder, 'keys');

type Signed = Record<string, never> & { keys: object; roles: Record<string, { keyids: string[] }> };

/** Makes the next online keys and a root 2 that names them. */
async function stage(roles: readonly ('snapshot' | 'timestamp')[] = ['snapshot', 'timestamp']) {
  await createTufOnlineKeys({ folder: keysFolder() });
  const held = await openTufOnlineKeys(keysFolder());
  const root = house.root(2) as Signed;
  const named = roles.map((role) => [role, roleKey((held[role][0] as OnlineKey).key)] as const);
  const change = {
    keys: { ...root.keys, ...Object.fromEntries(named.map(([, key]) => [key.keyId, key.json])) },
    roles: {
      ...root.roles,
      ...Object.fromEntries(named.map(([role, key]) => [role, { keyids: [key.keyId], threshold: 1 }])),
    },
  };
  return signRole(house.root(2, change), house.rootKeys);
}

/** Reads as a client does: the newest root, then timestamp and snapshot by its keys. Returns the versions. */
async function follow(tuf: TufRepository) {
  const read = async (name: string) => JSON.parse(Buffer.from(await tuf.metadataFile(name)).toString());
  const json = await read('2.root.json').catch(() => read('1.root.json'));
  const root = Metadata.fromJSON(MetadataKind.Root, json);
  const timestamp = Metadata.fromJSON(MetadataKind.Timestamp, await read('timestamp.json'));
  root.verifyDelegate('timestamp', timestamp);
  const { version } = timestamp.signed.snapshotMeta;
  const snapshot = Metadata.fromJSON(MetadataKind.Snapshot, await read(`${version}.snapshot.json`));
  root.verifyDelegate('snapshot', snapshot);
  return { root: root.signed.version, snapshot: version, timestamp: timestamp.signed.version };
}

it('is made once by two commands at once: a key whose public half went out stays', async () => {
  const both = [keysFolder(), keysFolder()].map((folder) => createTufOnlineKeys({ folder }));
  const outcomes = await Promise.allSettled(both);
  const refused = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason.code] : []));
  expect(refused).toEqual(['CA_FILES_EXIST']);
  const made = outcomes.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const held = await openTufOnlineKeys(keysFolder());
  for (const role of ['snapshot', 'timestamp'] as const) {
    const newest = createPublicKey((held[role][0] as OnlineKey).key);
    expect(made.map((each) => each[role].publicKey)).toEqual([
      newest.export({ type: 'spki', format: 'pem' }),
    ]);
  }
});

describe('a root that names staged keys', () => {
  it('is published with snapshot and timestamp of these keys, which go on signing after a restart', async () => {
    const tuf = await house.open();
    expect(await tuf.putRoot(await stage())).toEqual({ kind: 'published', version: 2 });
    expect(await follow(tuf)).toEqual({ root: 2, snapshot: 2, timestamp: 2 });
    await tuf.put('targets', house.targets(2), quiet);
    expect(await follow(await house.open())).toEqual({ root: 2, snapshot: 3, timestamp: 3 });
  });

  it('may exchange one of the two', async () => {
    for (const role of ['snapshot', 'timestamp'] as const) {
      await house.remove();
      house = await buildHouse();
      const tuf = await house.open();
      await tuf.putRoot(await stage([role]));
      expect((await follow(tuf)).root).toBe(2);
      expect((await follow(await house.open())).root).toBe(2);
    }
  });

  it('needs no retired key any more, and keeps none from being read', async () => {
    const tuf = await house.open();
    await tuf.putRoot(await stage());
    for (const role of ['snapshot', 'timestamp']) await rm(join(keysFolder(), `tuf-${role}.pem`));
    expect((await follow(await house.open())).root).toBe(2);
    const third = await createTufOnlineKeys({ folder: keysFolder() });
    expect(third.snapshot.path).toBe(join(keysFolder(), 'tuf-snapshot-3.pem'));
    expect((await follow(await house.open())).root).toBe(2);
  });

  it('is refused while the keys are not there', async () => {
    const tuf = await house.open();
    const root = await stage();
    await rm(join(keysFolder(), 'tuf-snapshot-2.pem'));
    await expect(tuf.putRoot(root)).rejects.toMatchObject({ code: 'TUF_REPOSITORY_ROOT_UNSUITABLE' });
    expect(await follow(tuf)).toEqual({ root: 1, snapshot: 1, timestamp: 1 });
  });
});

it.each([1, 2, 3])(
  'a server that is killed right after write %i of the switch starts with the new root',
  async (n) => {
    const root = join(house.folder, 'root.json');
    await writeFile(root, await stage());
    const script = fileURLToPath(new URL('rotate-until-killed.ts', import.meta.url));
    const folders = ['tuf', 'keys', 'blobs'].map((name) => join(house.folder, name));
    const child = spawn(process.execPath, [script, ...folders, root, `${n}`, `${NOW}`], { stdio: 'inherit' });
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
    const tuf = await house.open();
    const versions = await follow(tuf);
    expect(versions).toEqual({ root: 2, snapshot: 2, timestamp: 2 });
    await tuf.put('targets', house.targets(2), quiet);
    expect((await follow(tuf)).snapshot).toBe(3);
  },
);

/** Fails every write from the n-th on, after or before it happened, until it is told to stop. */
function failing(n: number, when: 'before' | 'after') {
  let [count, isOver] = [0, false];
  const files: DurableFiles = {
    ...diskFiles,
    async write(path, bytes, mode) {
      const fails = !isOver && ++count >= n;
      if (fails && when === 'before') throw storeFailure('full', { code: 'ENOSPC' });
      await diskFiles.write(path, bytes, mode);
      if (fails) throw storeFailure('full', { code: 'ENOSPC' });
    },
  };
  return {
    files,
    stop: () => {
      isOver = true;
    },
  };
}

it.each([1, 2, 3].flatMap((n) => [[n, 'before'] as const, [n, 'after'] as const]))(
  'a disk that is full from write %i on (%s) leaves readers a whole state, and the switch is finished later',
  async (n, when) => {
    const disk = failing(n, when);
    const tuf = await house.open(undefined, disk.files);
    const root = await stage();
    await expect(tuf.putRoot(root)).rejects.toMatchObject({ code: 'REGISTRY_STORE_FAILED' });
    const isDone = n === 3 && when === 'after';
    expect((await follow(tuf)).root).toBe(isDone ? 2 : 1);
    disk.stop();
    // Whatever comes next finishes it first.
    await tuf.put('targets', house.targets(2), quiet);
    const isWritten = n > 1 || when === 'after';
    expect((await follow(tuf)).root).toBe(isWritten ? 2 : 1);
    expect(await tuf.putRoot(root)).toMatchObject({ kind: isWritten ? 'unchanged' : 'published' });
    expect((await follow(await house.open())).root).toBe(2);
  },
);
