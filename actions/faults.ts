// SPDX-License-Identifier: Apache-2.0
// Codes of the GitHub actions.

import { faultsOf } from '../core/faults.ts';

export const ACTION = faultsOf({
  ACTION_INPUT_MISSING: {
    class: 'rejection',
    meaning: 'A required input of the action is not given.',
    remedy: 'Set the input under `with:` in the workflow; see actions/build/README.md.',
    usage: true,
  },
  ACTION_INPUT_MALFORMED: {
    class: 'rejection',
    meaning: 'An input of the action has a value that it cannot have.',
    remedy: 'Correct the input under `with:` in the workflow; see actions/build/README.md.',
    usage: true,
  },
  ACTION_CHECK_RUN_FAILED: {
    class: 'unavailable',
    meaning: 'The check run could not be created; the build itself is not affected.',
    remedy: 'Give the job `permissions: checks: write`, or leave out the input github-token.',
  },
});
