// SPDX-License-Identifier: Apache-2.0
// A signer of checkpoints that comes and goes: the log waits for it with the very checkpoint that it asked for, so that no two of a size
// are ever signed, and loses nothing that was acknowledged.

import { expect, test } from 'vitest';
import type { CheckpointBody, TileLogOptions } from '../../../registry/log/tile-log.ts';
import { TRUST } from '../../../registry/trust-faults.ts';
import { codeOfAsync } from '../../core/tlog/refusal.ts';
import { newFolder, openTiles } from './log-folder.ts';
import { entry, ORIGIN } from './numbered-entry.ts';

/** Signs, and while `lost` is set the answer gets lost on its way; `signed` has every root that was ever signed, by size. */
function lossySigner() {
  const state = { lost: false };
  const signed = new Map<bigint, Set<string>>();
  const signCheckpoint: TileLogOptions['signCheckpoint'] = async ({ size, rootHash }: CheckpointBody) => {
    const roots = signed.get(size) ?? new Set();
    signed.set(size, roots.add(Buffer.from(rootHash).toString('hex')));
    await new Promise((resolve) => setImmediate(resolve));
    if (state.lost) throw TRUST.unavailable('SIGNER_UNREACHABLE', 'expected a signer: it is gone');
    return `— ${ORIGIN} AAAAAAAA\n`;
  };
  return { state, signed, signCheckpoint };
}

test('while it is gone entries are refused and nothing is published; then the same checkpoint is signed first', async () => {
  const { state, signed, signCheckpoint } = lossySigner();
  const folder = await newFolder();
  const { log, close } = await openTiles(folder, { signCheckpoint });
  await log.append(entry(1));
  state.lost = true;
  const refused = await Promise.all([2, 3].map((n) => codeOfAsync(log.append(entry(n)))));
  expect(refused).toEqual(['SIGNER_UNREACHABLE', 'SIGNER_UNREACHABLE']);
  expect(await codeOfAsync(log.append(entry(4)))).toBe('SIGNER_UNREACHABLE');
  expect(log.checkpoint().size).toBe(1n);
  expect(await log.leafBytes(1n)).toBeUndefined();
  state.lost = false;
  const { index } = await log.append(entry(5));
  const again = await Promise.all([2, 5].map((n) => log.append(entry(n))));
  expect(again.map(({ duplicate }) => duplicate)).toEqual([true, true]);
  for (const [size, roots] of signed) expect([size, roots.size]).toEqual([size, 1]);
  expect(log.checkpoint().size).toBe(index + 1n);
  await close();
  const opened = await openTiles(folder, { signCheckpoint });
  expect(opened.log.checkpoint().size).toBe(index + 1n);
});

test('what was not signed before the end is not there after it', async () => {
  const { state, signCheckpoint } = lossySigner();
  const folder = await newFolder();
  const { log, close } = await openTiles(folder, { signCheckpoint });
  await log.append(entry(1));
  state.lost = true;
  expect(await codeOfAsync(log.append(entry(2)))).toBe('SIGNER_UNREACHABLE');
  await close();
  state.lost = false;
  const opened = await openTiles(folder, { signCheckpoint });
  expect(opened.log.checkpoint().size).toBe(1n);
  expect(await opened.log.append(entry(2))).toMatchObject({ index: 1n, duplicate: false });
});

test('any other failure of a signer stops the log', async () => {
  const { state, signCheckpoint } = lossySigner();
  const { log } = await openTiles(await newFolder(), {
    signCheckpoint: (body) => {
      if (state.lost) throw new TypeError('a bug');
      return signCheckpoint(body);
    },
  });
  state.lost = true;
  expect(await codeOfAsync(log.append(entry(1)))).toBe('LOG_STORE_FAILED');
  state.lost = false;
  expect(await codeOfAsync(log.append(entry(1)))).toBe('LOG_STORE_FAILED');
});
