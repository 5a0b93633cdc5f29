// SPDX-License-Identifier: Apache-2.0
// What others may keep the monitor from doing: it is tried, told, and the round goes on.

import { Rejection, Unavailable } from '../../core/faults.ts';

/** Something that could not be done. */
export interface Failure {
  readonly event: 'failure';
  /** The origin of a log, or what else was asked. */
  readonly about: string;
  readonly code: string;
  readonly message: string;
  /** What to do. */
  readonly remedy: string;
}

/** Codes of the monitor's own folder: nothing goes on without it. */
const OWN = ['REGISTRY_STORE_FAILED', 'MONITOR_STATE_DAMAGED'];

export class Attempts {
  readonly #report: (failure: Failure) => void;
  #failures: Record<string, string> = {};

  constructor(report: (failure: Failure) => void) {
    this.#report = report;
  }

  /** What failed in this round, by what it is about. */
  get failures(): Readonly<Record<string, string>> {
    return this.#failures;
  }

  beginRound(): void {
    this.#failures = {};
  }

  /** The result of the work; undefined if it could not be done. @throws REGISTRY_STORE_FAILED, MONITOR_STATE_DAMAGED, the signal's reason */
  async at<T>(about: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
    try {
      return await work();
    } catch (failure) {
      signal?.throwIfAborted();
      if (!(failure instanceof Rejection || failure instanceof Unavailable)) throw failure;
      if (OWN.includes(failure.code)) throw failure;
      this.fail(about, failure);
      return undefined;
    }
  }

  fail(about: string, { code, message, row: { remedy } }: Rejection | Unavailable): void {
    if (this.#failures[about] === undefined) this.#report({ event: 'failure', about, code, message, remedy });
    this.#failures[about] = `${code}: ${message}`;
  }
}
