// SPDX-License-Identifier: Apache-2.0
// Arithmetic under the checks of both kinds of signatures [FIPS186-5 §6.4.2, §7.7]. Time depends on the numbers: only for what everybody may
// know, as signatures, keys and messages are. Nothing here signs.

import { hexEncode } from '../encoding/hex.ts';

/** The least representative that is not negative. */
export function modulo(value: bigint, modulus: bigint): bigint {
  const rest = value % modulus;
  return rest < 0n ? rest + modulus : rest;
}

/** The inverse modulo a prime, by Euclid's extended algorithm; 0 for a multiple of the prime, which has none. */
export function inverse(value: bigint, prime: bigint): bigint {
  let [a, b] = [prime, modulo(value, prime)];
  let [x, y] = [0n, 1n];
  if (b === 0n) return 0n;
  while (b > 0n) {
    const quotient = a / b;
    [a, b] = [b, a - quotient * b];
    [x, y] = [y, x - quotient * y];
  }
  return modulo(x, prime);
}

/** A number from octets, most significant first. */
export function fromBigEndian(octets: Uint8Array): bigint {
  return BigInt(`0x0${hexEncode(octets)}`);
}

/** A number from octets, least significant first. */
export function fromLittleEndian(octets: Uint8Array): bigint {
  return fromBigEndian(octets.slice().reverse());
}

/**
 * Signed digits of a scalar, least significant first, in non-adjacent form of a width: each is 0 or odd and below 2^(width-1) in size,
 * and of `width` neighbours at most one is not 0. So a multiple of a point is a sum of few entries of a small table. `width` is at most 8.
 */
export function signedDigits(scalar: bigint, width: number): Int8Array {
  const bits = scalar.toString(2);
  const count = bits.length;
  const digits = new Int8Array(count + width);
  // Behind the end there is no character, whose code is no number, and no bit.
  const bitAt = (i: number) => bits.charCodeAt(count - 1 - i) & 1;
  let carry = 0;
  for (let at = 0; at <= count; ) {
    if (bitAt(at) === carry) {
      at++;
      continue;
    }
    let digit = carry;
    for (let k = 0; k < width; k++) digit += bitAt(at + k) << k;
    carry = digit >> (width - 1);
    digits[at] = digit - (carry << width);
    at += width;
  }
  return digits;
}

/** Points of one curve, as far as sums of multiples need them. */
export interface PointGroup<P, E> {
  readonly zero: P;
  double(point: P): P;
  /** Adds an entry of a table, or its negative. */
  add(point: P, entry: E, negative: boolean): P;
}

/** A scalar's digits and the odd multiples of its point: 1, 3, 5 and so on. */
export interface Multiple<E> {
  readonly digits: Int8Array;
  readonly table: readonly E[];
}

/** The sum of multiples of points, with one doubling a bit for all of them. */
export function sumOfMultiples<P, E>(group: PointGroup<P, E>, multiples: readonly Multiple<E>[]): P {
  const count = multiples.length;
  let sum = group.zero;
  let at = Math.max(...multiples.map(({ digits }) => digits.length));
  // By index: where the engine interprets, an iterator costs as much as what it is for.
  while (at-- > 0) {
    sum = group.double(sum);
    for (let k = 0; k < count; k++) {
      const { digits, table } = multiples[k] as Multiple<E>;
      const digit = digits[at] ?? 0;
      if (digit !== 0) sum = group.add(sum, table[(Math.abs(digit) - 1) / 2] as E, digit < 0);
    }
  }
  return sum;
}
