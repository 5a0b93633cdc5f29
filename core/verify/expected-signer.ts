// SPDX-License-Identifier: Apache-2.0
// The signer that somebody expects, compared as strings [docs/spec/verification.md §Results]: nothing that a user writes is a pattern.

import { quote } from '../faults.ts';
import { SIGSTORE } from '../sigstore/faults.ts';
import { sameBytes } from '../tlog/merkle.ts';
import type { VerifiedSigner } from './verified.ts';

/** A certificate's identity and issuer, or a key (DER SubjectPublicKeyInfo). */
export type ExpectedSigner = VerifiedSigner;

/** Refuses any signer but the one expected. @throws SIGSTORE_SIGNER_UNEXPECTED */
export function checkSigner(signer: VerifiedSigner, expected: ExpectedSigner): void {
  const same =
    signer.kind === 'certificate'
      ? expected.kind === 'certificate' &&
        signer.identity === expected.identity &&
        signer.issuer === expected.issuer
      : expected.kind === 'key' && sameBytes(signer.publicKey, expected.publicKey);
  if (same) return;
  throw SIGSTORE.reject(
    'SIGSTORE_SIGNER_UNEXPECTED',
    `expected ${inWords(expected)}, got ${inWords(signer)}`,
  );
}

function inWords(signer: VerifiedSigner): string {
  return signer.kind === 'certificate'
    ? `${quote(signer.identity)} of issuer ${quote(signer.issuer)}`
    : 'a key without certificate';
}
