// SPDX-License-Identifier: Apache-2.0
// A publication cut off at each write: whoever opens the folder afterwards, and whoever goes on reading, sees the old state or
// the new one, whole.

import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { type DurableFiles, diskFiles, storeFailure } from '../../registry/store/durable-files.ts';
import { TufRepository } from '../../registry/tuf/repository.ts';
import { buildHouse, type House, NOW, quiet, sha256, signRole, targetsRole } from './tuf-house.ts';

let house: House;
const folders: string[] = [];
beforeAll(async () => {
  house = await buildHouse();
});
afterAll(async () => {
  await house.remove();
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true })));
});

/** Fails the n-th write, either before it happens or after (the acknowledgement is what gets lost). */
function cutAt(n: number, when: 'before' | 'after'): DurableFiles & { readonly writes: () => number } {
  let count = 0;
  return {
    ...diskFiles,
    writes: () => count,
    async write(path, bytes, mode) {
      const hit = ++count === n;
      if (hit && when === 'before') throw storeFailure('cut', { code: 'EIO' });
      await diskFiles.write(path, bytes, mode);
      if (hit) throw storeFailure('cut', { code: 'EIO' });
    },
  };
}

/** Walks from timestamp to roles as a client does, comparing digests; returns the version of the product's role, 0 for none. */
async function readThrough(tuf: TufRepository): Promise<number> {
  const read = async (name: string) => {
    const bytes = await tuf.metadataFile(name);
    return { bytes, signed: JSON.parse(Buffer.from(bytes).toString()).signed };
  };
  const timestamp = (await read('timestamp.json')).signed;
  const { version, hashes } = timestamp.meta['snapshot.json'];
  const snapshot = await read(`${version}.snapshot.json`);
  expect(sha256(snapshot.bytes)).toBe(hashes.sha256);
  for (const [name, meta] of Object.entries<{ version: number; hashes: { sha256: string } }>(
    snapshot.signed.meta,
  )) {
    expect(sha256((await read(`${meta.version}.${name}`)).bytes)).toBe(meta.hashes.sha256);
  }
  return snapshot.signed.meta['releases-optiboot.json']?.version ?? 0;
}

const image = utf8('image');
const release = () =>
  signRole(targetsRole(1, { 'images/optiboot/optiboot-1.bin': image }), [house.releasesKey]);

async function copyOf(files: DurableFiles): Promise<{ folder: string; open: () => Promise<TufRepository> }> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-cut-'));
  folders.push(folder);
  await cp(join(house.folder, 'tuf'), folder, { recursive: true });
  const open = () =>
    TufRepository.open({
      folder,
      keysFolder: join(house.folder, 'keys'),
      blobs: house.blobs,
      clock: () => NOW,
      files,
    });
  return { folder, open };
}

it.each(
  [1, 2, 3].flatMap((n) => [
    { n, when: 'before' as const },
    { n, when: 'after' as const },
  ]),
)('write $n cut off $when it happens leaves the old state or the new one', async ({ n, when }) => {
  await house.blobs.add(image);
  const files = cutAt(n, when);
  const { open } = await copyOf(files);
  const running = await open();
  await expect(running.put('releases-optiboot', release(), quiet)).rejects.toMatchObject({
    code: 'REGISTRY_STORE_FAILED',
  });
  const isNew = n === 3 && when === 'after';
  expect(await readThrough(await open())).toBe(isNew ? 1 : 0);
  // The process that lived through it agrees with the disk, and goes on.
  expect(await readThrough(running)).toBe(isNew ? 1 : 0);
  expect(running.isPublished(sha256(image))).toBe(isNew);
  const again = await running.put('releases-optiboot', release(), quiet);
  expect(again.kind).toBe(isNew ? 'unchanged' : 'published');
  expect(running.isPublished(sha256(image))).toBe(true);
  expect(await readThrough(await open())).toBe(1);
});

it('needs three writes', async () => {
  await house.blobs.add(image);
  const files = cutAt(99, 'before');
  const { open } = await copyOf(files);
  await (await open()).put('releases-optiboot', release(), quiet);
  expect(files.writes()).toBe(3);
});
