// SPDX-License-Identifier: Apache-2.0
// Reads what a certificate transparency log stores back, and judges it by itself [C2SP-static-ct-api-v1.0.0 §Log Entries, §Checkpoints].

import { verify, X509Certificate } from 'node:crypto';
import { hexEncode } from '../../core/encoding/hex.ts';
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { sameBytes } from '../../core/tlog/merkle.ts';
import { parseNote } from '../../core/tlog/note.ts';
import { OID, sha256 } from '../trust/certificate.ts';
import * as der from '../trust/der.ts';
import { treeHead, treeHeadKeyId } from './structures.ts';

/** A stored entry is not one. Its message is the problem. */
export class BadEntry extends Error {
  override readonly name = 'BadEntry';
}

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  take(count: number): Uint8Array {
    if (this.at + count > this.#bytes.length) throw new BadEntry('expected more bytes');
    this.at += count;
    return this.#bytes.subarray(this.at - count, this.at);
  }
  number(width: number): number {
    return Number(`0x${hexEncode(this.take(width))}`);
  }
  vector(width: number): Uint8Array {
    return this.take(this.number(width));
  }
  /** A DER element: its tag, its content, and all of it. */
  element(): { readonly tag: number; readonly content: Uint8Array; readonly whole: Uint8Array } {
    const from = this.at;
    const tag = this.number(1);
    const first = this.number(1);
    const content = this.take(first < 0x80 ? first : this.number(first & 0x7f));
    return { tag, content, whole: this.#bytes.subarray(from, this.at) };
  }
  get isAtEnd(): boolean {
    return this.at === this.#bytes.length;
  }
}

const elementsOf = (bytes: Uint8Array) => {
  const reader = new Reader(bytes);
  const found: ReturnType<Reader['element']>[] = [];
  while (!reader.isAtEnd) found.push(reader.element());
  return found;
};

const POISON = der.sequence(der.oid(OID.ctPoison), der.boolean(true), der.octetString(der.tlv(0x05)));

/** The TBSCertificate of a precertificate without its poison. */
function withoutPoison(precertificate: Uint8Array): Uint8Array {
  const [certificate] = elementsOf(precertificate);
  const [tbs] = elementsOf(certificate?.content ?? new Uint8Array());
  const members = elementsOf(tbs?.content ?? new Uint8Array()).map(({ tag, content, whole }) => {
    if (tag !== 0xa3) return whole;
    const [list] = elementsOf(content);
    const kept = elementsOf(list?.content ?? new Uint8Array()).filter(
      (each) => !sameBytes(each.whole, POISON),
    );
    return der.context(3, der.sequence(...kept.map((each) => each.whole)));
  });
  return der.sequence(...members);
}

/**
 * The leaf and the identity of a TileLeaf at an index. Everything in it is checked: the index, the chain, and that the precertificate is
 * the logged certificate with poison, signed by its issuer. @throws BadEntry
 */
export function readTileLeaf(
  entry: Uint8Array,
  index: bigint,
  issuers: readonly Uint8Array[],
): { readonly leaf: Uint8Array; readonly identity: Uint8Array } {
  const reader = new Reader(entry);
  reader.take(8);
  if (reader.number(2) !== 1) throw new BadEntry('expected a precertificate');
  const issuerKeyHash = reader.take(32);
  const tbs = reader.vector(3);
  const extension = hexEncode(reader.vector(2));
  const timestamped = entry.subarray(0, reader.at);
  if (extension !== `000005${index.toString(16).padStart(10, '0')}`) {
    throw new BadEntry(`expected the extension that names index ${index}, got ${extension}`);
  }
  const precertificate = reader.vector(3);
  const chain = hexEncode(reader.vector(2));
  if (!reader.isAtEnd) throw new BadEntry('expected no bytes behind the chain');
  if (chain !== issuers.map((issuer) => hexEncode(sha256(issuer))).join('')) {
    throw new BadEntry('expected the fingerprints of the issuers, got others');
  }
  const issuer = new X509Certificate(issuers[0] ?? new Uint8Array());
  const issuerSpki = issuer.publicKey.export({ type: 'spki', format: 'der' });
  if (!sameBytes(issuerKeyHash, sha256(issuerSpki)))
    throw new BadEntry('expected the key hash of the issuer');
  if (!sameBytes(withoutPoison(precertificate), tbs)) {
    throw new BadEntry('expected a precertificate of the logged certificate, got another');
  }
  if (!isSignedBy(precertificate, issuer))
    throw new BadEntry('expected a precertificate that its issuer signed');
  return { leaf: new Uint8Array([0, 0, ...timestamped]), identity: sha256(issuerKeyHash, tbs) };
}

function isSignedBy(der: Uint8Array, issuer: X509Certificate): boolean {
  try {
    return new X509Certificate(der).verify(issuer.publicKey);
  } catch {
    return false;
  }
}

/** The time, milliseconds since 1970, of a checkpoint that the key signed. @throws BadEntry, TLOG_NOTE_MALFORMED, TLOG_CHECKPOINT_MALFORMED */
export function verifyTreeHeadNote(note: string, origin: string, spki: Uint8Array): number {
  const { text, signatures } = parseNote(note);
  const checkpoint = parseCheckpoint(text);
  const [line] = signatures;
  if (checkpoint.origin !== origin) throw new BadEntry('expected the origin of this log');
  if (signatures.length !== 1 || line?.name !== origin || line.keyId !== treeHeadKeyId(origin, spki)) {
    throw new BadEntry('expected one signature, by the key of this log');
  }
  const reader = new Reader(line.signature);
  const timeMs = reader.number(8);
  if (reader.number(2) !== 0x0403) throw new BadEntry('expected ECDSA with SHA-256');
  const signature = reader.vector(2);
  const key = { key: Buffer.from(spki), format: 'der', type: 'spki' } as const;
  const signed = treeHead(timeMs, checkpoint.size, checkpoint.rootHash);
  if (!reader.isAtEnd || !verify('sha256', signed, key, signature)) {
    throw new BadEntry('expected the signature of this log');
  }
  return timeMs;
}
