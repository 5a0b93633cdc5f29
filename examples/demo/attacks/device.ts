// SPDX-License-Identifier: Apache-2.0
// Attacks at the device's door. The attacker signs with the real releases key wherever that is needed to get past TUF, and
// with the real gate key or CI identity wherever it is needed to get past the summary: each inner check is reached.

import { generateKeyPairSync, sign } from 'node:crypto';
import { portableCrypto } from '../../../core/crypto.ts';
import { base64Encode } from '../../../core/encoding/base64.ts';
import { utf8, utf8Decode } from '../../../core/encoding/utf8.ts';
import { PROVENANCE_TYPE } from '../../../core/intoto/provenance.ts';
import { REFERENCE_TYPE } from '../../../core/intoto/reference.ts';
import { parseVerificationSummary, type VerificationSummary } from '../../../core/intoto/vsa.ts';
import { formatReleaseIndex } from '../../../core/release/release-index.ts';
import { releaseUri } from '../../../core/release/version.ts';
import { parseBundle } from '../../../core/sigstore/bundle.ts';
import { ED25519_NOTE, formatNote, noteKeyId, parseNote } from '../../../core/tlog/note.ts';
import { nodeHost } from '../../../device/node-host.ts';
import { updateDevice } from '../../../device/update.ts';
import { PRODUCT } from '../road.ts';
import {
  bent,
  bodyOf,
  evidenceOf,
  formatSummary,
  INDEX_NAME,
  type Offer,
  OWN_ROLE,
  type Refusal,
  releaseOf,
  type Scene,
  sha256Of,
  statementOf,
  summaryOf,
} from '../scene.ts';
import type { Attack } from './attack.ts';

/** One byte of a copy is another. */
function flipped(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 1;
  return copy;
}

/** An attack that bends the offer of 8.1.0, lists and signs it with the stolen releases and online keys. */
function bending(
  name: string,
  code: string,
  bend: (offer: Offer, scene: Scene) => Promise<void> | void,
): Attack {
  return {
    ...{ name, code, stage: 'device' },
    async mount(scene) {
      const offer = await scene.offer('8.1.0', 'releases', 'online');
      await bend(offer, scene);
      scene.list(offer);
      offer.forge.publish(OWN_ROLE);
      return scene.attackDevice(offer.forge);
    },
  };
}

/** As `bending`, with other evidence in the pack and a summary over it by the stolen gate key. */
function reevidencing(
  name: string,
  code: string,
  change: (evidence: Uint8Array[], scene: Scene, offer: Offer) => Promise<Uint8Array[]> | Uint8Array[],
): Attack {
  return bending(name, code, async (offer, scene) => {
    offer.pack = await scene.repack(offer.pack, await change(evidenceOf(offer.pack), scene, offer));
  });
}

export const isStep = (bundle: Uint8Array, step: string): boolean => {
  const statement = statementOf(bundle);
  if (statement.predicateType !== PROVENANCE_TYPE) return false;
  return (
    statement.predicate.field('buildDefinition').field('externalParameters').field('step').value === step
  );
};
export const isReference = (bundle: Uint8Array): boolean =>
  statementOf(bundle).predicateType === REFERENCE_TYPE;

/** Replaces the bundle that `which` picks. */
async function replaced(
  evidence: readonly Uint8Array[],
  which: (bundle: Uint8Array) => boolean,
  by: (bundle: Uint8Array) => Promise<Uint8Array> | Uint8Array,
): Promise<Uint8Array[]> {
  return Promise.all(evidence.map((bundle) => (which(bundle) ? by(bundle) : bundle)));
}

const IMAGE: readonly Attack[] = [
  {
    ...{ name: 'image: one byte flipped in the repository', stage: 'device', code: 'UPDATE_IMAGE_MISMATCH' },
    async mount(scene) {
      const { forge, image, index } = await scene.offer('8.1.0');
      forge.addTarget(OWN_ROLE, releaseOf(index, '8.1.0').image.name, flipped(image), image);
      return scene.attackDevice(forge);
    },
  },
  bending('image: flipped and listed anew with the stolen releases key', 'UPDATE_PACK_MISMATCH', (offer) => {
    offer.image = flipped(offer.image);
  }),
  bending('image: flipped, listed anew, pack rewritten to it', 'UPDATE_SUMMARY_SUBJECT', (offer) => {
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
  bending(
    'provenance: of another build, summary unchanged',
    'UPDATE_SUMMARY_INPUTS',
    async (offer, scene) => {
      const other = evidenceOf((await scene.offer('8.0.0')).pack).find((bundle) => isStep(bundle, 'image'));
      const evidence = await replaced(
        evidenceOf(offer.pack),
        (bundle) => isStep(bundle, 'image'),
        () => other as Uint8Array,
      );
      offer.pack = await scene.withProofs(offer.pack, [...evidence, summaryOf(offer.pack)]);
    },
  ),
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

/** A workflow that the certificate authority serves and no policy names. */
export const NIGHTLY = {
  job_workflow_ref: 'example/firmware/.github/workflows/nightly.yml@refs/heads/main',
  workflow_ref: 'example/firmware/.github/workflows/nightly.yml@refs/heads/main',
};

/** The bundle with another payload under the old signature and the old log entry. */
export function editedPayload(bundle: Uint8Array): Uint8Array {
  const json = JSON.parse(utf8Decode(bundle) ?? '');
  const edited = utf8(
    (utf8Decode(parseBundle(bundle).payload) ?? '').replace('sbom.cdx.json', 'evil.cdx.json'),
  );
  json.dsseEnvelope.payload = base64Encode(edited);
  return utf8(JSON.stringify(json));
}

const SBOM: readonly Attack[] = [
  bending('SBOM: withheld', 'UPDATE_SBOM_MISSING', (offer) => {
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
  bending('gate: no summary', 'UPDATE_SUMMARY_MISSING', async (offer, scene) => {
    offer.pack = await scene.withProofs(offer.pack, evidenceOf(offer.pack));
  }),
  summarising('gate: the summary says FAILED', 'UPDATE_SUMMARY_FAILED', { result: 'FAILED' }),
  summarising('gate: a summary for another policy', 'UPDATE_SUMMARY_POLICY', {
    policySha256: 'e'.repeat(64),
  }),
  summarising('gate: a summary by another verifier', 'UPDATE_SUMMARY_VERIFIER', {
    verifierId: 'https://waybill.example/gates/other',
  }),
  summarising('gate: a summary of another release', 'UPDATE_SUMMARY_RESOURCE', {
    resourceUri: 'pkg:generic/optiboot@8.0.9',
  }),
  bending(
    'gate: a summary by another key, logged with the stolen log key',
    'UPDATE_SUMMARY_KEY',
    async (offer, scene) => {
      const { url, keyPath } = scene.thief;
      const summary = await scene.signWithKey(parseBundle(summaryOf(offer.pack)).payload, keyPath, url);
      offer.pack = await scene.withProofs(offer.pack, [...evidenceOf(offer.pack), summary], url);
    },
  ),
  bending('gate: a summary by the CI under its certificate', 'UPDATE_SUMMARY_KEY', async (offer, scene) => {
    const summary = await scene.signAsCi(parseBundle(summaryOf(offer.pack)).payload);
    offer.pack = await scene.withProofs(offer.pack, [...evidenceOf(offer.pack), summary]);
  }),
];

/**
 * Everything that the keys inside `serve` can forge, for an image that nobody built: provenance and SBOM reference under
 * certificates of the stolen authority, timestamps, entries of the stolen log.
 */
async function forgeChain(offer: Offer, scene: Scene): Promise<Uint8Array[]> {
  const [from, to] = [sha256Of(offer.image), sha256Of(flipped(offer.image))];
  offer.image = flipped(offer.image);
  offer.sbom = utf8((utf8Decode(offer.sbom) ?? '').replaceAll(from, to));
  const sbom = { sha256: sha256Of(offer.sbom), sizeBytes: offer.sbom.length };
  const body = bodyOf(offer.pack);
  const evidence = evidenceOf(offer.pack).map((bundle) => {
    const text = utf8Decode(parseBundle(bundle).payload) ?? '';
    return utf8(text.replaceAll(from, to).replaceAll(body.sha256, sbom.sha256));
  });
  offer.pack = { ...offer.pack, imageSha256: to, bodies: [{ ...body, ...sbom }] };
  return Promise.all(evidence.map((statement) => scene.signAsCi(statement, {}, scene.thief.url)));
}

/** The summary that the thief would like to have from the gate. */
function wantedSummary(offer: Offer, evidence: readonly Uint8Array[]): Uint8Array {
  const honest = parseVerificationSummary(statementOf(summaryOf(offer.pack)));
  const subjects = [{ name: 'image', sha256: offer.pack.imageSha256 }];
  return formatSummary({ ...honest, subjects, inputAttestations: evidence.map(sha256Of) });
}

const SERVE_STOLEN: readonly Attack[] = [
  {
    ...{
      name: 'all keys inside serve stolen: the thief signs the delegation itself',
      stage: 'device',
      code: 'TUF_SIGNATURE_THRESHOLD',
    },
    async mount(scene) {
      const offer = await scene.offer('8.1.0', 'online');
      const evidence = await forgeChain(offer, scene);
      offer.pack = await scene.withProofs(offer.pack, evidence, scene.thief.url);
      scene.list(offer);
      offer.forge.keys.set(OWN_ROLE, [generateKeyPairSync('ed25519').privateKey]);
      offer.forge.publish(OWN_ROLE);
      return scene.attackDevice(offer.forge);
    },
  },
  bending(
    'all keys inside serve and the releases key stolen: no summary',
    'UPDATE_SUMMARY_MISSING',
    async (offer, scene) => {
      const evidence = await forgeChain(offer, scene);
      offer.pack = await scene.withProofs(offer.pack, evidence, scene.thief.url);
    },
  ),
  bending(
    'all keys inside serve and the releases key stolen: a summary under a minted certificate',
    'UPDATE_SUMMARY_KEY',
    async (offer, scene) => {
      const { url } = scene.thief;
      const evidence = await forgeChain(offer, scene);
      const summary = await scene.signAsCi(wantedSummary(offer, evidence), {}, url);
      offer.pack = await scene.withProofs(offer.pack, [...evidence, summary], url);
    },
  ),
  bending(
    "all keys inside serve and the releases key stolen: a summary by the thief's key",
    'UPDATE_SUMMARY_KEY',
    async (offer, scene) => {
      const { url, keyPath } = scene.thief;
      const evidence = await forgeChain(offer, scene);
      const summary = await scene.signWithKey(wantedSummary(offer, evidence), keyPath, url);
      offer.pack = await scene.withProofs(offer.pack, [...evidence, summary], url);
    },
  ),
];

const METADATA: readonly Attack[] = [
  {
    ...{
      name: 'replay: an older release with its old metadata',
      stage: 'device',
      code: 'TUF_VERSION_ROLLBACK',
    },
    async mount(scene) {
      const forge = await scene.repository('online');
      forge.roles.get('timestamp').version -= 1;
      forge.sign('timestamp');
      return scene.attackDevice(forge, '8.0.0', true);
    },
  },
  {
    ...{
      name: 'replay: an older release, released anew under new metadata',
      stage: 'device',
      code: 'UPDATE_VERSION_FLOOR',
    },
    async mount(scene) {
      const offer = await scene.offer('8.0.0', 'releases', 'online');
      offer.index = {
        ...offer.index,
        releases: offer.index.releases.filter(({ version }) => version === '8.0.0'),
      };
      scene.list(offer);
      offer.forge.publish(OWN_ROLE);
      return scene.attackDevice(offer.forge, '8.1.0');
    },
  },
  {
    ...{ name: 'freeze: an expired timestamp role', stage: 'device', code: 'TUF_ROLE_EXPIRED' },
    async mount(scene) {
      const forge = await scene.repository('online');
      forge.roles.get('timestamp').expires = '2026-01-01T00:00:00Z';
      forge.publishSnapshot();
      return scene.attackDevice(forge);
    },
  },
  {
    ...{
      name: 'goods: named by top-level targets, with its stolen key',
      stage: 'device',
      code: 'TUF_GOODS_WRONG_ROLE',
    },
    async mount(scene) {
      const { forge, index } = await scene.offer('8.1.0', 'targets', 'online');
      forge.addTarget('targets', INDEX_NAME, formatReleaseIndex(index));
      forge.publish('targets');
      return scene.attackDevice(forge);
    },
  },
];

const LOG: readonly Attack[] = [
  bending("log: a proof under another log's key", 'TLOG_NOTE_UNSIGNED', (offer) => {
    offer.pack = { ...offer.pack, checkpoint: resigned(offer.pack.checkpoint) };
  }),
  bending('log: a leaf that our log never had', 'TLOG_INCLUSION_MISMATCH', (offer) => {
    const [first, second, ...rest] = offer.pack.bundles;
    if (first === undefined || second === undefined) throw new Error('the pack has too few bundles');
    const exchanged = { ...second, leafIndex: first.leafIndex, proof: first.proof };
    offer.pack = { ...offer.pack, bundles: [first, exchanged, ...rest] };
  }),
];

/** The same checkpoint under the same name, signed by another log's key. */
function resigned(checkpoint: string): string {
  const { text, signatures } = parseNote(checkpoint);
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const raw = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })).slice(-32);
  const [name] = signatures.map((line) => line.name);
  if (name === undefined) throw new Error('the checkpoint has no signature');
  const keyId = noteKeyId(name, ED25519_NOTE, raw, portableCrypto);
  return formatNote({
    text,
    signatures: [{ name, keyId, signature: new Uint8Array(sign(null, utf8(text), privateKey)) }],
  });
}

/** The other product's honest goods under this product's names, listed with the stolen releases key. */
function smuggling(
  name: string,
  code: string,
  bend: (offer: Offer, scene: Scene) => Promise<void> | void,
): Attack {
  return bending(name, code, async (offer, scene) => {
    const other = await scene.otherOffer('8.7.0');
    const release = { ...releaseOf(offer.index, '8.1.0'), version: '8.7.0' };
    offer.index = { ...offer.index, releases: [...offer.index.releases, release] };
    const body = { ...bodyOf(other.pack), name: bodyOf(offer.pack).name };
    Object.assign(offer, { ...other, index: offer.index, pack: { ...other.pack, bodies: [body] } });
    await bend(offer, scene);
  });
}

const OTHER: readonly Attack[] = [
  smuggling("product: another product's valid release, listed as ours", 'UPDATE_PACK_MISMATCH', () => {}),
  smuggling(
    "product: another product's valid release, its pack rewritten as ours",
    'UPDATE_SUMMARY_RESOURCE',
    (offer) => {
      offer.pack = { ...offer.pack, product: PRODUCT };
    },
  ),
  smuggling(
    'product: the same, and the stolen gate key passes it',
    'CHAIN_PRODUCT_MISMATCH',
    async (offer, scene) => {
      const resourceUri = releaseUri(PRODUCT, '8.7.0');
      const policy = parseVerificationSummary(statementOf(summaryOf((await scene.offer('8.1.0')).pack)));
      const { policyUri, policySha256 } = policy;
      const change = { resourceUri, policyUri, policySha256 };
      offer.pack = { ...(await scene.repack(offer.pack, evidenceOf(offer.pack), change)), product: PRODUCT };
    },
  ),
  {
    ...{
      name: "product: another product's index in the place of ours",
      stage: 'device',
      code: 'UPDATE_PRODUCT_MISMATCH',
    },
    async mount(scene) {
      const { forge } = await scene.offer('8.1.0', 'releases', 'online');
      const other = await scene.otherOffer('8.7.0');
      forge.addTarget(OWN_ROLE, INDEX_NAME, formatReleaseIndex(other.index));
      forge.publish(OWN_ROLE);
      return scene.attackDevice(forge);
    },
  },
];

export const DEVICE_ATTACKS: readonly Attack[] = [
  ...[...IMAGE, ...PROVENANCE, ...SBOM, ...SUMMARY],
  ...[...OTHER, ...METADATA, ...LOG, ...SERVE_STOLEN],
];
