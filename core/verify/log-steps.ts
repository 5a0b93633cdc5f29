// SPDX-License-Identifier: Apache-2.0
// Steps of verification about logs [docs/spec/verification.md §Bundle]: entries stand where their proofs say, are about this bundle, and
// were logged while the log was trusted.

import { hexEncode } from '../encoding/hex.ts';
import { quote } from '../faults.ts';
import type { AnyBundle, BundleLogEntry, BundleProof } from '../sigstore/any-bundle.ts';
import { SIGSTORE } from '../sigstore/faults.ts';
import { checkEntry, type EntryVerifier } from '../sigstore/log-entry.ts';
import type { SignatureLog } from '../sigstore/trusted-root.ts';
import { parseCheckpoint } from '../tlog/checkpoint.ts';
import { TLOG } from '../tlog/faults.ts';
import { checkInclusion, sameBytes } from '../tlog/merkle.ts';
import { ECDSA_NOTE, ED25519_NOTE, parseNote, type VerifierKey, verifyNote } from '../tlog/note.ts';
import { isWithin } from '../x509/path.ts';
import { type Given, type Step, signerOf } from './evidence.ts';
import { entryPlace, logsOf, signedAtMs } from './time-steps.ts';
import type { VerifiedLogEntry } from './verified-signature.ts';

/** There is a log entry, if one is demanded, and none is there twice. */
export const requireEntries: Step = ({ bundle: { entries }, policy }) => {
  const at = '/verificationMaterial/tlogEntries';
  if (entries.length === 0 && policy.log === 'required') {
    throw SIGSTORE.reject('SIGSTORE_LOG_ENTRY_MISSING', 'expected a log entry, got none', { at });
  }
  entries.forEach((entry, i) => {
    const twice = entries
      .slice(0, i)
      .some((other) => sameBytes(other.logId, entry.logId) && sameBytes(other.body, entry.body));
    if (twice) {
      throw SIGSTORE.reject('SIGSTORE_LOG_ENTRY_REPEATED', 'expected each entry once, got one twice', {
        at: entryPlace(i),
      });
    }
  });
};

/** Every entry is proved by a checkpoint that its log signed; in a bundle of version 0.1 the log's promise is enough. */
export const verifyInclusion: Step = (given, learned) => {
  const { bundle, root } = given;
  bundle.entries.forEach((entry, i) => {
    const at = entryPlace(i);
    const logs = logsOf(entry, root, at);
    const { proof } = entry;
    if (proof !== undefined) {
      learned.entries.push(verifyProof({ entry, proof, logs, at }, given));
      return;
    }
    if (bundle.version !== '0.1' || entry.promise === undefined) throw proofMissing(bundle, at);
    const origin = (logs[0] as SignatureLog).origin;
    learned.entries.push({
      origin,
      index: entry.index,
      treeSize: undefined,
      leaf: entry.body,
      witnesses: 'none',
    });
  });
};

function proofMissing({ version }: AnyBundle, at: string) {
  const wanted =
    version === '0.1' ? 'an inclusion proof or promise' : 'an inclusion proof with its checkpoint';
  return SIGSTORE.reject('SIGSTORE_LOG_PROOF_MISSING', `expected ${wanted}, got none`, { at });
}

interface ProofClaim {
  readonly entry: BundleLogEntry;
  readonly proof: BundleProof;
  readonly logs: readonly SignatureLog[];
  readonly at: string;
}

function verifyProof({ entry, proof, logs, at }: ProofClaim, { opened, crypto }: Given): VerifiedLogEntry {
  const note = parseNote(proof.checkpoint);
  const checkpoint = parseCheckpoint(note.text);
  const { signedBy } = verifyNote(note, logs.flatMap(noteKey), crypto);
  const log = logs.find(({ origin }) => signedBy.some(({ name }) => name === origin)) as SignatureLog;
  // Rekor v1 writes the number of its tree behind the name.
  const named = checkpoint.origin === log.origin || /^ - [1-9][0-9]*$/.test(behind(checkpoint.origin, log));
  if (!named) {
    throw TLOG.reject(
      'TLOG_CHECKPOINT_ORIGIN',
      `expected a checkpoint of ${quote(log.origin)}, got one of ${quote(checkpoint.origin)}`,
      { at: `${at}/inclusionProof/checkpoint` },
    );
  }
  const { size, rootHash: root } = checkpoint;
  const { index, hashes } = proof;
  checkInclusion({ index, size, leafHash: opened.leafHash(entry), proof: hashes, root }, crypto);
  checkBeside(entry, proof, { size, root }, at);
  return { origin: log.origin, index, treeSize: size, leaf: entry.body, witnesses: 'none' };
}

/** What follows the log's name in an origin; only logs of Rekor v1, whose keys are ECDSA, have anything there. */
function behind(origin: string, log: SignatureLog): string {
  return log.publicKey.kind === 'ecdsa' && origin.startsWith(log.origin)
    ? origin.slice(log.origin.length)
    : '';
}

/** The key of a log as notes name it: the first four bytes of the log's id. */
function noteKey({ origin, logId, publicKey }: SignatureLog): VerifierKey[] {
  const keyId = hexEncode(logId.subarray(0, 4));
  if (publicKey.kind === 'ed25519')
    return [{ name: origin, keyId, type: ED25519_NOTE, publicKey: publicKey.raw }];
  if (publicKey.kind === 'ecdsa')
    return [{ name: origin, keyId, type: ECDSA_NOTE, publicKey: publicKey.spki }];
  return [];
}

/** What stands beside the proof repeats what was proved. A promise covers the index outside, which counts otherwise there. */
function checkBeside(
  entry: BundleLogEntry,
  proof: BundleProof,
  proved: { readonly size: bigint; readonly root: Uint8Array },
  at: string,
): void {
  const contradicted = (message: string, place: string) =>
    SIGSTORE.reject('SIGSTORE_LOG_PROOF_CONTRADICTED', message, { at: `${at}/${place}` });
  if (entry.promise === undefined && entry.index !== proof.index) {
    throw contradicted(`expected the proved index ${proof.index}, got ${entry.index}`, 'logIndex');
  }
  if (proof.size !== proved.size) {
    throw contradicted(
      `expected the signed tree size ${proved.size}, got ${proof.size}`,
      'inclusionProof/treeSize',
    );
  }
  if (!sameBytes(proof.rootHash, proved.root)) {
    throw contradicted('expected the signed root hash, got another', 'inclusionProof/rootHash');
  }
}

/** Every entry repeats the bundle's digest, signature, and certificate or key. */
export const compareEntries: Step = (
  { bundle: { entries, content, signature }, opened, crypto },
  learned,
) => {
  const signer = signerOf(learned);
  const verifier: EntryVerifier =
    signer.kind === 'certificate' ? { certificate: signer.certificate.der } : { publicKey: signer.publicKey };
  const subject =
    content.kind === 'dsse'
      ? {
          signedDigest: opened.envelopeDigest(),
          payload: { digest: () => crypto.sha256(content.payload), type: content.payloadType },
        }
      : { signedDigest: content.digest, payload: undefined };
  for (const [i, entry] of entries.entries()) {
    checkEntry(entry, { ...subject, signature, verifier }, entryPlace(i));
  }
};

/** Every entry was logged while its log was trusted: at the time that the log promised, else at the time of signing. */
export const checkLogPeriods: Step = ({ bundle: { entries }, root }, learned) => {
  entries.forEach((entry, i) => {
    const promised = entry.promise !== undefined && entry.integratedTimeS > 0;
    const timeMs = promised ? entry.integratedTimeS * 1000 : signedAtMs(learned.times);
    const at = entryPlace(i);
    if (logsOf(entry, root, at).some(({ validFor }) => isWithin(validFor, timeMs))) return;
    throw SIGSTORE.reject(
      'SIGSTORE_LOG_PERIOD',
      'expected a log that was trusted at that time, got one before or after',
      {
        at: `${at}/logId`,
      },
    );
  });
};
