// SPDX-License-Identifier: Apache-2.0
// core and @sigstore/verify on the same mutated bundles: valid ones of the field and of the forge, in groups that share a trust.

import { preAuthEncoding } from '../../core/sigstore/bundle.ts';
import { sha256 } from '../../registry/trust/certificate.ts';
import { CASES } from '../core/sigstore/cases.ts';
import { Forge, PAYLOAD_TYPE, STATEMENT } from '../core/sigstore/forge.ts';
import { certifiedSigner, dated, forgeBundle, hashedRekordV1 } from '../core/sigstore/forged-bundle.ts';
import { bothVerdicts, type Question } from './library-verdict.ts';
import { Dice, mutate } from './mutations.ts';

/** Valid bundles under one trust. */
interface Group {
  readonly trust: Omit<Question, 'bundle'>;
  readonly bundles: readonly Uint8Array[];
}

/** Bundles of every kind that the forge makes. */
function forgeGroup(): Group {
  const forge = new Forge();
  const signer = certifiedSigner(forge);
  const digest = sha256(preAuthEncoding(PAYLOAD_TYPE, STATEMENT));
  const version =
    (number: string) => (bundle: { mediaType: string; verificationMaterial: Record<string, unknown> }) => {
      bundle.mediaType = `application/vnd.dev.sigstore.bundle+json;version=${number}`;
      const { certificate } = bundle.verificationMaterial;
      delete bundle.verificationMaterial.certificate;
      bundle.verificationMaterial.x509CertificateChain = { certificates: [certificate] };
    };
  const old = (_: Uint8Array, signature: Uint8Array) => [
    forge.oldEntry(hashedRekordV1(signer, digest, signature), { kind: 'hashedrekord', version: '0.0.1' }),
  ];
  const bundles = [
    forgeBundle(forge),
    forgeBundle(forge, { signer: { key: forge.listed } }),
    forgeBundle(forge, { signer, entries: old }),
    forgeBundle(forge, { signer, entries: old, timestamps: () => [], change: version('0.2') }),
    forgeBundle(forge, { signer, entries: old, change: version('0.1') }),
    forgeBundle(forge, {
      signer,
      entries: (leaf, signature) => [forge.entry(leaf), ...old(leaf, signature)],
    }),
    forgeBundle(forge, { signer, timestamps: (signature) => dated(forge)(signature) }),
  ];
  const keys = [{ publicKey: forge.listed.spki }];
  return { trust: { trustedRoot: forge.trustedRoot(), keys, artifact: new Uint8Array(0) }, bundles };
}

/** Cases of the field by trust, and what the forge makes. */
function groups(): readonly Group[] {
  const byTrust = new Map<string, { trust: Group['trust']; bundles: Uint8Array[] }>();
  for (const { trustedRoot, keys, artifact, bundle, expected } of CASES) {
    if (expected !== 'accepted') continue;
    const id = [trustedRoot, ...keys.map(({ publicKey }) => publicKey), artifact.bytes]
      .map((one) => Buffer.from(sha256(one)).toString('hex'))
      .join();
    const group = byTrust.get(id) ?? { trust: { trustedRoot, keys, artifact: artifact.bytes }, bundles: [] };
    byTrust.set(id, group);
    group.bundles.push(bundle);
  }
  return [...byTrust.values(), forgeGroup()];
}

export interface Outcome {
  readonly asked: number;
  /** How many both refused, and both accepted. */
  readonly agreed: { readonly refused: number; readonly accepted: number };
  /** Accepted by core and refused by the library: there must be none. */
  readonly looser: readonly string[];
  /** Refused by core and accepted by the library, by code. */
  readonly stricter: Readonly<Record<string, number>>;
  /** One mutated bundle for each code. */
  readonly examples: Readonly<Record<string, string>>;
}

/** Asks both about so many mutated bundles; the same seed asks the same (but for the forge's keys, which are new each time). */
export function compare(count: number, seed: number): Outcome {
  const dice = new Dice(seed);
  const asked = groups().map((group) => ({ ...group, ...bothVerdicts(group.trust) }));
  const looser: string[] = [];
  const stricter: Record<string, number> = {};
  const examples: Record<string, string> = {};
  const agreed = { refused: 0, accepted: 0 };
  for (let i = 0; i < count; i++) {
    // Three of four are of the forge, whose chains have the quicker curve.
    const ofForge = asked.length - 1;
    const { bundles, library, core } = asked[
      i % 4 === 0 ? dice.roll(ofForge) : ofForge
    ] as (typeof asked)[number];
    const bundle = mutate(dice.pick(bundles), dice.pick(bundles), dice);
    const [theirs, ours] = [library(bundle), core(bundle)];
    if (ours === 'accepted' && theirs !== 'accepted') looser.push(`${theirs}: ${Buffer.from(bundle)}`);
    else if (ours !== 'accepted' && theirs === 'accepted') {
      stricter[ours] = (stricter[ours] ?? 0) + 1;
      examples[ours] ??= Buffer.from(bundle).toString();
    } else if (ours === 'accepted') agreed.accepted++;
    else agreed.refused++;
  }
  return { asked: count, agreed, looser, stricter, examples };
}
