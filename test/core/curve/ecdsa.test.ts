// SPDX-License-Identifier: Apache-2.0
// The check of ECDSA signatures against two others, OpenSSL's and that of @noble/curves, on what signers make, on what is bent, and where sums
// of points have their exceptions.

import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { p256, p384 } from '@noble/curves/nist.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { fromBigEndian, inverse, modulo, signedDigits } from '../../../core/curve/arithmetic.ts';
import { P256, P384 } from '../../../core/curve/ecdsa.ts';
import { verifyP256Digest } from '../../../peers/p256-digest.ts';

const octets = (value: bigint, size: number) =>
  new Uint8Array(Buffer.from(value.toString(16).padStart(2 * size, '0'), 'hex'));
const integer = (value: bigint) => {
  const hex = value.toString(16);
  const even = hex.length % 2 === 0 ? hex : `0${hex}`;
  const bytes = Buffer.from(Number.parseInt(even.slice(0, 2), 16) > 0x7f ? `00${even}` : even, 'hex');
  return [0x02, bytes.length, ...bytes];
};
const der = (r: bigint, s: bigint) => {
  const body = [...integer(r), ...integer(s)];
  return Uint8Array.of(0x30, body.length, ...body);
};
/** The same answers, each worked out once. */
const remembering = (answer: (number: bigint) => bigint) => {
  const known = new Map<bigint, bigint>();
  return (number: bigint): bigint => {
    const found = known.get(number) ?? answer(number);
    known.set(number, found);
    return found;
  };
};

/** Before a point in a SubjectPublicKeyInfo. */
const PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
const byNode: Pick<typeof P256, 'verify'> = {
  verify: (publicKey, digest, signature) =>
    verifyP256Digest(Buffer.concat([PREFIX, publicKey]), digest, signature),
};

describe.each([
  { title: 'P-256', name: 'P-256', ours: P256, theirs: p256, size: 32 },
  { title: 'P-256 by the key agreement of Node', name: 'P-256', ours: byNode, theirs: p256, size: 32 },
  { title: 'P-384', name: 'P-384', ours: P384, theirs: p384, size: 48 },
] as const)('$title', ({ name, ours, theirs, size }) => {
  const { Point } = theirs;
  const order = Point.Fn.ORDER;
  const prime = Point.Fp.ORDER;
  const octetsOf = (point: InstanceType<typeof Point>) => point.toBytes(false);
  const options = { prehash: false, lowS: false, format: 'der' } as const;
  const scalars = fc.bigInt(1n, order - 1n);
  /** Scalars whose multiples meet entries of tables, and each other. */
  const small = fc.integer({ min: 1, max: 200 }).map(BigInt);
  const awkward = fc.oneof(
    scalars,
    small,
    small.map((n) => order - n),
    small.map((n) => 1n << n),
  );
  const key = (secret: bigint) => Point.BASE.multiply(modulo(secret, order));
  /** What noble says; it throws at some malformed signatures. */
  const nobleSays = (publicKey: Uint8Array, digest: Uint8Array, signature: Uint8Array) => {
    try {
      return theirs.verify(signature, digest, publicKey, options);
    } catch {
      return false;
    }
  };

  test('accepts what OpenSSL signs, over digests of each length', () => {
    for (const hash of ['sha256', 'sha384', 'sha512'] as const) {
      for (let i = 0; i < 4; i++) {
        const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: name });
        const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
        const message = Uint8Array.of(i);
        const signature = new Uint8Array(sign(hash, message, privateKey));
        const check = (data: Uint8Array) =>
          portableCrypto.verifyEcdsa({ curve: name, hash }, spki, data, signature);
        expect(check(message)).toBe(true);
        expect(check(Uint8Array.of(i, i))).toBe(false);
      }
    }
  });

  test('accepts what the definition makes, whatever the scalars, and nothing beside it', () => {
    fc.assert(
      fc.property(awkward, awkward, fc.bigInt(0n, (1n << BigInt(8 * size)) - 1n), (d, k, e) => {
        const secret = modulo(d, order) || 1n;
        const nonce = modulo(k, order) || 1n;
        const r = modulo(key(nonce).toAffine().x, order);
        const s = modulo(inverse(nonce, order) * (e + r * secret), order);
        fc.pre(r !== 0n && s !== 0n);
        const publicKey = octetsOf(key(secret));
        const digest = octets(e, size);
        expect(ours.verify(publicKey, digest, der(r, s))).toBe(true);
        // High S too: the rule of low S is one of Bitcoin.
        expect(ours.verify(publicKey, digest, der(r, order - s))).toBe(true);
        for (const [r2, s2] of [
          [s, r],
          [r, s === 1n ? 2n : s - 1n],
          [r === 1n ? 2n : r - 1n, s],
        ] as const) {
          expect(ours.verify(publicKey, digest, der(r2, s2))).toBe(nobleSays(publicKey, digest, der(r2, s2)));
        }
      }),
      { numRuns: 20 },
    );
  });

  test('a sum that is the neutral point is no signature', () => {
    fc.assert(
      fc.property(awkward, awkward, (d, a) => {
        const secret = modulo(d, order) || 1n;
        const s = modulo(a, order) || 1n;
        // e = -r d makes u1 G + u2 P neutral, for any r and s.
        for (const r of [1n, 5n, order - 1n]) {
          const digest = octets(modulo(-r * secret, order), size);
          expect(ours.verify(octetsOf(key(secret)), digest, der(r, s))).toBe(false);
        }
        // Nor where r is what comes out if the one point is doubled that should have met its opposite.
        const r = modulo(key(2n * s * secret).toAffine().x, order);
        const digest = octets(modulo(-r * secret, order), size);
        const numbers = der(r, modulo(r * inverse(s, order), order));
        expect(ours.verify(octetsOf(key(secret)), digest, numbers)).toBe(false);
      }),
      { numRuns: 10 },
    );
  });

  test('sums of small multiples, where equal points meet and opposite ones', () => {
    const multiples = [1n, 2n, 3n, 5n, 8n, -1n, -2n, -3n, -8n];
    // Few sums come up, and inverses of few: noble is asked once for each.
    const xOf = remembering((sum) => modulo(key(sum).toAffine().x, order));
    const inverseOf = remembering((u2) => inverse(u2, order));
    let neutral = 0;
    for (const d of multiples) {
      const publicKey = octetsOf(key(d));
      for (const u1 of [0n, ...multiples]) {
        for (const u2 of multiples) {
          const sum = modulo(u1 + u2 * d, order);
          if (sum === 0n) neutral++;
          // R = u1 G + u2 d G; the signature follows from it.
          const r = sum === 0n ? 1n : xOf(sum);
          const s = modulo(r * inverseOf(u2), order);
          const digest = octets(modulo(u1 * s, order), size);
          expect(ours.verify(publicKey, digest, der(r, s))).toBe(sum !== 0n);
        }
      }
    }
    expect(neutral).toBeGreaterThan(20);
  });

  test('numbers out of range are no signature', () => {
    const publicKey = octetsOf(key(3n));
    const digest = octets(0n, size);
    // Over the digest 0 with d = 3: r = x(k), s = 3 r / k.
    const r = modulo(key(7n).toAffine().x, order);
    const s = modulo(3n * r * inverse(7n, order), order);
    expect(ours.verify(publicKey, digest, der(r, s))).toBe(true);
    for (const [r2, s2] of [
      [0n, s],
      [r, 0n],
      [order, s],
      [r, order],
      [r + order, s],
      [r, s + order],
    ] as const) {
      expect(ours.verify(publicKey, digest, der(r2, s2))).toBe(false);
    }
  });

  test('an x past the order counts modulo the order', () => {
    // The field is larger than the order: there are points with such an x, if nobody meets one by chance.
    let x = order;
    let point: InstanceType<typeof Point> | undefined;
    while (point === undefined) {
      x += 1n;
      try {
        point = Point.fromBytes(Uint8Array.of(2, ...octets(x, size)));
      } catch {
        // No point has this x.
      }
    }
    expect(x < prime).toBe(true);
    const [u1, u2] = [12345n, 67890n];
    const publicKey = octetsOf(point.subtract(key(u1)).multiply(inverse(u2, order)));
    const r = x - order;
    const s = modulo(r * inverse(u2, order), order);
    const digest = octets(modulo(u1 * s, order), size);
    expect(nobleSays(publicKey, digest, der(r, s))).toBe(true);
    expect(ours.verify(publicKey, digest, der(r, s))).toBe(true);
    expect(ours.verify(publicKey, digest, der(r + 1n, s))).toBe(false);
    expect(ours.verify(publicKey, digest, der(x, s))).toBe(false);
  });

  test('a key is a point on the curve, uncompressed, with coordinates in the field', () => {
    const digest = octets(1n, size);
    const signature = theirs.sign(digest, octets(3n, size), { prehash: false, format: 'der', lowS: false });
    const good = octetsOf(key(3n));
    expect(ours.verify(good, digest, signature)).toBe(true);
    const { x, y } = key(3n).toAffine();
    const point = (px: bigint, py: bigint) => Uint8Array.of(4, ...octets(px, size), ...octets(py, size));
    const bad = [
      good.subarray(1),
      Uint8Array.of(...good, 0),
      Uint8Array.of(6 + Number(y & 1n), ...good.subarray(1)),
      key(3n).toBytes(true),
      Uint8Array.of(0),
      new Uint8Array(good.length),
      point(x, y ^ 1n),
      point(x ^ 1n, y),
      point(0n, 0n),
      point(prime, y),
    ];
    for (const publicKey of bad) expect(ours.verify(publicKey, digest, signature)).toBe(false);
    // The same point with x + p, where that fits the octets, is another spelling.
    const low = Array.from({ length: 200 }, (_, i) => BigInt(i)).find((px) => {
      try {
        Point.fromBytes(Uint8Array.of(2, ...octets(px, size)));
        return true;
      } catch {
        return false;
      }
    }) as bigint;
    const affine = Point.fromBytes(Uint8Array.of(2, ...octets(low, size))).toAffine();
    const u2 = 5n;
    const r = modulo(Point.fromAffine(affine).multiply(u2).toAffine().x, order);
    const s = modulo(r * inverse(u2, order), order);
    expect(ours.verify(point(low, affine.y), octets(0n, size), der(r, s))).toBe(true);
    expect(ours.verify(point(low + prime, affine.y), octets(0n, size), der(r, s))).toBe(false);
  });

  test('a signature has one spelling, and bent ones get the answer of OpenSSL', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: name });
    const raw = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })).slice(-(2 * size + 1));
    const message = Uint8Array.of(1, 2, 3);
    const digest = portableCrypto.sha256(message);
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(2), (at, change, kind) => {
        const sound = new Uint8Array(sign('sha256', message, privateKey));
        const i = at % sound.length;
        const bent =
          kind === 0
            ? sound.map((octet, k) => (k === i ? octet ^ change : octet))
            : kind === 1
              ? sound.slice(0, i)
              : Uint8Array.of(...sound.slice(0, i), change, ...sound.slice(i));
        expect(ours.verify(raw, digest, sound)).toBe(true);
        expect(ours.verify(raw, digest, bent)).toBe(verify('sha256', message, publicKey, bent));
      }),
      { numRuns: 50 },
    );
  });

  test.each<[string, (r: number[], s: number[]) => number[]]>([
    ['a zero before r', (r, s) => [0x30, r.length + s.length + 1, 2, r.length - 1, 0, ...r.slice(2), ...s]],
    ['a long length', (r, s) => [0x30, 0x81, r.length + s.length, ...r, ...s]],
    ['a long length of r', (r, s) => [0x30, r.length + s.length + 1, 2, 0x81, ...r.slice(1), ...s]],
    ['no end', (r, s) => [0x30, 0x80, ...r, ...s, 0, 0]],
    ['a third number', (r, s) => [0x30, r.length + s.length + 3, ...r, ...s, 2, 1, 1]],
    ['something behind', (r, s) => [0x30, r.length + s.length, ...r, ...s, 0]],
    ['another tag', (r, s) => [0x31, r.length + s.length, ...r, ...s]],
    ['another tag of r', (r, s) => [0x30, r.length + s.length, 3, ...r.slice(1), ...s]],
    ['no s', (r) => [0x30, r.length, ...r]],
    ['an empty s', (r) => [0x30, r.length + 2, ...r, 2, 0]],
    ['nothing', () => []],
    ['r without its sign', (r, s) => [0x30, r.length + s.length - 1, 2, r.length - 3, ...r.slice(3), ...s]],
  ])('a signature with %s is none', (_, spell) => {
    // Over the digest 0: r = x(k), s = r d / k with d = 3; r has its high bit set.
    let k = 2n;
    while (modulo(key(k).toAffine().x, order) >> BigInt(8 * size - 1) === 0n) k++;
    const r = modulo(key(k).toAffine().x, order);
    const s = modulo(3n * r * inverse(k, order), order);
    const publicKey = octetsOf(key(3n));
    const digest = octets(0n, size);
    expect(ours.verify(publicKey, digest, der(r, s))).toBe(true);
    const bent = Uint8Array.from(spell(integer(r), integer(s)));
    expect(ours.verify(publicKey, digest, bent)).toBe(false);
  });
});

test('signed digits sum up to their scalar, sparse and small', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 1n << 390n), fc.integer({ min: 2, max: 8 }), (scalar, width) => {
      const digits = [...signedDigits(scalar, width)];
      expect(digits.reduce((sum, digit, i) => sum + BigInt(digit) * (1n << BigInt(i)), 0n)).toBe(scalar);
      digits.forEach((digit, i) => {
        if (digit === 0) return;
        expect(Math.abs(digit) % 2).toBe(1);
        expect(Math.abs(digit)).toBeLessThan(1 << (width - 1));
        expect(digits.slice(i + 1, i + width).every((next) => next === 0)).toBe(true);
      });
    }),
  );
});

test('inverses and octets', () => {
  const prime = p256.Point.Fp.ORDER;
  fc.assert(
    fc.property(fc.bigInt(-(1n << 300n), 1n << 300n), (value) => {
      fc.pre(value % prime !== 0n);
      expect(modulo(value * inverse(value, prime), prime)).toBe(1n);
    }),
  );
  expect(inverse(0n, prime)).toBe(0n);
  expect(inverse(-prime, prime)).toBe(0n);
  expect(fromBigEndian(new Uint8Array(0))).toBe(0n);
  expect(fromBigEndian(Uint8Array.of(1, 0, 10))).toBe(65546n);
});

test('a key of OpenSSL is read as OpenSSL reads it', () => {
  const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
  const spki = new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }));
  const data = Uint8Array.of(9);
  expect(portableCrypto.verifyP256(spki, data, new Uint8Array(sign('sha256', data, privateKey)))).toBe(true);
});
