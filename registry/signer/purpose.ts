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
import type { TreeMemory } from './tree-memory.ts';

/** What a signer is for: the key of one service. */
export type Purpose =
  | { readonly service: 'ca' }
  | { readonly service: 'ct' }
  | { readonly service: 'tsa' }
  /** Checkpoints of one log alone. */
  | { readonly service: 'log'; readonly origin: string };

/** Looks at data before it is signed. @throws SIGNER_DATA_REFUSED, REGISTRY_STORE_FAILED */
export type Guard = (data: Uint8Array) => void | Promise<void>;

/** How far what says its own time may be from the signer's clock: data is signed as soon as it is made. */
const CLOCKS_APART_MS = 5 * 60_000;

/**
 * The guard of a purpose. That of a log remembers the largest tree that it was asked about.
 * @param nowMs the clock, milliseconds since 1970
 */
export function guardOf(purpose: Purpose, trees: TreeMemory, nowMs: () => number = Date.now): Guard {
  if (purpose.service === 'tsa') return checkTimestamp;
  if (purpose.service === 'ca') return (data) => checkCertificate(data, nowMs());
  if (purpose.service === 'ct') return (data) => checkCertificateLog(data, trees, nowMs());
  return (data) => checkCheckpoint(data, purpose.origin, trees);
}

/** Who has the socket for an hour must not leave with certificates for years. @throws SIGNER_DATA_REFUSED */
function checkIsNow(what: string, timeMs: number, nowMs: number): void {
  if (Math.abs(timeMs - nowMs) <= CLOCKS_APART_MS) return;
  throw refused(`expected ${what} of now, got one of ${Math.round((timeMs - nowMs) / 1000)} s from now`);
}

const refused = (message: string) => TRUST.reject('SIGNER_DATA_REFUSED', message);

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
function checkCertificate(data: Uint8Array, nowMs: number): void {
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
  checkIsNow('a certificate', notBeforeMs, nowMs);
}

/** A tree head, or the entry of a precertificate, which signs as an SCT [RFC6962 §3.2, §3.5]. */
function checkCertificateLog(data: Uint8Array, trees: TreeMemory, nowMs: number): void | Promise<void> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  // Version 1, signature type tree_hash; timestamp, size, root.
  const isTreeHead = data.length === 50 && data[0] === 0 && data[1] === 1;
  if (isTreeHead) return trees.check(view.getBigUint64(10), data.subarray(18));
  // Version 1, signature type certificate_timestamp; timestamp, entry type precert_entry.
  const isEntry = data.length > 44 && data[0] === 0 && data[1] === 0 && view.getUint16(10) === 1;
  if (!isEntry) throw refused('expected a tree head or the entry of a precertificate, got other bytes');
  // Not of a tree head: one that could not be signed is asked for again, as it was.
  checkIsNow('an entry', Number(view.getBigUint64(2)), nowMs);
}

function checkCheckpoint(data: Uint8Array, origin: string, trees: TreeMemory): void | Promise<void> {
  const checkpoint = readAs('a checkpoint', () =>
    // Every byte counts: a mark at the beginning makes it the checkpoint of another origin.
    parseCheckpoint(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)),
  );
  if (checkpoint.origin !== origin) {
    throw refused(`expected a checkpoint of ${quote(origin)}, got one of ${quote(checkpoint.origin)}`);
  }
  return trees.check(checkpoint.size, checkpoint.rootHash);
}

function readAs<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (failure) {
    if (failure instanceof Rejection && failure.code === 'SIGNER_DATA_REFUSED') throw failure;
    throw refused(`expected ${what}, got other bytes`);
  }
}
