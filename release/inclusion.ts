// SPDX-License-Identifier: Apache-2.0
// Log proofs for a pack [C2SP-tlog-checkpoint-v1.0.0 §Note text, RFC6962 §2.1.1]: every bundle against one checkpoint, each proof
// checked here before a device has to.

import type { Crypto } from '../core/crypto.ts';
import type { PackedBundle } from '../core/release/pack.ts';
import { type LogIdentity, verifyCheckpoint } from '../core/tlog/checkpoint.ts';
import { checkInclusion, hashLeaf } from '../core/tlog/merkle.ts';
import type { VerifiedBundle } from '../core/verify/verified.ts';
import { RELEASE } from './faults.ts';
import type { FetchedProof, Registry } from './registry.ts';

/** A bundle's bytes and what verification found in them. */
export interface KeptBundle {
  readonly bytes: Uint8Array;
  readonly verified: VerifiedBundle;
}

/**
 * Proofs of all bundles in one checkpoint: the latest that holds the youngest of them.
 * @throws RELEASE_REGISTRY_*, TLOG_*: the log does not prove what it promised
 */
export async function proveInclusion(
  registry: Registry,
  log: LogIdentity,
  bundles: readonly KeptBundle[],
  crypto: Crypto,
): Promise<{ readonly checkpoint: string; readonly bundles: readonly PackedBundle[] }> {
  const indexes = bundles.map(({ verified }) => verified.leafIndex).sort((a, b) => (a < b ? 1 : -1));
  const [youngest] = indexes;
  if (youngest === undefined) throw new TypeError('a pack without bundles');
  const { checkpoint, size } = await registry.proof(youngest);
  const { size: signedSize, rootHash } = verifyCheckpoint(checkpoint, log, crypto);
  if (size !== signedSize) throw disagreement(size, signedSize);
  const packed: PackedBundle[] = [];
  for (const { bytes, verified } of bundles) {
    const proof: FetchedProof = await registry.proof(verified.leafIndex, size);
    checkInclusion(
      {
        index: verified.leafIndex,
        size,
        leafHash: hashLeaf(verified.leaf, crypto),
        proof: proof.hashes,
        root: rootHash,
      },
      crypto,
    );
    packed.push({ bundle: bytes, leafIndex: verified.leafIndex, proof: proof.hashes });
  }
  return { checkpoint, bundles: packed };
}

function disagreement(said: bigint, signed: bigint) {
  return RELEASE.reject(
    'RELEASE_REGISTRY_ANSWER_MALFORMED',
    `expected a checkpoint of size ${said}, got one of size ${signed}`,
  );
}
