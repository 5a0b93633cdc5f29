// SPDX-License-Identifier: Apache-2.0
// What is seen of a build under way, whichever command builds.

import type { BuildEvent } from '../builder/build.ts';

/** Lines of a failed step's log that are shown. */
const LOG_TAIL_LINES = 30;

/** Shows what happens, and the end of the log of a step that fails. */
export function showEvents(progress: (text: string) => void): (event: BuildEvent) => void {
  const tails = new Map<string, string>();
  return (event) => {
    if (event.kind === 'progress') progress(event.text);
    else if (event.kind === 'log') {
      tails.set(event.step, ((tails.get(event.step) ?? '') + event.text).slice(-16 * 1024));
    } else {
      const tail = (tails.get(event.step) ?? '').trimEnd();
      if (tail === '') return;
      const lines = tail.split('\n').slice(-LOG_TAIL_LINES);
      progress(`the end of the log of step ${event.step}:`);
      // A log is foreign text: it must not be able to repaint the terminal.
      for (const line of lines)
        progress(`  | ${line.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '?')}`);
    }
  };
}
