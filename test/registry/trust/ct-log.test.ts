// SPDX-License-Identifier: Apache-2.0
// The certificate transparency log: what it holds, what it says of things that it has not, and what happens when it stops.

import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { Level } from 'level';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CtLog } from '../../../registry/ct/ct-log.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { newFolder } from '../log/log-folder.ts';
import { CLAIMS } from './loopback-issuer.ts';
import { startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
beforeAll(async () => {
  server = await startTrustServer();
});
afterAll(() => server.close());

async function requestCertificate(): Promise<Response> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return fetch(`${server.url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      credentials: { oidcIdentityToken: await server.issuer.token() },
      publicKeyRequest: {
        publicKey: { content: publicKey.export({ type: 'spki', format: 'pem' }) },
        proofOfPossession: sign('sha256', Buffer.from(String(CLAIMS.sub)), privateKey).toString('base64'),
      },
    }),
  });
}

test('an empty log has a checkpoint and nothing else', async () => {
  const response = await fetch(`${server.url}/ct/checkpoint`);
  expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
  expect(response.headers.get('cache-control')).toBe('no-cache');
  expect((await response.text()).split('\n').slice(0, 2)).toEqual(['ct.waybill.example', '0']);
  expect((await fetch(`${server.url}/ct/tile/0/000.p/1`)).status).toBe(404);
});

test('each certificate is one entry, which holds the poisoned precertificate of the same serial', async () => {
  const response = await requestCertificate();
  expect(response.status).toBe(200);
  const body = (await response.json()) as {
    signedCertificateEmbeddedSct: { chain: { certificates: string[] } };
  };
  const leaf = new X509Certificate(body.signedCertificateEmbeddedSct.chain.certificates[0] ?? '');
  const tile = await fetch(`${server.url}/ct/tile/data/000.p/1`);
  expect(tile.headers.get('content-type')).toBe('application/octet-stream');
  expect(tile.headers.get('cache-control')).toContain('immutable');
  const data = Buffer.from(await tile.arrayBuffer());
  // timestamp, type, issuer key hash, TBS; then extensions of 8 octets; then the precertificate.
  const tbsLength = data.readUIntBE(42, 3);
  const tbs = data.subarray(45, 45 + tbsLength);
  const at = 45 + tbsLength + 2 + 8;
  const precertificate = new X509Certificate(data.subarray(at + 3, at + 3 + data.readUIntBE(at, 3)));
  expect(precertificate.serialNumber).toBe(leaf.serialNumber);
  // The poison extension: critical, NULL [RFC6962 §3.1].
  const poison = Buffer.from('3013060a2b06010401d6790204030101ff04020500', 'hex');
  expect(precertificate.raw.includes(poison)).toBe(true);
  expect(tbs.includes(poison.subarray(2, 14))).toBe(false);
  expect(leaf.raw.includes(poison.subarray(2, 14))).toBe(false);
  const [intermediate] = server.services.ca.chain;
  expect(precertificate.verify(new X509Certificate(intermediate ?? '').publicKey)).toBe(true);
});

test.each([
  'tile/0/000',
  'tile/0/000.p/2',
  'tile/0/000.p/256',
  'tile/0/001.p/1',
  'tile/1/000.p/1',
  'tile/64/000',
  'tile/00/000',
  'tile/0/000/',
  'tile/entries/000.p/1',
  'tile/data/..%2f..%2fcheckpoint',
  'tile/0/x000/000',
  'issuer/00',
  `issuer/${'0'.repeat(64)}`,
  'issuer/..%2fcheckpoint',
])('has no %s', async (path) => {
  const response = await fetch(`${server.url}/ct/${path}`);
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({ error: { code: 'CT_RESOURCE_UNKNOWN' } });
});

test('without its log the authority issues nothing and asks to come back', async () => {
  await server.ctLog.close();
  const response = await requestCertificate();
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({ error: { code: 'LOG_CLOSED' } });
});

test('a store that another key signed is refused', async () => {
  const db = new Level(await newFolder());
  const open = () =>
    CtLog.open({
      db,
      origin: 'ct.waybill.example',
      signer: newSigner().signer,
      issuers: [],
      clock: Date.now,
    });
  await (await open()).close();
  await expect(open()).rejects.toMatchObject({ code: 'LOG_STORE_ORIGIN' });
  await db.close();
});
