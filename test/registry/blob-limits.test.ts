// SPDX-License-Identifier: Apache-2.0
// What keeps blobs from doing harm: their size, the disk, and the patience with whoever sends them.

import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { Blobs } from '../../registry/store/blobs.ts';
import { RunningRegistry, refusal } from './running-registry.ts';
import { sha256 } from './tuf-house.ts';

/** A registry with these limits, closed at the end of the test. */
async function start(limits: Record<string, unknown>): Promise<RunningRegistry> {
  const running = await RunningRegistry.start({ limits });
  onTestFinished(() => running.close());
  return running;
}

/** Submits a statement about some bytes, so that they may be stored. */
async function attest(running: RunningRegistry, bytes: Uint8Array): Promise<void> {
  const statement = {
    subjects: [{ name: 'thing', sha256: sha256(bytes) }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  };
  expect((await running.submit(await running.sign(statement))).status).toBe(201);
}

const incoming = (running: RunningRegistry) =>
  readdir(join(running.dataFolder, 'state', 'blobs', 'incoming'));

/** Begins an upload by hand. */
function begin(running: RunningRegistry, bytes: Uint8Array, announcedBytes: number) {
  const socket = connect(Number(new URL(running.url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(
    `PUT /api/v1/blobs/${sha256(bytes)} HTTP/1.1\r\nHost: x\r\nContent-Length: ${announcedBytes}\r\n\r\n`,
  );
  return socket;
}

test('a blob that is too large is refused, announced or not, and its sender hears why', async () => {
  const LIMIT = 100_000;
  const running = await start({ blobSizeBytes: LIMIT });
  const bytes = new Uint8Array(LIMIT + 1);
  await attest(running, bytes);
  expect(refusal(await running.putBlob(bytes))).toEqual({ status: 413, code: 'BLOB_TOO_LARGE' });
  // Far more than fits into buffers: the answer has to come through while the sender is still sending.
  const larger = new Uint8Array(30_000_000);
  await attest(running, larger);
  const pieces = async function* () {
    for (let at = 0; at < larger.length; at += 1 << 20) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      yield larger.subarray(at, at + (1 << 20));
    }
  };
  for (let tries = 0; tries < 5; tries++) {
    const announced = await fetch(`${running.url}/api/v1/blobs/${sha256(larger)}`, {
      method: 'PUT',
      headers: { 'content-length': String(larger.length) },
      body: pieces() as never,
      duplex: 'half',
    } as RequestInit);
    expect(announced.status).toBe(413);
  }
  const path = join(running.home, 'large');
  await writeFile(path, bytes);
  const response = await fetch(`${running.url}/api/v1/blobs/${sha256(bytes)}`, {
    method: 'PUT',
    body: createReadStream(path) as never,
    duplex: 'half',
  } as RequestInit);
  expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([
    413,
    'BLOB_TOO_LARGE',
  ]);
  expect(await incoming(running)).toEqual([]);
});

test('blobs leave the database its share of the disk, as announced and as they come', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-blobs-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  let free = 50_000_000;
  const chunk = new Uint8Array(1_000_000);
  const body = async function* (count: number) {
    for (let n = 0; n < count; n++) {
      // Others write meanwhile.
      free -= chunk.length;
      yield chunk;
    }
  };
  const blobs = await Blobs.open(folder, { reserveBytes: 10_000_000, freeBytes: async () => free });
  const short = { code: 'BLOB_SPACE_SHORT' };
  await expect(blobs.stage(body(1), 1e9, 40_000_001)).rejects.toMatchObject(short);
  expect(free).toBe(50_000_000);
  await expect(blobs.stage(body(60), 1e9, 40_000_000)).rejects.toMatchObject(short);
  expect(free).toBeLessThan(10_000_000);
  // Noticed soon after the reserve was touched, not at the end.
  expect(free).toBeGreaterThan(-10_000_000);
  expect(await readdir(join(folder, 'incoming'))).toEqual([]);
  free = 50_000_000;
  await blobs.drop(await blobs.stage(body(30), 1e9, 30_000_000));
});

test('a sender that falls silent is let go in time, and nothing is left', async () => {
  const running = await start({ requestTimeoutMs: 1000 });
  const bytes = utf8('never arrives whole');
  await attest(running, bytes);
  const socket = begin(running, bytes, bytes.length);
  const closed = once(socket, 'close');
  socket.write('never');
  socket.resume();
  await expect.poll(async () => (await incoming(running)).length).toBe(1);
  await closed;
  await expect.poll(() => incoming(running)).toEqual([]);
});

test('a disk that is nearly full takes no blob, says so, and goes on taking evidence', async () => {
  const running = await start({ diskReserveBytes: Number.MAX_SAFE_INTEGER });
  const bytes = utf8('no room for it');
  await attest(running, bytes);
  expect(refusal(await running.putBlob(bytes))).toEqual({ status: 503, code: 'BLOB_SPACE_SHORT' });
  expect((await running.send('GET', '/healthz')).status).toBe(200);
});

test('a blob that is announced as larger than the disk is refused before any of it has come', async () => {
  const running = await start({ blobSizeBytes: 1e15 });
  const bytes = utf8('the start of far more');
  await attest(running, bytes);
  const socket = begin(running, bytes, 1e15);
  const [answer] = await once(socket, 'data');
  expect(String(answer)).toMatch(/^HTTP\/1\.1 503 [\s\S]*BLOB_SPACE_SHORT/);
  socket.destroy();
});
