// SPDX-License-Identifier: Apache-2.0
// A token that was used stays with the key it was used for [docs/spec/trust-services.md §Replayed tokens].

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { bundleToJSON } from '@sigstore/bundle';
import { DSSEBundleBuilder, FulcioSigner } from '@sigstore/sign';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { TokenMemory } from '../../../registry/ca/token-memory.ts';
import { CLAIMS, LoopbackIssuer } from './loopback-issuer.ts';
import { entryFor, startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
/** Signs with ECDSA, whose signatures have a second value that verifies. */
let ecdsa: LoopbackIssuer;
beforeAll(async () => {
  ecdsa = await LoopbackIssuer.start('one', 'ES256');
  server = await startTrustServer((url) => [
    entryFor(url),
    { ...entryFor(url), require: { repository_id: '3003' }, reuse: 'any-key' },
    entryFor(ecdsa.url),
  ]);
});
afterAll(async () => {
  await server.close();
  await ecdsa.close();
});
beforeEach(() => {
  server.time.skewMs = 0;
});

interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}
const newKey = (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-256' });

async function ask(token: string, key: KeyPair, signer = key.privateKey): Promise<number | string> {
  const response = await fetch(`${server.url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      credentials: { oidcIdentityToken: token },
      publicKeyRequest: {
        publicKey: { content: key.publicKey.export({ type: 'spki', format: 'pem' }) },
        proofOfPossession: sign('sha256', Buffer.from(String(CLAIMS.sub)), signer).toString('base64'),
      },
    }),
  });
  const { error } = (await response.json()) as { error?: { code: string } };
  return error?.code ?? response.status;
}

describe('a token over the server', () => {
  test('is good again for the same key, as clients that try again send it, and for no other', async () => {
    const token = await server.issuer.token();
    const [own, another] = [newKey(), newKey()];
    expect(await ask(token, own)).toBe(200);
    expect(await ask(token, own)).toBe(200);
    expect(await ask(token, another)).toBe('OIDC_TOKEN_REPLAYED');
    expect(await ask(token, own)).toBe(200);
  });

  test('sent at once with many keys gets certificates for one', async () => {
    const token = await server.issuer.token();
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask(token, newKey())));
    expect(answers.filter((answer) => answer === 200)).toHaveLength(1);
    expect(answers.filter((answer) => answer === 'OIDC_TOKEN_REPLAYED')).toHaveLength(7);
  });

  test('is not spent by whoever cannot prove a key', async () => {
    const token = await server.issuer.token();
    const [own, another] = [newKey(), newKey()];
    expect(await ask(token, another, own.privateKey)).toBe('CA_PROOF_WRONG');
    expect(await ask(token, own)).toBe(200);
  });

  test('is the same with the other value of its signature', async () => {
    const token = await ecdsa.token();
    const [header, body, signature = ''] = token.split('.');
    const bytes = Buffer.from(signature, 'base64url');
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const s = order - BigInt(`0x${bytes.toString('hex', 32)}`);
    bytes.write(s.toString(16).padStart(64, '0'), 32, 'hex');
    const twin = `${header}.${body}.${bytes.toString('base64url')}`;
    expect(twin).not.toBe(token);
    const own = newKey();
    expect(await ask(twin, own)).toBe(200);
    expect(await ask(token, newKey())).toBe('OIDC_TOKEN_REPLAYED');
    expect(await ask(token, own)).toBe(200);
  });

  test('serves several keys where its entry says so', async () => {
    const token = await server.issuer.token({ repository_id: '3003' });
    expect(await ask(token, newKey())).toBe(200);
    expect(await ask(token, newKey())).toBe(200);
  });

  test('is fresh for each signature of the client of the field, many at once', async () => {
    const sign = async () => {
      const signer = new FulcioSigner({
        fulcioBaseURL: `${server.url}/ca`,
        identityProvider: { getToken: () => server.issuer.token() },
      });
      const builder = new DSSEBundleBuilder({ signer, witnesses: [] });
      return bundleToJSON(await builder.create({ type: 'text/plain', data: Buffer.from('x') }));
    };
    const bundles = await Promise.all(Array.from({ length: 6 }, sign));
    expect(
      new Set(bundles.map(({ verificationMaterial }) => JSON.stringify(verificationMaterial))).size,
    ).toBe(6);
  });
});

describe('the memory of tokens', () => {
  const spki = (n: number): Uint8Array => Uint8Array.of(n);

  test('forgets a token when it has expired, not before', () => {
    let nowS = 6000;
    const memory = new TokenMemory(() => nowS * 1000, 2);
    memory.bind({ id: 'a', expiresS: 6310 }, spki(1));
    memory.bind({ id: 'b', expiresS: 6610.5 }, spki(1));
    nowS = 6310;
    expect(() => memory.bind({ id: 'a', expiresS: 6310 }, spki(2))).toThrow(
      expect.objectContaining({ code: 'OIDC_TOKEN_REPLAYED' }),
    );
    nowS = 6610;
    expect(() => memory.bind({ id: 'b', expiresS: 6610.5 }, spki(2))).toThrow(
      expect.objectContaining({ code: 'OIDC_TOKEN_REPLAYED' }),
    );
    expect(memory.size).toBe(1);
    nowS = 6700;
    memory.bind({ id: 'c', expiresS: 7000 }, spki(1));
    expect(memory.size).toBe(1);
  });

  test('refuses new tokens when it is full of valid ones, and never forgets one of them', () => {
    let nowS = 6000;
    const memory = new TokenMemory(() => nowS * 1000, 2);
    memory.bind({ id: 'a', expiresS: 6310 }, spki(1));
    memory.bind({ id: 'b', expiresS: 6310 }, spki(2));
    expect(() => memory.bind({ id: 'c', expiresS: 6310 }, spki(3))).toThrow(
      expect.objectContaining({ code: 'OIDC_TOKENS_TOO_MANY' }),
    );
    memory.bind({ id: 'b', expiresS: 6310 }, spki(2));
    expect(() => memory.bind({ id: 'a', expiresS: 6310 }, spki(3))).toThrow(
      expect.objectContaining({ code: 'OIDC_TOKEN_REPLAYED' }),
    );
    nowS = 6400;
    memory.bind({ id: 'c', expiresS: 6700 }, spki(3));
    expect(memory.size).toBe(1);
  });
});
