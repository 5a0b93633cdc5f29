// SPDX-License-Identifier: Apache-2.0
// Cosignatures by Ed25519 [C2SP-tlog-cosignature-v1.1.0-rc.1 §Format, §Ed25519 signed message]: a witness says that, at a time, this
// checkpoint was the newest that it had seen of the log, and that it follows all before. Those by ML-DSA-44 are not read here.

import type { Crypto } from '../crypto.ts';
import { utf8 } from '../encoding/utf8.ts';
import { quote } from '../faults.ts';
import { TLOG } from './faults.ts';
import type { PolicyWitness } from './log-policy.ts';
import { ED25519_COSIGNATURE, type Note } from './note.ts';

declare const verified: unique symbol;

/** 31 December 9999, 23:59:59 UTC. */
const TIME_MAX_S = 253_402_300_799;
const SIGNATURE_BYTES = 64;

/** What follows the key id in the signature line of a witness. Unauthenticated. */
export interface Cosignature {
  /** Seconds since 1970. */
  readonly timestampS: number;
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array;
}

/** One witness's word on a checkpoint. */
export interface VerifiedCosignature {
  readonly [verified]: true;
  /** The witness's name in the log policy. */
  readonly name: string;
  /** Key id of the note's line, four bytes in lower-case hex. */
  readonly keyId: string;
  /** Milliseconds since 1970, whole seconds. */
  readonly timeMs: number;
}

/**
 * Parses a cosignature. Stricter than [C2SP-tlog-cosignature-v1.1.0-rc.1 §Format]: a time of 0, which says nothing, and times after
 * the year 9999 are refused.
 * @throws TLOG_COSIGNATURE_MALFORMED
 */
export function parseCosignature(bytes: Uint8Array): Cosignature {
  if (bytes.length !== 8 + SIGNATURE_BYTES) {
    throw TLOG.reject(
      'TLOG_COSIGNATURE_MALFORMED',
      `expected a time of 8 bytes and a signature of ${SIGNATURE_BYTES}, got ${bytes.length} bytes`,
    );
  }
  const time = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
  if (time < 1n || time > BigInt(TIME_MAX_S)) {
    throw TLOG.reject(
      'TLOG_COSIGNATURE_MALFORMED',
      `expected a time from 1 to ${TIME_MAX_S} seconds since 1970, got ${time}`,
    );
  }
  return { timestampS: Number(time), signature: bytes.slice(8) };
}

/** The bytes behind the key id; `parseCosignature` is the inverse. */
export function formatCosignature({ timestampS, signature }: Cosignature): Uint8Array {
  const bytes = new Uint8Array(8 + signature.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(timestampS));
  bytes.set(signature, 8);
  return bytes;
}

/** What a witness signs, as UTF-8: the time and the whole text of the note [C2SP-tlog-cosignature-v1.1.0-rc.1 §Ed25519 signed message]. */
export function formatCosignedMessage(timestampS: number, text: string): string {
  return `cosignature/v1\ntime ${timestampS}\n${text}`;
}

/**
 * Verifies the cosignatures of the witnesses, in their order, each once with its newest time. Lines of others are ignored, and so are
 * witnesses whose key is not Ed25519; a line that names a witness and does not verify refuses the note. That the text is a
 * checkpoint is for the caller to know.
 * @throws TLOG_COSIGNATURE_MALFORMED, TLOG_NOTE_SIGNATURE
 */
export function verifyCosignatures(
  note: Note,
  witnesses: readonly PolicyWitness[],
  crypto: Crypto,
): readonly VerifiedCosignature[] {
  const newestS = new Map<PolicyWitness, number>();
  for (const { name, keyId, signature: bytes } of note.signatures) {
    const named = witnesses.filter(
      ({ key }) => key.type === ED25519_COSIGNATURE && key.name === name && key.keyId === keyId,
    );
    if (named.length === 0) continue;
    const { timestampS, signature } = parseCosignature(bytes);
    const message = utf8(formatCosignedMessage(timestampS, note.text));
    const witness = named.find(({ key }) => crypto.verifyEd25519(key.publicKey, message, signature));
    if (witness === undefined) {
      throw TLOG.reject(
        'TLOG_NOTE_SIGNATURE',
        `the cosignature of ${quote(name)} (${keyId}) does not verify`,
      );
    }
    newestS.set(witness, Math.max(timestampS, newestS.get(witness) ?? 0));
  }
  return witnesses.flatMap((witness) => {
    const timestampS = newestS.get(witness);
    if (timestampS === undefined) return [];
    const { name, key } = witness;
    return [{ name, keyId: key.keyId, timeMs: timestampS * 1000 } as VerifiedCosignature];
  });
}
