// SPDX-License-Identifier: Apache-2.0
// Keeps the account of an update: each link with what was learned, or with the code that ended the road.

import { Rejection, Unavailable } from '../core/faults.ts';
import type { Finding } from '../core/verify/pack-steps.ts';
import { DEVICE } from './faults.ts';
import type { Delivery } from './reports.ts';

/** One line of the account. */
export interface Link {
  readonly link: string;
  /** `queued` is for reports alone: made, but not yet with the registry. */
  readonly verdict: 'ok' | 'queued' | 'refused';
  readonly detail: string;
  readonly code?: string;
}

interface Watch {
  readonly begun?: (name: string) => void;
  readonly known?: (link: Link) => void;
  readonly cancel?: AbortSignal;
}

export class Road {
  readonly links: Link[] = [];
  readonly cancel: AbortSignal;
  private readonly watch: Watch;

  constructor(watch: Watch) {
    this.watch = watch;
    this.cancel = watch.cancel ?? new AbortController().signal;
  }

  /** Runs a step and accounts for it; a Rejection is accounted for and passed on. @throws UPDATE_CANCELLED and the step's */
  async link<T>(name: string, step: () => Promise<Finding<T>>): Promise<T> {
    this.begin(name);
    try {
      return this.account(name, await step());
    } catch (failure) {
      throw this.refused(name, failure);
    }
  }

  /** The same for a step that waits for nothing. */
  check<T>(name: string, step: () => Finding<T>): T {
    this.begin(name);
    try {
      return this.account(name, step());
    } catch (failure) {
      throw this.refused(name, failure);
    }
  }

  /** Runs the delivery of reports, which decides nothing: a report that does not arrive waits. */
  async note(name: string, deliver: () => Promise<Delivery>): Promise<void> {
    this.watch.begun?.(name);
    try {
      const { sent, queued, reason } = await deliver();
      if (sent.length > 0) this.add({ link: name, verdict: 'ok', detail: `number ${sent.join(', ')} sent` });
      if (queued.length > 0) {
        this.add({ link: name, verdict: 'queued', detail: `number ${queued.join(', ')} waits: ${reason}` });
      }
    } catch (failure) {
      if (!(failure instanceof Rejection || failure instanceof Unavailable)) throw failure;
      // What happened to the slots has happened; that it could not be reported must not hide it.
      this.add({ link: name, verdict: 'queued', code: failure.code, detail: `not made: ${failure.message}` });
    }
  }

  private begin(name: string): void {
    if (this.cancel.aborted) throw DEVICE.unavailable('UPDATE_CANCELLED', `cancelled before link ${name}`);
    this.watch.begun?.(name);
  }

  private account<T>(link: string, { value, lines }: Finding<T>): T {
    for (const detail of lines) this.add({ link, verdict: 'ok', detail });
    return value;
  }

  private refused(link: string, failure: unknown): unknown {
    if (failure instanceof Rejection) {
      this.add({ link, verdict: 'refused', code: failure.code, detail: failure.message });
    }
    return failure;
  }

  private add(link: Link): void {
    this.links.push(link);
    this.watch.known?.(link);
  }
}
