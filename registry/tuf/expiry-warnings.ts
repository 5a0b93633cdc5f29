// SPDX-License-Identifier: Apache-2.0
// How early, how often and how loudly the log says that people with offline keys must sign again: they need time to meet.

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** From how many days before the end on; the last line that holds counts. */
const SCHEDULE = [
  { days: 90, everyMs: 7 * DAY_MS, level: 'warn' },
  { days: 30, everyMs: DAY_MS, level: 'warn' },
  { days: 7, everyMs: HOUR_MS, level: 'error' },
] as const;

/** One warning. */
export interface ExpiryWarning {
  readonly role: string;
  /** Whole days that are left; negative once it has expired. */
  readonly days: number;
  readonly level: 'warn' | 'error';
}

export class ExpiryWarnings {
  readonly #lastMs = new Map<string, number>();

  /** Warnings that are due at `nowMs`, by the roles' ends in milliseconds since 1970; each is given once until its next turn. */
  due(expiriesMs: Readonly<Record<string, number>>, nowMs: number): readonly ExpiryWarning[] {
    return Object.entries(expiriesMs).flatMap(([role, expiresMs]) => {
      const line = SCHEDULE.filter(({ days }) => expiresMs - nowMs < days * DAY_MS).at(-1);
      const lastMs = this.#lastMs.get(role);
      // A clock that was turned back says nothing about how long ago that was.
      const isTold = lastMs !== undefined && lastMs <= nowMs && nowMs - lastMs < (line?.everyMs ?? 0);
      if (line === undefined || isTold) return [];
      this.#lastMs.set(role, nowMs);
      return [{ role, days: Math.floor((expiresMs - nowMs) / DAY_MS), level: line.level }];
    });
  }
}
