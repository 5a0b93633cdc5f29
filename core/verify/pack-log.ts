// SPDX-License-Identifier: Apache-2.0
// The pack's own log proofs [docs/spec/evidence-pack.md §Verifying]: each bundle's leaf, rebuilt from the bundle, stands in the one
// checkpoint of the pack.

import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import { quote } from '../faults.ts';
import type { EvidencePack, PackedBundle } from '../release/pack.ts';
import { parseBundle, preAuthEncoding } from '../sigstore/bundle.ts';
import { formatHashedRekord } from '../tlog/hashed-rekord.ts';
import type { LogPolicy } from '../tlog/log-policy.ts';
import { checkInclusion, hashLeaf } from '../tlog/merkle.ts';
import { verifyWitnessedCheckpoint } from '../tlog/proof.ts';
import { describeWitnesses, type Witnesses } from '../tlog/quorum.ts';
import { PACK } from './faults.ts';

/**
 * Checks the proof of every bundle in the pack's one checkpoint; returns a line for each, and who stands behind the checkpoint.
 * Signatures in the bundles are not verified here.
 * @throws PACK_SUMMARY_KEY, SIGSTORE_BUNDLE_MALFORMED, TLOG_INDEX_OUTSIDE_TREE, TLOG_INCLUSION_MISMATCH, and what
 *   `verifyWitnessedCheckpoint` throws
 */
export function checkPackProofs(
  pack: EvidencePack,
  policy: LogPolicy,
  gateKey: Uint8Array,
  crypto: Crypto,
): { readonly lines: readonly string[]; readonly witnesses: Witnesses } {
  const checkpoint = verifyWitnessedCheckpoint(pack.checkpoint, policy, crypto);
  const { origin, size, rootHash: root, witnesses } = checkpoint;
  const lines = pack.bundles.map((packed) => {
    const leafHash = hashLeaf(rebuildLeaf(packed, gateKey, crypto), crypto);
    const { leafIndex: index, proof } = packed;
    checkInclusion({ index, size, leafHash, proof, root }, crypto);
    return `leaf ${index} of ${size} in ${quote(origin)}, ${describeWitnesses(witnesses)}`;
  });
  return { lines, witnesses };
}

/** The leaf that this bundle must have in the log. The only key that signs without a certificate is the gate's. */
function rebuildLeaf({ bundle: bytes }: PackedBundle, gateKey: Uint8Array, crypto: Crypto): Uint8Array {
  const bundle = parseBundle(bytes);
  const { verifier } = bundle;
  const gateHint = hexEncode(crypto.sha256(gateKey));
  if ('keyHint' in verifier && verifier.keyHint !== gateHint) {
    throw PACK.reject(
      'PACK_SUMMARY_KEY',
      `expected a certificate or the gate's key ${gateHint}, got a signature by key ${quote(verifier.keyHint)}`,
    );
  }
  return formatHashedRekord({
    digest: crypto.sha256(preAuthEncoding(bundle.payloadType, bundle.payload)),
    signature: bundle.signature,
    verifier: 'keyHint' in verifier ? { publicKey: gateKey } : verifier,
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  });
}
