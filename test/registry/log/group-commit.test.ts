// SPDX-License-Identifier: Apache-2.0
// When batches go: with a gathering time so long that whoever waited for it would fail the test.

import { expect, test } from 'vitest';
import { GroupCommit } from '../../../registry/log/group-commit.ts';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A group whose batches are recorded and end when the test says so. */
function recorded(limits: { batchCount: number; gatherMs: number }) {
  const batches: number[][] = [];
  const ends: (() => void)[] = [];
  const group = new GroupCommit<number>((batch) => {
    batches.push([...batch]);
    return new Promise((resolve) => ends.push(resolve));
  }, limits);
  const end = async () => {
    ends.shift()?.();
    await turn();
    await turn();
  };
  return { group, batches, end };
}

const AN_HOUR = { batchCount: 8, gatherMs: 3_600_000 };

test('one client after its own reply never waits', async () => {
  const { group, batches, end } = recorded(AN_HOUR);
  for (let n = 0; n < 10; n++) {
    group.push(n);
    await turn();
    await end();
  }
  expect(batches).toEqual(Array.from({ length: 10 }, (_, n) => [n]));
});

test('what arrives during a batch travels in the next, and no batch overlaps another', async () => {
  const { group, batches, end } = recorded(AN_HOUR);
  group.push(1);
  await turn();
  group.push(2);
  group.push(3);
  await turn();
  expect(batches).toEqual([[1]]);
  await end();
  expect(batches).toEqual([[1], [2, 3]]);
});

test('as many clients as the last batch carried are waited for, and not longer', async () => {
  const { group, batches, end } = recorded(AN_HOUR);
  group.push(1);
  await turn();
  for (const n of [2, 3, 4]) group.push(n);
  await end();
  await end();
  group.push(5);
  group.push(6);
  await turn();
  expect(batches).toEqual([[1], [2, 3, 4]]);
  group.push(7);
  await turn();
  expect(batches.at(-1)).toEqual([5, 6, 7]);
  await end();
});

test('those that never come are not waited for longer than the limit', async () => {
  const { group, batches, end } = recorded({ batchCount: 8, gatherMs: 20 });
  group.push(1);
  await turn();
  for (const n of [2, 3]) group.push(n);
  await end();
  await end();
  group.push(4);
  await turn();
  await new Promise((resolve) => setTimeout(resolve, 60));
  await turn();
  expect(batches.at(-1)).toEqual([4]);
});

test('a batch holds no more than it may; draining needs no company', async () => {
  const { group, batches, end } = recorded(AN_HOUR);
  for (let n = 0; n < 17; n++) group.push(n);
  await turn();
  const drained = group.drain();
  for (let i = 0; i < 4; i++) await end();
  await drained;
  expect(batches.map((batch) => batch.length)).toEqual([8, 8, 1]);
  expect(group.count).toBe(0);
});
