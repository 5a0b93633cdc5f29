// SPDX-License-Identifier: Apache-2.0
// Codes of the logs: what stores refuse, and what the signature log's endpoints answer.

import { faultsOf } from '../core/faults.ts';

export const LOG = faultsOf({
  LOG_STORE_LOCKED: {
    class: 'unavailable',
    meaning: 'Another process writes to this log.',
    remedy: 'Stop the other `waybill serve`, or give this one a data folder of its own.',
  },
  LOG_STORE_UNOPENED: {
    class: 'unavailable',
    meaning: 'The store of the log could not be opened.',
    remedy: 'Check the data folder and its permissions; restore it from a copy if it is damaged.',
  },
  LOG_STORE_INCONSISTENT: {
    class: 'rejection',
    meaning: 'What is stored does not give the root that the last published checkpoint names.',
    remedy: 'Do not serve this log: restore the data folder whole, and never publish two trees of one size.',
  },
  LOG_STORE_ORIGIN: {
    class: 'rejection',
    meaning: 'The store belongs to a log of another origin or key.',
    remedy: 'Start with the configuration and key that the data folder was made with.',
    usage: true,
  },
  LOG_STORE_FAILED: {
    class: 'unavailable',
    meaning: 'A write to the store failed, so the log takes no more entries until it is opened again.',
    remedy: 'Free space or repair the disk, then restart; nothing acknowledged is lost.',
  },
  LOG_SELF_CHECK: {
    class: 'unavailable',
    meaning: 'The log could not prove an entry to itself, so it took no more.',
    remedy: 'Restore the damaged tiles from a copy, then restart.',
  },
  LOG_CLOSED: {
    class: 'unavailable',
    meaning: 'The log is shutting down.',
    remedy: 'Send the entry again.',
  },
  LOG_BUSY: {
    class: 'unavailable',
    meaning: 'More entries wait than the log takes at once.',
    remedy: 'Send the entry again after a moment.',
  },
  LOG_SIZE_UNPUBLISHED: {
    class: 'rejection',
    meaning: 'A proof is asked for a tree size that the log has not published.',
    remedy: 'Ask for a size for which there is a checkpoint.',
  },
  LOG_ENTRY_SIZE: {
    class: 'rejection',
    meaning: 'A log entry is larger than 65,535 bytes, or empty.',
    remedy: 'Log a digest; keep the body beside the log.',
  },
});
