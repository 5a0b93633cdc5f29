// SPDX-License-Identifier: Apache-2.0
// A log that serves as much as it can: what the monitor holds of it at once is bounded, and what is large but true is read.

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { formatEntryBundle } from '../../../core/tlog/entry-bundle.ts';
import { hashLeaf } from '../../../core/tlog/merkle.ts';
import { GrowingTree } from '../../../registry/log/growing-tree.ts';
import { nodeHasher } from '../../../registry/log/hash-tiles.ts';
import { FollowedLog } from '../../../registry/monitor/followed-log.ts';
import { LogReader } from '../../../registry/monitor/log-reader.ts';
import { MonitorStore } from '../../../registry/monitor/monitor-store.ts';
import { signatureReader } from '../../../registry/monitor/sightings.ts';
import { temporaryFolder } from '../witness/running-witness.ts';

const MB = 1_000_000;
const ORIGIN = 'log.hostile.example';

/** A server of bundles; `most.bytes` is what was sent on all requests that were open at one time. */
async function serve(
  answer: (index: number, send: (bytes: Uint8Array) => Promise<boolean>) => Promise<void>,
) {
  const open = new Map<ServerResponse, number>();
  const most = { bytes: 0, requests: 0 };
  const server = createServer(async (request, response) => {
    const [, index = ''] = /\/tile\/entries\/(\d+)/.exec(request.url ?? '') ?? [];
    open.set(response, 0);
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    void closed.then(() => open.delete(response));
    response.on('error', () => undefined);
    /** False once nobody takes any more. */
    const send = async (bytes: Uint8Array) => {
      if (response.destroyed) return false;
      open.set(response, (open.get(response) ?? 0) + bytes.length);
      most.bytes = Math.max(
        most.bytes,
        [...open.values()].reduce((sum, each) => sum + each, 0),
      );
      most.requests = Math.max(most.requests, open.size);
      await Promise.race([closed, new Promise((resolve) => response.write(bytes, resolve))]);
      return !response.destroyed;
    };
    await answer(Number(index), send);
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return {
    most,
    reader: new LogReader(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'entries'),
  };
}

async function advance(reader: LogReader, size: bigint, rootHash: Uint8Array) {
  const store = await MonitorStore.open(await temporaryFolder());
  onTestFinished(() => store.close());
  const followed = await FollowedLog.open(store, 'signatures', ORIGIN);
  const list = { identities: [], keys: [] };
  const entries = signatureReader({ log: followed, list, counts: { foreign: 0 }, nowMs: 0 });
  const head = { origin: ORIGIN, note: '', size, rootHash };
  return followed.advance(head, reader, entries, { progress: () => undefined });
}

test('answers without an end are broken off, before they add up', { timeout: 120_000 }, async () => {
  const chunk = new Uint8Array(65_536);
  const { most, reader } = await serve(async (_, send) => {
    while (await send(chunk));
  });
  await expect(advance(reader, 1_000_000n, new Uint8Array(32))).rejects.toMatchObject({
    code: 'MONITOR_LOG_UNREADABLE',
    message: expect.stringContaining('of a size that entries can have'),
  });
  expect(most.bytes).toBeGreaterThan(16 * MB);
  expect(most.bytes).toBeLessThan(64 * MB);
});

test('bundles of the largest entries are read, one at a time', { timeout: 120_000 }, async () => {
  const leaves = Array.from({ length: 10 * 256 }, (_, i) => {
    // Small ones before them, between them and after them.
    const isLarge = [1, 2, 5].includes(Math.floor(i / 256));
    return new Uint8Array(isLarge ? 65_535 : 100).fill(i % 251);
  });
  const tree = await GrowingTree.open(0n, async () => undefined);
  tree.grow(leaves.map((leaf) => hashLeaf(leaf, nodeHasher)));
  const { most, reader } = await serve(async (index, send) => {
    const bundle = formatEntryBundle(leaves.slice(index * 256, index * 256 + 256));
    for (let at = 0; at < bundle.length; at += 65_536) {
      if (!(await send(bundle.subarray(at, at + 65_536)))) return;
    }
  });
  expect(await advance(reader, 2560n, tree.root())).toEqual({ kind: 'grown' });
  expect(most.bytes).toBeGreaterThan(16 * MB);
  expect(most.bytes).toBeLessThan(40 * MB);
});
