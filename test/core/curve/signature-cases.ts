// SPDX-License-Identifier: Apache-2.0
// The cases of test/vectors/ec-signatures/ as their README says.

import { readdirSync, readFileSync } from 'node:fs';
import type { Crypto } from '../../../core/crypto.ts';

/** Curve and hash of ECDSA, or Ed25519. */
export type Scheme = Parameters<Crypto['verifyEcdsa']>[0] | 'Ed25519';

/** A signature, and whether it must be accepted. */
export interface SignatureCase {
  readonly name: string;
  readonly scheme: Scheme;
  /** DER SubjectPublicKeyInfo; for Ed25519 32 octets. */
  readonly key: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly valid: boolean;
}

const FOLDER = new URL('../../vectors/ec-signatures/', import.meta.url);
const octets = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'));

interface VectorFile {
  readonly scheme: Scheme;
  readonly groups: readonly {
    readonly key: string;
    readonly tests: readonly [
      number: number,
      result: 'valid' | 'invalid',
      comment: string,
      message: string,
      signature: string,
    ][];
  }[];
}

/** All of them. */
export function signatureCases(): SignatureCase[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.json'))
    .flatMap((file) => {
      const { scheme, groups }: VectorFile = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'));
      return groups.flatMap(({ key, tests }) =>
        tests.map(([number, result, comment, message, signature]) => ({
          name: `ec-signatures/${file} ${number}: ${comment}`,
          scheme,
          key: octets(key),
          message: octets(message),
          signature: octets(signature),
          valid: result === 'valid',
        })),
      );
    });
}
