// SPDX-License-Identifier: Apache-2.0
// The process that `fsck-apart.ts` starts: checks the database of one data folder, a finding each time it is asked for the next.

import { type FaultRow, Rejection, Unavailable } from '../core/faults.ts';
import { type DatabaseCounts, type Finding, type FsckOptions, fsckDatabase } from './fsck.ts';

/** What is checked. */
export type Start = Pick<FsckOptions, 'dataFolder' | 'config' | 'withoutHeads'>;

/** What it says; `progress` unasked. */
export type Answer =
  | { readonly kind: 'progress'; readonly what: string; readonly count: bigint }
  | { readonly kind: 'finding'; readonly finding: Finding }
  | { readonly kind: 'done'; readonly read: DatabaseCounts }
  | {
      readonly kind: 'failed';
      readonly message: string;
      readonly fault?: { readonly code: string; readonly row: FaultRow; readonly at?: string };
    };

const PROGRESS_MS = 1000;

function say(answer: Answer): void {
  process.send?.(answer);
}

function progressTeller(): FsckOptions['progress'] {
  let toldMs = performance.now();
  return (what, count) => {
    if (performance.now() - toldMs < PROGRESS_MS) return;
    toldMs = performance.now();
    say({ kind: 'progress', what, count });
  };
}

async function step(check: AsyncGenerator<Finding, DatabaseCounts>): Promise<void> {
  try {
    const { done, value } = await check.next();
    say(done === true ? { kind: 'done', read: value } : { kind: 'finding', finding: value });
  } catch (failure) {
    const message = (failure as Error).message;
    if (!(failure instanceof Rejection || failure instanceof Unavailable)) {
      say({ kind: 'failed', message: (failure as Error).stack ?? message });
      return;
    }
    const { code, row, at } = failure;
    say({ kind: 'failed', message, fault: { code, row, ...(at === undefined ? {} : { at }) } });
  }
}

process.once('message', (start: Start) => {
  const { signal } = new AbortController();
  const check = fsckDatabase({ ...start, signal, progress: progressTeller() });
  process.on('message', () => void step(check));
  void step(check);
});
// Who asked is gone.
process.once('disconnect', () => process.exit());
