// SPDX-License-Identifier: Apache-2.0
// Attacks on trust at the device's door: update metadata, the log, another product's goods, and every key of `waybill serve`.

import { generateKeyPairSync, sign } from 'node:crypto';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8, utf8Decode } from '../../../core/encoding/utf8.ts';
import { parseVerificationSummary } from '../../../core/intoto/vsa.ts';
import { formatReleaseIndex } from '../../../core/release/release-index.ts';
import { releaseUri } from '../../../core/release/version.ts';
import { parseBundle } from '../../../core/sigstore/bundle.ts';
import { ED25519_NOTE, formatNote, noteKeyId, parseNote } from '../../../core/tlog/note.ts';
import { PRODUCT } from '../road.ts';
import {
  bodyOf,
  evidenceOf,
  formatSummary,
  INDEX_NAME,
  type Offer,
  OWN_ROLE,
  releaseOf,
  type Scene,
  sha256Of,
  statementOf,
  summaryOf,
} from '../scene.ts';
import type { Attack } from './attack.ts';
import { bending, flipped } from './bending.ts';

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
    'PACK_SUMMARY_MISSING',
    async (offer, scene) => {
      const evidence = await forgeChain(offer, scene);
      offer.pack = await scene.withProofs(offer.pack, evidence, scene.thief.url);
    },
  ),
  bending(
    'all keys inside serve and the releases key stolen: a summary under a minted certificate',
    'PACK_SUMMARY_KEY',
    async (offer, scene) => {
      const { url } = scene.thief;
      const evidence = await forgeChain(offer, scene);
      const summary = await scene.signAsCi(wantedSummary(offer, evidence), {}, url);
      offer.pack = await scene.withProofs(offer.pack, [...evidence, summary], url);
    },
  ),
  bending(
    "all keys inside serve and the releases key stolen: a summary by the thief's key",
    'PACK_SUMMARY_KEY',
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
  smuggling("product: another product's valid release, listed as ours", 'PACK_RELEASE_MISMATCH', () => {}),
  smuggling(
    "product: another product's valid release, its pack rewritten as ours",
    'PACK_SUMMARY_POLICY',
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

export const DEVICE_TRUST_ATTACKS: readonly Attack[] = [...OTHER, ...METADATA, ...LOG, ...SERVE_STOLEN];
