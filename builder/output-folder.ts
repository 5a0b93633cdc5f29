// SPDX-License-Identifier: Apache-2.0
// What a build leaves: products, SBOM, statements, logs, copies of what it was made from, and a summary.

import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AuditSummary, finishAudit, readTraces } from './audited-build.ts';
import { type Bill, makeBill, otherInputs, packagesOf, readOutput } from './bill.ts';
import type { BuildRequest } from './build.ts';
import type { BuildDefinition, OutputReference } from './definition.ts';
import { clockLibrary } from './fixed-answers.ts';
import type { MountedTree } from './input-files.ts';
import type { Lock, LockedPackage } from './lock-file.ts';
import type { TakenOutput } from './outputs.ts';
import type { PrunableStep } from './prune.ts';
import type { StepRoot } from './root.ts';
import type { Shipped } from './shipped.ts';
import { type BuildIdentity, formatProvenance, formatSbomReference, type StepFacts } from './statements.ts';
import type { Comparison, StepResult } from './step.ts';

export interface BuildSummary {
  readonly out: string;
  readonly product: string;
  readonly version: string;
  readonly image: TakenOutput;
  readonly outputs: readonly (TakenOutput & { readonly step: string })[];
  readonly sbom: { readonly file: string; readonly sha256: string; readonly sizeBytes: number };
  /** Names of the components of which bytes are shown to be in the image, the product's own left out. */
  readonly ships: readonly string[];
  readonly statements: readonly string[];
  readonly comparisons: readonly Comparison[];
  readonly sandbox: BuildIdentity['sandbox'];
  readonly packageCount: number;
  /** Names of the inputs that are made of no packages. */
  readonly otherInputs: readonly string[];
  readonly fetchedSizeBytes: number;
  readonly steps: readonly { readonly name: string; readonly durationMs: number }[];
  readonly durationMs: number;
  /** Where it was asked for. */
  readonly audit?: AuditSummary;
}

export interface DoneStep {
  readonly facts: StepFacts;
  readonly root: StepRoot;
  /** What it saw under /inputs. */
  readonly mounted?: readonly MountedTree[];
  readonly result: StepResult;
  /** Runs it again, otherwise than it ran. */
  readonly again: PrunableStep['again'];
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
  /** By name, in the order in which they ran. */
  readonly done: ReadonlyMap<string, DoneStep>;
  readonly fetchedSizeBytes: number;
  /** The file of a package, fetched again if the cache has lost it. */
  readonly packageFile: (entry: LockedPackage) => Promise<string>;
}

type Finished = Omit<BuildSummary, 'out' | 'durationMs'>;

/** Writes everything but the outputs, which the steps wrote. @throws SBOM_EVIDENCE_MALFORMED, SBOM_INVALID */
export async function writeFolder(run: FinishedRun): Promise<Finished> {
  const { request, beside } = run;
  const image = outputOf(run.done, request.definition.image);
  const imageBytes = await readOutput(run, request.definition.image);
  const audit = request.audit === true ? await readTraces(run) : undefined;
  const { sbom, shipped }: Bill = await makeBill(run, image.file, imageBytes, audit?.opened);
  const statements = formatStatements(run, image, sha256(sbom));
  const audited = audit === undefined ? undefined : await finishAudit(run, audit, { image, sbom, shipped });
  for (const [name, bytes] of audited?.statements ?? [])
    statements.set(`${String(statements.size + 1).padStart(2, '0')}-${name}.json`, bytes);
  const summary = {
    ...summarize(run, image, sbom, shipped, [...statements.keys()]),
    ...(audited === undefined ? {} : { audit: audited.summary }),
  };
  for (const folder of ['products', 'statements', 'logs']) await mkdir(join(beside, folder));
  for (const [name, bytes] of statements) await writeFile(join(beside, 'statements', name), bytes);
  for (const [name, { result }] of run.done) await writeFile(join(beside, 'logs', `${name}.log`), result.log);
  await writeFile(join(beside, 'products', image.file), imageBytes);
  await writeFile(join(beside, 'sbom.cdx.json'), sbom);
  if (audited !== undefined) await writeFile(join(beside, 'audit.json'), audited.bytes);
  await writeFile(join(beside, 'waybill.yaml'), request.definitionBytes);
  await writeFile(join(beside, 'waybill.lock'), request.lockBytes);
  await writeFile(join(beside, 'build.json'), `${JSON.stringify(summary, null, 2)}\n`);
  return summary;
}

/** By file name; the numbers are the order in which steps ran, the SBOM's reference comes last. */
function formatStatements(run: FinishedRun, image: TakenOutput, sbomSha256: string): Map<string, Uint8Array> {
  const { identity, request } = run;
  const statements = new Map<string, Uint8Array>();
  const number = () => String(statements.size + 1).padStart(2, '0');
  for (const [name, { facts, root }] of run.done) {
    const clock = clockLibrary(root) === undefined ? 'host' : 'libfaketime';
    const provenance = formatProvenance(request.definition, identity, facts, clock);
    statements.set(`${number()}-${name}.provenance.json`, provenance);
  }
  const subject = { name: image.file, sha256: image.sha256 };
  const reference = formatSbomReference(subject, identity.builderId, sbomSha256);
  return statements.set(`${number()}-sbom.reference.json`, reference);
}

function summarize(
  run: FinishedRun,
  image: TakenOutput,
  sbom: Uint8Array,
  shipped: Shipped | undefined,
  statements: readonly string[],
): Finished {
  const done = [...run.done];
  return {
    product: run.request.definition.product,
    version: run.request.definition.version,
    image,
    outputs: done.flatMap(([step, { result }]) => result.outputs.map((output) => ({ step, ...output }))),
    sbom: { file: 'sbom.cdx.json', sha256: sha256(sbom), sizeBytes: sbom.length },
    ships: namesOf(shipped, run.request.definition.product),
    statements,
    comparisons: done.flatMap(([, { result }]) => result.comparisons),
    sandbox: run.identity.sandbox,
    packageCount: packagesOf(run).size,
    otherInputs: [...otherInputs(run).keys()],
    fetchedSizeBytes: run.fetchedSizeBytes,
    steps: done.map(([name, { result }]) => ({ name, durationMs: result.durationMs })),
  };
}

function namesOf(shipped: Shipped | undefined, product: string): string[] {
  if (shipped === undefined) return [];
  const named = [...shipped.packages.keys(), ...shipped.components.keys()].map(({ name }) => name);
  const opaque = shipped.opaqueFiles.map(({ path }) => path);
  return [...named.filter((name) => name !== product), ...opaque].sort();
}

/** An output of a step that ran. */
export function outputOf(done: ReadonlyMap<string, DoneStep>, reference: OutputReference): TakenOutput {
  const outputs = done.get(reference.step)?.result.outputs ?? [];
  const found = outputs.find(({ file }) => file === reference.file);
  if (found === undefined) throw new Error(`step ${reference.step} ran without its output ${reference.file}`);
  return found;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
