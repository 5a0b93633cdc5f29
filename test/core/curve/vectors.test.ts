// SPDX-License-Identifier: Apache-2.0
// The signatures of Project Wycheproof, which were made to break such arithmetic: our own and the host's say what the vectors say.

import { expect, test } from 'vitest';
import { type Crypto, portableCrypto } from '../../../core/crypto.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { verifyP256Digest as byNode } from '../../../peers/p256-digest.ts';
import { type SignatureCase, signatureCases } from './signature-cases.ts';

const CASES = signatureCases();

const says = (crypto: Crypto, { scheme, key, message, signature }: SignatureCase) =>
  scheme === 'Ed25519'
    ? crypto.verifyEd25519(key, message, signature)
    : crypto.verifyEcdsa(scheme, key, message, signature);

test.each<[string, Crypto]>([
  ['our own arithmetic', portableCrypto],
  ['the host', nodeCrypto],
])('%s accepts every valid signature and no other', (_, crypto) => {
  const wrong = CASES.filter((one) => says(crypto, one) !== one.valid);
  expect(wrong.map(({ name }) => name)).toEqual([]);
});

test('what P-256 with SHA-256 is checked by otherwise says the same', () => {
  const { verifyP256, verifyP256Digest, sha256 } = portableCrypto;
  const wrong = CASES.filter(({ scheme, key, message, signature, valid }) => {
    if (scheme === 'Ed25519' || scheme.curve !== 'P-256' || scheme.hash !== 'sha256') return false;
    return (
      verifyP256(key, message, signature) !== valid ||
      verifyP256Digest?.(key, sha256(message), signature) !== valid ||
      byNode(key, sha256(message), signature) !== valid ||
      nodeCrypto.verifyP256(key, message, signature) !== valid
    );
  });
  expect(wrong.map(({ name }) => name)).toEqual([]);
});

test('there are valid ones and invalid ones of every scheme that is all here', () => {
  for (const scheme of ['p256-sha256', 'p384-sha384', 'ed25519']) {
    const of = CASES.filter(({ name }) => name.includes(`${scheme}.json`));
    expect(of.filter(({ valid }) => valid).length).toBeGreaterThan(50);
    expect(of.filter(({ valid }) => !valid).length).toBeGreaterThan(10);
  }
});
