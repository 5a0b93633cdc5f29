// SPDX-License-Identifier: Apache-2.0
// The steps of a build under way: each with its inputs, out of the cache or in its sandbox, compared with what was published.

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import type { BillCache } from './bill-cache.ts';
import type { BuildRequest } from './build.ts';
import type { BuildInputs } from './build-inputs.ts';
import type { StepDefinition } from './definition.ts';
import { type DoneStep, outputOf } from './finished-run.ts';
import { runSteps } from './schedule.ts';
import type { BuildIdentity, StepFacts } from './statements.ts';
import { comparePublished, runStep, type StepContext, type StepResult, workFolder } from './step.ts';
import { type StepCache, type StepClosure, stepKey } from './step-cache.ts';
import { tracePath } from './trace.ts';

/** A build under way. */
export interface Run {
  readonly request: BuildRequest;
  readonly identity: BuildIdentity;
  /** Beside the output folder; becomes it. */
  readonly beside: string;
  /** Work folders of the steps, under the cache. */
  readonly work: string;
  readonly inputs: BuildInputs;
  /** Where steps that ran before are kept; absent where they are to be run. */
  readonly cache?: StepCache;
  /** The same of SBOMs. */
  readonly bills?: BillCache;
  readonly done: Map<string, DoneStep>;
}

/** Runs all steps; afterwards they stand in the order of the definition, whichever ended first. */
export async function runAll(run: Run): Promise<void> {
  const { definition, jobs, signal } = run.request;
  const cpus = availableParallelism();
  const ended = new Map<string, DoneStep>();
  await runSteps(definition.steps, { cpus, jobs: jobs ?? cpus, signal }, async (step, stop) => {
    const done = await runOne(run, step, stop);
    ended.set(step.name, done);
    run.done.set(step.name, done);
  });
  run.done.clear();
  for (const { name } of definition.steps) run.done.set(name, ended.get(name) as DoneStep);
}

async function runOne(run: Run, step: StepDefinition, signal: AbortSignal): Promise<DoneStep> {
  const { request } = run;
  const startedMs = performance.now();
  const described = run.inputs.describe(step);
  const materials = step.materials.map((material) => outputOf(run.done, material).sha256);
  const root = await run.inputs.openRoot(
    step,
    described.packages.map(({ entry }) => entry),
  );
  const inputs = await run.inputs.openMounts(step);
  const context: StepContext = {
    root,
    inputs,
    sourceDateEpoch: request.definition.sourceDateEpoch,
    folder: join(run.work, step.name),
    outputs: join(run.beside, 'outputs'),
    listWork: request.definition.products.some(({ evidence }) => evidence !== undefined),
    conditions: request.conditions,
    boundBy: run.identity.sandbox.limits,
    elsewhere: () => run.inputs.elsewhere(step),
    trace: traceOf(run, step.name),
    signal,
    onLog: (text) => request.onEvent?.({ kind: 'log', step: step.name, text }),
  };
  const { sandbox } = run.identity;
  const { listWork } = context;
  const closure: StepClosure = { step, sandbox, rootKey: root.key, inputs, materials, listWork };
  const { result, reused } = await reuseOrRun(run, closure, context);
  const comparisons = await comparePublished(step, context, result.outputs);
  const outputs = result.outputs.map(({ file, sha256 }) => ({ name: file, sha256 }));
  const facts: StepFacts = { step, outputs, ...described, materials };
  const again: DoneStep['again'] = (changes) =>
    runStep(step, { ...context, ...changes, signal: request.signal, trace: undefined, listWork: false });
  const durationMs = Math.round(performance.now() - startedMs);
  const { elsewhere } = context;
  const work = workFolder(context.folder);
  return { facts, root, mounted: inputs, work, result, comparisons, durationMs, reused, again, elsewhere };
}

function traceOf({ request, work }: Run, step: string): string | undefined {
  if (request.traces !== undefined) return tracePath(request.traces, step);
  return request.audit === true ? tracePath(work, step) : undefined;
}

/** What the step left when it ran before under the same circumstances, else what it leaves now. */
async function reuseOrRun(
  { cache, request }: Run,
  closure: StepClosure,
  context: StepContext,
): Promise<{ readonly result: StepResult; readonly reused: boolean }> {
  const { step } = closure;
  const progress = (text: string) =>
    request.onEvent?.({ kind: 'progress', text: `step ${step.name}${text}` });
  const outputs = join(context.outputs, step.name);
  const key = cache === undefined ? '' : stepKey(closure);
  const files = step.outputs.map(({ file }) => file);
  const kept = await cache?.read(key, files, outputs, context.sourceDateEpoch);
  if (kept !== undefined) {
    progress(': nothing changed, from the cache');
    return { result: kept, reused: true };
  }
  progress('');
  const result = await runLoudly(request, step, context);
  await cache?.write(key, result, outputs).catch((failure: unknown) => {
    // The build has what it needs; the next one will run the step again.
    progress(`: not kept in the cache: ${quote((failure as Error).message)}`);
  });
  return { result, reused: false };
}

/** Between signs of life of a step that takes long. */
const HEARTBEAT_MS = 10_000;

/** Runs a step and tells how it goes. */
async function runLoudly(
  { onEvent }: BuildRequest,
  step: StepDefinition,
  context: StepContext,
): Promise<StepResult> {
  const startedMs = performance.now();
  let last = '';
  const seconds = () => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`;
  const beat = setInterval(() => {
    const said = last === '' ? '' : `, ${quote(last)}`;
    onEvent?.({ kind: 'progress', text: `step ${step.name}: ${seconds()} so far${said}` });
  }, HEARTBEAT_MS);
  const onLog = (text: string) => {
    last = text.trimEnd().split('\n').at(-1)?.slice(0, 100) ?? last;
    context.onLog?.(text);
  };
  try {
    const result = await runStep(step, { ...context, onLog });
    onEvent?.({ kind: 'progress', text: `step ${step.name}: done in ${seconds()}` });
    return result;
  } catch (failure) {
    // One that was stopped because another failed has nothing to tell.
    if (context.signal?.aborted !== true) onEvent?.({ kind: 'failed', step: step.name });
    throw failure;
  } finally {
    clearInterval(beat);
  }
}
