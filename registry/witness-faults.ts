// SPDX-License-Identifier: Apache-2.0
// Codes of the witness: what it refuses to cosign, and what keeps it from starting.

import { faultsOf } from '../core/faults.ts';

export const WITNESS = faultsOf({
  WITNESS_REQUEST_MALFORMED: {
    class: 'rejection',
    meaning: 'A request to the witness is not an old size, a consistency proof and a signed checkpoint.',
    remedy: 'Send the body that docs/spec/witness.md gives.',
  },
  WITNESS_REQUEST_TOO_LARGE: {
    class: 'rejection',
    meaning: 'A request to the witness is larger than 68 KiB.',
    remedy: 'Send at most 63 hashes, and the checkpoint without lines that the witness does not need.',
  },
  WITNESS_REQUEST_UNKNOWN: {
    class: 'rejection',
    meaning: 'The witness has no such endpoint.',
    remedy: 'Send POST <address of the witness>/add-checkpoint.',
  },
  WITNESS_LOG_UNKNOWN: {
    class: 'rejection',
    meaning: 'The witness knows no log of this origin.',
    remedy: "Have the witness's operator add the log with `waybill witness add`.",
  },
  WITNESS_CHECKPOINT_UNKNOWN: {
    class: 'rejection',
    meaning: 'The witness has cosigned no checkpoint of this log.',
    remedy: 'Ask again once the log has sent it a checkpoint.',
  },
  WITNESS_SIGNATURE_WRONG: {
    class: 'rejection',
    meaning: 'The checkpoint is not signed by the key under which the witness knows the log.',
    remedy: 'Send the checkpoint as the log signed it; a log with a new key is a new log.',
  },
  WITNESS_SIZES_REVERSED: {
    class: 'rejection',
    meaning: 'The old size in a request to the witness is larger than the size of the checkpoint.',
    remedy: 'Send the newest checkpoint; if it is the newest, the log lost entries and must not be served.',
  },
  WITNESS_TREE_INCONSISTENT: {
    class: 'rejection',
    meaning:
      'The tree of the checkpoint is not the one that the witness cosigned before, grown or as it was.',
    remedy: 'Do not believe this log until somebody has explained the fork; the witness logged the request.',
  },
  WITNESS_DATA_MISSING: {
    class: 'rejection',
    meaning: 'The folder of the witness, or its key, is missing or unreadable.',
    remedy:
      'Check the path and its permissions, and that its disk is mounted. Where a witness ran before, never make a new folder in its place, which would have forgotten what ' +
      'was cosigned; one that never was there is made by `waybill witness init`.',
    usage: true,
  },
  WITNESS_DATA_DAMAGED: {
    class: 'rejection',
    meaning:
      'A file of the witness is not as the witness wrote it, so it may have forgotten what it cosigned.',
    remedy:
      'Restore the very bytes, never an older copy; if they are lost, retire this key: make another witness with another name and ' +
      'replace this one in the log policies.',
  },
  WITNESS_DATA_LOCKED: {
    class: 'unavailable',
    meaning: 'Another process uses the folder of the witness.',
    remedy: 'Stop the other `waybill witness serve`; one process at a time holds a witness.',
  },
  WITNESS_FOLDER_NOT_EMPTY: {
    class: 'rejection',
    meaning: 'The folder that `waybill witness init` would fill is there already and holds files.',
    remedy: 'Name a folder that does not exist yet; init never overwrites a key.',
    usage: true,
  },
  WITNESS_NAME_MALFORMED: {
    class: 'rejection',
    meaning: 'The name for a witness cannot be the name of a key.',
    remedy:
      'Choose a name without spaces, control characters and plus signs, such as witness.example.com/w1.',
    usage: true,
  },
  WITNESS_LOG_KEY_UNSUITABLE: {
    class: 'rejection',
    meaning: 'The verifier key of a log to be witnessed cannot be used.',
    remedy: 'Give the vkey from the `log` line of a log policy; it must be of a kind that signs checkpoints.',
    usage: true,
  },
  WITNESS_LOG_KNOWN: {
    class: 'rejection',
    meaning: 'The witness knows a log of this origin already.',
    remedy: 'Leave it as it is; a log with a new key needs an origin of its own.',
    usage: true,
  },
});
