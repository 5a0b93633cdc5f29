// SPDX-License-Identifier: Apache-2.0
// Codes of the offline roles: key ceremony, product delegation, gate's evidence, release, withdrawal.

import { faultsOf } from '../core/faults.ts';

export const RELEASE = faultsOf({
  CEREMONY_THRESHOLD_INVALID: {
    class: 'rejection',
    meaning: 'The numbers of root keys and of signatures asked of them do not make a threshold.',
    remedy: 'Ask for at least one signature and for no more signatures than there are keys.',
    usage: true,
  },
  CEREMONY_KEY_EXISTS: {
    class: 'rejection',
    meaning: 'A private key would have been overwritten.',
    remedy: 'Choose an empty folder or another file name; Waybill never overwrites a private key.',
    usage: true,
  },
  CEREMONY_KEY_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'A private key could not be written; the keys of this run that were written have been removed.',
    remedy: 'Free space or choose another folder, then run the command again.',
  },
  CEREMONY_KEY_UNREADABLE: {
    class: 'rejection',
    meaning: 'A key file is missing or cannot be read.',
    remedy: 'Check the path and its permissions.',
    usage: true,
  },
  CEREMONY_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A key file does not hold a key of the kind that this role signs with.',
    remedy: 'Ed25519 for TUF roles, ECDSA P-256 for gate and device; `waybill key new` makes both.',
    usage: true,
  },
});
