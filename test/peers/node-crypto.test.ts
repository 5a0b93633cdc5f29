// SPDX-License-Identifier: Apache-2.0
// Node's cryptography behind core's interface says what the portable one says; RSA-PSS, which that has not, as its rules are.

import { constants, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../core/crypto.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';

const data = randomBytes(1000);
const spki = (key: KeyObject) => new Uint8Array(key.export({ type: 'spki', format: 'der' }));
const bent = (bytes: Uint8Array, at: number) =>
  Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ 1 : byte));

test.each(['sha256', 'sha384', 'sha512'] as const)('%s', (hash) => {
  for (const bytes of [new Uint8Array(), data])
    expect(nodeCrypto[hash](bytes)).toEqual(portableCrypto[hash](bytes));
});

test.each(
  (['P-256', 'P-384'] as const).flatMap((curve) =>
    (['sha256', 'sha384', 'sha512'] as const).map((hash) => [curve, hash] as const),
  ),
)('ECDSA on %s with %s agrees with the portable one, for good and bad', (curve, hash) => {
  const pair = generateKeyPairSync('ec', { namedCurve: curve });
  const key = spki(pair.publicKey);
  const signature = new Uint8Array(sign(hash, data, pair.privateKey));
  const otherCurve = curve === 'P-256' ? 'P-384' : 'P-256';
  const otherHash = hash === 'sha256' ? 'sha384' : 'sha256';
  for (const crypto of [nodeCrypto, portableCrypto]) {
    expect(crypto.verifyEcdsa({ curve, hash }, key, data, signature)).toBe(true);
    expect(crypto.verifyEcdsa({ curve, hash: otherHash }, key, data, signature)).toBe(false);
    expect(crypto.verifyEcdsa({ curve: otherCurve, hash }, key, data, signature)).toBe(false);
    expect(crypto.verifyEcdsa({ curve, hash }, key, bent(data, 0), signature)).toBe(false);
    expect(crypto.verifyEcdsa({ curve, hash }, key, data, bent(signature, 12))).toBe(false);
    expect(crypto.verifyEcdsa({ curve, hash }, bent(key, key.length - 1), data, signature)).toBe(false);
  }
});

test('RSA PKCS #1: only what the key signed with that hash, and the portable one has none', () => {
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signature = new Uint8Array(sign('sha256', data, pair.privateKey));
  const verify = (hash: 'sha256' | 'sha384', s: Uint8Array) =>
    nodeCrypto.verifyRsaPkcs1?.(hash, spki(pair.publicKey), data, s);
  expect(verify('sha256', signature)).toBe(true);
  expect(verify('sha384', signature)).toBe(false);
  expect(verify('sha256', bent(signature, 9))).toBe(false);
  expect(portableCrypto.verifyRsaPkcs1).toBeUndefined();
});

test.each(['verifyP256', 'verifyEd25519'] as const)(
  '%s agrees with the portable one, for good and bad',
  (method) => {
    const pair =
      method === 'verifyP256'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('ed25519');
    const key = method === 'verifyP256' ? spki(pair.publicKey) : spki(pair.publicKey).slice(-32);
    const signature = new Uint8Array(sign(method === 'verifyP256' ? 'sha256' : null, data, pair.privateKey));
    const p384 = spki(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey);
    const cases: [Uint8Array, Uint8Array, Uint8Array, boolean][] = [
      [key, data, signature, true],
      [key, bent(data, 0), signature, false],
      [key, data, bent(signature, signature.length - 1), false],
      [key, data, signature.slice(1), false],
      [key, data, new Uint8Array([...signature, 0]), false],
      [key, data, new Uint8Array(), false],
      [key.slice(1), data, signature, false],
      [new Uint8Array([...key, 0]), data, signature, false],
      [new Uint8Array(), data, signature, false],
      [bent(key, 3), data, signature, false],
      [p384, data, signature, false],
    ];
    for (const [i, [k, d, s, expected]] of cases.entries()) {
      expect([nodeCrypto[method](k, d, s), portableCrypto[method](k, d, s)], `case ${i}`).toEqual([
        expected,
        expected,
      ]);
    }
  },
);

describe('RSA-PSS', () => {
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = spki(pair.publicKey);
  const signed = (options: object, privateKey = pair.privateKey, digest = 'sha256') =>
    new Uint8Array(
      sign(digest, data, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, ...options }),
    );
  const verify = (k: Uint8Array, s: Uint8Array, d: Uint8Array = data) => nodeCrypto.verifyRsaPss?.(k, d, s);

  test('with salt of any length', () => {
    for (const saltLength of [0, 20, 32, 64, constants.RSA_PSS_SALTLEN_MAX_SIGN]) {
      expect(verify(key, signed({ saltLength }))).toBe(true);
    }
  });

  test('by another hash, padding, kind or size of key is none', () => {
    expect(verify(key, signed({}, pair.privateKey, 'sha512'))).toBe(false);
    expect(verify(key, signed({ padding: constants.RSA_PKCS1_PADDING }))).toBe(false);
    expect(verify(key, bent(signed({}), 9))).toBe(false);
    expect(verify(key, signed({}), bent(data, 9))).toBe(false);
    expect(verify(key, new Uint8Array())).toBe(false);
    expect(verify(key.slice(1), signed({}))).toBe(false);
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
    expect(verify(spki(small.publicKey), signed({ saltLength: 32 }, small.privateKey))).toBe(false);
    expect(verify(spki(generateKeyPairSync('ed25519').publicKey), signed({}))).toBe(false);
  });
});
