// SPDX-License-Identifier: Apache-2.0
// Codes of policies and of the rules that no check of core covers. Denials are values: rules carry these codes in a Decision.

import { faultsOf } from '../core/faults.ts';

export const POLICY = faultsOf({
  POLICY_MALFORMED: {
    class: 'rejection',
    meaning: 'The policy does not follow docs/spec/policy.md.',
    remedy: 'Correct the policy at the place named.',
    usage: true,
  },
  POLICY_EVIDENCE_EMPTY: {
    class: 'rejection',
    meaning: 'There is no verified statement about this image.',
    remedy: 'Run `waybill attest` on the build that made the image, and check the digest.',
  },
  POLICY_PREDICATE_UNKNOWN: {
    class: 'rejection',
    meaning:
      'A statement about this image is of a kind that must be judged, in a version that this gate does not know.',
    remedy: 'Use a version of Waybill that knows the predicate; what cannot be read cannot be passed.',
  },
  POLICY_EVIDENCE_STALE: {
    class: 'rejection',
    meaning: 'Evidence is older than the policy allows.',
    remedy: 'Build and attest again.',
  },
  POLICY_EVIDENCE_FROM_FUTURE: {
    class: 'rejection',
    meaning: 'Evidence was signed later than now.',
    remedy: 'Set the clock of this machine; if it is right, the timestamp authority is wrong.',
  },
  POLICY_SBOM_WITHHELD: {
    class: 'rejection',
    meaning: 'A signed statement names the SBOM of the image, but the SBOM itself was not given.',
    remedy: 'Submit the SBOM with `waybill attest`.',
  },
  POLICY_REBUILDS_TOO_FEW: {
    class: 'rejection',
    meaning: 'Fewer independent rebuilders than the policy asks for agree with the build.',
    remedy: 'Have further rebuilders of the policy run `waybill rebuild` on this image.',
  },
  POLICY_REBUILD_DIFFERS: {
    class: 'rejection',
    meaning: 'An independent rebuilder of the policy got another image from the same definition and lock.',
    remedy:
      'Do not release. Read the differences in its statement; find out whether the build is not reproducible or was tampered with.',
  },
  POLICY_VERSION_NOT_HIGHER: {
    class: 'rejection',
    meaning: 'The version is not higher than that of the last release.',
    remedy: 'Choose a higher version and build again: the version is part of the evidence.',
  },
});
