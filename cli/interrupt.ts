// SPDX-License-Identifier: Apache-2.0
// Ctrl-C: work is told to stop, the command says that it was cancelled, and the process ends soon whatever still hangs. What cannot be
// taken back is finished first.

import { CLI } from './faults.ts';
import { printFailure, printProgress } from './terminal.ts';

/** How long a request under way may still hold the process. */
const GRACE_MS = 1000;
/** How long an interrupt waits for what cannot be taken back. */
const FINISH_MS = 10_000;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs work that cannot be taken back once it is sent: an interrupt waits for its end, a while. @throws CLI_CANCELLED, CLI_PUBLICATION_UNCERTAIN */
export type Finish = <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>;

/**
 * Runs work that SIGINT, SIGTERM or SIGHUP ends; the signal's reason is the fault to throw.
 * @throws CLI_CANCELLED, and CLI_PUBLICATION_UNCERTAIN if what is under `finish` takes longer, or at a second interrupt
 */
export async function interruptible<T>(
  work: (signal: AbortSignal, finish: Finish) => Promise<T>,
): Promise<T> {
  const [early, late] = [new AbortController(), new AbortController()];
  let isFinishing = false;
  let isWaiting = false;
  let timer: NodeJS.Timeout | undefined;
  const after = (ms: number, then: () => void): void => {
    clearTimeout(timer);
    timer = setTimeout(then, ms).unref();
  };
  const end = (controller: AbortController, reason: Error): void => {
    // One more ends the process at once.
    stopListening();
    controller.abort(reason);
    // Work that does not listen ends without a word of its own.
    after(GRACE_MS, () => process.exit(printFailure(reason, process.argv.includes('--json'))));
  };
  const cancel = (): void => {
    if (!isFinishing) {
      end(early, CLI.unavailable('CLI_CANCELLED', 'expected to finish, got an interrupt'));
    } else if (isWaiting) {
      const message = 'expected an answer to what is being published, got an interrupt before there was one';
      end(late, CLI.unavailable('CLI_PUBLICATION_UNCERTAIN', message));
    } else {
      isWaiting = true;
      printProgress(
        'it is being published, which cannot be taken back: waiting for the answer, at most 10 s',
      );
      after(FINISH_MS, cancel);
    }
  };
  const stopListening = (): void => {
    for (const name of SIGNALS) process.off(name, cancel);
  };
  for (const name of SIGNALS) process.on(name, cancel);
  try {
    return await work(early.signal, async (unstoppable) => {
      early.signal.throwIfAborted();
      isFinishing = true;
      return unstoppable(late.signal);
    });
  } finally {
    clearTimeout(timer);
    stopListening();
  }
}
