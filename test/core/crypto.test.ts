// SPDX-License-Identifier: Apache-2.0
// The portable cryptography against the platform's.
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { expect, test } from 'vitest';
import { cryptoOver, portableCrypto, portableHashes, verifyP256Digest } from '../../core/crypto.ts';
import { padTail } from '../../core/sha256.ts';

const message = new Uint8Array([1, 2, 3]);

test('hashes agree with the platform, at every length about a block and past 2^16', () => {
  const octets = Uint8Array.from({ length: 70_000 }, (_, i) => (i * i * 31 + 7) & 0xff);
  for (const name of ['sha256', 'sha384', 'sha512'] as const) {
    for (const size of [...Array.from({ length: 300 }, (_, i) => i), 65_535, 65_536, 70_000]) {
      // A view into a larger buffer, as parsers give it.
      const data = octets.subarray(octets.length - size);
      const expected = new Uint8Array(createHash(name).update(data).digest());
      expect(portableCrypto[name](data), `${name} of ${size}`).toEqual(expected);
    }
  }
});

test('the size of what is hashed counts in bits, past 2^32 and past 2^53', () => {
  for (const sizeBytes of [0, 55, 56, 63, 2 ** 29, 2 ** 32 + 17, 2 ** 50 + 3]) {
    const rest = new Uint8Array(sizeBytes % 64).fill(7);
    const tail = Buffer.from(padTail(rest, sizeBytes));
    expect(tail.length).toBe(rest.length < 56 ? 64 : 128);
    expect(tail.subarray(0, rest.length)).toEqual(Buffer.from(rest));
    expect(tail[rest.length]).toBe(0x80);
    expect(tail.subarray(rest.length + 1, -8).every((octet) => octet === 0)).toBe(true);
    expect(tail.readBigUInt64BE(tail.length - 8)).toBe(BigInt(sizeBytes) * 8n);
  }
});

test('checks are made over the hashes that the host gives', () => {
  const asked: string[] = [];
  const counting = (name: 'sha256' | 'sha384' | 'sha512') => (data: Uint8Array) => {
    asked.push(name);
    return portableHashes[name](data);
  };
  const crypto = cryptoOver({
    sha256: counting('sha256'),
    sha384: counting('sha384'),
    sha512: counting('sha512'),
  });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(ec.publicKey.export({ type: 'spki', format: 'der' }));
  const signature = new Uint8Array(sign('sha256', message, ec.privateKey));
  expect(crypto.verifyP256(spki, message, signature)).toBe(true);
  expect(crypto.verifyEcdsa({ curve: 'P-256', hash: 'sha256' }, spki, message, signature)).toBe(true);
  expect(crypto.verifyP256Digest?.(spki, crypto.sha256(message), signature)).toBe(true);
  expect(crypto.verifyEcdsa({ curve: 'P-256', hash: 'sha384' }, spki, message, signature)).toBe(false);
  const ed = generateKeyPairSync('ed25519');
  const raw = new Uint8Array(ed.publicKey.export({ type: 'spki', format: 'der' })).slice(-32);
  expect(crypto.verifyEd25519(raw, message, new Uint8Array(sign(null, message, ed.privateKey)))).toBe(true);
  expect(asked).toEqual(['sha256', 'sha256', 'sha256', 'sha384', 'sha512']);
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
