// SPDX-License-Identifier: Apache-2.0
// A thread that verifies native P-256 signatures for two seconds and tells how many a second it made.

import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { parentPort } from 'node:worker_threads';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const message = randomBytes(1500);
const signature = sign('sha256', message, privateKey);
const started = performance.now();
let count = 0;
while (performance.now() - started < 2000) {
  if (!verify('sha256', message, publicKey, signature)) throw new Error('expected a signature that verifies');
  count++;
}
parentPort?.postMessage((count / (performance.now() - started)) * 1000);
