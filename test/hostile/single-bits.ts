// SPDX-License-Identifier: Apache-2.0
// Single bits of a bundle or a pack, changed at the verifier's own entry point: in the text, and in the octets inside its base64, so that no
// outer encoding refuses what an inner check should. Whatever still passes says what it said before.

import { isDeepStrictEqual } from 'node:util';
import { utf8 } from '../../core/encoding/utf8.ts';
import { Rejection } from '../../core/faults.ts';
import type { VerifiedSignature } from '../../core/verify/verified-signature.ts';

/** Which bits of an octet to change, by where it stands. */
export type Bits = (at: number) => readonly number[];
/** One bit of each octet. */
export const ONE_BIT: Bits = (at) => [(at * 5) % 8];
export const EVERY_BIT: Bits = () => [0, 1, 2, 3, 4, 5, 6, 7];

/** A change that passed. */
export interface Unnoticed {
  /** JSON pointer of base64, or `text`. */
  readonly place: string;
  /** Of the octet. */
  readonly offset: number;
  readonly sameVerdict: boolean;
}

/** Everything that a verdict says of a bundle but its digest; a statement by the bytes that were signed. */
export function saidOf({ sha256: _, content, ...said }: VerifiedSignature): object {
  return { ...said, signed: content.kind === 'statement' ? content.payload : content.sha256 };
}

/**
 * Changes bits of a document that passes, one after another; foreign exceptions escape. `verify` returns all that its verdict says; `within` are
 * pointers of strings that hold a document of their own.
 */
export function changeBits(
  document: Uint8Array,
  verify: (document: Uint8Array) => object,
  bits: Bits,
  within: readonly string[] = [],
): { readonly tried: number; readonly unnoticed: readonly Unnoticed[] } {
  const said = verify(document);
  const unnoticed: Unnoticed[] = [];
  let tried = 0;
  const attempt = (changed: Uint8Array, place: string, offset: number): void => {
    tried++;
    try {
      unnoticed.push({ place, offset, sameVerdict: isDeepStrictEqual(verify(changed), said) });
    } catch (failure) {
      if (!(failure instanceof Rejection)) throw failure;
    }
  };
  eachBit(document, bits, (changed, offset) => attempt(changed, 'text', offset));
  const opened = JSON.parse(Buffer.from(document).toString());
  for (const [pointer, octets] of base64In(opened)) {
    eachBit(octets, bits, (changed, offset) => {
      attempt(put(document, pointer, Buffer.from(changed).toString('base64')), pointer, offset);
    });
  }
  for (const outer of within) {
    const inner = utf8(at(opened, outer));
    for (const [pointer, octets] of base64In(JSON.parse(Buffer.from(inner).toString()))) {
      eachBit(octets, bits, (changed, offset) => {
        const bent = put(inner, pointer, Buffer.from(changed).toString('base64'));
        attempt(put(document, outer, Buffer.from(bent).toString()), `${outer}${pointer}`, offset);
      });
    }
  }
  return { tried, unnoticed };
}

function eachBit(octets: Uint8Array, bits: Bits, use: (changed: Uint8Array, offset: number) => void): void {
  for (let at = 0; at < octets.length; at++) {
    for (const bit of bits(at)) use(octets.with(at, (octets[at] as number) ^ (1 << bit)), at);
  }
}

/** Every string that is base64 of sixteen octets and more, with its place. */
function base64In(value: unknown, pointer = ''): [string, Uint8Array][] {
  if (typeof value === 'string') {
    const is = value.length >= 24 && value.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(value);
    return is ? [[pointer, new Uint8Array(Buffer.from(value, 'base64'))]] : [];
  }
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([name, inner]) => base64In(inner, `${pointer}/${name}`));
}

function at(document: unknown, pointer: string): string {
  const names = pointer.split('/').slice(1);
  return names.reduce((node, name) => (node as Record<string, unknown>)[name], document) as string;
}

function put(document: Uint8Array, pointer: string, value: string): Uint8Array {
  const opened = JSON.parse(Buffer.from(document).toString());
  const names = pointer.split('/').slice(1);
  const last = names.pop() as string;
  const holder = names.reduce((node, name) => node[name], opened);
  holder[last] = value;
  return utf8(JSON.stringify(opened));
}
