// SPDX-License-Identifier: Apache-2.0
// Codes for what the field's verifiers refuse: each names what was checked, whoever checks it.

import { faultsOf } from '../core/faults.ts';

export const PEERS = faultsOf({
  SIGSTORE_CERTIFICATE_REFUSED: {
    class: 'rejection',
    meaning:
      'The signing certificate does not lead to a trusted authority, was not valid when it signed, or lacks its SCT.',
    remedy: 'Refuse; have the statement signed by an identity of the trusted authority.',
  },
  SIGSTORE_TIMESTAMP_REFUSED: {
    class: 'rejection',
    meaning: 'The bundle has no timestamp of a trusted authority over its signature.',
    remedy: 'Refuse; have the statement signed again with the timestamp authority.',
  },
  SIGSTORE_LOG_PROOF_REFUSED: {
    class: 'rejection',
    meaning: "The bundle's log entry is not proved by a checkpoint of a trusted log.",
    remedy: 'Refuse; have the statement logged in the trusted log.',
  },
});
