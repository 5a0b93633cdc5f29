// SPDX-License-Identifier: Apache-2.0
// What a key in a signer of its own may sign [docs/spec/signer.md §Purposes]: one form of data each, so that whoever has the socket
// cannot make, say, a certificate with the key of the timestamp authority.

import { quote, Rejection } from '../../core/faults.ts';
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { parseCertificate } from '../../core/x509/certificate.ts';
import { parseDer, TAG } from '../../core/x509/der.ts';
import { LEAF_LIFE_MS } from '../ca/certificate-authority.ts';
import { ECDSA_SHA256, OID } from '../trust/certificate.ts';
import * as der from '../trust/der.ts';
import { TRUST } from '../trust-faults.ts';
import { ATTRIBUTE, TST_INFO } from '../tsa/timestamp-authority.ts';

/** What a signer is for: the key of one service. */
export type Purpose =
  | { readonly service: 'ca' }
  | { readonly service: 'ct' }
  | { readonly service: 'tsa' }
  /** Checkpoints of one log alone. */
  | { readonly service: 'log'; readonly origin: string };

/** Looks at data before it is signed. @throws SIGNER_DATA_REFUSED */
export type Guard = (data: Uint8Array) => void;

/** The guard of a purpose. That of a log remembers the largest tree it was asked about, for as long as it runs. */
export function guardOf(purpose: Purpose): Guard {
  if (purpose.service === 'tsa') return checkTimestamp;
  if (purpose.service === 'ca') return checkCertificate;
  const trees = new GrowingSizes();
  if (purpose.service === 'ct') return (data) => checkCertificateLog(data, trees);
  return (data) => checkCheckpoint(data, purpose.origin, trees);
}

const refused = (message: string) => TRUST.reject('SIGNER_DATA_REFUSED', message);

class GrowingSizes {
  #largest = 0n;

  /** @throws SIGNER_DATA_REFUSED */
  check(size: bigint): void {
    if (size < this.#largest) {
      throw refused(`expected a tree of at least ${this.#largest} entries, got one of ${size}`);
    }
    this.#largest = size;
  }
}

/** The signed attributes of a timestamp token, a SET OF as it is signed [RFC5652 §5.4]: exactly those that ours have. */
function checkTimestamp(data: Uint8Array): void {
  const types = readAs('signed attributes', () =>
    parseDer(data, refused)
      .expect(TAG.set)
      .children.map((attribute) => {
        const members = attribute.members();
        const type = members.next().oid();
        const value = members.next(TAG.set).only();
        members.end();
        return type === ATTRIBUTE.contentType ? `${type} ${value.oid()}` : type;
      }),
  );
  const expected = [
    `${ATTRIBUTE.contentType} ${TST_INFO}`,
    ATTRIBUTE.messageDigest,
    ATTRIBUTE.signingCertificateV2,
  ];
  if (types.length !== expected.length || expected.some((type) => !types.includes(type))) {
    throw refused('expected the signed attributes of a timestamp, got others');
  }
}

/** The part of a leaf certificate that is signed: short-lived, for signing code, no authority. */
function checkCertificate(data: Uint8Array): void {
  // A certificate is read as a whole; this signature is never looked at.
  const whole = der.sequence(data, ECDSA_SHA256, der.bitString(der.sequence(der.small(1), der.small(1))));
  const { constraints, purposes, notBeforeMs, notAfterMs } = readAs('a certificate', () =>
    parseCertificate(whole),
  );
  const isLeaf =
    constraints?.isAuthority !== true && purposes?.length === 1 && purposes[0] === OID.codeSigning;
  if (!isLeaf) throw refused('expected a certificate for signing code alone, got another');
  if (notAfterMs - notBeforeMs > LEAF_LIFE_MS) {
    throw refused(`expected a certificate of at most ${LEAF_LIFE_MS / 1000} s, got a longer one`);
  }
}

/** A tree head, or the entry of a precertificate, which signs as an SCT [RFC6962 §3.2, §3.5]. */
function checkCertificateLog(data: Uint8Array, trees: GrowingSizes): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  // Version 1, signature type tree_hash; timestamp, size, root.
  const isTreeHead = data.length === 50 && data[0] === 0 && data[1] === 1;
  if (isTreeHead) {
    trees.check(view.getBigUint64(10));
    return;
  }
  // Version 1, signature type certificate_timestamp; timestamp, entry type precert_entry.
  const isEntry = data.length > 44 && data[0] === 0 && data[1] === 0 && view.getUint16(10) === 1;
  if (!isEntry) throw refused('expected a tree head or the entry of a precertificate, got other bytes');
}

function checkCheckpoint(data: Uint8Array, origin: string, trees: GrowingSizes): void {
  const checkpoint = readAs('a checkpoint', () =>
    parseCheckpoint(new TextDecoder('utf-8', { fatal: true }).decode(data)),
  );
  if (checkpoint.origin !== origin) {
    throw refused(`expected a checkpoint of ${quote(origin)}, got one of ${quote(checkpoint.origin)}`);
  }
  trees.check(checkpoint.size);
}

function readAs<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (failure) {
    if (failure instanceof Rejection && failure.code === 'SIGNER_DATA_REFUSED') throw failure;
    throw refused(`expected ${what}, got other bytes`);
  }
}
