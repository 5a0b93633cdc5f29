// SPDX-License-Identifier: Apache-2.0
// Ctrl-C: work is told to stop, the command says that it was cancelled, and the process ends soon whatever still hangs.

import { CLI } from './faults.ts';
import { printFailure } from './terminal.ts';

/** How long a request under way may still hold the process. */
const GRACE_MS = 1000;

/** Runs work that SIGINT or SIGTERM ends; the signal's reason is the fault to throw. @throws CLI_CANCELLED */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const cancel = (): void => {
    const reason = CLI.unavailable('CLI_CANCELLED', 'expected to finish, got an interrupt');
    controller.abort(reason);
    // Work that does not listen ends without a word of its own.
    const end = () => process.exit(printFailure(reason, process.argv.includes('--json')));
    setTimeout(end, GRACE_MS).unref();
  };
  process.once('SIGINT', cancel);
  process.once('SIGTERM', cancel);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', cancel);
    process.off('SIGTERM', cancel);
  }
}
