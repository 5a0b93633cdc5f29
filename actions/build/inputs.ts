// SPDX-License-Identifier: Apache-2.0
// The action's inputs (actions/build/README.md). Defaults stand in action.yml alone; GitHub fills them in.

import { getInput } from '@actions/core';
import { quote } from '../../core/faults.ts';
import { ACTION } from '../faults.ts';

export interface ActionInputs {
  readonly definition: string;
  readonly registry: string;
  readonly root: string;
  readonly builderId: string;
  readonly audience: string;
  readonly out: string;
  readonly mirror: string | undefined;
  /** The registry keeps every input, and is the first place that they are fetched from. */
  readonly archiveInputs: boolean;
  readonly githubToken: string | undefined;
}

/** Reads INPUT_*. @throws ACTION_INPUT_MISSING, ACTION_INPUT_MALFORMED */
export function readInputs(): ActionInputs {
  return {
    definition: required('definition'),
    registry: required('registry'),
    root: required('root'),
    builderId: required('builder-id'),
    audience: required('audience'),
    out: required('out'),
    mirror: getInput('mirror') || undefined,
    archiveInputs: yesOrNo('archive-inputs'),
    githubToken: getInput('github-token') || undefined,
  };
}

function yesOrNo(name: string): boolean {
  const value = required(name);
  if (value === 'true' || value === 'false') return value === 'true';
  throw ACTION.reject(
    'ACTION_INPUT_MALFORMED',
    `expected true or false for the input ${quote(name)}, got ${quote(value)}`,
  );
}

function required(name: string): string {
  const value = getInput(name);
  if (value === '')
    throw ACTION.reject('ACTION_INPUT_MISSING', `expected the input ${quote(name)}, got none`);
  return value;
}
