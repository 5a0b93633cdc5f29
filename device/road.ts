// SPDX-License-Identifier: Apache-2.0
// Keeps the account of an update: each link with what was learned, or with the code that ended the road.

import { Rejection, Unavailable } from '../core/faults.ts';
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

/** What a step returns: the value for the steps after it, and what to tell people. */
export interface Learned<T> {
  readonly value: T;
  readonly details: readonly string[];
}

/** A value with what was learned about it. */
export function learned<T>(value: T, ...details: readonly string[]): Learned<T> {
  return { value, details };
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
  async link<T>(name: string, step: () => Learned<T> | Promise<Learned<T>>): Promise<T> {
    if (this.cancel.aborted) throw DEVICE.unavailable('UPDATE_CANCELLED', `cancelled before link ${name}`);
    this.watch.begun?.(name);
    try {
      const { value, details } = await step();
      for (const detail of details) this.add({ link: name, verdict: 'ok', detail });
      return value;
    } catch (failure) {
      if (failure instanceof Rejection) {
        this.add({ link: name, verdict: 'refused', code: failure.code, detail: failure.message });
      }
      throw failure;
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

  private add(link: Link): void {
    this.links.push(link);
    this.watch.known?.(link);
  }
}
