// SPDX-License-Identifier: Apache-2.0
// The account of a verification: each link with what was found, or, at the first that does not hold, what was expected, what was found and
// what that means.

import { type FaultRow, Rejection } from '../core/faults.ts';
import type { Finding } from '../core/verify/pack-steps.ts';

/** One link, as plain data. `skipped`: what it asks about was not given. */
export interface AccountedLink {
  readonly link: string;
  readonly verdict: 'ok' | 'skipped' | 'refused';
  readonly details: readonly string[];
  /** With `refused` alone. */
  readonly code?: string;
  readonly at?: string | undefined;
  readonly meaning?: string;
  readonly remedy?: string;
}

export class ChainAccount {
  readonly links: AccountedLink[] = [];

  /** Runs a link and writes it down; a Rejection is written down and passed on. */
  check<T>(link: string, step: () => Finding<T>): T {
    try {
      return this.known(link, step());
    } catch (failure) {
      throw this.failed(link, failure);
    }
  }

  /** The same for a link that has to wait. */
  async await<T>(link: string, step: () => Promise<Finding<T>>): Promise<T> {
    try {
      return this.known(link, await step());
    } catch (failure) {
      throw this.failed(link, failure);
    }
  }

  /** A link about something that was not given. */
  skip(link: string, detail: string): void {
    this.links.push({ link, verdict: 'skipped', details: [detail] });
  }

  /** Names of links that were skipped. */
  get skipped(): readonly string[] {
    return this.links.filter(({ verdict }) => verdict === 'skipped').map(({ link }) => link);
  }

  /** As a tree. */
  lines(): string[] {
    return this.links.flatMap((link, i) => branch(link, i === this.links.length - 1));
  }

  private known<T>(link: string, { value, lines }: Finding<T>): T {
    this.links.push({ link, verdict: 'ok', details: lines });
    return value;
  }

  private failed(link: string, failure: unknown): unknown {
    if (failure instanceof Rejection) {
      const { code, at, message } = failure;
      const { meaning, remedy }: FaultRow = failure.row;
      this.links.push({ link, verdict: 'refused', details: [message], code, at, meaning, remedy });
    }
    return failure;
  }
}

const WORDS = { ok: 'ok', skipped: 'not checked', refused: 'REFUSED' } as const;

function branch(
  { link, verdict, details, code, at, meaning, remedy }: AccountedLink,
  last: boolean,
): string[] {
  const [head, rail] = last ? ['└─', '   '] : ['├─', '│  '];
  const below =
    verdict === 'refused'
      ? [
          ...details,
          ...(at === undefined ? [] : [`at: ${at}`]),
          `what it means: ${meaning}`,
          `what to do: ${remedy}`,
        ]
      : details;
  const title = `${head} ${link}: ${WORDS[verdict]}${code === undefined ? '' : `  ${code}`}`;
  const [only, ...more] = below;
  if (verdict !== 'refused' && only !== undefined && more.length === 0) return [`${title}  ${only}`];
  return [title, ...below.map((line, i) => `${rail}${i === below.length - 1 ? '└─' : '├─'} ${line}`)];
}
