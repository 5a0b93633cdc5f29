// SPDX-License-Identifier: Apache-2.0
// The order of steps: each begins when what it needs is made and there are CPUs for it; the first failure stops the others.

import type { StepDefinition } from './definition.ts';

export interface Capacity {
  readonly cpus: number;
  /** Steps at one time at most. */
  readonly jobs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs steps that are sorted so that they can run one after another. A step that wants more CPUs than there are runs alone.
 * Returns, or throws, when none is running any more. @throws what the first step that fails throws; the signal's reason
 */
export async function runSteps(
  steps: readonly StepDefinition[],
  { cpus, jobs, signal }: Capacity,
  run: (step: StepDefinition, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const either = AbortSignal.any([stop.signal, ...(signal === undefined ? [] : [signal])]);
  const running = new Map<StepDefinition, Promise<void>>();
  const made = new Set<string>();
  let waiting = [...steps];
  let free = cpus;
  const begin = async (step: StepDefinition): Promise<void> => {
    free -= step.limits.cpus;
    try {
      await run(step, either);
      made.add(step.name);
    } catch (failure) {
      // The first reason stands: what the others say is that they were stopped.
      stop.abort(failure);
    } finally {
      free += step.limits.cpus;
      running.delete(step);
    }
  };
  const isReady = ({ materials }: StepDefinition) => materials.every((material) => made.has(material.step));
  while (waiting.length > 0 || running.size > 0) {
    for (const step of either.aborted ? [] : waiting.filter(isReady)) {
      const fits = running.size === 0 || (step.limits.cpus <= free && running.size < jobs);
      if (!fits) continue;
      waiting = waiting.filter((other) => other !== step);
      running.set(step, begin(step));
    }
    if (running.size === 0) break;
    await Promise.race(running.values());
  }
  either.throwIfAborted();
}
