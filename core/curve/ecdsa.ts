// SPDX-License-Identifier: Apache-2.0
// The check of ECDSA signatures [FIPS186-5 §6.4.2] on P-256 and P-384 [FIPS186-5 §6.1.1], fast in engines that only interpret. Points in Jacobian
// coordinates, x = X/Z², y = Y/Z³, where Z = 0 is the neutral one; coordinates are any representatives, also negative ones.
// Stricter than [FIPS186-5 §6.4.2]: a signature is DER [RFC3279 §2.2.3] in its one spelling.

import {
  fromBigEndian,
  inverse,
  type Multiple,
  type PointGroup,
  signedDigits,
  sumOfMultiples,
} from './arithmetic.ts';

interface Jacobian {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
}

/** A point of a table with powers of its Z; 1 for a point that was given by x and y. */
interface Entry extends Jacobian {
  readonly z2: bigint;
  readonly z3: bigint;
}

/** Widths of digits: the table of the base point is made once. */
const BASE_WIDTH = 7;
const KEY_WIDTH = 5;

/** A curve y² = x³ - 3x + b of prime order over a prime field. */
export class PrimeCurve implements PointGroup<Jacobian, Entry> {
  readonly sizeBytes: number;
  readonly zero: Jacobian = { x: 1n, y: 1n, z: 0n };
  readonly prime: bigint;
  readonly order: bigint;
  private readonly b: bigint;
  private readonly base: Jacobian;
  private baseTable: readonly Entry[] | undefined;

  constructor(given: { sizeBytes: number; prime: bigint; b: bigint; order: bigint; base: [bigint, bigint] }) {
    const [x, y] = given.base;
    this.sizeBytes = given.sizeBytes;
    this.prime = given.prime;
    this.b = given.b;
    this.order = given.order;
    this.base = { x, y, z: 1n };
  }

  /**
   * Checks a signature over a digest, of which only as many bits count as the order has. False for anything malformed.
   * @param publicKey uncompressed point [RFC5480 §2.2]
   * @param signature DER
   */
  verify(publicKey: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean {
    const point = this.readPoint(publicKey);
    const numbers = this.readSignature(signature);
    if (point === undefined || numbers === undefined) return false;
    const { order, prime } = this;
    const [r, s] = numbers;
    const e = fromBigEndian(digest.subarray(0, this.sizeBytes));
    const w = inverse(s, order);
    this.baseTable ??= this.oddMultiples(this.base, BASE_WIDTH);
    const multiples: Multiple<Entry>[] = [
      { digits: signedDigits((e * w) % order, BASE_WIDTH), table: this.baseTable },
      { digits: signedDigits((r * w) % order, KEY_WIDTH), table: this.oddMultiples(point, KEY_WIDTH) },
    ];
    const { x, z } = sumOfMultiples(this, multiples);
    // x = X/Z² is r modulo the order; the field is larger than that, if only a little. No r fits the neutral point, where Z is 0 and X is not.
    const z2 = z * z;
    for (let candidate = r; candidate < prime; candidate += order) {
      if ((candidate * z2 - x) % prime === 0n) return true;
    }
    return false;
  }

  /** A point on the curve by its x and y; undefined for anything else. The order is prime, so each of them generates the group. */
  readPoint(octets: Uint8Array): Jacobian | undefined {
    const { sizeBytes, prime, b } = this;
    if (octets.length !== 1 + 2 * sizeBytes || octets[0] !== 0x04) return undefined;
    const x = fromBigEndian(octets.subarray(1, 1 + sizeBytes));
    const y = fromBigEndian(octets.subarray(1 + sizeBytes));
    if (x >= prime || y >= prime) return undefined;
    return (y * y - x * x * x + 3n * x - b) % prime === 0n ? { x, y, z: 1n } : undefined;
  }

  /** The two numbers of a signature [FIPS186-5 §6.4.2, step 1]; undefined for what is none. */
  readSignature(der: Uint8Array): readonly [r: bigint, s: bigint] | undefined {
    const numbers = readNumbers(der);
    return numbers?.every((each) => each > 0n && each < this.order) === true ? numbers : undefined;
  }

  private oddMultiples(point: Jacobian, width: number): readonly Entry[] {
    const twice = this.entry(this.double(point));
    const table = [this.entry(point)];
    while (table.length < 1 << (width - 2)) {
      table.push(this.entry(this.add(table.at(-1) as Entry, twice, false)));
    }
    return table;
  }

  private entry({ x, y, z }: Jacobian): Entry {
    const z2 = (z * z) % this.prime;
    return { x, y, z, z2, z3: (z2 * z) % this.prime };
  }

  /** Formula dbl-2001-b of the Explicit-Formulas Database. No point has y = 0, since the order is odd. */
  double({ x, y, z }: Jacobian): Jacobian {
    const { prime } = this;
    const delta = (z * z) % prime;
    const gamma = (y * y) % prime;
    const beta = (x * gamma) % prime;
    const alpha = (3n * (x - delta) * (x + delta)) % prime;
    const x3 = (alpha * alpha - 8n * beta) % prime;
    const y3 = (alpha * (4n * beta - x3) - 8n * gamma * gamma) % prime;
    return { x: x3, y: y3, z: (2n * y * z) % prime };
  }

  /** The same for add-1998-cmo-2, which holds for different points: neutral ones, equal and opposite ones are told apart before. */
  add(p: Jacobian, q: Entry, negative: boolean): Jacobian {
    const { prime } = this;
    const qy = negative ? -q.y : q.y;
    if (p.z % prime === 0n) return { x: q.x, y: qy, z: q.z };
    const affine = q.z === 1n;
    const z2 = (p.z * p.z) % prime;
    const u1 = affine ? p.x : (p.x * q.z2) % prime;
    const s1 = affine ? p.y : (p.y * q.z3) % prime;
    const h = (q.x * z2 - u1) % prime;
    const r = (qy * ((z2 * p.z) % prime) - s1) % prime;
    if (h === 0n) return r === 0n ? this.double(p) : this.zero;
    const h2 = (h * h) % prime;
    const h3 = (h2 * h) % prime;
    const v = (u1 * h2) % prime;
    const x3 = (r * r - h3 - 2n * v) % prime;
    const y3 = (r * (v - x3) - s1 * h3) % prime;
    return { x: x3, y: y3, z: (affine ? p.z * h : ((p.z * q.z) % prime) * h) % prime };
  }
}

/** The two numbers of a DER signature [RFC3279 §2.2.3]; undefined for any other spelling. Lengths are of one octet on both curves. */
function readNumbers(der: Uint8Array): readonly [bigint, bigint] | undefined {
  if (der[0] !== 0x30 || der[1] !== der.length - 2 || der.length > 0x81) return undefined;
  const first = readInteger(der, 2);
  const second = first && readInteger(der, first.end);
  return second?.end === der.length ? [first?.value as bigint, second.value] : undefined;
}

/** A number that is not negative, without a zero before it that it does not need. */
function readInteger(der: Uint8Array, at: number): { value: bigint; end: number } | undefined {
  const size = der[at + 1] ?? 0;
  const octets = der.subarray(at + 2, at + 2 + size);
  const [high = 0xff, next = 0] = octets;
  if (der[at] !== 0x02 || size === 0 || octets.length !== size || high > 0x7f) return undefined;
  if (high === 0 && size > 1 && next < 0x80) return undefined;
  return { value: fromBigEndian(octets), end: at + 2 + size };
}

export const P256 = new PrimeCurve({
  sizeBytes: 32,
  prime: 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
  b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
  order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  base: [
    0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
    0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
  ],
});

export const P384 = new PrimeCurve({
  sizeBytes: 48,
  prime: 0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffffn,
  b: 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn,
  order: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  base: [
    0xaa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7n,
    0x3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5fn,
  ],
});
