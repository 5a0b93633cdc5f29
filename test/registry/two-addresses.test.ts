// SPDX-License-Identifier: Apache-2.0
// The certificate authority answers with and without its prefix: what a token was used for at one address counts at the other.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { newSigner } from '../../registry/trust/signer.ts';
import { RunningRegistry } from './running-registry.ts';
import { CLAIMS } from './trust/loopback-issuer.ts';

let registry: RunningRegistry;
beforeAll(async () => {
  registry = await RunningRegistry.start();
});
afterAll(async () => registry.close());

async function ask(prefix: string, token: string, { spki, sign } = newSigner().signer) {
  const content = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(spki).toString('base64')}\n-----END PUBLIC KEY-----\n`;
  const proofOfPossession = Buffer.from(sign(utf8(String(CLAIMS.sub)))).toString('base64');
  const body = JSON.stringify({
    credentials: { oidcIdentityToken: token },
    publicKeyRequest: { publicKey: { content }, proofOfPossession },
  });
  const answer = await registry.send('POST', `${prefix}/api/v2/signingCert`, body, {
    'content-type': 'application/json',
  });
  return (answer.json as { error?: { code: string } }).error?.code ?? answer.status;
}

test.each([
  ['/ca', ''],
  ['', '/ca'],
])('a token used at %j/api/v2/signingCert is not fresh at %j/api/v2/signingCert', async (first, second) => {
  const token = await registry.issuer.token();
  const { signer } = newSigner();
  expect(await ask(first, token, signer)).toBe(200);
  expect(await ask(second, token)).toBe('OIDC_TOKEN_REPLAYED');
  expect(await ask(second, token, signer)).toBe(200);
});
