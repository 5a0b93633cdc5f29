// SPDX-License-Identifier: Apache-2.0
// Codes of an evidence pack [docs/spec/evidence-pack.md §Verifying]: what its evidence as a whole must be, whoever verifies it.

import { faultsOf } from '../faults.ts';

export const PACK = faultsOf({
  PACK_RELEASE_MISMATCH: {
    class: 'rejection',
    meaning: 'The evidence pack is about another release than the one in the index.',
    remedy: 'Refuse; release again with the pack of this release.',
  },
  PACK_SUMMARY_MISSING: {
    class: 'rejection',
    meaning: "The pack has no verification summary: no gate's decision.",
    remedy: 'Run `waybill gate`, then release with its summary.',
  },
  PACK_SUMMARY_AMBIGUOUS: {
    class: 'rejection',
    meaning: 'The pack has more than one verification summary.',
    remedy: 'Release again with exactly one summary.',
  },
  PACK_SUMMARY_KEY: {
    class: 'rejection',
    meaning: 'The summary is not signed with the gate key of the device policy.',
    remedy: 'Refuse; only the gate that the device policy names may let a release go.',
  },
  PACK_SUMMARY_VERIFIER: {
    class: 'rejection',
    meaning: 'The summary speaks for another verifier than the gate of the device policy.',
    remedy: 'Refuse; key and verifier id must be those of one gate.',
  },
  PACK_SUMMARY_SUBJECT: {
    class: 'rejection',
    meaning: 'The summary is about another image.',
    remedy: 'Run `waybill gate` for this image, then release again.',
  },
  PACK_SUMMARY_FAILED: {
    class: 'rejection',
    meaning: 'The gate refused this image.',
    remedy: 'See the reasons that `waybill gate` printed; correct them and release a new version.',
  },
  PACK_SUMMARY_POLICY: {
    class: 'rejection',
    meaning: 'The gate decided by a policy that the device does not accept.',
    remedy: 'Run `waybill gate` with the accepted policy, or publish the new policy in the device policy.',
  },
  PACK_SUMMARY_RESOURCE: {
    class: 'rejection',
    meaning: 'The summary lets another release go, not this one.',
    remedy: 'Run `waybill gate` for this product and version, then release again.',
  },
  PACK_SUMMARY_INPUTS: {
    class: 'rejection',
    meaning: 'The evidence in the pack is not the evidence that the gate saw.',
    remedy: 'Release again with all the bundles that the gate used, and no others.',
  },
  PACK_EVIDENCE_FROM_FUTURE: {
    class: 'rejection',
    meaning: "Evidence was signed later than the device's clock says that it is now.",
    remedy:
      'Set the clock of the device, or ask `--at` a later time; if it is right, the timestamp authority is wrong.',
  },
  PACK_SBOM_MISSING: {
    class: 'rejection',
    meaning: 'The pack does not say where the SBOM lies that its evidence binds to the image.',
    remedy: 'Release again with the SBOM beside the pack.',
  },
  PACK_NOT_RELEASED: {
    class: 'rejection',
    meaning: "The product's index of releases does not name the pack's version.",
    remedy: 'Use a newer copy of the repository if the release is newer; else refuse, nobody released it.',
  },
  PACK_IMAGE_MISMATCH: {
    class: 'rejection',
    meaning: 'The image is not the one that the evidence is about.',
    remedy: 'Do not install it; get the image again, from the release that the pack belongs to.',
  },
});
