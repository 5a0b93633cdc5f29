// SPDX-License-Identifier: Apache-2.0
// What a call refuses with: its code, or the result's absence of one.

import { Rejection, Unavailable } from '../../../core/faults.ts';

/** The code that a call throws; `accepted` if it returns. Anything but our own faults is passed on. */
export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (failure) {
    if (failure instanceof Rejection || failure instanceof Unavailable) return failure.code;
    throw failure;
  }
  return 'accepted';
}

/** The same for a promise. */
export async function codeOfAsync(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (failure) {
    if (failure instanceof Rejection || failure instanceof Unavailable) return failure.code;
    throw failure;
  }
  return 'accepted';
}
