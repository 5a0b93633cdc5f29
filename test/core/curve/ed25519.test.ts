// SPDX-License-Identifier: Apache-2.0
// The check of Ed25519 signatures against OpenSSL's and that of @noble/curves: what signers make, what is bent, and what the torsion of the
// curve lets an attacker make.

import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { fromLittleEndian, modulo } from '../../../core/curve/arithmetic.ts';
import { decodePoint } from '../../../core/curve/ed25519.ts';

const { Point } = ed25519;
const ORDER = Point.Fn.ORDER;
const PRIME = Point.Fp.ORDER;
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex');
const little = (value: bigint) =>
  new Uint8Array(Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse());
const ours = portableCrypto.verifyEd25519;
const opensslSays = (publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array) => {
  const key = createPublicKey({ key: Buffer.concat([SPKI_HEAD, publicKey]), format: 'der', type: 'spki' });
  return verify(null, data, key, signature);
};
const nobleSays = (publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array) => {
  try {
    return ed25519.verify(signature, data, publicKey, { zip215: false });
  } catch {
    return false;
  }
};
/** A point of order eight, and what it generates. */
const TORSION = (() => {
  for (let y = 2n; ; y++) {
    try {
      const point = Point.fromBytes(little(y))
        .multiplyUnsafe(ORDER - 1n)
        .add(Point.fromBytes(little(y)));
      if (!point.double().double().is0())
        return Array.from({ length: 8 }, (_, i) => point.multiplyUnsafe(BigInt(i)));
    } catch {
      // No point has this y.
    }
  }
})();

/** A signature by the equation, with a nonce and a key of one's choice; torsion may be added to both. */
function forge(data: Uint8Array, secret: bigint, nonce: bigint, keyTorsion = 0, nonceTorsion = 0) {
  const publicKey = Point.BASE.multiply(secret)
    .add(TORSION[keyTorsion] as never)
    .toBytes();
  const r = Point.BASE.multiply(nonce)
    .add(TORSION[nonceTorsion] as never)
    .toBytes();
  const k = fromLittleEndian(portableCrypto.sha512(Uint8Array.of(...r, ...publicKey, ...data)));
  const s = modulo(nonce + k * secret, ORDER);
  return { publicKey, signature: Uint8Array.of(...r, ...little(s)), s, r };
}

test('accepts what OpenSSL signs, and bent ones get the answer of both', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.nat(63),
      fc.integer({ min: 1, max: 255 }),
      (data, at, change) => {
        const { publicKey: key, privateKey } = generateKeyPairSync('ed25519');
        const publicKey = new Uint8Array(key.export({ type: 'spki', format: 'der' })).slice(-32);
        const signature = new Uint8Array(sign(null, data, privateKey));
        expect(ours(publicKey, data, signature)).toBe(true);
        expect(ours(publicKey, Uint8Array.of(...data, 0), signature)).toBe(false);
        const bent = signature.map((octet, i) => (i === at ? octet ^ change : octet));
        expect(ours(publicKey, data, bent)).toBe(false);
        const other = publicKey.map((octet, i) => (i === at % 32 ? octet ^ change : octet));
        expect(ours(other, data, signature)).toBe(false);
        expect([opensslSays(publicKey, data, bent), nobleSays(publicKey, data, bent)]).toEqual([
          false,
          false,
        ]);
      },
    ),
    { numRuns: 25 },
  );
});

test('accepts what the equation makes, whatever the scalars', () => {
  const small = fc.integer({ min: 1, max: 200 }).map(BigInt);
  const scalars = fc.oneof(
    fc.bigInt(1n, ORDER - 1n),
    small,
    small.map((n) => ORDER - n),
  );
  fc.assert(
    fc.property(scalars, scalars, (secret, nonce) => {
      const data = Uint8Array.of(7);
      const { publicKey, signature } = forge(data, secret, nonce);
      expect(ours(publicKey, data, signature)).toBe(true);
      expect(opensslSays(publicKey, data, signature)).toBe(true);
    }),
    { numRuns: 25 },
  );
});

test('the number S has one spelling', () => {
  const data = Uint8Array.of(1);
  const { publicKey, signature, s, r } = forge(data, 5n, 9n);
  expect(ours(publicKey, data, signature)).toBe(true);
  for (const high of [s + ORDER, s + 2n * ORDER, ORDER, (1n << 256n) - 1n]) {
    expect(ours(publicKey, data, Uint8Array.of(...r, ...little(high)))).toBe(false);
  }
});

describe('torsion', () => {
  const data = Uint8Array.of(3);

  test('in the nonce or in the key gets the answer of OpenSSL, never one that noble would not give', () => {
    let differs = 0;
    for (let keyTorsion = 0; keyTorsion < 8; keyTorsion++) {
      for (let nonceTorsion = 0; nonceTorsion < 8; nonceTorsion++) {
        const { publicKey, signature } = forge(data, 11n, 13n, keyTorsion, nonceTorsion);
        const answer = ours(publicKey, data, signature);
        expect(answer).toBe(opensslSays(publicKey, data, signature));
        if (answer) expect(nobleSays(publicKey, data, signature)).toBe(true);
        else differs++;
      }
    }
    expect(differs).toBeGreaterThan(40);
  });

  test('alone is no key, in any spelling', () => {
    for (const point of TORSION) {
      const spellings = [point.toBytes()];
      const y = fromLittleEndian(point.toBytes()) & ((1n << 255n) - 1n);
      // The other sign, and y + p where that fits.
      for (const sign of [0n, 1n]) {
        spellings.push(little(y + (sign << 255n)));
        if (y + PRIME < 1n << 255n) spellings.push(little(y + PRIME + (sign << 255n)));
      }
      for (const publicKey of spellings) {
        for (const r of spellings)
          expect(ours(publicKey, data, Uint8Array.of(...r, ...little(0n)))).toBe(false);
      }
    }
  });
});

test('a point has one spelling, and is decoded as noble decodes it', () => {
  const decodedBy = (octets: Uint8Array) => {
    try {
      const { x, y } = Point.fromBytes(octets).toAffine();
      return { x, y };
    } catch {
      return undefined;
    }
  };
  const around = [0n, PRIME, (1n << 255n) - 20n].flatMap((from) =>
    Array.from({ length: 40 }, (_, i) => from + BigInt(i) - 20n).filter((y) => y >= 0n && y < 1n << 255n),
  );
  let refused = 0;
  for (const y of around) {
    for (const sign of [0n, 1n]) {
      const octets = little(y + (sign << 255n));
      const point = decodePoint(octets);
      expect(point && { x: point.x, y: point.y }, `${y} ${sign}`).toEqual(decodedBy(octets));
      if (point === undefined) refused++;
      else expect(modulo(point.x * point.y, PRIME)).toBe(point.t);
    }
  }
  expect(refused).toBeGreaterThan(60);
  // y + p, and -0: what others take for a second spelling.
  for (const octets of [little(PRIME), little(PRIME + 1n), little(1n + (1n << 255n))]) {
    expect(decodePoint(octets)).toBeUndefined();
  }
});

test('decoding finds the x of either sign', () => {
  fc.assert(
    fc.property(fc.bigInt(1n, ORDER - 1n), (secret) => {
      for (const d of [secret, ORDER - secret]) {
        const { publicKey, signature } = forge(Uint8Array.of(1), d, 3n);
        expect(ours(publicKey, Uint8Array.of(1), signature)).toBe(true);
        const mirrored = publicKey.map((octet, i) => (i === 31 ? octet ^ 0x80 : octet));
        expect(ours(mirrored, Uint8Array.of(1), signature)).toBe(false);
      }
    }),
    { numRuns: 30 },
  );
});
