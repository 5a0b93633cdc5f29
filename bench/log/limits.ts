// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most: P-256 operations of one thread, and writes that reach the disk.

import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { verifyP256Digest } from '../../peers/p256-digest.ts';
import { runsPerSecond } from '../figure.ts';

/** A second's worth, one thread. */
export interface MachineLimits {
  /** Native P-256 verifications with the message, and signatures. */
  readonly verifications: number;
  /** The same of each of two threads at once, as server and clients share the machine: of one core, if it has two threads. */
  readonly verificationsBeside: number;
  readonly signatures: number;
  /** Verifications of a digest alone, as the log makes them. */
  readonly digestVerifications: number;
  /** Appends of 4 KiB, each synced. */
  readonly syncedWrites: number;
}

export async function machineLimits(folder: string): Promise<MachineLimits> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const message = randomBytes(1500);
  const signature = sign('sha256', message, privateKey);
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const [verifications = 0, signatures = 0, digestVerifications = 0] = runsPerSecond(
    [
      () => verify('sha256', message, publicKey, signature),
      () => sign('sha256', message, privateKey),
      () => verifyP256Digest(spki, new Uint8Array(32), signature),
    ],
    { rounds: 3, roundMs: 300 },
  );
  return {
    verifications,
    verificationsBeside: await verificationsBeside(),
    signatures,
    digestVerifications,
    syncedWrites: await syncedWrites(folder),
  };
}

async function verificationsBeside(): Promise<number> {
  const threads = [1, 2].map(() => new Worker(new URL('./verifying.ts', import.meta.url)));
  const rates = await Promise.all(
    threads.map(async (thread) => (await once(thread, 'message'))[0] as number),
  );
  return Math.min(...rates);
}

async function syncedWrites(folder: string): Promise<number> {
  const file = await open(join(folder, 'synced'), 'w');
  const page = randomBytes(4096);
  const started = performance.now();
  let count = 0;
  while (performance.now() - started < 2000) {
    await file.write(page);
    await file.datasync();
    count++;
  }
  const perSecond = (count / (performance.now() - started)) * 1000;
  await file.close();
  return perSecond;
}
