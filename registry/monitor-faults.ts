// SPDX-License-Identifier: Apache-2.0
// Codes of the monitor: what keeps it from looking, and what is wrong with what it is given. What it sees is an alarm, not a fault.

import { faultsOf } from '../core/faults.ts';

export const MONITOR = faultsOf({
  MONITOR_WATCH_MALFORMED: {
    class: 'rejection',
    meaning: 'The file that says whose signatures are watched has a mistake.',
    remedy: 'Correct the file at the place named; docs/spec/monitor.md lists its members.',
    usage: true,
  },
  MONITOR_BUILDS_MALFORMED: {
    class: 'rejection',
    meaning: 'The list of builds that were started has a line that is none.',
    remedy: 'Correct the line named; each is a JSON object with the address of one attempt of one run.',
    usage: true,
  },
  MONITOR_EVIDENCE_MISSING: {
    class: 'rejection',
    meaning: 'The file of builds or the folder of decisions is not there, or cannot be read.',
    remedy:
      'Check the path and its permissions. Where nothing was started or decided yet, make an empty file or folder.',
    usage: true,
  },
  MONITOR_DECISION_MALFORMED: {
    class: 'rejection',
    meaning: 'A file in the folder of decisions is not a bundle that `waybill gate` wrote.',
    remedy: 'Put only bundles of the gate (*.sigstore.json) into that folder.',
    usage: true,
  },
  MONITOR_STATE_LOCKED: {
    class: 'unavailable',
    meaning: 'Another process uses the state folder of the monitor.',
    remedy: 'Stop the other `waybill monitor run`; one process at a time follows a log in a folder.',
  },
  MONITOR_STATE_DAMAGED: {
    class: 'rejection',
    meaning: 'The state folder of the monitor cannot be read as the monitor wrote it.',
    remedy:
      'Restore the folder, or begin with a new one: the log is then read again from its first entry, but a fork of what ' +
      'was seen before goes unnoticed. Keep the folder alarms/.',
  },
  MONITOR_LOG_UNREACHABLE: {
    class: 'unavailable',
    meaning: 'The log, the store or the list of runs did not answer.',
    remedy:
      'Nothing to do if it is short: the monitor goes on where it stopped. It raises an alarm if it lasts.',
  },
  MONITOR_LOG_UNREADABLE: {
    class: 'unavailable',
    meaning: 'What the log serves does not lead to the checkpoint that it signed.',
    remedy:
      'Ask the operator of the log to run its check; the monitor tries again, and raises an alarm if it lasts.',
  },
  MONITOR_LOG_UNNAMED: {
    class: 'rejection',
    meaning: 'The trust material names no signature log, or no certificate log, of a registry.',
    remedy:
      'Ask the officers of targets what they published: a trusted root names log.<domain>, ct.<domain> and later shards of each.',
  },
  MONITOR_PROOF_MALFORMED: {
    class: 'rejection',
    meaning: 'The file is not a fork proof, or its hashes do not lead to the newer checkpoint.',
    remedy: 'Ask for the file again, as the monitor kept it.',
  },
  MONITOR_PROOF_EMPTY: {
    class: 'rejection',
    meaning: 'The two checkpoints do not contradict each other.',
    remedy: 'Nothing is proven against the log; ask whoever accuses it for another proof.',
  },
  MONITOR_ALARM_UNKNOWN: {
    class: 'rejection',
    meaning: 'The state folder holds no alarm of this name.',
    remedy:
      'Name an alarm as it was printed; each is a file in the folder alarms/, of that name without path and `.json`.',
    usage: true,
  },
});
