// SPDX-License-Identifier: Apache-2.0
// Which processes of a step do not keep to its clock, by a trace of it [docs/spec/build-check.md §What escapes the clock]: the clock is a
// library that a process loads, and lets time pass in each.

import { basename } from 'node:path';
import { CLOCK_LIBRARY, TIMELESS } from './fixed-answers.ts';
import { openedBy, readTrace } from './trace.ts';

/** A program that may have told another time than the step's. */
export interface ClockEscape {
  readonly step: string;
  /** Its path as the step saw it. */
  readonly program: string;
  /**
   * `not-loaded`: it did not load the library, as a statically linked program does not. `long`: it ran longer than a second. `first`: it is
   * bash, and nothing with the library ran before it.
   */
  readonly reason: 'not-loaded' | 'long' | 'first';
  /** Of the longest, how long it ran, under the trace. */
  readonly durationMs: number;
}

const LONG_MS = 1000;

interface Running {
  readonly program: string;
  /** Nothing ran before it. */
  readonly first: boolean;
  readonly startSeconds: number;
  loaded: boolean;
}

/** What escaped the clock of a step: each program once a reason, in the order in which they ended. */
export function findClockEscapes(step: string, log: string): ClockEscape[] {
  const escapes = new Map<string, ClockEscape>();
  const running = new Map<string, Running>();
  const end = (pid: string, seconds: number) => {
    const ended = running.get(pid);
    running.delete(pid);
    if (ended === undefined) return;
    const { program } = ended;
    const durationMs = Math.round((seconds - ended.startSeconds) * 1000);
    const reason = reasonOf(ended, durationMs);
    const key = `${reason} ${program}`;
    if (reason === undefined || (escapes.get(key)?.durationMs ?? -1) >= durationMs) return;
    escapes.set(key, { step, program, reason, durationMs });
  };
  let [first, last] = [true, 0];
  for (const { pid, seconds, text, executed } of readTrace(log)) {
    last = seconds;
    if (executed !== undefined) {
      end(pid, seconds);
      running.set(pid, { program: executed, first, startSeconds: seconds, loaded: false });
      first = false;
    } else if (text.startsWith('+++ ')) end(pid, seconds);
    else {
      const process = running.get(pid);
      if (process !== undefined && CLOCK_LIBRARY.test((openedBy(text) ?? '').slice(1))) process.loaded = true;
    }
  }
  for (const pid of [...running.keys()]) end(pid, last);
  return [...escapes.values()];
}

function reasonOf(
  { program, first, loaded }: Running,
  durationMs: number,
): ClockEscape['reason'] | undefined {
  if (!loaded) return 'not-loaded';
  // bash answers the library's questions for variables itself, and not yet when it is asked for them. Below another program it is asked less.
  if (first && basename(program) === 'bash') return 'first';
  return durationMs >= LONG_MS && !TIMELESS.includes(basename(program)) ? 'long' : undefined;
}

/** One line for people. */
export function describeClockEscape({ step, program, reason, durationMs }: ClockEscape): string {
  const why = {
    'not-loaded': 'does not load the clock: it is linked statically, or starts otherwise than other programs',
    first: 'says the host’s time itself: let /bin/sh run before bash',
    long: `ran ${(durationMs / 1000).toFixed(1)} s: a process sees its own time pass`,
  }[reason];
  return `step ${step}: ${program} ${why}`;
}
