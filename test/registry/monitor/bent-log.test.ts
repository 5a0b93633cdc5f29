// SPDX-License-Identifier: Apache-2.0
// A log whose answers are bent on the way, or by its own key: nothing that it did not sign is kept, and nothing is an alarm that no verifier would take.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Level } from 'level';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import type { TrustedRoot } from '../../../core/sigstore/trusted-root.ts';
import { formatCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { formatHashedRekord, type HashedRekord } from '../../../core/tlog/hashed-rekord.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { formatNote } from '../../../core/tlog/note.ts';
import { parseCertificate } from '../../../core/x509/certificate.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { DecisionsFolder } from '../../../registry/monitor/documents.ts';
import { isMade } from '../../../registry/monitor/explanations.ts';
import { FollowedLog } from '../../../registry/monitor/followed-log.ts';
import { LogReader } from '../../../registry/monitor/log-reader.ts';
import { Monitor, type MonitorEvent } from '../../../registry/monitor/monitor.ts';
import { MonitorStore } from '../../../registry/monitor/monitor-store.ts';
import { shardUrl } from '../../../registry/monitor/shards.ts';
import { signatureReader } from '../../../registry/monitor/sightings.ts';
import { BuildsFile } from '../../../registry/monitor/started-builds.ts';
import {
  EMPTY_NAME,
  type Extension,
  extendedKeyUsage,
  keyUsage,
  OID,
} from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { noteSigner } from '../../core/tlog/note-signers.ts';
import { type LogServer, startLogServer, TestAuthority } from '../log/log-server.ts';
import { ORIGIN } from '../log/numbered-entry.ts';
import { sha256 } from '../tuf-house.ts';
import { temporaryFolder } from '../witness/running-witness.ts';
import { IDENTITY } from './watching.ts';

/** What the way does to an answer: bends it, or takes it away. */
type Bend = (path: string, body: Uint8Array) => Uint8Array | undefined | { readonly location: string };
const honest: Bend = (_, body) => body;

let log: LogServer;
let bend: Bend;
let base: string;
beforeEach(async () => {
  log = await startLogServer();
  bend = honest;
  const server = createServer(async (request, response) => {
    const answer = await fetch(`${log.url}${request.url}`);
    const body = bend(request.url ?? '', new Uint8Array(await answer.arrayBuffer()));
    if (body !== undefined && 'location' in body) response.writeHead(302, body).end();
    else response.writeHead(body === undefined ? 404 : answer.status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

let serial = 0;
const KEY_DETAILS = 'PKIX_ECDSA_P256_SHA_256';
/** An entry by the listed key of the log, signed or with any bytes. */
function entry(signature?: Uint8Array): HashedRekord {
  const message = utf8(`document ${serial++}`);
  const digest = new Uint8Array(Buffer.from(sha256(message), 'hex'));
  return {
    digest,
    signature: signature ?? log.listed.sign(message),
    verifier: { publicKey: log.listed.spki },
    keyDetails: KEY_DETAILS,
  };
}
const grow = (count: number) =>
  Promise.all(Array.from({ length: count }, () => log.log.add(formatHashedRekord(entry()))));

/** A monitor that watches the listed key; without pause, all that is not explained is an alarm. */
async function openMonitor(change: { readonly folder?: string; readonly vkey?: string } = {}) {
  const folder = change.folder ?? join(await temporaryFolder(), 'state');
  const events: MonitorEvent[] = [];
  const policy = parseLogPolicy(utf8(`log ${change.vkey ?? log.log.verifierKey}\nquorum none\n`), nodeCrypto);
  const issuer = 'https://issuer.example';
  const key = { name: 'listed', publicKey: Buffer.from(log.listed.spki).toString('base64') };
  const builds = new BuildsFile('/dev/null');
  const monitor = await Monitor.open({
    folder,
    urlOf: (origin) => shardUrl(base, origin),
    trust: async () => ({ policy, trustedRoot: undefined }),
    evidence: {
      list: { identities: [{ issuer, name: { whole: IDENTITY } }], keys: [key] },
      builds,
      documents: undefined,
      decisions: new DecisionsFolder(await temporaryFolder()),
    },
    clock: Date.now,
    graceMs: 0,
    staleMs: 3_600_000,
    report: (event) => events.push(event),
  });
  let isOpen = true;
  const close = async () => {
    if (isOpen) await monitor.close();
    isOpen = false;
  };
  onTestFinished(close);
  const round = async () => {
    events.length = 0;
    const result = await monitor.round();
    return { ...result, raised: events.filter(({ event }) => event === 'alarm').length };
  };
  return { folder, round, close };
}

const flip = (body: Uint8Array, at: number) => body.map((octet, i) => (i === at ? octet ^ 1 : octet));

test.each<[string, Bend]>([
  [
    'an entry is another',
    (path, body) => (path.includes('/tile/entries/') ? flip(body, body.length - 5) : body),
  ],
  ['a bundle ends early', (path, body) => (path.includes('/tile/entries/') ? body.subarray(0, -9) : body)],
  ['a bundle is empty', (path, body) => (path.includes('/tile/entries/') ? body.subarray(0, 0) : body)],
  ['a bundle is missing', (path, body) => (path.includes('/tile/entries/') ? undefined : body)],
  ['a tile of hashes is another', (path, body) => (path.includes('/tile/0/') ? flip(body, 0) : body)],
  ['a tile of hashes is short', (path, body) => (path.includes('/tile/0/') ? body.subarray(32) : body)],
  [
    'the checkpoint is too long',
    (path, body) => (path.endsWith('/checkpoint') ? new Uint8Array(70_000) : body),
  ],
])('%s: unreadable, no alarm, and nothing of it is kept', { timeout: 60_000 }, async (_, bent) => {
  await grow(5);
  const monitor = await openMonitor();
  expect(await monitor.round()).toMatchObject({ raised: 5, failures: {}, logs: [{ size: '5' }] });
  await grow(3);
  bend = bent;
  const { raised, pending, logs, failures } = await monitor.round();
  expect({ raised, pending, logs }).toMatchObject({ raised: 0, pending: 0, logs: [{ size: '5' }] });
  expect(failures[ORIGIN]).toContain('MONITOR_LOG_UNREADABLE');
  bend = honest;
  expect(await monitor.round()).toMatchObject({ raised: 3, failures: {}, logs: [{ size: '8' }] });
});

test('what was read ahead of a lie is forgotten with it, over a restart too', {
  timeout: 120_000,
}, async () => {
  await grow(5);
  const first = await openMonitor();
  await first.round();
  const stranger = newSigner().signer.spki;
  const others = Array.from({ length: 5000 }, () => ({
    ...entry(new Uint8Array(70)),
    verifier: { publicKey: stranger },
  }));
  await grow(2);
  await Promise.all(others.map((other) => log.log.add(formatHashedRekord(other))));
  await grow(1);
  // The lie is in the first part, which is written down before the last one shows it.
  bend = (path, body) => (path.includes('/tile/entries/001') ? flip(body, body.length - 5) : body);
  const lied = await first.round();
  expect(lied).toMatchObject({ raised: 0, pending: 0, logs: [{ size: '5' }] });
  expect(lied.failures[ORIGIN]).toContain('expected entries that lead to the root of size 5008');
  await first.close();
  bend = honest;
  const second = await openMonitor({ folder: first.folder });
  expect(await second.round()).toMatchObject({ raised: 3, failures: {}, logs: [{ size: '5008' }] });
});

test('what was read ahead of a break is no alarm until the rest shows that it was signed', {
  timeout: 120_000,
}, async () => {
  await grow(5);
  const stranger = newSigner().signer.spki;
  const others = Array.from({ length: 4200 }, () => ({
    ...entry(new Uint8Array(70)),
    verifier: { publicKey: stranger },
  }));
  await Promise.all(others.map((other) => log.log.add(formatHashedRekord(other))));
  bend = (path, body) => (path.includes('/tile/entries/016') ? undefined : body);
  const monitor = await openMonitor();
  expect(await monitor.round()).toMatchObject({ raised: 0, pending: 5, logs: [{ size: '0' }] });
  bend = honest;
  expect(await monitor.round()).toMatchObject({ raised: 5, pending: 0, logs: [{ size: '4205' }] });
});

test('where partial tiles are gone, full ones do', { timeout: 60_000 }, async () => {
  await grow(10);
  const monitor = await openMonitor();
  await monitor.round();
  await grow(290);
  const held = log.log.tiles.checkpoint().note;
  await grow(300);
  bend = (path, body) => {
    if (path.endsWith('/checkpoint')) return utf8(held);
    return path.includes('.p/') ? undefined : body;
  };
  // Read where the log was, no entry more.
  expect(await monitor.round()).toMatchObject({ failures: {}, raised: 290, logs: [{ size: '300' }] });
});

test('nobody is followed elsewhere', async () => {
  await grow(1);
  bend = (path, body) => (path.endsWith('/checkpoint') ? { location: `${log.url}/log/checkpoint` } : body);
  expect((await (await openMonitor()).round()).failures[ORIGIN]).toContain('MONITOR_LOG_UNREACHABLE');
});

test('a key of the log that signs an empty tree of another root', async () => {
  const signer = noteSigner('log.forger.example');
  const text = formatCheckpoint({
    origin: 'log.forger.example',
    size: 0n,
    rootHash: new Uint8Array(32),
    extensions: [],
  });
  bend = (path, body) =>
    path.endsWith('/checkpoint') ? utf8(formatNote({ text, signatures: [signer.sign(text)] })) : body;
  const monitor = await openMonitor({ vkey: signer.vkey });
  expect((await monitor.round()).failures['log.forger.example']).toContain(
    'expected the root of the empty tree',
  );
});

test('copies of ours with signatures that do not verify are no alarm', async () => {
  await log.log.add(formatHashedRekord(entry(new Uint8Array(70))));
  await log.log.add(formatHashedRekord(entry(log.listed.sign(utf8('something else')))));
  await log.log.add(formatHashedRekord(entry()));
  expect(await (await openMonitor()).round()).toMatchObject({ raised: 1, pending: 0, logs: [{ size: '3' }] });
});

test('our name in a certificate counts if an authority of the trusted root gave it, and its key signed', async () => {
  const { signer } = newSigner();
  const names = der.sequence(der.contextPrimitive(6, Buffer.from(IDENTITY, 'latin1')));
  const extensions: Extension[] = [
    { oid: OID.subjectAltName, critical: true, value: names },
    { oid: '1.3.6.1.4.1.57264.1.1', value: Buffer.from('https://issuer.example', 'latin1') },
    keyUsage('digitalSignature'),
    extendedKeyUsage(OID.codeSigning),
  ];
  const root: TrustedRoot = {
    signatureLogs: [],
    certificateLogs: [],
    certificateAuthorities: [
      { issuers: log.authority.chain.map(parseCertificate), validFor: { startMs: 0 } },
    ],
    timestampAuthorities: [],
  };
  const made = async (
    authority: TestAuthority,
    signature: (message: Uint8Array) => Uint8Array,
    life: { readonly notBeforeMs?: number; readonly notAfterMs?: number } = {},
  ) => {
    const certificate = await authority.issue(signer.spki, { subject: EMPTY_NAME, extensions, ...life });
    const message = utf8(`document ${serial++}`);
    const digest = new Uint8Array(Buffer.from(sha256(message), 'hex'));
    const signed = {
      digest,
      signature: signature(message),
      verifier: { certificate },
      keyDetails: KEY_DETAILS,
    } as const;
    await log.log.add(formatHashedRekord(signed));
    const maker = { kind: 'certificate', identity: IDENTITY, issuer: '', claims: {}, loggedAs: '' } as const;
    const sinceMs = Math.min(life.notBeforeMs ?? Date.now(), Date.now());
    const place = { log: 'signatures', origin: '', index: '0', leafHash: '', sinceMs } as const;
    const sighting = { ...place, maker, entry: Buffer.from(formatHashedRekord(signed)).toString('base64') };
    return [isMade(sighting, root), isMade(sighting, undefined)];
  };
  const foreign = await TestAuthority.make('foreign');
  expect(await made(log.authority, signer.sign)).toEqual([true, true]);
  expect(await made(foreign, signer.sign)).toEqual([false, true]);
  expect(await made(log.authority, () => signer.sign(utf8('other')))).toEqual([false, false]);
  // Who has the authority's key writes what begins before it, or later: it counts as soon as both do.
  const [longAgo, later] = [
    { notBeforeMs: 0 },
    { notBeforeMs: Date.now() + 1_800_000, notAfterMs: Date.now() + 3e9 },
  ];
  expect(await made(log.authority, signer.sign, longAgo)).toEqual([true, true]);
  expect(await made(log.authority, signer.sign, later)).toEqual([true, true]);
  const over = { notBeforeMs: 0, notAfterMs: 1_000_000 };
  expect(await made(log.authority, signer.sign, over)).toEqual([false, true]);
  // With the log's key alone nothing is known of authorities.
  expect(await (await openMonitor()).round()).toMatchObject({ raised: 5, pending: 0 });
});

test('a state folder that does not fit itself is not believed', async () => {
  await grow(5);
  const monitor = await openMonitor();
  await monitor.round();
  await monitor.close();
  const state = new Level<string, Uint8Array>(join(monitor.folder, 'state'), { valueEncoding: 'view' });
  for await (const [key, value] of state.iterator()) {
    if (key.includes('/tile/0/')) await state.put(key, flip(value, 40));
  }
  await state.close();
  const again = await openMonitor({ folder: monitor.folder });
  await expect(again.round()).rejects.toMatchObject({ code: 'MONITOR_STATE_DAMAGED' });
});

test('a log that takes longer than a round to be read is read on in the next, and others are asked in between', async () => {
  await grow(5000);
  const store = await MonitorStore.open(await temporaryFolder());
  onTestFinished(() => store.close());
  const { note, size, rootHash } = log.log.tiles.checkpoint();
  const reader = new LogReader(shardUrl(base, ORIGIN), 'entries');
  const list = { identities: [], keys: [] };
  const advance = async () => {
    const followed = await FollowedLog.open(store, 'signatures', ORIGIN);
    const entries = signatureReader({ log: followed, list, counts: { foreign: 0 }, nowMs: 0 });
    const options = { progress: () => undefined, readMs: 0 };
    return followed.advance({ origin: ORIGIN, note, size, rootHash }, reader, entries, options);
  };
  for (const read of [2048, 4096]) {
    await expect(advance()).rejects.toMatchObject({
      code: 'MONITOR_LOG_UNREADABLE',
      message: expect.stringContaining(`read ${read} of 5000 entries`),
    });
  }
  expect(await advance()).toEqual({ kind: 'grown' });
}, 60_000);
