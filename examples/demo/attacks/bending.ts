// SPDX-License-Identifier: Apache-2.0
// How an offer is bent on its way to a device: what is listed is signed with the stolen releases and online keys, and where
// it is needed the stolen gate key passes it, so that each inner check is reached.

import { base64Encode } from '../../../core/encoding/base64.ts';
import { utf8, utf8Decode } from '../../../core/encoding/utf8.ts';
import { PROVENANCE_TYPE } from '../../../core/intoto/provenance.ts';
import { REFERENCE_TYPE } from '../../../core/intoto/reference.ts';
import { parseBundle } from '../../../core/sigstore/bundle.ts';
import { evidenceOf, type Offer, OWN_ROLE, type Scene, statementOf } from '../scene.ts';
import type { Attack } from './attack.ts';

/** One byte of a copy is another. */
export function flipped(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 1;
  return copy;
}

/** An attack that bends the offer of 8.1.0, lists and signs it with the stolen releases and online keys. */
export function bending(
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
export function reevidencing(
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
export async function replaced(
  evidence: readonly Uint8Array[],
  which: (bundle: Uint8Array) => boolean,
  by: (bundle: Uint8Array) => Promise<Uint8Array> | Uint8Array,
): Promise<Uint8Array[]> {
  return Promise.all(evidence.map((bundle) => (which(bundle) ? by(bundle) : bundle)));
}

/** A workflow that the certificate authority serves and no policy names. */
export const NIGHTLY = {
  job_workflow_ref: 'example/firmware/.github/workflows/nightly.yml@refs/heads/main',
  workflow_ref: 'example/firmware/.github/workflows/nightly.yml@refs/heads/main',
};

/** The bundle with another payload under the old signature and the old log entry. */
export function editedPayload(bundle: Uint8Array): Uint8Array {
  const json = JSON.parse(utf8Decode(bundle) ?? '');
  const edited = utf8(
    (utf8Decode(parseBundle(bundle).payload) ?? '').replace('optiboot.bin.cdx.json', 'evil.cdx.json'),
  );
  json.dsseEnvelope.payload = base64Encode(edited);
  return utf8(JSON.stringify(json));
}
