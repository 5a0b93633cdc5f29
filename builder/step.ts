// SPDX-License-Identifier: Apache-2.0
// One step: a fresh work folder, its materials, the sandbox around its command, its outputs.

import { chmod, copyFile, mkdir, readFile, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import type { SandboxLimits } from '../core/intoto/provenance.ts';
import type { Conditions } from './conditions.ts';
import type { StepDefinition } from './definition.ts';
import type { Elsewhere } from './elsewhere.ts';
import { BUILDER } from './faults.ts';
import { clockLibrary } from './fixed-answers.ts';
import type { MountedTree } from './input-files.ts';
import { describeMissing, findMissing, namesMissing } from './missing-input.ts';
import { listWorkFiles, type TakenOutput, takeOutputs } from './outputs.ts';
import { readRootFile, type StepRoot } from './root.ts';
import { runInSandbox, type SandboxResult } from './sandbox.ts';

export interface StepContext {
  readonly root: StepRoot;
  /** Folders that appear at /inputs/<name>. */
  readonly inputs: readonly MountedTree[];
  readonly sourceDateEpoch: number;
  /** A folder of the step's own on the host; gone when the build ends. */
  readonly folder: string;
  /** Outputs of all steps so far and of this one: `<outputs>/<step>/<file>`. */
  readonly outputs: string;
  /** Whether the files left in the work folder are asked for, as evidence. */
  readonly listWork: boolean;
  /** What is otherwise than always, for `waybill build --check`. */
  readonly conditions?: Conditions | undefined;
  /** What bounds memory and processes, the same for all steps of a build. */
  readonly boundBy: SandboxLimits;
  /** Where else files are that it may want; asked only when something was not found. */
  readonly elsewhere: () => Promise<readonly Elsewhere[]>;
  /** Where to write what was opened, for `waybill build --audit`. */
  readonly trace?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onLog?: ((text: string) => void) | undefined;
}

export interface StepResult {
  readonly outputs: readonly TakenOutput[];
  readonly workFiles: ReadonlyMap<string, string>;
  readonly log: string;
}

/** An output that is the very file that a package publishes. */
export interface Comparison {
  readonly step: string;
  readonly file: string;
  readonly package: string;
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/**
 * Runs a step.
 * @throws STEP_FAILED, STEP_TIMEOUT, STEP_MEMORY_TOO_LARGE, STEP_WORK_TOO_LARGE, STEP_WORK_TOO_MANY, STEP_OUTPUT_…, SANDBOX_…
 */
export async function runStep(step: StepDefinition, context: StepContext): Promise<StepResult> {
  const work = workFolder(context.folder);
  const materials = join(context.folder, 'materials');
  await makeFolder(work);
  await makeFolder(materials);
  for (const { step: from, file } of step.materials) {
    const placed = join(materials, from, file);
    await makeFolder(join(materials, from));
    await copyFile(join(context.outputs, from, file), placed);
    await chmod(placed, 0o644);
    await utimes(placed, context.sourceDateEpoch, context.sourceDateEpoch);
  }
  const result = await runInSandbox({
    root: context.root.folder,
    work,
    materials,
    inputs: context.inputs,
    command: step.command,
    environment: step.environment,
    sourceDateEpoch: context.sourceDateEpoch,
    clock: clockLibrary(context.root),
    timeoutMs: step.timeoutMs,
    fileSizeBytesMax: step.outputSizeBytesMax,
    conditions: context.conditions,
    boundBy: context.boundBy,
    trace: context.trace,
    ...step.limits,
    signal: context.signal,
    onLog: context.onLog,
  });
  await refuseFailure(step, result, context);
  const outputs = await takeOutputs(step, work, join(context.outputs, step.name), context.sourceDateEpoch);
  return {
    outputs,
    workFiles: context.listWork ? await listWorkFiles(step, work, { signal: context.signal }) : new Map(),
    log: result.log,
  };
}

/** What is /build to the step of this folder. */
export function workFolder(folder: string): string {
  return join(folder, 'build');
}

/** A folder that a step sees: of the same mode whatever umask this process has. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await chmod(path, 0o755);
}

async function refuseFailure(
  step: StepDefinition,
  { exitCode, over, log }: SandboxResult,
  { root, elsewhere }: StepContext,
): Promise<void> {
  if (exitCode === 0) return;
  const line = log.trim().split('\n').at(-1) ?? '';
  const last = line === '' ? 'its log is empty' : `its log ends with ${quote(line)}`;
  if (over === 'work') {
    throw BUILDER.reject(
      'STEP_WORK_TOO_LARGE',
      `expected step ${step.name} to keep to ${step.limits.workSizeBytesMax} bytes under /build, got more; ${last}`,
    );
  }
  if (over === 'memory') {
    throw BUILDER.reject(
      'STEP_MEMORY_TOO_LARGE',
      `expected step ${step.name} to keep to ${step.limits.memorySizeBytesMax} bytes of memory, all its processes and what is in /tmp ` +
        `and /dev/shm together, got more; ${last}`,
    );
  }
  if (exitCode === undefined) {
    throw BUILDER.reject(
      'STEP_TIMEOUT',
      `expected step ${step.name} to end within ${step.timeoutMs / 1000} s, got no end; ${last}`,
    );
  }
  // 25 is SIGXFSZ: a file grew past the limit of the step.
  const got =
    exitCode === 128 + 25 ? `a file over ${step.outputSizeBytesMax} bytes` : `exit code ${exitCode}`;
  const missing = findMissing(log, root, namesMissing(log) ? await elsewhere() : []);
  throw BUILDER.reject(
    'STEP_FAILED',
    `expected step ${step.name} to succeed, got ${got}; ${last}${describeMissing(missing)}`,
  );
}

/**
 * Compares outputs, byte by byte, with what a package of the step's root publishes.
 * @throws STEP_PUBLISHED_MISSING, STEP_OUTPUT_DIFFERS
 */
export async function comparePublished(
  step: StepDefinition,
  context: Pick<StepContext, 'root' | 'outputs'>,
  outputs: readonly TakenOutput[],
): Promise<Comparison[]> {
  const comparisons: Comparison[] = [];
  for (const [i, { file, published }] of step.outputs.entries()) {
    const output = outputs[i];
    if (published === undefined || output === undefined) continue;
    const owner = context.root.owners.get(published.path)?.name;
    const theirs = owner === published.package ? await readRootFile(context.root, published.path) : undefined;
    if (theirs === undefined) {
      throw BUILDER.reject(
        'STEP_PUBLISHED_MISSING',
        `expected ${quote(published.path)} in package ${published.package} among the inputs of step ${step.name}, got none`,
      );
    }
    const ours = await readFile(join(context.outputs, step.name, file));
    if (!ours.equals(theirs)) {
      const at = ours.findIndex((byte, offset) => byte !== theirs[offset]);
      throw BUILDER.reject(
        'STEP_OUTPUT_DIFFERS',
        `expected ${file} to be ${published.path} of ${published.package} (${theirs.length} bytes), ` +
          `got ${ours.length} bytes that differ from byte ${at < 0 ? ours.length : at} on`,
      );
    }
    const { sha256, sizeBytes } = output;
    comparisons.push({ step: step.name, file, ...published, sha256, sizeBytes });
  }
  return comparisons;
}
