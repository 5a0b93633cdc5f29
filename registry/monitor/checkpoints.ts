// SPDX-License-Identifier: Apache-2.0
// Whose checkpoints the monitor believes: those of the signature log by the log policy, those of the certificate transparency log by
// the keys of the trusted root [C2SP-static-ct-api-v1.0.0 §Checkpoints].

import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { TLOG } from '../../core/tlog/faults.ts';
import type { LogPolicy } from '../../core/tlog/log-policy.ts';
import { parseNote } from '../../core/tlog/note.ts';
import { verifyWitnessedCheckpoint } from '../../core/tlog/proof.ts';
import type { Witnesses } from '../../core/tlog/quorum.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { treeHead, treeHeadKeyId } from '../ct/structures.ts';
import type { Head } from './fork-proof.ts';

/** A checkpoint of the signature log, with the witnesses behind it. @throws what `verifyWitnessedCheckpoint` throws */
export function verifySignatureHead(
  note: string,
  policy: LogPolicy,
): Head & { readonly witnesses: Witnesses } {
  const { origin, size, rootHash, witnesses } = verifyWitnessedCheckpoint(note, policy, nodeCrypto);
  return { origin, size, rootHash, witnesses, note };
}

/**
 * A checkpoint of the certificate log, signed as a tree head by one of the keys (DER SubjectPublicKeyInfo, P-256). The signature does not cover
 * the origin; the key says whose it is.
 * @throws TLOG_NOTE_MALFORMED, TLOG_NOTE_UNSIGNED, TLOG_NOTE_SIGNATURE, TLOG_CHECKPOINT_MALFORMED
 */
export function verifyCertificateHead(note: string, keys: readonly Uint8Array[]): Head {
  const { text, signatures } = parseNote(note);
  const [origin = ''] = text.split('\n', 1);
  const named = signatures.flatMap(({ name, keyId, signature }) =>
    keys
      .filter((spki) => name === origin && keyId === treeHeadKeyId(origin, spki))
      .map((spki) => ({ spki, signature })),
  );
  const [line] = named;
  if (line === undefined) {
    throw TLOG.reject(
      'TLOG_NOTE_UNSIGNED',
      'expected a tree head by a certificate log of the trusted root, got none',
    );
  }
  const { size, rootHash } = parseCheckpoint(text);
  const { spki, signature } = line;
  const view = new DataView(signature.buffer, signature.byteOffset, signature.byteLength);
  // Time, ECDSA with SHA-256, and the signature after its length.
  const isWhole =
    signature.length > 12 && view.getUint16(8) === 0x0403 && view.getUint16(10) === signature.length - 12;
  const timeMs = isWhole ? view.getBigUint64(0) : 0n;
  const isSigned =
    isWhole &&
    timeMs <= BigInt(Number.MAX_SAFE_INTEGER) &&
    nodeCrypto.verifyP256(spki, treeHead(Number(timeMs), size, rootHash), signature.subarray(12));
  if (!isSigned) throw TLOG.reject('TLOG_NOTE_SIGNATURE', 'the signature of the tree head does not verify');
  return { origin, size, rootHash, note };
}
