// SPDX-License-Identifier: Apache-2.0
// `waybill serve` that is told to stop in the middle of its work: what it acknowledged is there afterwards, whatever it did not is
// plainly not acknowledged, and it takes no longer than it may.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { signStatement } from '../../../attest/sign.ts';
import { formatStatement } from '../../../core/intoto/statement.ts';
import { type LocalSigner, newSigner } from '../../../registry/trust/signer.ts';
import { dsseRequest, keyed } from '../log/log-server.ts';
import { makeDataFolder } from '../running-registry.ts';
import { LoopbackIssuer } from '../trust/loopback-issuer.ts';
import { answerOn, open } from './raw-requests.ts';

const WAYBILL = fileURLToPath(new URL('../../../cli/waybill.js', import.meta.url));
let issuer: LoopbackIssuer;
let made: Awaited<ReturnType<typeof makeDataFolder>>;
let signer: LocalSigner;
let child: ChildProcess;
let said: { out: string; err: string };

beforeEach(async () => {
  issuer = await LoopbackIssuer.start();
  signer = newSigner().signer;
  const keys = [{ name: 'test', publicKey: Buffer.from(signer.spki).toString('base64') }];
  made = await makeDataFolder(issuer.url, { keys, limits: { shutdownMs: 3000 } });
});
afterEach(async () => {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await issuer.close();
  await rm(made.home, { recursive: true });
});

async function serve(): Promise<void> {
  child = spawn(process.execPath, [WAYBILL, 'serve', made.dataFolder], { stdio: ['ignore', 'pipe', 'pipe'] });
  const heard = { out: '', err: '' };
  said = heard;
  child.stdout?.on('data', (chunk) => {
    heard.out += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    heard.err += chunk;
  });
  await expect.poll(() => heard.out, { timeout: 20_000 }).toContain('ready at');
}

const request = (text: string): string =>
  JSON.stringify(dsseRequest(text, signer, keyed(signer.spki)).request);
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface Logged {
  readonly text: string;
  readonly index: string;
}

/** Logs entries one after another until the server is gone; remembers what was acknowledged, and how all else ended. */
async function logUntilGone(worker: number, logged: Logged[], ends: string[]): Promise<void> {
  for (let n = 0; ; n++) {
    const text = `${worker}-${n}`;
    try {
      const response = await fetch(`${made.url}/log/api/v2/log/entries`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: request(text),
      });
      const body = (await response.json()) as { logIndex?: string; error?: { code: string } };
      if (response.status === 201) logged.push({ text, index: body.logIndex ?? '' });
      else ends.push(`${response.status} ${body.error?.code}`);
    } catch (failure) {
      ends.push((failure as Error).name);
      return;
    }
  }
}

/** Lets the server take a blob of these bytes. */
async function attest(bytes: Uint8Array): Promise<void> {
  const signingConfig = await readFile(join(made.dataFolder, 'trust', 'signing_config.v0.2.json'));
  const identity = { token: () => issuer.token() } as never;
  const statement = formatStatement({
    subjects: [{ name: 'thing', sha256: sha256(bytes) }],
    predicateType: 'https://example.com/test/v1',
    predicate: {},
  });
  const bundle = await signStatement(statement, { signingConfig: new Uint8Array(signingConfig), identity });
  const answer = await fetch(`${made.url}/api/v1/attestations`, { method: 'POST', body: bundle as never });
  expect(answer.status).toBe(201);
}

/** Begins to send a blob; `finish` sends what is left. */
function beginBlob(bytes: Uint8Array) {
  const socket = open(made.url);
  const answer = answerOn(socket, 20_000);
  const half = Math.floor(bytes.length / 2);
  socket.write(
    `PUT /api/v1/blobs/${sha256(bytes)} HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\n`,
  );
  socket.write(bytes.subarray(0, half));
  return { answer, finish: () => socket.write(bytes.subarray(half)) };
}

const incoming = () => readdir(join(made.dataFolder, 'state', 'blobs', 'incoming'));

test('SIGTERM under load: what was acknowledged is there, what was not is refused or cut', {
  timeout: 120_000,
}, async () => {
  await serve();
  const [quick, slow] = [new Uint8Array(20_000_000).fill(1), new Uint8Array(20_000_000).fill(2)];
  await attest(quick);
  await attest(slow);
  const logged: Logged[] = [];
  const ends: string[] = [];
  const workers = Array.from({ length: 16 }, (_, worker) => logUntilGone(worker, logged, ends));
  const [whole, cut] = [beginBlob(quick), beginBlob(slow)];
  await expect.poll(async () => (await incoming()).length, { timeout: 20_000 }).toBe(2);
  // A connection that is open and asks nothing yet.
  const idle = open(made.url);
  const idleAnswer = answerOn(idle, 20_000);
  idle.write('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\n');
  await expect.poll(() => logged.length, { timeout: 20_000 }).toBeGreaterThan(50);
  const stoppedMs = performance.now();
  child.kill('SIGTERM');
  await expect.poll(() => said.err).toContain('stopping');
  idle.write('Host: x\r\n\r\n');
  whole.finish();
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(code).toBe(0);
  // The slow blob held it for as long as it may.
  expect(performance.now() - stoppedMs).toBeGreaterThan(2500);
  expect(performance.now() - stoppedMs).toBeLessThan(15_000);
  await Promise.all(workers);
  // Nobody got something in between.
  const foreseen = ['503 REGISTRY_STOPPING', 'TypeError'];
  expect(ends.filter((end) => !foreseen.includes(end))).toEqual([]);
  // The upload that came to its end while the server was stopping was acknowledged, the other one never.
  expect(await whole.answer).toMatchObject({ status: 201, count: 1 });
  expect(await cut.answer).toMatchObject({ count: 0, text: '' });
  const probed = await idleAnswer;
  expect(probed.text).toMatch(/HTTP\/1\.1 503 [\s\S]*connection: close[\s\S]*REGISTRY_STOPPING/i);
  expect(await incoming()).toEqual([]);

  await serve();
  const again = await fetch(`${made.url}/api/v1/blobs/${sha256(quick)}`);
  expect(sha256(new Uint8Array(await again.arrayBuffer()))).toBe(sha256(quick));
  expect((await fetch(`${made.url}/api/v1/blobs/${sha256(slow)}`)).status).toBe(404);
  // Each acknowledged entry is at its index, in the tree that is published now.
  const bundles = new Map<string, string>();
  for (const { text, index } of logged) {
    const at = Number(index);
    const tile = String(Math.floor(at / 256)).padStart(3, '0');
    const response = bundles.get(tile) ?? (await entriesOf(tile));
    bundles.set(tile, response);
    const digest = createHash('sha256')
      .update(`DSSEv1 28 application/vnd.in-toto+json ${text.length} ${text}`)
      .digest('base64');
    expect([text, response.includes(digest)]).toEqual([text, true]);
  }
  child.kill('SIGTERM');
  await once(child, 'exit');
});

/** The entries of a bundle, whole or partial, as text. */
async function entriesOf(tile: string): Promise<string> {
  const note = await (await fetch(`${made.url}/log/checkpoint`)).text();
  const size = Number(note.split('\n')[1]);
  const width = Math.min(256, size - 256 * Number(tile));
  const path = `${made.url}/log/tile/entries/${tile}${width === 256 ? '' : `.p/${width}`}`;
  const response = await fetch(path);
  expect([path, response.status]).toEqual([path, 200]);
  return response.text();
}

test('a second signal ends it at once, whoever is waited for', { timeout: 60_000 }, async () => {
  await serve();
  const bytes = new Uint8Array(1_000_000);
  await attest(bytes);
  const blob = beginBlob(bytes);
  await expect.poll(async () => (await incoming()).length).toBe(1);
  child.kill('SIGTERM');
  await expect.poll(() => said.err).toContain('stopping');
  const secondMs = performance.now();
  child.kill('SIGTERM');
  const [code] = (await once(child, 'exit')) as [number | null];
  expect(code).toBe(75);
  expect(performance.now() - secondMs).toBeLessThan(2000);
  expect(await blob.answer).toMatchObject({ count: 0 });
});

test('a client that takes half an answer is not told that it is whole', { timeout: 60_000 }, async () => {
  await serve();
  const bytes = new Uint8Array(24 * 1024 * 1024).fill(3);
  await attest(bytes);
  const put = await fetch(`${made.url}/api/v1/blobs/${sha256(bytes)}`, {
    method: 'PUT',
    body: bytes as never,
  });
  expect(put.status).toBe(201);
  const answer = await fetch(`${made.url}/api/v1/blobs/${sha256(bytes)}`);
  expect(answer.headers.get('content-length')).toBe(String(bytes.length));
  child.kill('SIGTERM');
  await once(child, 'exit');
  // It was not read until now: what lay in buffers is all there is.
  await expect(answer.arrayBuffer()).rejects.toThrow('terminated');
});
