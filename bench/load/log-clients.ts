// SPDX-License-Identifier: Apache-2.0
// Clients that log signatures as fast as they are answered. Reads a task as JSON on standard input, writes what happened.

import { createPrivateKey, hash, sign } from 'node:crypto';
import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';

/** What to do. */
export interface LoadTask {
  readonly url: string;
  readonly clientCount: number;
  readonly durationMs: number;
  readonly form: 'dsse' | 'digest';
  /** PKCS#8 PEM. */
  readonly key: string;
  /** DER, base64. */
  readonly certificate: string;
}

/** What happened; times in milliseconds. */
export interface LoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const task = JSON.parse(await text(process.stdin)) as LoadTask;
const key = createPrivateKey(task.key);
const agent = new Agent({ keepAlive: true, maxSockets: task.clientCount });
const verifier = { x509Certificate: { rawBytes: task.certificate }, keyDetails: 'PKIX_ECDSA_P256_SHA_256' };
const type = 'application/vnd.in-toto+json';
let number = 0;

function nextRequest(): string {
  const payload = Buffer.from(`{"statement":${++number},"filler":"${'x'.repeat(1500)}"}`);
  const signed = preAuthEncoding(type, payload);
  const sig = sign('sha256', signed, key).toString('base64');
  if (task.form === 'digest') {
    const digest = hash('sha256', signed, 'base64');
    return JSON.stringify({ hashedRekordRequestV002: { digest, signature: { content: sig, verifier } } });
  }
  const envelope = { payload: payload.toString('base64'), payloadType: type, signatures: [{ sig }] };
  return JSON.stringify({ dsseRequestV002: { envelope, verifiers: [verifier] } });
}

function post(body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const sent = request(`${task.url}/api/v2/log/entries`, { method: 'POST', agent, headers }, (reply) => {
      reply.resume().on('end', () => {
        if (reply.statusCode === 201) resolve();
        else reject(new Error(`expected 201, got ${reply.statusCode}`));
      });
    });
    sent.on('error', reject).end(body);
  });
}

const timesMs: number[] = [];
const started = performance.now();
// The first part warms both sides up and does not count.
const countFrom = started + task.durationMs / 4;
async function client(): Promise<void> {
  while (performance.now() - started < task.durationMs) {
    const at = performance.now();
    await post(nextRequest());
    if (at >= countFrom) timesMs.push(performance.now() - at);
  }
}
await Promise.all(Array.from({ length: task.clientCount }, client));
const tookMs = performance.now() - countFrom;
agent.destroy();
timesMs.sort((a, b) => a - b);
const rank = (share: number): number => timesMs[Math.floor(timesMs.length * share)] ?? Number.NaN;
const result: LoadResult = {
  perSecond: (timesMs.length / tookMs) * 1000,
  p50Ms: rank(0.5),
  p99Ms: rank(0.99),
};
process.stdout.write(JSON.stringify(result));
