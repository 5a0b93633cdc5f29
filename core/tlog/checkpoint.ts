// SPDX-License-Identifier: Apache-2.0
// Checkpoints of logs [C2SP-tlog-checkpoint-v1.0.0 §Note text]: origin, tree size and root hash as the text of a signed note.

import type { Crypto } from '../crypto.ts';
import { base64Decode, base64Encode } from '../encoding/base64.ts';
import { quote } from '../faults.ts';
import { TLOG } from './faults.ts';
import { parseNote, type VerifierKey, verifyNote } from './note.ts';

declare const verified: unique symbol;

/** What a checkpoint says. Unauthenticated. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: bigint;
  /** 32 bytes. */
  readonly rootHash: Uint8Array;
  /** Further lines, none of them empty; ours write none. */
  readonly extensions: readonly string[];
}

/** A checkpoint that the key of its log signed. */
export interface VerifiedCheckpoint extends Checkpoint {
  readonly [verified]: true;
}

/** Parses the text of a checkpoint note. Round trip: what is accepted is formatted to the same text. @throws TLOG_CHECKPOINT_MALFORMED */
export function parseCheckpoint(text: string): Checkpoint {
  const bad = (message: string, line: number) =>
    TLOG.reject('TLOG_CHECKPOINT_MALFORMED', message, { at: `line ${line}` });
  const lines = text.split('\n');
  if (lines.pop() !== '' || lines.length < 3)
    throw bad('expected origin, size and root hash, a line each', 1);
  const [origin = '', size = '', root = '', ...extensions] = lines;
  if (origin === '') throw bad('expected an origin, got an empty line', 1);
  const value = /^(0|[1-9][0-9]{0,19})$/.test(size) ? BigInt(size) : undefined;
  if (value === undefined || value >= 1n << 63n) {
    throw bad(`expected a tree size in decimal without leading zeros, got ${quote(size)}`, 2);
  }
  const rootHash = base64Decode(root);
  if (rootHash?.length !== 32) throw bad(`expected 32 bytes in base64, got ${quote(root)}`, 3);
  const empty = extensions.indexOf('');
  if (empty >= 0) throw bad('expected a non-empty extension line', 4 + empty);
  return { origin, size: value, rootHash, extensions };
}

/** The note text of a checkpoint; `parseCheckpoint` is the inverse. */
export function formatCheckpoint(checkpoint: Checkpoint): string {
  const { origin, size, rootHash, extensions } = checkpoint;
  return `${[origin, size, base64Encode(rootHash), ...extensions].join('\n')}\n`;
}

/** Whose checkpoints to accept. */
export interface LogIdentity {
  readonly origin: string;
  /** The log's keys, one or more. */
  readonly keys: readonly VerifierKey[];
}

/**
 * Verifies a checkpoint note against a log: first the signature, then what it says.
 * @throws TLOG_NOTE_MALFORMED, TLOG_NOTE_SIGNATURE, TLOG_NOTE_UNSIGNED, TLOG_KEY_UNSUPPORTED, TLOG_CHECKPOINT_MALFORMED,
 *   TLOG_CHECKPOINT_ORIGIN
 */
export function verifyCheckpoint(note: string, log: LogIdentity, crypto: Crypto): VerifiedCheckpoint {
  const checkpoint = parseCheckpoint(verifyNote(parseNote(note), log.keys, crypto).text);
  if (checkpoint.origin !== log.origin) {
    throw TLOG.reject(
      'TLOG_CHECKPOINT_ORIGIN',
      `expected a checkpoint of ${quote(log.origin)}, got one of ${quote(checkpoint.origin)}`,
    );
  }
  return checkpoint as VerifiedCheckpoint;
}
