// SPDX-License-Identifier: Apache-2.0
// What a build leaves: products, SBOM, statements, logs, copies of what it was made from, and a summary.

import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { type AuditSummary, finishAudit, readTraces } from './audited-build.ts';
import { type Bill, makeBill, otherInputs, packagesOf, readOutput } from './bill.ts';
import type { BuildRequest } from './build.ts';
import type { BuildDefinition, OutputReference } from './definition.ts';
import { BUILDER } from './faults.ts';
import { clockLibrary } from './fixed-answers.ts';
import type { MountedTree } from './input-files.ts';
import type { Lock } from './lock-file.ts';
import type { TakenOutput } from './outputs.ts';
import type { PrunableStep } from './prune.ts';
import type { StepRoot } from './root.ts';
import type { Shipped } from './shipped.ts';
import { type BuildIdentity, formatProvenance, formatSbomReference, type StepFacts } from './statements.ts';
import type { Comparison, StepContext, StepResult } from './step.ts';

/** An image of a build, with what is in it. */
export interface BuiltImage extends TakenOutput {
  readonly sbom: { readonly file: string; readonly sha256: string; readonly sizeBytes: number };
  /** Names of the components of which bytes are shown to be in the image, the product's own left out. */
  readonly ships: readonly string[];
}

export interface BuildSummary {
  readonly out: string;
  readonly product: string;
  readonly version: string;
  /** In the order of the definition. */
  readonly images: readonly BuiltImage[];
  readonly outputs: readonly (TakenOutput & { readonly step: string })[];
  readonly statements: readonly string[];
  readonly comparisons: readonly Comparison[];
  readonly sandbox: BuildIdentity['sandbox'];
  readonly packageCount: number;
  /** Names of the inputs that are made of no packages. */
  readonly otherInputs: readonly string[];
  readonly fetchedSizeBytes: number;
  readonly steps: readonly { readonly name: string; readonly durationMs: number; readonly reused: boolean }[];
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
}

type Finished = Omit<BuildSummary, 'out' | 'durationMs'>;

/** An image whose SBOM is made. */
export interface ImageBill extends Bill {
  readonly image: TakenOutput;
  readonly bytes: Uint8Array;
}

/** Writes everything but the outputs, which the steps wrote. @throws SBOM_EVIDENCE_MALFORMED, SBOM_INVALID, SBOM_IMAGES_EQUAL */
export async function writeFolder(run: FinishedRun): Promise<Finished> {
  const { request, beside } = run;
  refuseEqualImages(run);
  const audit = request.audit === true ? await readTraces(run) : undefined;
  const bills: ImageBill[] = [];
  for (const product of request.definition.products) {
    const bytes = await readOutput(run, product.image);
    const bill = await makeBill(run, product, bytes, audit?.opened);
    bills.push({ image: outputOf(run.done, product.image), bytes, ...bill });
  }
  const audited = audit === undefined ? undefined : await finishAudit(run, audit, bills);
  const statements = formatStatements(run, bills, audited?.statements ?? []);
  const summary = {
    ...summarize(run, bills, [...statements.keys()]),
    ...(audited === undefined ? {} : { audit: audited.summary }),
  };
  for (const folder of ['products', 'sboms', 'statements', 'logs']) await mkdir(join(beside, folder));
  for (const [name, bytes] of statements) await writeFile(join(beside, 'statements', name), bytes);
  for (const [name, { result }] of run.done) await writeFile(join(beside, 'logs', `${name}.log`), result.log);
  for (const { image, bytes, sbom } of bills) {
    await writeFile(join(beside, 'products', image.file), bytes);
    await writeFile(join(beside, sbomFile(image)), sbom);
  }
  if (audited !== undefined) await writeFile(join(beside, 'audit.json'), audited.bytes);
  await writeFile(join(beside, 'waybill.yaml'), request.definitionBytes);
  await writeFile(join(beside, 'waybill.lock'), request.lockBytes);
  await writeFile(join(beside, 'build.json'), `${JSON.stringify(summary, null, 2)}\n`);
  return summary;
}

/** Where the SBOM of an image is, in the output folder. */
export function sbomFile({ file }: Pick<TakenOutput, 'file'>): string {
  return `sboms/${file}.cdx.json`;
}

/** Statements go by digest: two images of the same bytes would have two SBOMs that contradict each other. */
function refuseEqualImages(run: FinishedRun): void {
  const known = new Map<string, string>();
  for (const { image } of run.request.definition.products) {
    const { sha256, file } = outputOf(run.done, image);
    const other = known.get(sha256);
    if (other !== undefined) {
      throw BUILDER.reject(
        'SBOM_IMAGES_EQUAL',
        `expected images of different bytes, got ${quote(other)} and ${quote(file)} with the same`,
      );
    }
    known.set(sha256, file);
  }
}

/** By file name; the numbers are the order of the steps in the definition, then a reference an SBOM, then what an audit says. */
function formatStatements(
  run: FinishedRun,
  bills: readonly ImageBill[],
  audits: readonly (readonly [string, Uint8Array])[],
): Map<string, Uint8Array> {
  const { identity, request } = run;
  const all: (readonly [string, Uint8Array])[] = [];
  for (const [name, { facts, root }] of run.done) {
    const clock = clockLibrary(root) === undefined ? 'host' : 'libfaketime';
    all.push([`${name}.provenance`, formatProvenance(request.definition, identity, facts, clock)]);
  }
  for (const { image, sbom } of bills) {
    const subject = { name: image.file, sha256: image.sha256 };
    const reference = formatSbomReference(subject, identity.builderId, sha256(sbom), sbomFile(image));
    all.push([`${image.file}.sbom`, reference]);
  }
  const numbered = [...all, ...audits].map(
    ([name, bytes], i) => [`${String(i + 1).padStart(2, '0')}-${name}.json`, bytes] as const,
  );
  return new Map(numbered);
}

function summarize(run: FinishedRun, bills: readonly ImageBill[], statements: readonly string[]): Finished {
  const done = [...run.done];
  const { product, version } = run.request.definition;
  return {
    product,
    version,
    images: bills.map(({ image, sbom, shipped }) => ({
      ...image,
      sbom: { file: sbomFile(image), sha256: sha256(sbom), sizeBytes: sbom.length },
      ships: namesOf(shipped, product),
    })),
    outputs: done.flatMap(([step, { result }]) => result.outputs.map((output) => ({ step, ...output }))),
    statements,
    comparisons: done.flatMap(([, { comparisons }]) => comparisons),
    sandbox: run.identity.sandbox,
    packageCount: packagesOf(run).size,
    otherInputs: [...otherInputs(run).keys()],
    fetchedSizeBytes: run.fetchedSizeBytes,
    steps: done.map(([name, { durationMs, reused }]) => ({ name, durationMs, reused })),
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
