// SPDX-License-Identifier: Apache-2.0
// Structures of certificate transparency in TLS encoding [RFC6962 §3.2 to §3.5] [C2SP-static-ct-api-v1.0.0].

import { noteKeyId } from '../../core/tlog/note.ts';
import { nodeHasher } from '../log/hash-tiles.ts';
import { sha256 } from '../trust/certificate.ts';
import { concat, octetString } from '../trust/der.ts';

/** Signature type of a tree head signed as in RFC 6962 [C2SP-static-ct-api-v1.0.0 §Checkpoints]. */
export const TREE_HEAD_NOTE = 0x05;
/** `digitally-signed` by ECDSA with SHA-256 [RFC5246 §7.4.1.4.1]. */
const ECDSA_SHA256_CODES = Uint8Array.of(4, 3);

/** A big-endian number of `width` octets. */
function big(value: number | bigint, width: number): Uint8Array {
  return new Uint8Array(
    Buffer.from(
      BigInt(value)
        .toString(16)
        .padStart(2 * width, '0'),
      'hex',
    ),
  );
}

/** A vector with its length in front, in `width` octets. */
const vector = (width: number, bytes: Uint8Array): Uint8Array => concat(big(bytes.length, width), bytes);

/** The log id: SHA-256 of the log's SubjectPublicKeyInfo [RFC6962 §3.2]. */
export const ctLogId = (spki: Uint8Array): Uint8Array => sha256(spki);

/** The key id in the signature line of a checkpoint, hex. */
export function treeHeadKeyId(origin: string, spki: Uint8Array): string {
  return noteKeyId(origin, TREE_HEAD_NOTE, ctLogId(spki), nodeHasher);
}

/** A precertificate as the log takes it. */
export interface Precertificate {
  /** DER, poison extension included. */
  readonly der: Uint8Array;
  /** DER TBSCertificate without the poison. */
  readonly tbs: Uint8Array;
  /** DER, the issuer first. */
  readonly chain: readonly Uint8Array[];
  /** SHA-256 of the issuer's SubjectPublicKeyInfo. */
  readonly issuerKeyHash: Uint8Array;
}

/** The extension that names the entry's place; mandatory in logs of this kind [C2SP-static-ct-api-v1.0.0 §SCT Extension]. */
function leafIndexExtension(index: bigint): Uint8Array {
  return concat(Uint8Array.of(0), vector(2, big(index, 5)));
}

function timestampedEntry(of: Precertificate, timeMs: number, index: bigint): Uint8Array {
  return concat(
    big(timeMs, 8),
    big(1, 2),
    of.issuerKeyHash,
    vector(3, of.tbs),
    vector(2, leafIndexExtension(index)),
  );
}

/**
 * MerkleTreeLeaf [RFC6962 §3.4]: version 0, leaf type 0. Octet for octet also what the signature of an SCT covers, since there
 * the signature type 0 stands where the leaf type stands here [RFC6962 §3.2].
 */
export function merkleTreeLeaf(of: Precertificate, timeMs: number, index: bigint): Uint8Array {
  return concat(Uint8Array.of(0, 0), timestampedEntry(of, timeMs, index));
}

/** TileLeaf, an entry as data tiles hold it [C2SP-static-ct-api-v1.0.0 §Log Entries]. */
export function tileLeaf(of: Precertificate, timeMs: number, index: bigint): Uint8Array {
  return concat(
    timestampedEntry(of, timeMs, index),
    vector(3, of.der),
    vector(2, concat(...of.chain.map((der) => sha256(der)))),
  );
}

/** SignedCertificateTimestamp, version 1 [RFC6962 §3.2]. */
export function signedCertificateTimestamp(of: {
  readonly logId: Uint8Array;
  readonly timeMs: number;
  readonly index: bigint;
  readonly signature: Uint8Array;
}): Uint8Array {
  return concat(
    Uint8Array.of(0),
    of.logId,
    big(of.timeMs, 8),
    vector(2, leafIndexExtension(of.index)),
    ECDSA_SHA256_CODES,
    vector(2, of.signature),
  );
}

/** The content of the SCT list extension of a certificate [RFC6962 §3.3]. */
export function sctListExtension(...scts: readonly Uint8Array[]): Uint8Array {
  return octetString(vector(2, concat(...scts.map((sct) => vector(2, sct)))));
}

/** What the signature of a tree head covers [RFC6962 §3.5]. */
export function treeHead(timeMs: number, size: bigint, rootHash: Uint8Array): Uint8Array {
  return concat(Uint8Array.of(0, 1), big(timeMs, 8), big(size, 8), rootHash);
}

/** The body of a checkpoint's signature line: RFC6962NoteSignature [C2SP-static-ct-api-v1.0.0 §Checkpoints]. */
export function treeHeadSignature(timeMs: number, signature: Uint8Array): Uint8Array {
  return concat(big(timeMs, 8), ECDSA_SHA256_CODES, vector(2, signature));
}
