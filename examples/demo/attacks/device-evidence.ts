// SPDX-License-Identifier: Apache-2.0
// Attacks on the evidence at the device's door: image, provenance, SBOM, the gate's summary.

import { utf8, utf8Decode } from '../../../core/encoding/utf8.ts';
import type { VerificationSummary } from '../../../core/intoto/vsa.ts';
import { parseBundle } from '../../../core/sigstore/bundle.ts';
import { nodeHost } from '../../../device/node-host.ts';
import { updateDevice } from '../../../device/update.ts';
import {
  bent,
  bodyOf,
  evidenceOf,
  OWN_ROLE,
  type Refusal,
  releaseOf,
  type Scene,
  sha256Of,
  statementOf,
  summaryOf,
} from '../scene.ts';
import type { Attack } from './attack.ts';
import {
  bending,
  editedPayload,
  flipped,
  isReference,
  isStep,
  NIGHTLY,
  reevidencing,
  replaced,
} from './bending.ts';

const IMAGE: readonly Attack[] = [
  {
    ...{ name: 'image: one byte flipped in the repository', stage: 'device', code: 'UPDATE_IMAGE_MISMATCH' },
    async mount(scene) {
      const { forge, image, index } = await scene.offer('8.1.0');
      forge.addTarget(OWN_ROLE, releaseOf(index, '8.1.0').image.name, flipped(image), image);
      return scene.attackDevice(forge);
    },
  },
  bending('image: flipped and listed anew with the stolen releases key', 'PACK_RELEASE_MISMATCH', (offer) => {
    offer.image = flipped(offer.image);
  }),
  bending('image: flipped, listed anew, pack rewritten to it', 'PACK_SUMMARY_SUBJECT', (offer) => {
    offer.image = flipped(offer.image);
    offer.pack = { ...offer.pack, imageSha256: sha256Of(offer.image) };
  }),
  bending(
    'image: flipped, and the stolen gate key passes it',
    'CHAIN_IMAGE_NOT_PRODUCED',
    async (offer, scene) => {
      offer.image = flipped(offer.image);
      const imageSha256 = sha256Of(offer.image);
      const subjects = [{ name: 'image', sha256: imageSha256 }];
      offer.pack = { ...(await scene.repack(offer.pack, evidenceOf(offer.pack), { subjects })), imageSha256 };
    },
  ),
  {
    ...{
      name: 'image: one byte flipped in the slot after writing',
      stage: 'device',
      code: 'SLOT_READBACK_MISMATCH',
    },
    mount: flipInSlot,
  },
];

/** The storage changes a byte between the write and the reading back: the one attack that needs a hand inside the device. */
async function flipInSlot(scene: Scene): Promise<Refusal> {
  const folder = await scene.device('8.0.0');
  const host = nodeHost();
  const readSlot = async function* (path: string): AsyncIterable<Uint8Array> {
    for await (const chunk of host.files.readSlot(path)) yield path.endsWith('b') ? flipped(chunk) : chunk;
  };
  const result = await updateDevice(folder, { ...host, files: { ...host.files, readSlot } });
  const untouched = result.active.slot === 'a' && result.active.image?.version === '8.0.0';
  return { code: result.refusal?.code ?? 'none', exitCode: result.outcome === 'refused' ? 1 : 0, untouched };
}

const PROVENANCE: readonly Attack[] = [
  bending('provenance: of another build, summary unchanged', 'PACK_SUMMARY_INPUTS', async (offer, scene) => {
    const other = evidenceOf((await scene.offer('8.0.0')).pack).find((bundle) => isStep(bundle, 'image'));
    const evidence = await replaced(
      evidenceOf(offer.pack),
      (bundle) => isStep(bundle, 'image'),
      () => other as Uint8Array,
    );
    offer.pack = await scene.withProofs(offer.pack, [...evidence, summaryOf(offer.pack)]);
  }),
  reevidencing(
    'provenance: of another build, and the stolen gate key passes it',
    'CHAIN_PRODUCT_MISMATCH',
    async (evidence, scene) => {
      const other = evidenceOf((await scene.offer('8.0.0')).pack).find((bundle) => isStep(bundle, 'image'));
      return replaced(
        evidence,
        (bundle) => isStep(bundle, 'image'),
        () => other as Uint8Array,
      );
    },
  ),
  reevidencing(
    'provenance: a step left out, and the stolen gate key passes it',
    'CHAIN_STEP_MISSING',
    (evidence) => evidence.filter((bundle) => !isStep(bundle, 'compile')),
  ),
  reevidencing(
    'provenance: the CI claims another material for the image',
    'CHAIN_MATERIAL_MISMATCH',
    (evidence, scene) =>
      replaced(
        evidence,
        (bundle) => isStep(bundle, 'image'),
        (bundle) =>
          scene.signAsCi(
            bent(statementOf(bundle), ({ predicate }) => {
              const build = predicate.buildDefinition;
              for (const input of build.resolvedDependencies) {
                if (input.annotations?.role === 'material') input.digest.sha256 = 'f'.repeat(64);
              }
            }),
          ),
      ),
  ),
  reevidencing(
    'provenance: the CI admits a step that was not hermetic',
    'CHAIN_STEP_NOT_HERMETIC',
    (evidence, scene) =>
      replaced(
        evidence,
        (bundle) => isStep(bundle, 'compile'),
        (bundle) =>
          scene.signAsCi(
            bent(statementOf(bundle), ({ predicate }) => {
              predicate.buildDefinition.internalParameters.sandbox.hermetic = false;
            }),
          ),
      ),
  ),
  reevidencing(
    'identity: built by a workflow that the policy does not name',
    'CHAIN_BUILDER_NOT_TRUSTED',
    (evidence, scene) =>
      replaced(
        evidence,
        (bundle) => isStep(bundle, 'image'),
        (bundle) => scene.signAsCi(parseBundle(bundle).payload, NIGHTLY),
      ),
  ),
  bending('bundle: a statement edited after it was signed', 'TLOG_INCLUSION_MISMATCH', async (offer) => {
    const bundles = offer.pack.bundles.map((packed) =>
      isReference(packed.bundle) ? { ...packed, bundle: editedPayload(packed.bundle) } : packed,
    );
    offer.pack = { ...offer.pack, bundles };
  }),
];

const SBOM: readonly Attack[] = [
  bending('SBOM: withheld', 'PACK_SBOM_MISSING', (offer) => {
    delete offer.forge.roles.get(OWN_ROLE).targets[bodyOf(offer.pack).name];
    offer.pack = { ...offer.pack, bodies: [] };
  }),
  bending('SBOM: exchanged', 'SBOM_DIGEST_MISMATCH', (offer) => {
    offer.sbom = utf8((utf8Decode(offer.sbom) ?? '').replace('arduino-core-avr', 'nothing-to-see'));
    const body = { ...bodyOf(offer.pack), sha256: sha256Of(offer.sbom), sizeBytes: offer.sbom.length };
    offer.pack = { ...offer.pack, bodies: [body] };
  }),
  reevidencing(
    'SBOM: its reference left out, and the stolen gate key passes it',
    'SBOM_REFERENCE_MISSING',
    (evidence) => evidence.filter((bundle) => !isReference(bundle)),
  ),
  reevidencing(
    'SBOM: of another build, attested by the CI and passed by the stolen gate key',
    'SBOM_NOT_BOUND',
    async (evidence, scene, offer) => {
      offer.sbom = (await scene.offer('8.0.0')).sbom;
      const digest = sha256Of(offer.sbom);
      const body = { ...bodyOf(offer.pack), sha256: digest, sizeBytes: offer.sbom.length };
      offer.pack = { ...offer.pack, bodies: [body] };
      return replaced(evidence, isReference, (bundle) =>
        scene.signAsCi(
          bent(statementOf(bundle), ({ predicate }) => {
            predicate.references[0].digest.sha256 = digest;
          }),
        ),
      );
    },
  ),
];

/** An attack on the gate's summary: the stolen gate key signs something else. */
function summarising(name: string, code: string, change: Partial<VerificationSummary>): Attack {
  return bending(name, code, async (offer, scene) => {
    offer.pack = await scene.repack(offer.pack, evidenceOf(offer.pack), change);
  });
}

const SUMMARY: readonly Attack[] = [
  bending('gate: no summary', 'PACK_SUMMARY_MISSING', async (offer, scene) => {
    offer.pack = await scene.withProofs(offer.pack, evidenceOf(offer.pack));
  }),
  summarising('gate: the summary says FAILED', 'PACK_SUMMARY_FAILED', { result: 'FAILED' }),
  summarising('gate: a summary for another policy', 'PACK_SUMMARY_POLICY', {
    policySha256: 'e'.repeat(64),
  }),
  summarising('gate: a summary by another verifier', 'PACK_SUMMARY_VERIFIER', {
    verifierId: 'https://waybill.example/gates/other',
  }),
  summarising('gate: a summary of another release', 'PACK_SUMMARY_RESOURCE', {
    resourceUri: 'pkg:generic/optiboot@8.0.9',
  }),
  bending(
    'gate: a summary by another key, logged with the stolen log key',
    'PACK_SUMMARY_KEY',
    async (offer, scene) => {
      const { url, keyPath } = scene.thief;
      const summary = await scene.signWithKey(parseBundle(summaryOf(offer.pack)).payload, keyPath, url);
      offer.pack = await scene.withProofs(offer.pack, [...evidenceOf(offer.pack), summary], url);
    },
  ),
  bending('gate: a summary by the CI under its certificate', 'PACK_SUMMARY_KEY', async (offer, scene) => {
    const summary = await scene.signAsCi(parseBundle(summaryOf(offer.pack)).payload);
    offer.pack = await scene.withProofs(offer.pack, [...evidenceOf(offer.pack), summary]);
  }),
];

export const DEVICE_EVIDENCE_ATTACKS: readonly Attack[] = [...IMAGE, ...PROVENANCE, ...SBOM, ...SUMMARY];
