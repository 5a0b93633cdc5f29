// SPDX-License-Identifier: Apache-2.0
// A signer of checkpoints that comes and goes: the log waits for it with the very checkpoint that it asked for, so that no two of a size
// are ever signed, and loses nothing that was acknowledged.

import { Level } from 'level';
import { expect, test } from 'vitest';
import type { CheckpointBody } from '../../../registry/log/log-entry.ts';
import type { TileLogOptions } from '../../../registry/log/tile-log.ts';
import { rowKey, rowsOf } from '../../../registry/log/tile-store.ts';
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

test('where a signer remembers sizes, what it may have signed before the end is what it is asked for after it', async () => {
  const { state, signed, signCheckpoint } = lossySigner();
  const folder = await newFolder();
  const open = () => openTiles(folder, { signCheckpoint, signsElsewhere: true, clock: () => 5000 });
  const { log, close } = await open();
  await log.append(entry(1));
  state.lost = true;
  const refused = await Promise.all([2, 3, 4].map((n) => codeOfAsync(log.append(entry(n)))));
  expect(refused).toEqual(Array(3).fill('SIGNER_UNREACHABLE'));
  const asked = [...signed.keys()].at(-1) as bigint;
  expect(asked).toBeGreaterThan(1n);
  await close();
  // Once more, and nobody is told of what is not published.
  const between = await open();
  expect(between.log.checkpoint().size).toBe(1n);
  expect(await between.log.leafBytes(1n)).toBeUndefined();
  expect(await codeOfAsync(between.log.append(entry(9)))).toBe('SIGNER_UNREACHABLE');
  await between.close();
  state.lost = false;
  const after = await open();
  const { index } = await after.log.append(entry(9));
  expect(index).toBe(asked);
  const again = await Promise.all([2, 9].map((n) => after.log.append(entry(n))));
  expect(again.map(({ duplicate }) => duplicate)).toEqual([true, true]);
  for (const [size, roots] of signed) expect([size, roots.size]).toEqual([size, 1]);
  expect([...signed.keys()]).toEqual([...signed.keys()].sort((a, b) => Number(a - b)));
  await after.close();
  // What was published is no more taken up.
  expect((await open()).log.checkpoint().size).toBe(index + 1n);
});

test('a kept batch that is damaged is refused', async () => {
  const { state, signCheckpoint } = lossySigner();
  const folder = await newFolder();
  const first = await openTiles(folder, { signCheckpoint, signsElsewhere: true });
  state.lost = true;
  expect(await codeOfAsync(first.log.append(entry(1)))).toBe('SIGNER_UNREACHABLE');
  const whole = (await rowsOf(first.db as never).get(rowKey.unsigned)) as Uint8Array;
  await first.close();
  const flipped = (place: number) => whole.map((byte, i) => (i === place ? byte ^ 1 : byte));
  const harms = {
    'cut off': whole.slice(0, -1),
    'another entry': flipped(Buffer.from(whole).indexOf(entry(1).entry)),
    'no checkpoint': flipped(4 + ORIGIN.length),
    'of another log': flipped(5),
  };
  for (const [harm, bytes] of Object.entries(harms)) {
    const db = new Level<string, Uint8Array>(folder);
    await rowsOf(db as never).put(rowKey.unsigned, bytes);
    const opened = openTiles(folder, { db: db as never, signCheckpoint, signsElsewhere: true });
    expect([harm, await codeOfAsync(opened)]).toEqual([harm, 'LOG_STORE_INCONSISTENT']);
    await db.close();
  }
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
