// SPDX-License-Identifier: Apache-2.0
// Codes of the command line itself.

import { faultsOf } from '../core/faults.ts';

export const CLI = faultsOf({
  CLI_USAGE: {
    class: 'rejection',
    meaning: 'The command line is not one that Waybill knows.',
    remedy: 'Run the command with --help.',
    usage: true,
  },
  CLI_FILE_UNREADABLE: {
    class: 'rejection',
    meaning: 'A file that the command needs is missing or cannot be read.',
    remedy: 'Check the path and its permissions.',
    usage: true,
  },
  CLI_ROOT_UNSUITABLE: {
    class: 'rejection',
    meaning:
      'The file given as `--root` is no TUF root: another file, the metadata of another role, or a damaged one.',
    remedy:
      'Give the root.json that the operator of the registry handed out; `waybill init` wrote it into the data folder.',
    usage: true,
  },
  CLI_TRUST_FILE_UNSUITABLE: {
    class: 'rejection',
    meaning: 'A file that was to be published as trust material is none that its users could read.',
    remedy:
      'Give the file that the option is for; `waybill rotate` writes all three into trust/ of the data folder.',
    usage: true,
  },
  CLI_LOCK_MISSING: {
    class: 'rejection',
    meaning: 'There is no waybill.lock beside waybill.yaml.',
    remedy: 'Run `waybill lock`, then the command again; keep both files together in version control.',
    usage: true,
  },
  CLI_FILE_UNWRITABLE: {
    class: 'unavailable',
    meaning: 'A result could not be written; nothing half-written was left.',
    remedy: 'Free space or choose another place, then run the command again.',
  },
  CLI_DOCUMENT_MALFORMED: {
    class: 'rejection',
    meaning: 'A YAML or JSON document that a user wrote has a mistake.',
    remedy: 'Correct the document at the file, line and column named.',
    usage: true,
  },
  CLI_CANCELLED: {
    class: 'unavailable',
    meaning: 'The command was cancelled before it was done.',
    remedy: 'Run it again; nothing half-written was left.',
  },
  CLI_PUBLICATION_UNCERTAIN: {
    class: 'unavailable',
    meaning: 'The command was interrupted after it had begun to publish, before the registry answered.',
    remedy:
      'It may be published: look with `waybill tuf status` before running it again. `waybill tuf publish` of a file says so if that is in force.',
  },
});
