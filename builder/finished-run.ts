// SPDX-License-Identifier: Apache-2.0
// A build whose steps have all run, and what is known of it without a closer look.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ResourceDescriptor } from '../core/intoto/statement.ts';
import type { BillCache } from './bill-cache.ts';
import type { BuildRequest } from './build.ts';
import type { MountedInputTree } from './build-inputs.ts';
import type { BuildDefinition, OutputReference } from './definition.ts';
import type { Lock, LockedPackage } from './lock-file.ts';
import type { TakenOutput } from './outputs.ts';
import type { PrunableStep } from './prune.ts';
import type { StepRoot } from './root.ts';
import type { BuildIdentity, StepFacts } from './statements.ts';
import type { Comparison, StepContext, StepResult } from './step.ts';

export interface DoneStep {
  readonly facts: StepFacts;
  readonly root: StepRoot;
  /** What it saw under /inputs. */
  readonly mounted?: readonly MountedInputTree[];
  /** What it left in /build, on the host. */
  readonly work: string;
  readonly result: StepResult;
  readonly comparisons: readonly Comparison[];
  readonly durationMs: number;
  /** It was not run: what it left was in the cache. */
  readonly reused: boolean;
  /** Runs it again, otherwise than it ran. */
  readonly again: PrunableStep['again'];
  /** Files that it may have wanted and did not see. */
  readonly elsewhere: StepContext['elsewhere'];
}

/** A build whose steps have all run. */
export interface FinishedRun {
  readonly request: {
    readonly definition: BuildDefinition;
    readonly lock: Lock;
    readonly definitionBytes: Uint8Array;
    readonly lockBytes: Uint8Array;
    readonly toolVersion: string;
    readonly audit?: true | undefined;
    readonly onEvent?: BuildRequest['onEvent'];
  };
  readonly identity: BuildIdentity;
  /** Where the output folder is made; holds `outputs/` already. */
  readonly beside: string;
  /** Work folders of the steps, and traces. */
  readonly work: string;
  /** By name, in the order of the definition. */
  readonly done: ReadonlyMap<string, DoneStep>;
  readonly fetchedSizeBytes: number;
  /** Where SBOMs that were made before are kept; absent where they are to be made. */
  readonly bills?: BillCache;
}

/** An output of a step that ran. */
export function outputOf(done: ReadonlyMap<string, DoneStep>, reference: OutputReference): TakenOutput {
  const outputs = done.get(reference.step)?.result.outputs ?? [];
  const found = outputs.find(({ file }) => file === reference.file);
  if (found === undefined) throw new Error(`step ${reference.step} ran without its output ${reference.file}`);
  return found;
}

/** An output's bytes. */
export function readOutput(run: FinishedRun, { step, file }: OutputReference): Promise<Buffer> {
  return readFile(join(run.beside, 'outputs', step, file));
}

/** Every package that a step could see, by package URL, sorted. */
export function packagesOf(run: FinishedRun): Map<string, { entry: LockedPackage; distribution: string }> {
  const packages = new Map<string, { entry: LockedPackage; distribution: string }>();
  for (const { facts } of run.done.values()) {
    for (const { url, entry } of facts.packages) {
      packages.set(url, { entry, distribution: url.split('/')[1] ?? '' });
    }
  }
  return new Map([...packages].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Names of the inputs that dependencies are of. */
export const inputNames = (parts: readonly ResourceDescriptor[]): string[] => [
  ...new Set(parts.map(({ annotations }) => annotations?.input ?? '')),
];

/** What steps were given besides packages, by name of the input, sorted. */
export function otherInputs(run: FinishedRun): Map<string, ResourceDescriptor[]> {
  const inputs = new Map<string, ResourceDescriptor[]>();
  for (const { facts } of run.done.values()) {
    for (const name of inputNames(facts.dependencies))
      inputs.set(
        name,
        facts.dependencies.filter(({ annotations }) => annotations?.input === name),
      );
  }
  return new Map([...inputs].sort(([a], [b]) => (a < b ? -1 : 1)));
}
