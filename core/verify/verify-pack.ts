// SPDX-License-Identifier: Apache-2.0
// The verifier of evidence packs [docs/spec/evidence-pack.md §Verifying]: an ordered list of links, one line each. The first that does
// not hold says why.

import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import type { VerificationSummary } from '../intoto/vsa.ts';
import type { EvidencePack } from '../release/pack.ts';
import type { WitnessedCheckpoint } from '../tlog/proof.ts';
import { PACK } from './faults.ts';
import {
  type BoundSbom,
  believeGate,
  checkBuilders,
  checkChain,
  type Finding,
  findSbom,
  found,
  type PackQuestion,
  proveEntries,
  readPack,
  verifyBundles,
} from './pack-steps.ts';
import { checkSbomBinding, type StepEvidence } from './release-checks.ts';
import type { VerifiedBundle } from './verified.ts';

declare const verified: unique symbol;

/** A pack of which every link held: from source to image, with the gate's decision. The image and the SBOM are not in it. */
export interface VerifiedPack {
  readonly [verified]: true;
  readonly pack: EvidencePack;
  readonly bundles: readonly VerifiedBundle[];
  readonly summary: VerificationSummary;
  /** The steps from source to image, in order. */
  readonly chain: readonly StepEvidence[];
  readonly sbom: BoundSbom;
  /** The log's, that every bundle's entry is under. */
  readonly checkpoint: WitnessedCheckpoint;
}

export type PackLink = 'pack' | 'log' | 'signature' | 'summary' | 'builder' | 'chain' | 'sbom';

/** Runs one link and returns its value; who keeps an account writes the lines down, or the refusal, which it passes on. */
export type LinkRunner = <T>(link: PackLink, check: () => Finding<T>) => T;

/**
 * Verifies a pack.
 * @throws Rejection with the code of the first link that does not hold
 */
export function verifyPack(
  bytes: Uint8Array,
  question: PackQuestion,
  crypto: Crypto,
  run: LinkRunner = (_, check) => check().value,
): VerifiedPack {
  const { trust } = question;
  const pack = run('pack', () => readPack(bytes, question));
  const logged = run('log', () => proveEntries(pack, question, crypto));
  const bundles = run('signature', () => verifyBundles(logged.bundles, question));
  const summary = run('summary', () => believeGate(pack, bundles, trust));
  const evidence = run('builder', () => checkBuilders(bundles, trust));
  const chain = run('chain', () => checkChain(pack, evidence, trust));
  const sbom = run('sbom', () => findSbom(pack, bundles, trust));
  const facts: Omit<VerifiedPack, typeof verified> = {
    ...{ pack, bundles, summary, chain, sbom },
    checkpoint: logged.checkpoint,
  };
  return facts as VerifiedPack;
}

/** The SBOM's bytes are those that the pack's evidence binds to the image, and describe it. @throws SBOM_DIGEST_MISMATCH, SBOM_MALFORMED, SBOM_NOT_BOUND */
export function checkPackSbom(
  { pack, sbom }: VerifiedPack,
  bytes: Uint8Array,
  crypto: Crypto,
): Finding<void> {
  const sha256 = hexEncode(crypto.sha256(bytes));
  const { imageSha256 } = pack;
  const count = checkSbomBinding({ bytes, sha256 }, { sbomSha256: sbom.sha256, imageSha256 });
  return found(undefined, `sha256:${sha256} describes the image, ${count} components`);
}

/** The image is the one that the pack's evidence is about; its size is undefined where its digest alone is known. @throws PACK_IMAGE_MISMATCH */
export function checkPackImage(
  { pack }: VerifiedPack,
  got: { readonly sha256: string; readonly sizeBytes: number | undefined },
): Finding<void> {
  const { imageSha256, imageSizeBytes } = pack;
  const size = got.sizeBytes === undefined ? '' : ` (${got.sizeBytes} bytes)`;
  if (got.sha256 !== imageSha256 || (got.sizeBytes ?? imageSizeBytes) !== imageSizeBytes) {
    throw PACK.reject(
      'PACK_IMAGE_MISMATCH',
      `expected sha256:${imageSha256} (${imageSizeBytes} bytes), got sha256:${got.sha256}${size}`,
    );
  }
  return found(undefined, `sha256:${imageSha256}, ${imageSizeBytes} bytes`);
}
