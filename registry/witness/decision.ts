// SPDX-License-Identifier: Apache-2.0
// What a witness answers to a checkpoint [C2SP-tlog-witness-5ba5ee8 §add-checkpoint]: from the request and what was cosigned before,
// without I/O and without a clock.

import type { Crypto } from '../../core/crypto.ts';
import { base64Decode } from '../../core/encoding/base64.ts';
import { utf8Decode } from '../../core/encoding/utf8.ts';
import { quote, type Rejection } from '../../core/faults.ts';
import { type Checkpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { checkConsistency, emptyRoot, sameBytes } from '../../core/tlog/merkle.ts';
import { formatNote, type Note, parseNote, type VerifierKey, verifyNote } from '../../core/tlog/note.ts';
import { WITNESS } from '../witness-faults.ts';

/** The largest note, 63 hashes and the old size fit. */
export const REQUEST_SIZE_BYTES_MAX = 68 * 1024;
const PROOF_HASHES_MAX = 63;

/** A request as it came. Unauthenticated. */
export interface CosignRequest {
  /** Tree size that the sender believes was cosigned last. */
  readonly oldSize: bigint;
  /** From the old tree to the checkpoint's, 32 bytes each. */
  readonly proof: readonly Uint8Array[];
  readonly note: Note;
  /** First line of the note's text: which log it is said to be of. */
  readonly origin: string;
}

/** A log that is witnessed. */
export interface WitnessedLog {
  /** Its name is the origin. */
  readonly key: VerifierKey;
  /** What was cosigned last; undefined before the first time. */
  readonly latest?: WitnessedTree;
}

/** A tree that the witness has let pass. */
export interface WitnessedTree extends Pick<Checkpoint, 'size' | 'rootHash'> {
  /** The note with the line of the log alone. */
  readonly note: string;
}

/** `conflict`: the size that the sender should have named. `cosign`: to be made durable, then signed. */
export type Decision =
  | { readonly kind: 'conflict'; readonly size: bigint }
  | { readonly kind: 'cosign'; readonly tree: WitnessedTree };

/** Parses the body of a request. @throws WITNESS_REQUEST_MALFORMED, WITNESS_REQUEST_TOO_LARGE */
export function parseCosignRequest(body: Uint8Array): CosignRequest {
  const bad = (message: string, at?: string) => WITNESS.reject('WITNESS_REQUEST_MALFORMED', message, { at });
  if (body.length > REQUEST_SIZE_BYTES_MAX) throw tooLarge();
  const text = utf8Decode(body);
  if (text === undefined) throw bad('expected UTF-8');
  const divide = text.indexOf('\n\n');
  if (divide < 0) throw bad('expected an empty line before the checkpoint, found none');
  const [first = '', ...hashes] = text.slice(0, divide).split('\n');
  const oldSize = /^old (0|[1-9][0-9]{0,18})$/.exec(first)?.[1];
  if (oldSize === undefined) throw bad(`expected "old" and a size, got ${quote(first)}`, 'line 1');
  if (hashes.length > PROOF_HASHES_MAX) {
    throw bad(`expected at most ${PROOF_HASHES_MAX} hashes, got ${hashes.length}`, 'line 2');
  }
  const proof = hashes.map((line, i) => {
    const hash = base64Decode(line);
    if (hash?.length !== 32) throw bad(`expected 32 bytes in base64, got ${quote(line)}`, `line ${i + 2}`);
    return hash;
  });
  const note = orMalformed(() => parseNote(text.slice(divide + 2)));
  const [origin = ''] = note.text.split('\n', 1);
  return { oldSize: BigInt(oldSize), proof, note, origin };
}

/** The refusal of a body that is too large, whoever notices. */
export function tooLarge(): Rejection {
  return WITNESS.reject('WITNESS_REQUEST_TOO_LARGE', `expected at most ${REQUEST_SIZE_BYTES_MAX} bytes`);
}

/**
 * Decides about a request for the log that its origin names. Nothing of the note is believed before its signature is verified.
 * @throws WITNESS_SIGNATURE_WRONG, WITNESS_REQUEST_MALFORMED, WITNESS_SIZES_REVERSED, WITNESS_TREE_INCONSISTENT
 */
export function decide(request: CosignRequest, log: WitnessedLog, crypto: Crypto): Decision {
  const { oldSize, proof } = request;
  const { text, note } = verifyLogNote(request.note, log.key, crypto);
  const { size, rootHash } = orMalformed(() => parseCheckpoint(text));
  if (oldSize > size) {
    throw WITNESS.reject(
      'WITNESS_SIZES_REVERSED',
      `expected an old size of at most ${size}, that of the checkpoint, got ${oldSize}`,
    );
  }
  const last = log.latest?.size ?? 0n;
  if (oldSize !== last) return { kind: 'conflict', size: last };
  checkGrowth({ size, rootHash }, proof, log.latest, crypto);
  return { kind: 'cosign', tree: { size, rootHash, note } };
}

/**
 * Verifies that the log's key signed a note; returns its text, and the note with that one line. Lines of other keys mean nothing.
 * @throws WITNESS_SIGNATURE_WRONG
 */
export function verifyLogNote(
  note: Note,
  key: VerifierKey,
  crypto: Crypto,
): { readonly text: string; readonly note: string } {
  try {
    verifyNote(note, [key], crypto);
  } catch (cause) {
    throw WITNESS.reject('WITNESS_SIGNATURE_WRONG', (cause as Rejection).message, { cause });
  }
  const { text, signatures } = note;
  const line = signatures.filter(({ name, keyId }) => name === key.name && keyId === key.keyId).slice(0, 1);
  return { text, note: formatNote({ text, signatures: line }) };
}

/** @throws WITNESS_TREE_INCONSISTENT */
function checkGrowth(
  to: Pick<WitnessedTree, 'size' | 'rootHash'>,
  proof: readonly Uint8Array[],
  from: WitnessedTree | undefined,
  crypto: Crypto,
): void {
  const wrong = (message: string, cause?: unknown) =>
    WITNESS.reject('WITNESS_TREE_INCONSISTENT', message, { cause });
  if (to.size === 0n && !sameBytes(to.rootHash, emptyRoot(crypto))) {
    throw wrong('expected the root of the empty tree for size 0, got another');
  }
  if (from === undefined || from.size === 0n) {
    // Any tree begins with the empty one: there is nothing to prove.
    if (proof.length > 0) throw wrong(`expected no hashes with the old size 0, got ${proof.length}`);
    return;
  }
  try {
    const claim = { oldSize: from.size, oldRoot: from.rootHash, newSize: to.size, newRoot: to.rootHash };
    checkConsistency({ ...claim, proof }, crypto);
  } catch (cause) {
    throw wrong((cause as Rejection).message, cause);
  }
}

function orMalformed<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const { message, at } = cause as Rejection;
    throw WITNESS.reject('WITNESS_REQUEST_MALFORMED', `in the checkpoint: ${message}`, { at, cause });
  }
}
