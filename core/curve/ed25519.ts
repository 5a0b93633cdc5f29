// SPDX-License-Identifier: Apache-2.0
// The check of Ed25519 signatures [RFC8032 §5.1.7], fast in engines that only interpret. Points of -x² + y² = 1 + d x² y² in extended
// coordinates [RFC8032 §5.1.4]: x = X/Z, y = Y/Z, xy = T/Z; coordinates are any representatives, also negative ones. The formulas hold for all points.
// Stricter than [RFC8032 §5.1.7]: without the cofactor, as OpenSSL checks it; keys of small order, under which one signature fits many messages,
// sign nothing.

import {
  fromLittleEndian,
  inverse,
  modulo,
  type PointGroup,
  signedDigits,
  sumOfMultiples,
} from './arithmetic.ts';

interface Extended {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
  readonly t: bigint;
}

/** A point of a table as additions use it. */
interface Entry {
  readonly sum: bigint;
  readonly difference: bigint;
  readonly twiceZ: bigint;
  /** 2d T. */
  readonly twiceDt: bigint;
}

const PRIME = (1n << 255n) - 19n;
const ORDER = (1n << 252n) + 27742317777372353535851937790883648493n;
const D = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3n;
const ROOT_OF_MINUS_1 = 0x2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0n;
const BASE_X = 0x216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51an;
const BASE_Y = 0x6666666666666666666666666666666666666666666666666666666666666658n;
const BASE = { x: BASE_X, y: BASE_Y, z: 1n, t: (BASE_X * BASE_Y) % PRIME };

/** Widths of digits: the table of the base point is made once. */
const BASE_WIDTH = 7;
const KEY_WIDTH = 5;
let baseTable: readonly Entry[] | undefined;

const group: PointGroup<Extended, Entry> = {
  zero: { x: 0n, y: 1n, z: 1n, t: 0n },

  double({ x, y, z }) {
    const a = (x * x) % PRIME;
    const b = (y * y) % PRIME;
    const e = 2n * x * y;
    const g = b - a;
    const f = (g - 2n * z * z) % PRIME;
    const h = -a - b;
    return point(e % PRIME, f, g, h);
  },

  add({ x, y, z, t }, { sum, difference, twiceZ, twiceDt }, negative) {
    const a = ((y - x) * (negative ? sum : difference)) % PRIME;
    const b = ((y + x) * (negative ? difference : sum)) % PRIME;
    const c = ((negative ? -t : t) * twiceDt) % PRIME;
    const d = (z * twiceZ) % PRIME;
    return point(b - a, d - c, d + c, b + a);
  },
};

function point(e: bigint, f: bigint, g: bigint, h: bigint): Extended {
  return { x: (e * f) % PRIME, y: (g * h) % PRIME, z: (f * g) % PRIME, t: (e * h) % PRIME };
}

function entry({ x, y, z, t }: Extended): Entry {
  return { sum: y + x, difference: y - x, twiceZ: 2n * z, twiceDt: (2n * D * t) % PRIME };
}

function oddMultiples(of: Extended, width: number): readonly Entry[] {
  const twice = entry(group.double(of));
  const table: Entry[] = [];
  for (let odd = of; table.length < 1 << (width - 2); odd = group.add(odd, twice, false)) {
    table.push(entry(odd));
  }
  return table;
}

/**
 * Checks a signature. False for anything malformed.
 * @param publicKey 32 bytes @param signature 64 bytes @param sha512 the hash that the scheme uses [RFC8032 §5.1]
 */
export function verifyEd25519(
  publicKey: Uint8Array,
  data: Uint8Array,
  signature: Uint8Array,
  sha512: (data: Uint8Array) => Uint8Array,
): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  const key = decodePoint(publicKey);
  const s = fromLittleEndian(signature.subarray(32));
  if (key === undefined || isOfSmallOrder(key) || s >= ORDER) return false;
  const hashed = new Uint8Array(64 + data.length);
  hashed.set(signature.subarray(0, 32));
  hashed.set(publicKey, 32);
  hashed.set(data, 64);
  const k = fromLittleEndian(sha512(hashed)) % ORDER;
  baseTable ??= oddMultiples(BASE, BASE_WIDTH);
  const negative = { ...key, x: -key.x, t: -key.t };
  const found = sumOfMultiples(group, [
    { digits: signedDigits(s, BASE_WIDTH), table: baseTable },
    { digits: signedDigits(k, KEY_WIDTH), table: oddMultiples(negative, KEY_WIDTH) },
  ]);
  // R in its one spelling: another spelling of the same point is another signature.
  return encodePoint(found) === fromLittleEndian(signature.subarray(0, 32));
}

/** The octets of a point [RFC8032 §5.1.2] as a number. */
function encodePoint({ x, y, z }: Extended): bigint {
  const inverseZ = inverse(z, PRIME);
  const sign = modulo(x * inverseZ, PRIME) & 1n;
  return modulo(y * inverseZ, PRIME) + (sign << 255n);
}

/** Decoding [RFC8032 §5.1.3] of 32 octets; undefined for octets that no point has as its one spelling. */
export function decodePoint(octets: Uint8Array): Extended | undefined {
  const encoded = fromLittleEndian(octets);
  const sign = encoded >> 255n;
  const y = encoded & ((1n << 255n) - 1n);
  if (y >= PRIME) return undefined;
  const u = (y * y - 1n) % PRIME;
  const v = (D * y * y + 1n) % PRIME;
  const v3 = (v * v * v) % PRIME;
  let x = (u * v3 * power((u * v3 * v3 * v) % PRIME)) % PRIME;
  const square = (v * x * x) % PRIME;
  if ((square - u) % PRIME !== 0n) {
    if ((square + u) % PRIME !== 0n) return undefined;
    x *= ROOT_OF_MINUS_1;
  }
  x = modulo(x, PRIME);
  if (x === 0n && sign === 1n) return undefined;
  if ((x & 1n) !== sign) x = PRIME - x;
  return { x, y, z: 1n, t: (x * y) % PRIME };
}

/** The value to the power of (p - 5) / 8 = 2^252 - 3 [RFC8032 §5.1.3]. */
function power(value: bigint): bigint {
  const squared = (of: bigint, times: number) => {
    let result = of;
    for (let i = 0; i < times; i++) result = (result * result) % PRIME;
    return result;
  };
  // 2^n - 1 for growing n.
  const join = (high: bigint, low: bigint, lowBits: number) => (squared(high, lowBits) * low) % PRIME;
  const to2 = join(value, value, 1);
  const to4 = join(to2, to2, 2);
  const to5 = join(to4, value, 1);
  const to10 = join(to5, to5, 5);
  const to20 = join(to10, to10, 10);
  const to40 = join(to20, to20, 20);
  const to80 = join(to40, to40, 40);
  const to160 = join(to80, to80, 80);
  const to240 = join(to160, to80, 80);
  const to250 = join(to240, to10, 10);
  return (squared(to250, 2) * value) % PRIME;
}

/** True if eight times the point is the neutral one. */
function isOfSmallOrder(of: Extended): boolean {
  const { x, y, z } = group.double(group.double(group.double(of)));
  return x % PRIME === 0n && (y - z) % PRIME === 0n;
}
