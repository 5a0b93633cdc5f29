// SPDX-License-Identifier: Apache-2.0
// Ends of periods in a trusted root [docs/spec/trust-services.md §Rotation] are final: a key that was stolen must not come to life again
// because somebody publishes an older file.

import { hexEncode } from '../../core/encoding/hex.ts';
import { quote } from '../../core/faults.ts';
import type { TrustedRoot } from '../../core/sigstore/trusted-root.ts';
import type { Validity } from '../../core/x509/path.ts';
import { TRUST } from '../trust-faults.ts';

/** A key that is believed for a period, by what it signs for. */
interface Believed {
  readonly what: string;
  readonly spki: Uint8Array;
  readonly validFor: Validity;
}

/** Another certificate, or another name, for the same key is the same key: its thief has it. */
function keysOf(root: TrustedRoot): readonly Believed[] {
  return [
    ...root.certificateAuthorities.flatMap(({ issuers: [issuer], validFor }) =>
      issuer === undefined ? [] : [{ what: 'certificate authority', spki: issuer.publicKey.spki, validFor }],
    ),
    ...root.timestampAuthorities.map(({ certificate, validFor }) => ({
      what: 'timestamp authority',
      spki: certificate.publicKey.spki,
      validFor,
    })),
    ...root.certificateLogs.map(({ publicKey, validFor }) => ({
      what: 'certificate log',
      spki: publicKey.spki,
      validFor,
    })),
    ...root.signatureLogs.map(({ publicKey, validFor }) => ({
      what: 'signature log',
      spki: publicKey.spki,
      validFor,
    })),
  ];
}

const idOf = ({ what, spki }: Believed): string => `${what} ${hexEncode(spki)}`;
const endOf = ({ endMs = Number.POSITIVE_INFINITY }: Validity): number => endMs;
const timeOf = (ms: number): string =>
  ms === Number.POSITIVE_INFINITY ? 'no end' : new Date(ms).toISOString();

/**
 * Refuses a trusted root that believes a key for longer than the published one, which has ended it; those of others that stand beside ours, too.
 * One that has left out what was ended would let the next bring it back without an end, so that is refused as well.
 * @throws TRUST_ROOT_REOPENS
 */
export function checkReopensNone(next: TrustedRoot, published: TrustedRoot): void {
  const ends = new Map<string, number>();
  const named = new Set(keysOf(next).map(idOf));
  for (const key of keysOf(published)) {
    ends.set(idOf(key), Math.max(ends.get(idOf(key)) ?? 0, endOf(key.validFor)));
  }
  for (const key of keysOf(published)) {
    if (endOf(key.validFor) === Number.POSITIVE_INFINITY || named.has(idOf(key))) continue;
    throw TRUST.reject(
      'TRUST_ROOT_REOPENS',
      `expected the ${key.what} with the key ${quote(hexEncode(key.spki).slice(-16))}, which has ended, to stay with its end, found none`,
    );
  }
  for (const key of keysOf(next)) {
    const end = ends.get(idOf(key));
    const got = endOf(key.validFor);
    if (end === undefined || got <= end) continue;
    throw TRUST.reject(
      'TRUST_ROOT_REOPENS',
      `expected the ${key.what} with the key ${quote(hexEncode(key.spki).slice(-16))} to end at ${timeOf(end)} as published, got ${timeOf(got)}`,
    );
  }
}
