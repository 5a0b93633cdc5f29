// SPDX-License-Identifier: Apache-2.0
// The portable cryptography against the platform's.
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { expect, test } from 'vitest';
import { portableCrypto, verifyP256Digest } from '../../core/crypto.ts';

const message = new Uint8Array([1, 2, 3]);

test('SHA-256 agrees with the platform', () => {
  expect(portableCrypto.sha256(message)).toEqual(
    new Uint8Array(createHash('sha256').update(message).digest()),
  );
});

test('P-256 accepts what the platform signs, high S included, and refuses everything else', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  for (let i = 0; i < 8; i++) {
    const signature = new Uint8Array(sign('sha256', message, privateKey));
    expect(portableCrypto.verifyP256(spki, message, signature)).toBe(true);
    expect(portableCrypto.verifyP256(spki, new Uint8Array([1, 2, 4]), signature)).toBe(false);
    expect(portableCrypto.verifyP256(spki, message, signature.slice(0, -1))).toBe(false);
    expect(portableCrypto.verifyP256(spki, message, new Uint8Array([...signature, 0]))).toBe(false);
    expect(portableCrypto.verifyP256(spki.slice(1), message, signature)).toBe(false);
    expect(portableCrypto.verifyP256(new Uint8Array([...spki, 0]), message, signature)).toBe(false);
  }
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({
    type: 'spki',
    format: 'der',
  });
  expect(portableCrypto.verifyP256(new Uint8Array(other), message, new Uint8Array(70))).toBe(false);
});

test('a P-256 key has one spelling: another head, or a point in short form, is none', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const signature = new Uint8Array(sign('sha256', message, privateKey));
  for (let at = 0; at < 26; at++) {
    const bent = Uint8Array.from(spki, (byte, i) => (i === at ? byte ^ 1 : byte));
    expect(portableCrypto.verifyP256(bent, message, signature)).toBe(false);
  }
  const short = [...spki.slice(0, 26), 2 + ((spki.at(-1) as number) & 1), ...spki.slice(27, 59)];
  expect(portableCrypto.verifyP256(new Uint8Array(short), message, signature)).toBe(false);
});

test('P-256 over a digest accepts what the platform signs, and no digest of another length', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const signature = new Uint8Array(sign('sha256', message, privateKey));
  const digest = portableCrypto.sha256(message);
  expect(verifyP256Digest(spki, digest, signature)).toBe(true);
  expect(verifyP256Digest(spki, portableCrypto.sha256(digest), signature)).toBe(false);
  // ECDSA itself cuts a longer digest off.
  expect(verifyP256Digest(spki, new Uint8Array([...digest, 0]), signature)).toBe(false);
  expect(verifyP256Digest(spki, digest.slice(1), signature)).toBe(false);
});

test('Ed25519 accepts what the platform signs and refuses everything else', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })).slice(-32);
  const signature = new Uint8Array(sign(null, message, privateKey));
  expect(portableCrypto.verifyEd25519(raw, message, signature)).toBe(true);
  expect(portableCrypto.verifyEd25519(raw, new Uint8Array([1]), signature)).toBe(false);
  expect(portableCrypto.verifyEd25519(raw.slice(1), message, signature)).toBe(false);
  expect(portableCrypto.verifyEd25519(raw, message, signature.slice(1))).toBe(false);
});

test('an Ed25519 key of small order, under which one signature fits everything, signs nothing', () => {
  const identity = new Uint8Array(32);
  identity[0] = 1;
  const fitsAll = new Uint8Array(64);
  fitsAll.set(identity);
  for (const data of [message, new Uint8Array()]) {
    expect(portableCrypto.verifyEd25519(identity, data, fitsAll)).toBe(false);
  }
});
