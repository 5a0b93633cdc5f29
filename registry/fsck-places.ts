// SPDX-License-Identifier: Apache-2.0
// What a check of one place of a data folder refuses [docs/spec/fsck.md] is a finding there; what fails for another reason ends the check.

import { Rejection, Unavailable } from '../core/faults.ts';
import type { Finding } from './log/log-check.ts';

/** By what the file system says of what is there. */
const OTHERWISE: Readonly<Record<string, string>> = {
  EISDIR: 'expected a file, got a folder',
  ENOTDIR: 'expected a file in a folder, got something else than a folder',
  ELOOP: 'expected a file, got symbolic links that lead in a circle',
};

/** What is wrong with a place that could not be read or was refused. @throws the failure, if that is not what is there */
export function problemOf(failure: unknown): string {
  if (failure instanceof Rejection) return failure.message;
  const { code = '' } = ((failure as Error).cause ?? {}) as NodeJS.ErrnoException;
  const problem = failure instanceof Unavailable ? OTHERWISE[code] : undefined;
  if (problem === undefined) throw failure;
  return problem;
}

/** Makes a check of a place. @throws as `problemOf` */
export async function* attempt(at: string, check: () => unknown): AsyncGenerator<Finding> {
  try {
    await check();
  } catch (failure) {
    yield { at, problem: problemOf(failure) };
  }
}
