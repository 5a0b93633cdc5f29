// SPDX-License-Identifier: Apache-2.0
// What the signer of a log remembers of the trees that it signed, and where.

import { createHash } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { buildSignerServer, type HeldKey } from '../../registry/signer/signer-server.ts';
import { TreeMemory } from '../../registry/signer/tree-memory.ts';
import { diskSlots, formatSlot, SLOT_BYTES } from '../../registry/store/slot-file.ts';
import { newSigner } from '../../registry/trust/signer.ts';
import { codeOfAsync } from '../core/tlog/refusal.ts';

const ORIGIN = 'log.example.example';
const checkpoint = (origin: string, size: number) =>
  `${origin}\n${size}\n${Buffer.alloc(32, size).toString('base64')}\n`;
const spki = newSigner().signer.spki;
const owner = { name: ORIGIN, spki };
async function memoryFile() {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-memory-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return join(folder, 'log.pem.size');
}
const codeAfter = async (path: string, size: bigint, root: Uint8Array = Buffer.alloc(32, `${size}`)) => {
  const memory = await TreeMemory.open(path, owner);
  const code = await codeOfAsync((async () => memory.check(size, root))());
  await memory.close();
  return code;
};

test('outlives it, whichever of the two slots was written last', async () => {
  const path = await memoryFile();
  for (let size = 3n; size < 8n; size++) {
    expect(await codeAfter(path, size)).toBe('accepted');
    expect(await codeAfter(path, size)).toBe('accepted');
    expect(await codeAfter(path, size - 1n)).toBe('SIGNER_DATA_REFUSED');
    // Another tree of the same size is a fork.
    expect(await codeAfter(path, size, Buffer.alloc(32))).toBe('SIGNER_DATA_REFUSED');
  }
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('is of one signer: a second one over the same file signs nothing', async () => {
  const path = await memoryFile();
  const [one, two] = [await TreeMemory.open(path, owner), await TreeMemory.open(path, owner)];
  const root = Buffer.alloc(32, 1);
  await one.check(10n, root);
  expect(await codeOfAsync((async () => two.check(1n, root))())).toBe('SIGNER_MEMORY_UNUSABLE');
  await one.check(20n, root);
  await Promise.all([one.close(), two.close()]);
  expect(await codeAfter(path, 11n)).toBe('SIGNER_DATA_REFUSED');
});

test('is durable before anything is signed; where it cannot be, nothing is', async () => {
  const path = await memoryFile();
  const disk = diskSlots(path);
  const done: string[] = [];
  let isBroken = true;
  const slowly = async (write: () => Promise<void>) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (isBroken) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    await write();
    done.push('kept');
  };
  const memory = await TreeMemory.open(path, owner, {
    ...disk,
    create: (bytes) => slowly(() => disk.create(bytes)),
    overwrite: (offset, bytes) => slowly(() => disk.overwrite(offset, bytes)),
  });
  const key: HeldKey = {
    spki,
    sign: () => {
      done.push('signed');
      return new Uint8Array(64);
    },
  };
  const app = buildSignerServer({
    purpose: { service: 'log', origin: ORIGIN },
    key,
    trees: memory,
    logLevel: 'silent',
  });
  const ask = async (size: number) => {
    const payload = Buffer.from(checkpoint(ORIGIN, size));
    const headers = { 'content-type': 'application/octet-stream' };
    return (await app.inject({ method: 'POST', url: '/log/sign', headers, payload })).statusCode;
  };
  // The first makes the file, and of an empty tree too.
  expect([await ask(0), done]).toEqual([503, []]);
  isBroken = false;
  expect([await ask(0), done.splice(0)]).toEqual([200, ['kept', 'signed']]);
  expect(await ask(4)).toBe(200);
  expect(done).toEqual(['kept', 'signed']);
  isBroken = true;
  expect(await ask(5)).toBe(503);
  expect(done).toEqual(['kept', 'signed']);
  isBroken = false;
  // A second request for a size waits for the first one's write as well.
  expect(await Promise.all([ask(5), ask(5)])).toEqual([200, 200]);
  expect(done.slice(2)).toEqual(['kept', 'signed', 'signed']);
  await app.close();
});

test('begins with the first signature: a signer started for the wrong log leaves nothing behind', async () => {
  const path = await memoryFile();
  const wrong = await TreeMemory.open(path, { name: 'log2.example.example', spki });
  await wrong.close();
  await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(await codeAfter(path, 0n)).toBe('accepted');
  expect((await stat(path)).size).toBe(2 * SLOT_BYTES);
  expect(await codeAfter(path, 2n)).toBe('accepted');
  expect(await codeAfter(path, 1n)).toBe('SIGNER_DATA_REFUSED');
});

test('is of one key and log; damaged it is refused, and empty it is the word of the operator', async () => {
  const path = await memoryFile();
  expect(await codeAfter(path, 5n)).toBe('accepted');
  for (const other of [
    { name: 'log2.example.example', spki },
    { name: ORIGIN, spki: newSigner().signer.spki },
  ]) {
    // Both are named, what is there and what was asked for.
    const told = [owner, other].map(({ name, spki: key }) => {
      const id = createHash('sha256').update(key).digest('hex');
      return `"${name}" with the key of SHA-256 "${id}"`;
    });
    await expect(TreeMemory.open(path, other)).rejects.toMatchObject({
      code: 'SIGNER_MEMORY_UNUSABLE',
      message: `expected the size of a tree of ${told[1]} in "${path}", got that of ${told[0]}`,
    });
  }
  await writeFile(path, 'x');
  expect(await codeOfAsync(TreeMemory.open(path, owner))).toBe('SIGNER_MEMORY_UNUSABLE');
  await writeFile(path, Buffer.concat([formatSlot(Buffer.from('x\n')), Buffer.alloc(SLOT_BYTES)]));
  expect(await codeOfAsync(TreeMemory.open(path, owner))).toBe('SIGNER_MEMORY_UNUSABLE');
  await writeFile(path, '');
  expect(await codeAfter(path, 1n)).toBe('accepted');
  expect(await codeOfAsync(TreeMemory.open(join(path, 'x'), owner))).toBe('REGISTRY_STORE_FAILED');
});
