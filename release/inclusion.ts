// SPDX-License-Identifier: Apache-2.0
// Log proofs for a pack [C2SP-tlog-checkpoint-v1.0.0 §Note text, RFC6962 §2.1.1]: every bundle against one checkpoint, each proof
// checked here before a device has to.

import type { Crypto } from '../core/crypto.ts';
import { quote, several } from '../core/faults.ts';
import type { PackedBundle } from '../core/release/pack.ts';
import type { LogPolicy } from '../core/tlog/log-policy.ts';
import { checkInclusion, hashLeaf } from '../core/tlog/merkle.ts';
import { verifyWitnessedCheckpoint } from '../core/tlog/proof.ts';
import type { Witnesses } from '../core/tlog/quorum.ts';
import type { VerifiedBundle } from '../core/verify/verified.ts';
import { RELEASE } from './faults.ts';
import type { Registry } from './registry.ts';

/** A bundle's bytes and what verification found in them. */
export interface KeptBundle {
  readonly bytes: Uint8Array;
  readonly verified: VerifiedBundle;
}

/** Bundles with their proofs, and the checkpoint that all of them lead to. */
export interface ProvedBundles {
  readonly checkpoint: string;
  readonly treeSize: bigint;
  readonly witnesses: Witnesses;
  readonly bundles: readonly PackedBundle[];
}

/**
 * Proofs of all bundles in one checkpoint: the latest of the log, or of the shard of it, that holds them.
 * @throws RELEASE_LOG_SHARDS, RELEASE_REGISTRY_*, TLOG_*: the log does not prove what it promised
 */
export async function proveInclusion(
  registry: Registry,
  policy: LogPolicy,
  bundles: readonly KeptBundle[],
  crypto: Crypto,
): Promise<ProvedBundles> {
  const shard = shardOf(bundles);
  const indexes = bundles.map(({ verified }) => verified.leafIndex).sort((a, b) => (a < b ? 1 : -1));
  const [youngest] = indexes;
  if (youngest === undefined) throw new TypeError('a pack without bundles');
  const { checkpoint, size: treeSize } = await registry.proof(shard, youngest);
  const { size, rootHash: root, witnesses } = verifyWitnessedCheckpoint(checkpoint, policy, crypto);
  if (size !== treeSize) {
    throw RELEASE.reject(
      'RELEASE_REGISTRY_ANSWER_MALFORMED',
      `expected a checkpoint of size ${treeSize}, got one of size ${size}`,
    );
  }
  const packed: PackedBundle[] = [];
  for (const { bytes, verified } of bundles) {
    const { leaf, leafIndex: index } = verified;
    const { hashes: proof } = await registry.proof(shard, index, treeSize);
    checkInclusion({ index, size, leafHash: hashLeaf(leaf, crypto), proof, root }, crypto);
    packed.push({ bundle: bytes, leafIndex: index, proof });
  }
  return { checkpoint, treeSize, witnesses, bundles: packed };
}

/** The shard that holds all bundles, as its address names it: the first label of its origin. @throws RELEASE_LOG_SHARDS */
function shardOf(bundles: readonly KeptBundle[]): string {
  const origins = new Set(
    bundles.flatMap(({ verified }) => verified.evidence.entries.map(({ origin }) => origin)),
  );
  const [origin = ''] = origins;
  if (origins.size > 1) {
    throw RELEASE.reject(
      'RELEASE_LOG_SHARDS',
      `expected all evidence of a release in one log, got entries of ${several([...origins].sort().map((each) => quote(each)))}`,
    );
  }
  return origin.split('.', 1)[0] ?? '';
}
