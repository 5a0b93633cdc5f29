// SPDX-License-Identifier: Apache-2.0
// The one code of the field's verifier: what is wrong with a bundle is core's to say.

import { faultsOf } from '../core/faults.ts';

export const PEERS = faultsOf({
  SIGSTORE_VERIFIERS_DISAGREE: {
    class: 'rejection',
    meaning: 'core accepts the bundle, and the verifier of the field does not.',
    remedy: 'Refuse, and report it: one of the two verifiers is wrong.',
  },
});
