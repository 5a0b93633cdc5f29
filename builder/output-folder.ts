// SPDX-License-Identifier: Apache-2.0
// What a build leaves: products, SBOM, statements, logs, copies of what it was made from, and a summary.

import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StepSandbox } from '../core/intoto/provenance.ts';
import type { BuildDefinition, OutputReference } from './definition.ts';
import { licenceOf } from './licence.ts';
import type { LockedPackage } from './lock-file.ts';
import type { TakenOutput } from './outputs.ts';
import { readRootFile, type StepRoot } from './root.ts';
import { buildSbom } from './sbom.ts';
import { findShipped, type Shipped } from './shipped.ts';
import { type BuildIdentity, formatProvenance, formatSbomReference, type StepFacts } from './statements.ts';
import type { Comparison, StepResult } from './step.ts';

export interface BuildSummary {
  readonly out: string;
  readonly product: string;
  readonly version: string;
  readonly image: TakenOutput;
  readonly outputs: readonly (TakenOutput & { readonly step: string })[];
  readonly sbom: { readonly file: string; readonly sha256: string; readonly sizeBytes: number };
  /** Names of the packages of which bytes are shown to be in the image. */
  readonly ships: readonly string[];
  readonly statements: readonly string[];
  readonly comparisons: readonly Comparison[];
  readonly sandbox: StepSandbox;
  readonly packageCount: number;
  readonly fetchedSizeBytes: number;
  readonly steps: readonly { readonly name: string; readonly durationMs: number }[];
  readonly durationMs: number;
}

export interface DoneStep {
  readonly facts: StepFacts;
  readonly root: StepRoot;
  readonly result: StepResult;
}

/** A build whose steps have all run. */
export interface FinishedRun {
  readonly request: {
    readonly definition: BuildDefinition;
    readonly definitionBytes: Uint8Array;
    readonly lockBytes: Uint8Array;
    readonly toolVersion: string;
  };
  readonly identity: BuildIdentity;
  /** Where the output folder is made; holds `outputs/` already. */
  readonly beside: string;
  /** By name, in the order in which they ran. */
  readonly done: ReadonlyMap<string, DoneStep>;
  readonly fetchedSizeBytes: number;
}

type Finished = Omit<BuildSummary, 'out' | 'durationMs'>;

/** Writes everything but the outputs, which the steps wrote. @throws SBOM_EVIDENCE_MALFORMED, SBOM_INVALID */
export async function writeFolder(run: FinishedRun): Promise<Finished> {
  const { request, beside } = run;
  const image = outputOf(run.done, request.definition.image);
  const imageBytes = await readOutput(run, request.definition.image);
  const shipped = await findShippedOf(run, imageBytes);
  const sbom = await buildSbomOf(run, image, shipped);
  const statements = formatStatements(run, image, sha256(sbom));
  const summary = summarize(run, image, sbom, shipped, [...statements.keys()]);
  for (const folder of ['products', 'statements', 'logs']) await mkdir(join(beside, folder));
  for (const [name, bytes] of statements) await writeFile(join(beside, 'statements', name), bytes);
  for (const [name, { result }] of run.done) await writeFile(join(beside, 'logs', `${name}.log`), result.log);
  await writeFile(join(beside, 'products', image.file), imageBytes);
  await writeFile(join(beside, 'sbom.cdx.json'), sbom);
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
  for (const [name, { facts }] of run.done) {
    const provenance = formatProvenance(request.definition, identity, facts);
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
    ships: [...(shipped?.packages.keys() ?? [])].map(({ name }) => name).sort(),
    statements,
    comparisons: done.flatMap(([, { result }]) => result.comparisons),
    sandbox: run.identity.sandbox,
    packageCount: packagesOf(run).size,
    fetchedSizeBytes: run.fetchedSizeBytes,
    steps: done.map(([name, { result }]) => ({ name, durationMs: result.durationMs })),
  };
}

async function buildSbomOf(
  run: FinishedRun,
  image: TakenOutput,
  shipped: Shipped | undefined,
): Promise<Uint8Array> {
  const { product, version, sourceDateEpoch } = run.request.definition;
  const done = [...run.done];
  return buildSbom({
    product,
    version,
    image,
    sourceDateEpoch,
    toolVersion: run.request.toolVersion,
    ...(shipped === undefined ? {} : { shipped }),
    licences: shipped === undefined ? new Map() : await findLicences(run, shipped),
    packages: packagesOf(run),
    steps: done.map(([name, { facts }]) => ({ name, packageUrls: facts.packages.map(({ url }) => url) })),
    comparisons: done.flatMap(([, { result }]) =>
      result.comparisons.map(
        (found) => `${found.step}/${found.file} is ${found.path} of ${found.package}, sha256:${found.sha256}`,
      ),
    ),
  });
}

/** An output of a step that ran. */
export function outputOf(done: ReadonlyMap<string, DoneStep>, reference: OutputReference): TakenOutput {
  const outputs = done.get(reference.step)?.result.outputs ?? [];
  const found = outputs.find(({ file }) => file === reference.file);
  if (found === undefined) throw new Error(`step ${reference.step} ran without its output ${reference.file}`);
  return found;
}

function readOutput(run: FinishedRun, { step, file }: OutputReference): Promise<Buffer> {
  return readFile(join(run.beside, 'outputs', step, file));
}

async function findShippedOf(run: FinishedRun, image: Uint8Array): Promise<Shipped | undefined> {
  const evidence = run.request.definition.evidence;
  const linked = run.done.get(evidence?.map.step ?? '');
  if (evidence === undefined || linked === undefined) return undefined;
  return findShipped({
    image,
    map: (await readOutput(run, evidence.map)).toString('latin1'),
    elf: await readOutput(run, evidence.elf),
    root: linked.root,
    workFiles: linked.result.workFiles,
    sourcePackages: new Set(
      linked.facts.packages.flatMap(({ entry, role }) => (role === 'source' ? [entry.name] : [])),
    ),
  });
}

/** The licence of each package that ships, if every file of it that is in the image has the same clear one. */
async function findLicences(run: FinishedRun, shipped: Shipped): Promise<Map<LockedPackage, string>> {
  const licences = new Map<LockedPackage, string>();
  const roots = [...run.done.values()].map(({ root }) => root);
  for (const [entry, occurrences] of shipped.packages) {
    const path = `usr/share/doc/${entry.name}/copyright`;
    const root = roots.find(({ owners }) => owners.get(path)?.sha256 === entry.sha256);
    if (root === undefined) continue;
    const text = (await readRootFile(root, path))?.toString('utf8') ?? '';
    const found = new Set(occurrences.map((occurrence) => licenceOf(text, occurrence.path)));
    const [licence, other] = [...found];
    if (licence !== undefined && found.size === 1 && other === undefined) licences.set(entry, licence);
  }
  return licences;
}

/** Every package that a step could see, by package URL, sorted. */
function packagesOf(run: FinishedRun) {
  const packages = new Map<string, { entry: LockedPackage; distribution: string }>();
  for (const { facts } of run.done.values()) {
    for (const { url, entry } of facts.packages) {
      packages.set(url, { entry, distribution: url.split('/')[1] ?? '' });
    }
  }
  return new Map([...packages].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
