// SPDX-License-Identifier: Apache-2.0
// Annotations on the job, by GitHub's workflow commands. GitHub shows ten of a kind for a step and drops the rest.

import { error, notice, warning } from '@actions/core';
import type { Rejection, Unavailable } from '../../core/faults.ts';

const COUNT_MAX = 10;

/** Emits at most ten annotations. */
export class Annotations {
  #left = COUNT_MAX;

  notice(text: string): void {
    if (this.#take()) notice(text, { title: 'Waybill' });
  }

  /** A fault, at the file and line that it names, if it names one. */
  fault(fault: Rejection | Unavailable, level: 'error' | 'warning'): void {
    if (!this.#take()) return;
    const place = /^([^\s:]+):(\d+)(?::(\d+))?/.exec(fault.at ?? '');
    const emit = level === 'error' ? error : warning;
    emit(`${fault.message}\nWhat to do: ${fault.row.remedy}`, {
      title: fault.code,
      ...(place === null ? {} : { file: place[1] ?? '', startLine: Number(place[2]) }),
    });
  }

  #take(): boolean {
    return this.#left-- > 0;
  }
}
