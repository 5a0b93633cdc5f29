// SPDX-License-Identifier: Apache-2.0
// What a person sees: results on standard output, progress and faults on standard error.

import { printable, Rejection, Unavailable } from '../core/faults.ts';

/** Exit codes [docs/errors.md §Exit codes]. */
export const EXIT = { done: 0, refused: 1, usage: 2, bug: 70, retry: 75 } as const;

/** Text from anywhere: whatever in it could steer the terminal is shown instead. Line ends and tabs are meant. */
function shown(text: string): string {
  return text.replace(/[^\n\t]+/g, printable);
}

/** A line of the result. */
export function printLine(text = ''): void {
  process.stdout.write(`${shown(text)}\n`);
}

/** A machine-readable result, one JSON document. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** One of many machine-readable results, a line each. */
export function printJsonLine(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** What is happening now; never part of the result. */
export function printProgress(text: string): void {
  process.stderr.write(`  ${shown(text)}\n`);
}

/** Prints a failure with its remedy and returns the exit code. With `json`, the same as one JSON document on standard output. */
export function printFailure(failure: unknown, json = false): number {
  if (failure instanceof Rejection || failure instanceof Unavailable) {
    if (json)
      printJson({
        error: { code: failure.code, message: failure.message, at: failure.at, remedy: failure.row.remedy },
      });
    process.stderr.write(`waybill: ${failure.code}: ${shown(failure.message)}\n`);
    if (failure.at !== undefined) process.stderr.write(`  at: ${shown(failure.at)}\n`);
    process.stderr.write(`  what to do: ${failure.row.remedy}\n`);
    if (failure instanceof Unavailable) return EXIT.retry;
    return failure.row.usage === true ? EXIT.usage : EXIT.refused;
  }
  const text = failure instanceof Error ? (failure.stack ?? failure.message) : String(failure);
  process.stderr.write(`waybill: this is a bug in Waybill, please report it:\n${shown(text)}\n`);
  return EXIT.bug;
}
