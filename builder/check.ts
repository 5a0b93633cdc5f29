// SPDX-License-Identifier: Apache-2.0
// Builds twice under changed conditions, and says what differs, where, and why [docs/spec/build-check.md].

import { randomBytes } from 'node:crypto';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Rejection } from '../core/faults.ts';
import type { Difference, DifferenceCause } from '../core/intoto/rebuild.ts';
import { type BuildRequest, build, checkOut, replaceOut } from './build.ts';
import {
  CONDITION_NAMES,
  CONDITION_TEXTS,
  type ConditionName,
  type Conditions,
  changedConditions,
} from './conditions.ts';
import { elfOf } from './definition.ts';
import { findDayOfBuild, findDifferences } from './difference.ts';
import type { BuildSummary } from './output-folder.ts';
import { removeTree } from './remove-tree.ts';

export interface CheckReport {
  readonly reproducible: boolean;
  /** What was changed between the builds, in words. */
  readonly changed: readonly string[];
  /** What could not be changed on this machine, in words. */
  readonly unchanged: readonly string[];
  readonly outputCount: number;
  readonly differences: readonly Difference[];
  /** For outputs that differ: the one change that is enough to make them differ, or that none is needed. */
  readonly depends?: string;
  /** The build that was kept, if it is reproducible. */
  readonly summary?: BuildSummary;
}

/** The cause, where one change alone makes outputs differ. */
const CAUSES: ReadonlyMap<string, DifferenceCause> = new Map([
  [CONDITION_TEXTS.user, 'host'],
  [CONDITION_TEXTS.path, 'path'],
]);
/** Two builds must not see the same second. */
const APART_MS = 2000;

/**
 * Builds twice and compares every output and the SBOM. Only a build that is reproducible is kept in the output folder.
 * @throws as `build`
 */
export async function checkBuild(request: BuildRequest): Promise<CheckReport> {
  const out = resolve(request.out);
  await checkOut(out, request.replace);
  await mkdir(request.cache, { recursive: true });
  const folder = join(dirname(out), `.${basename(out)}.${randomBytes(6).toString('hex')}.check`);
  const conditions = await changedConditions(request.cache);
  const run: CheckRun = { request, folder, conditions, nowMs: Date.now() };
  try {
    const first = await buildInto(run, 'first', {});
    await waitUntil(run.nowMs + APART_MS, request.signal);
    const second = await buildInto(run, 'second', conditions);
    const differences = await compare(run, first, second);
    const report = {
      changed: ['the time by some seconds', ...namesIn(conditions).map((name) => CONDITION_TEXTS[name])],
      unchanged: CONDITION_NAMES.filter((name) => conditions[name] === undefined).map(
        (name) => CONDITION_TEXTS[name],
      ),
      outputCount: first.outputs.length,
      differences,
    };
    if (differences.length > 0) {
      const differing = namesOfDiffering(first, second);
      const depends = differing.length === 0 ? undefined : await findDependence(run, first, differing);
      if (depends === undefined) return { ...report, reproducible: false };
      // An experiment knows better than the bytes.
      const cause = CAUSES.get(depends);
      const known = differences.map((found) => (cause === undefined ? found : { ...found, cause }));
      return { ...report, differences: known, reproducible: false, depends };
    }
    await replaceOut(join(folder, 'first'), out);
    return { ...report, reproducible: true, summary: { ...first, out } };
  } finally {
    await removeTree(folder);
    if (conditions.workFolder !== undefined) await removeTree(conditions.workFolder);
  }
}

interface CheckRun {
  readonly request: BuildRequest;
  readonly folder: string;
  readonly conditions: Conditions;
  readonly nowMs: number;
}

const namesIn = (conditions: Conditions): ConditionName[] =>
  CONDITION_NAMES.filter((name) => conditions[name] !== undefined);

async function buildInto(run: CheckRun, name: string, conditions: Conditions): Promise<BuildSummary> {
  const { request } = run;
  request.onEvent?.({ kind: 'progress', text: `check: ${name} build` });
  const here = { ...request, out: join(run.folder, name), replace: false, conditions };
  try {
    return await build(here);
  } catch (failure) {
    const isChanged = namesIn(conditions).length > 0;
    if (!isChanged || !(failure instanceof Rejection) || failure.code !== 'STEP_OUTPUT_DIFFERS')
      throw failure;
  }
  // The first build was what its publisher publishes: this difference is to be explained, not refused.
  const steps = request.definition.steps.map((step) => ({
    ...step,
    outputs: step.outputs.map(({ file, path }) => ({ file, path })),
  }));
  return build({ ...here, definition: { ...request.definition, steps } });
}

async function waitUntil(timeMs: number, signal: AbortSignal | undefined): Promise<void> {
  while (Date.now() < timeMs) {
    signal?.throwIfAborted();
    await new Promise((done) => setTimeout(done, 100));
  }
}

const keyOf = ({ step, file }: { readonly step: string; readonly file: string }) => `${step}/${file}`;

function namesOfDiffering(first: BuildSummary, second: BuildSummary): string[] {
  const others = new Map(second.outputs.map((output) => [keyOf(output), output.sha256]));
  return first.outputs.filter((output) => others.get(keyOf(output)) !== output.sha256).map(keyOf);
}

/** Every place in which an output differs, and every day of build in outputs that do not; the SBOM only if nothing else does. */
async function compare(run: CheckRun, first: BuildSummary, second: BuildSummary): Promise<Difference[]> {
  const read = (name: string, path: string) => readFile(join(run.folder, name, path));
  const differing = namesOfDiffering(first, second);
  const differences: Difference[] = [];
  for (const key of differing) {
    const [a, b] = await Promise.all([read('first', `outputs/${key}`), read('second', `outputs/${key}`)]);
    const elfKey = elfOf(run.request.definition, key);
    const elf = elfKey === undefined ? undefined : await read('second', `outputs/${elfKey}`);
    differences.push(...findDifferences({ output: key, first: a, second: b, elf, nowMs: run.nowMs }));
  }
  if (dayOf(run.nowMs) !== dayOf(run.request.definition.sourceDateEpoch * 1000)) {
    for (const output of first.outputs) {
      const key = keyOf(output);
      const path = `outputs/${key}`;
      if (differing.includes(key) || (await stat(join(run.folder, 'first', path))).size > DAY_SIZE_BYTES_MAX)
        continue;
      differences.push(...findDayOfBuild(key, await read('first', path), run.nowMs));
    }
  }
  if (differences.length > 0) return differences;
  for (const [i, { sbom }] of first.images.entries()) {
    if (sbom.sha256 === second.images[i]?.sbom.sha256) continue;
    const [a, b] = await Promise.all([read('first', sbom.file), read('second', sbom.file)]);
    differences.push(...findDifferences({ output: sbom.file, first: a, second: b, nowMs: run.nowMs }));
  }
  return differences;
}

/** Larger outputs are not searched for the day of the build. */
const DAY_SIZE_BYTES_MAX = 256 * 1024 * 1024;

const dayOf = (timeMs: number): string => new Date(timeMs).toISOString().slice(0, 10);

/** Builds again with nothing changed, then with one thing at a time, until one of the outputs differs again. */
async function findDependence(
  run: CheckRun,
  first: BuildSummary,
  differing: readonly string[],
): Promise<string> {
  const differsUnder = async (name: string, conditions: Conditions): Promise<boolean> => {
    const again = await buildInto(run, name, conditions);
    const found = namesOfDiffering(first, again).some((key) => differing.includes(key));
    await removeTree(join(run.folder, name));
    return found;
  };
  if (await differsUnder('third', {})) {
    return 'nothing that was changed: they differ from one build to the next (time, randomness, or a race)';
  }
  for (const name of namesIn(run.conditions)) {
    if (await differsUnder(name, { [name]: run.conditions[name] })) return CONDITION_TEXTS[name];
  }
  return 'no single change, but several together, or a race that is seldom lost';
}
