// SPDX-License-Identifier: Apache-2.0
// Clients that ask as fast as they are answered, in a process of their own. Reads a task as JSON on standard input, writes what happened.

import { createPrivateKey, hash, type KeyObject, randomBytes, sign } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { Connection, formatRequest } from './connection.ts';

/** Someone who signs: PKCS#8 PEM, and a DER certificate or an identity token for it. */
export interface Signer {
  readonly key: string;
  readonly certificate: string;
}

/** What to ask for. */
export type Asking =
  | { readonly for: 'entries'; readonly form: 'dsse' | 'digest'; readonly signers: readonly Signer[] }
  | {
      readonly for: 'certificates';
      readonly key: string;
      readonly publicKey: string;
      readonly subject: string;
      readonly tokens: readonly string[];
    }
  | { readonly for: 'timestamps' }
  | { readonly for: 'files'; readonly paths: readonly string[] };

/** What to do. */
export interface LoadTask {
  /** Full address; of files, what their paths are appended to. */
  readonly url: string;
  readonly clientCount: number;
  readonly durationMs: number;
  readonly asking: Asking;
}

/** What happened; times in milliseconds. */
export interface LoadResult {
  /** Of all answers, those to what warmed up included. */
  readonly answered: number;
  /** Of those that the times are of. */
  readonly count: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const JSON_TYPE = 'application/json';
const STATEMENT_TYPE = 'application/vnd.in-toto+json';
const FILLER = 'x'.repeat(1500);

function entryRequests(url: URL, form: 'dsse' | 'digest', signers: readonly Signer[]): () => Buffer {
  const known = signers.map(({ key, certificate }) => ({
    key: createPrivateKey(key),
    verifier: { x509Certificate: { rawBytes: certificate }, keyDetails: 'PKIX_ECDSA_P256_SHA_256' },
  }));
  let number = 0;
  const run = randomBytes(8).toString('hex');
  return () => {
    const { key, verifier } = known[number % known.length] as (typeof known)[0];
    const payload = Buffer.from(`{"run":"${run}","statement":${++number},"filler":"${FILLER}"}`);
    const body = form === 'dsse' ? dsseBody(payload, key, verifier) : digestBody(payload, key, verifier);
    return formatRequest('POST', url, { type: JSON_TYPE, bytes: JSON.stringify(body) });
  };
}

function dsseBody(payload: Buffer, key: KeyObject, verifier: object): object {
  const sig = sign('sha256', preAuthEncoding(STATEMENT_TYPE, payload), key).toString('base64');
  const envelope = {
    payload: payload.toString('base64'),
    payloadType: STATEMENT_TYPE,
    signatures: [{ sig }],
  };
  return { dsseRequestV002: { envelope, verifiers: [verifier] } };
}

/** The same envelope as clients send it that keep the statement to themselves. */
function digestBody(payload: Buffer, key: KeyObject, verifier: object): object {
  const signed = preAuthEncoding(STATEMENT_TYPE, payload);
  const content = sign('sha256', signed, key).toString('base64');
  const digest = hash('sha256', signed, 'base64');
  return { hashedRekordRequestV002: { digest, signature: { content, verifier } } };
}

/** The same key and proof each time; each token once. */
function certificateRequests(url: URL, asking: Extract<Asking, { for: 'certificates' }>): () => Buffer {
  const { key, publicKey, subject, tokens } = asking;
  const proofOfPossession = sign('sha256', Buffer.from(subject), createPrivateKey(key)).toString('base64');
  const publicKeyRequest = { publicKey: { algorithm: 'ECDSA', content: publicKey }, proofOfPossession };
  let number = 0;
  return () => {
    const oidcIdentityToken = tokens[number++ % tokens.length];
    const bytes = JSON.stringify({ credentials: { oidcIdentityToken }, publicKeyRequest });
    return formatRequest('POST', url, { type: JSON_TYPE, bytes });
  };
}

function timestampRequests(url: URL): () => Buffer {
  return () => {
    const artifactHash = randomBytes(32).toString('base64');
    return formatRequest('POST', url, {
      type: JSON_TYPE,
      bytes: JSON.stringify({ artifactHash, hashAlgorithm: 'sha256' }),
    });
  };
}

function fileRequests(url: URL, paths: readonly string[]): () => Buffer {
  const requests = paths.map((path) =>
    formatRequest('GET', new URL(`${url.href.replace(/\/$/, '')}${path}`)),
  );
  let number = 0;
  return () => requests[number++ % requests.length] as Buffer;
}

function requestsOf({ url, asking }: LoadTask): () => Buffer {
  const address = new URL(url);
  if (asking.for === 'entries') return entryRequests(address, asking.form, asking.signers);
  if (asking.for === 'certificates') return certificateRequests(address, asking);
  return asking.for === 'timestamps' ? timestampRequests(address) : fileRequests(address, asking.paths);
}

const task = JSON.parse(await text(process.stdin)) as LoadTask;
const next = requestsOf(task);
const connections: Connection[] = [];
// Not all at once: the queue of connections that a server has not accepted yet is short.
for (let i = 0; i < task.clientCount; i++) connections.push(await Connection.open(new URL(task.url)));
const timesMs: number[] = [];
let answered = 0;
const started = performance.now();
// The first part warms both sides up and does not count.
const countFrom = started + Math.min(task.durationMs / 4, 5000);
async function client(connection: Connection): Promise<void> {
  while (performance.now() - started < task.durationMs) {
    const at = performance.now();
    const { status, body } = await connection.ask(next());
    if (status < 200 || status > 201) throw new Error(`expected 200 or 201, got ${status}: ${body}`);
    answered++;
    if (at >= countFrom) timesMs.push(performance.now() - at);
  }
}
await Promise.all(connections.map(client));
const tookMs = performance.now() - countFrom;
for (const connection of connections) connection.close();
timesMs.sort((a, b) => a - b);
const rank = (share: number): number => timesMs[Math.floor(timesMs.length * share)] ?? Number.NaN;
const result: LoadResult = {
  answered,
  count: timesMs.length,
  perSecond: (timesMs.length / tookMs) * 1000,
  p50Ms: rank(0.5),
  p99Ms: rank(0.99),
};
process.stdout.write(JSON.stringify(result));
