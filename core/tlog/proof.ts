// SPDX-License-Identifier: Apache-2.0
// Proof that an entry was logged [C2SP-tlog-proof-0065ea5 §Format]: its text form, and the check against a policy.

import type { Crypto } from '../crypto.ts';
import { base64Decode, base64Encode } from '../encoding/base64.ts';
import { quote } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { parseCheckpoint, type VerifiedCheckpoint } from './checkpoint.ts';
import { verifyCosignatures } from './cosignature.ts';
import { TLOG } from './faults.ts';
import type { LogPolicy } from './log-policy.ts';
import { checkInclusion, hashLeaf } from './merkle.ts';
import { ED25519_NOTE, parseNote, verifyNote } from './note.ts';
import { checkQuorum, type Witnesses } from './quorum.ts';

const HEAD = 'c2sp.org/tlog-proof@v1';

/** The parts of a proof. Unauthenticated. */
export interface LogProof {
  readonly index: bigint;
  /** Leaf to root, 32 bytes each. */
  readonly hashes: readonly Uint8Array[];
  /** Signed note, verbatim. */
  readonly checkpoint: string;
  /** Opaque, and never authenticated. */
  readonly extra?: Uint8Array;
}

/** Parses the text form. @throws TLOG_PROOF_MALFORMED */
export function parseLogProof(text: string): LogProof {
  const bad = (message: string, line: number) =>
    TLOG.reject('TLOG_PROOF_MALFORMED', message, { at: `line ${line}` });
  if (text.length > 2 * LIMITS.noteSizeBytes) {
    throw bad(`expected at most ${2 * LIMITS.noteSizeBytes} characters, got ${text.length}`, 1);
  }
  const divide = text.indexOf('\n\n');
  if (divide < 0) throw bad('expected an empty line before the checkpoint, found none', 1);
  const lines = text.slice(0, divide).split('\n');
  if (lines[0] !== HEAD) throw bad(`expected ${HEAD}, got ${quote(lines[0] ?? '')}`, 1);
  const extraLine = lines[1]?.startsWith('extra ') ? lines[1] : undefined;
  const at = extraLine === undefined ? 1 : 2;
  const extra = extraLine === undefined ? undefined : base64Decode(extraLine.slice(6));
  if (extraLine !== undefined && extra === undefined) throw bad('expected base64 after "extra "', 2);
  const index = /^index (0|[1-9][0-9]{0,18})$/.exec(lines[at] ?? '')?.[1];
  if (index === undefined) throw bad(`expected "index" and a number, got ${quote(lines[at] ?? '')}`, at + 1);
  const hashLines = lines.slice(at + 1);
  if (hashLines.length > LIMITS.proofHashCount) {
    throw bad(`expected at most ${LIMITS.proofHashCount} hashes, got ${hashLines.length}`, at + 2);
  }
  const hashes = hashLines.map((line, i) => {
    const hash = base64Decode(line);
    if (hash?.length !== 32) throw bad(`expected 32 bytes in base64, got ${quote(line)}`, at + 2 + i);
    return hash;
  });
  const proof = { index: BigInt(index), hashes, checkpoint: text.slice(divide + 2) };
  return extra === undefined ? proof : { ...proof, extra };
}

/** The text form; `parseLogProof` is the inverse. */
export function formatLogProof(proof: LogProof): string {
  const lines = [
    HEAD,
    ...(proof.extra === undefined ? [] : [`extra ${base64Encode(proof.extra)}`]),
    `index ${proof.index}`,
    ...proof.hashes.map(base64Encode),
  ];
  return `${lines.join('\n')}\n\n${proof.checkpoint}`;
}

/** A checkpoint of a log of the policy, with the witnesses that the policy asks for behind it. */
export interface WitnessedCheckpoint extends VerifiedCheckpoint {
  readonly witnesses: Witnesses;
}

/**
 * Verifies a checkpoint against a log policy [C2SP-tlog-proof-0065ea5 §Verifying a tlog proof]: signature of a log, origin,
 * cosignatures, quorum; in that order.
 * @throws TLOG_NOTE_MALFORMED; TLOG_NOTE_UNSIGNED (another log's key), TLOG_NOTE_SIGNATURE; TLOG_CHECKPOINT_MALFORMED,
 *   TLOG_CHECKPOINT_ORIGIN; TLOG_COSIGNATURE_MALFORMED, TLOG_QUORUM_UNMET
 */
export function verifyWitnessedCheckpoint(
  checkpoint: string,
  policy: LogPolicy,
  crypto: Crypto,
): WitnessedCheckpoint {
  const note = parseNote(checkpoint);
  // Keys of other kinds may be listed beside the Ed25519 key that tlog-tiles demands of every public log.
  const keys = policy.logs.map(({ key }) => key).filter(({ type }) => type === ED25519_NOTE);
  const { text, signedBy } = verifyNote(note, keys, crypto);
  const parsed = parseCheckpoint(text);
  if (!signedBy.some(({ name }) => name === parsed.origin)) {
    const signers = signedBy.map(({ name }) => quote(name)).join(', ');
    throw TLOG.reject(
      'TLOG_CHECKPOINT_ORIGIN',
      `expected a checkpoint of the log that signed it, ${signers}, got one of ${quote(parsed.origin)}`,
    );
  }
  const witnesses = checkQuorum(policy, verifyCosignatures(note, policy.witnesses, crypto));
  return { ...parsed, witnesses } as WitnessedCheckpoint;
}

/** What is claimed to be in a log, and the evidence. */
export interface LogProofClaim {
  /** The leaf's bytes, rebuilt by the verifier. */
  readonly leaf: Uint8Array;
  readonly index: bigint;
  /** Leaf to root. */
  readonly proof: readonly Uint8Array[];
  /** Signed note. */
  readonly checkpoint: string;
  readonly policy: LogPolicy;
}

/**
 * Checks that a log of the policy holds the leaf at the index: first the checkpoint, then the inclusion. Returns the checkpoint that
 * the proof led to. Who has several entries under one checkpoint verifies that once.
 * @throws what `verifyWitnessedCheckpoint` throws; TLOG_INDEX_OUTSIDE_TREE, TLOG_INCLUSION_MISMATCH
 */
export function checkLogProof(claim: LogProofClaim, crypto: Crypto): WitnessedCheckpoint {
  const checkpoint = verifyWitnessedCheckpoint(claim.checkpoint, claim.policy, crypto);
  const { size, rootHash: root } = checkpoint;
  const leafHash = hashLeaf(claim.leaf, crypto);
  checkInclusion({ index: claim.index, size, leafHash, proof: claim.proof, root }, crypto);
  return checkpoint;
}
