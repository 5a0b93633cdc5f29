// SPDX-License-Identifier: Apache-2.0
// The signature log, durable and over HTTP, beside the physical limits of this machine: its P-256, and its synced writes.

import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import Fastify from 'fastify';
import { Level } from 'level';
import { verifyP256Digest } from '../core/crypto.ts';
import { Cosigning } from '../registry/log/cosigning.ts';
import { createLogKey, openLogKey } from '../registry/log/log-key.ts';
import { rekorRoutes } from '../registry/log/rekor-routes.ts';
import { SignatureLog } from '../registry/log/signature-log.ts';
import {
  buildTbs,
  EMPTY_NAME,
  extendedKeyUsage,
  keyUsage,
  OID,
  randomSerial,
  signTbs,
} from '../registry/trust/certificate.ts';
import { createTrustServices, openTrustServices } from '../registry/trust/services.ts';
import { type Figure, figure, runsPerSecond } from './figure.ts';
import type { LoadResult, LoadTask } from './load/log-clients.ts';

const DURATION_MS = 8000;

interface House {
  readonly url: string;
  readonly log: SignatureLog;
  readonly key: string;
  readonly certificate: string;
  close(): Promise<void>;
}

/** Figures of the log. */
export async function bench(): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-bench-'));
  try {
    const limits = machineLimits();
    const batches = await syncedEntries(join(folder, 'raw'));
    const house = await openHouse(folder);
    try {
      return [await appends(house, batches), ...(await requests(house, limits))];
    } finally {
      await house.close();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What one core can verify in a second: P-256 with the message, natively; with a digest alone, in JavaScript. */
function machineLimits(): { readonly native: number; readonly digest: number } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const message = randomBytes(1500);
  const signature = sign('sha256', message, privateKey);
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const [native = 0, digest = 0] = runsPerSecond(
    [
      () => verify('sha256', message, publicKey, signature),
      () => verifyP256Digest(spki, new Uint8Array(32), signature),
    ],
    { rounds: 3, roundMs: 300 },
  );
  return { native, digest };
}

/** Entries of 1.4 KB a second in synced LevelDB batches of 256, with nothing else done: what the disk gives. */
async function syncedEntries(folder: string): Promise<number> {
  const db = new Level<string, Uint8Array>(folder, { valueEncoding: 'view' });
  const value = new Uint8Array(randomBytes(1400));
  const started = performance.now();
  let count = 0;
  while (performance.now() - started < 2000) {
    const rows = Array.from({ length: 256 }, (_, i) => ({
      type: 'put' as const,
      key: String(count + i).padStart(16, '0'),
      value,
    }));
    await db.batch(rows, { sync: true });
    count += 256;
  }
  const perSecond = (count / (performance.now() - started)) * 1000;
  await db.close();
  return perSecond;
}

async function openHouse(folder: string): Promise<House> {
  await createTrustServices({
    folder,
    offlineFolder: join(folder, 'offline'),
    org: 'bench.example',
    now: Date.now() - 60_000,
  });
  const { ca } = await openTrustServices(folder);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const certificate = await signTbs(
    buildTbs({
      issuer: ca.certificate.subject,
      subject: EMPTY_NAME,
      spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
      serial: randomSerial(),
      notBeforeMs: Date.now() - 60_000,
      notAfterMs: Date.now() + 3_600_000,
      extensions: [keyUsage('digitalSignature'), extendedKeyUsage(OID.codeSigning)],
    }),
    ca.signer,
  );
  await createLogKey({ folder });
  const db = new Level(join(folder, 'state'));
  const log = await SignatureLog.open({
    db,
    origin: 'log.bench.example',
    key: await openLogKey({ folder }),
    clock: Date.now,
  });
  const app = Fastify({ logger: false });
  const writers = { authorities: [ca.chain], isListedKey: () => false, clock: Date.now };
  const cosigning = await Cosigning.open({ tiles: log.tiles, policy: () => undefined });
  await app.register(rekorRoutes, { prefix: '/log', log, cosigning, writers });
  const url = `${await app.listen({ host: '127.0.0.1', port: 0 })}/log`;
  return {
    url,
    log,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certificate: Buffer.from(certificate).toString('base64'),
    async close() {
      await app.close();
      await log.close();
      await db.close();
    },
  };
}

/** The log without HTTP and signatures: 256 appends in flight. */
async function appends({ log }: House, limit: number): Promise<Figure> {
  const started = performance.now();
  let count = 0;
  const client = async (): Promise<void> => {
    while (performance.now() - started < DURATION_MS / 2) {
      const entry = new Uint8Array(randomBytes(1400));
      await log.tiles.append({ entry, leaf: entry, identity: entry.subarray(0, 32) });
      count++;
    }
  };
  await Promise.all(Array.from({ length: 256 }, client));
  return figure({
    name: 'appends of 1.4 KB, 256 in flight, proved and durable',
    value: (count / (performance.now() - started)) * 1000,
    unit: 'entries/s',
    better: 'larger',
    rival: 'synced LevelDB batches of 256, nothing else',
    rivalValue: limit,
    target: 0.1,
  });
}

async function requests(house: House, limits: ReturnType<typeof machineLimits>): Promise<Figure[]> {
  const dsse = await load(house, 256, 'dsse');
  const one = await load(house, 1, 'dsse');
  const digest = await load(house, 256, 'digest');
  // The certificate's signature is checked each time, then the entry's.
  const bothNative = limits.native / 2;
  const oneOfEach = 1 / (1 / limits.native + 1 / limits.digest);
  const common = { unit: 'entries/s', better: 'larger' } as const;
  return [
    figure({
      ...common,
      name: 'DSSE requests, 256 clients',
      value: dsse.perSecond,
      rival: 'two native P-256 checks each on one core',
      rivalValue: bothNative,
      target: 0.25,
    }),
    figure({
      ...common,
      name: 'digest requests, 256 clients',
      value: digest.perSecond,
      rival: 'a native and a JavaScript P-256 check each on one core',
      rivalValue: oneOfEach,
      target: 0.5,
    }),
    figure({
      name: 'p99 to a durable checkpoint, 256 clients',
      value: dsse.p99Ms,
      unit: 'ms',
      better: 'smaller',
      rival: 'one client, p50',
      rivalValue: one.p50Ms,
      target: 256,
    }),
  ];
}

/** Runs clients in a process of their own. @throws Error if one of them was refused */
async function load(house: House, clientCount: number, form: LoadTask['form']): Promise<LoadResult> {
  const { url, key, certificate } = house;
  const task: LoadTask = { url, clientCount, durationMs: DURATION_MS, form, key, certificate };
  const child = spawn(process.execPath, [join(import.meta.dirname, 'load/log-clients.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify(task));
  const output = await text(child.stdout);
  if (output === '') throw new Error('expected a result from the clients, got none');
  return JSON.parse(output) as LoadResult;
}
