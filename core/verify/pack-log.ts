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
import { checkLogProof } from '../tlog/proof.ts';
import { PACK } from './faults.ts';

/**
 * Checks the proof of every bundle; returns a line for each. Signatures in the bundles are not verified here.
 * @throws PACK_SUMMARY_KEY, SIGSTORE_BUNDLE_MALFORMED, and what `checkLogProof` throws
 */
export function checkPackProofs(
  pack: EvidencePack,
  policy: LogPolicy,
  gateKey: Uint8Array,
  crypto: Crypto,
): string[] {
  return pack.bundles.map((packed) => {
    const leaf = rebuildLeaf(packed, gateKey, crypto);
    const { leafIndex: index, proof } = packed;
    const found = checkLogProof({ leaf, index, proof, checkpoint: pack.checkpoint, policy }, crypto);
    return `leaf ${index} of ${found.size} in ${quote(found.origin)}, witness quorum ${found.witnesses}`;
  });
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
