// SPDX-License-Identifier: Apache-2.0
// The pack's own log proofs [docs/spec/evidence-pack.md §Verifying]: each bundle's leaf, rebuilt from the bundle, stands in the one
// checkpoint of the pack.

import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import { quote } from '../faults.ts';
import type { EvidencePack } from '../release/pack.ts';
import { readOwnForm } from '../sigstore/bundle.ts';
import { formatHashedRekord } from '../tlog/hashed-rekord.ts';
import type { LogPolicy } from '../tlog/log-policy.ts';
import { checkInclusion, hashLeaf, sameBytes } from '../tlog/merkle.ts';
import { verifyWitnessedCheckpoint, type WitnessedCheckpoint } from '../tlog/proof.ts';
import { describeWitnesses } from '../tlog/quorum.ts';
import { PACK } from './faults.ts';
import { OpenedBundle } from './opened-bundle.ts';

/**
 * Checks the proof of every bundle in the pack's one checkpoint; returns the bundles, a line for each, and the checkpoint.
 * Signatures in the bundles are not verified here.
 * @throws PACK_SUMMARY_KEY, SIGSTORE_BUNDLE_MALFORMED, TLOG_INDEX_OUTSIDE_TREE, TLOG_INCLUSION_MISMATCH, and what
 *   `verifyWitnessedCheckpoint` throws
 */
export function checkPackProofs(
  pack: EvidencePack,
  policy: LogPolicy,
  gateKey: Uint8Array,
  crypto: Crypto,
): {
  readonly bundles: readonly OpenedBundle[];
  readonly lines: readonly string[];
  readonly checkpoint: WitnessedCheckpoint;
} {
  const checkpoint = verifyWitnessedCheckpoint(pack.checkpoint, policy, crypto);
  const { origin, size, rootHash: root, witnesses } = checkpoint;
  const lines: string[] = [];
  const bundles = pack.bundles.map(({ bundle, leafIndex: index, proof }) => {
    const opened = new OpenedBundle(bundle, crypto);
    const leafHash = hashOfLeaf(opened, gateKey, crypto);
    checkInclusion({ index, size, leafHash, proof, root }, crypto);
    lines.push(`leaf ${index} of ${size} in ${quote(origin)}, ${describeWitnesses(witnesses)}`);
    return opened;
  });
  return { bundles, lines, checkpoint };
}

/** Hash of the leaf that this bundle must have in the log. The only key that signs without a certificate is the gate's. */
function hashOfLeaf(opened: OpenedBundle, gateKey: Uint8Array, crypto: Crypto): Uint8Array {
  const { signature, verifier } = readOwnForm(opened.parts);
  const gateHint = hexEncode(crypto.sha256(gateKey));
  if ('keyHint' in verifier && verifier.keyHint !== gateHint) {
    throw PACK.reject(
      'PACK_SUMMARY_KEY',
      `expected a certificate or the gate's key ${gateHint}, got a signature by key ${quote(verifier.keyHint)}`,
    );
  }
  const leaf = formatHashedRekord({
    digest: opened.envelopeDigest(),
    signature,
    verifier: 'keyHint' in verifier ? { publicKey: gateKey } : verifier,
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  });
  const entry = opened.parts.entries.find(({ body }) => sameBytes(body, leaf));
  return entry === undefined ? hashLeaf(leaf, crypto) : opened.leafHash(entry);
}
