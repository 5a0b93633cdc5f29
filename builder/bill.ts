// SPDX-License-Identifier: Apache-2.0
// From a build whose steps have all run to its SBOM: evidence gathered, what ships found, facts about it read.

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ResourceDescriptor } from '../core/intoto/statement.ts';
import type { Evidence, OutputReference, ProductDefinition } from './definition.ts';
import { formOf } from './file-form.ts';
import type { EvidenceStep } from './input-files.ts';
import { licenceOf } from './licence.ts';
import { joinLicences } from './licence-expression.ts';
import type { LockedPackage } from './lock-file.ts';
import type { DoneStep, FinishedRun } from './output-folder.ts';
import { readRootFile } from './root.ts';
import { buildSbom } from './sbom.ts';
import { type PackageFacts, taggedLicences } from './sbom-components.ts';
import { findShipped, type Occurrence, type Shipped } from './shipped.ts';

export interface Bill {
  readonly sbom: Uint8Array;
  /** Absent where the definition names no evidence. */
  readonly shipped?: Shipped;
}

/** Makes the SBOM of one image of a finished build. @throws SBOM_EVIDENCE_MALFORMED, SBOM_INVALID */
export async function makeBill(
  run: FinishedRun,
  { image: { file }, evidence }: ProductDefinition,
  image: Uint8Array,
  opened?: ReadonlyMap<string, readonly string[]>,
): Promise<Bill> {
  const { definition, toolVersion } = run.request;
  const done = [...run.done];
  const shipped = evidence === undefined ? undefined : await findShippedOf(run, evidence, image);
  const digest = (algorithm: string) => createHash(algorithm).update(image).digest('hex');
  const sbom = await buildSbom({
    product: definition.product,
    version: definition.version,
    image: { file, sha256: digest('sha256'), sha512: digest('sha512'), form: formOf(image) },
    sourceDateEpoch: definition.sourceDateEpoch,
    toolVersion,
    ...(shipped === undefined ? {} : { shipped }),
    facts: shipped === undefined ? new Map() : await findFacts(run, shipped),
    components: definition.components,
    hardware: definition.hardware,
    packages: packagesOf(run),
    inputs: otherInputs(run),
    opened,
    steps: done.map(([name, { facts }]) => ({
      name,
      packageUrls: facts.packages.map(({ url }) => url),
      inputs: namesOf(facts.dependencies),
    })),
    comparisons: done.flatMap(([, { comparisons }]) =>
      comparisons.map(
        (found) => `${found.step}/${found.file} is ${found.path} of ${found.package}, sha256:${found.sha256}`,
      ),
    ),
  });
  return { sbom, ...(shipped === undefined ? {} : { shipped }) };
}

/** Steps that ran, as evidence, in their order. */
export function evidenceSteps(run: FinishedRun): EvidenceStep[] {
  return [...run.done].map(([name, done]) => ({
    name,
    root: done.root,
    workFiles: done.result.workFiles,
    outputs: new Map(done.facts.step.outputs.map(({ file, path }) => [file, path])),
    mounted: done.mounted ?? [],
    inputsOf: inputsOf(run, done),
    sourcePackages: new Set(
      done.facts.packages.flatMap(({ entry, role }) => (role === 'source' ? [entry.name] : [])),
    ),
  }));
}

/** Names of the step's inputs that each package of its root came with. */
function inputsOf(run: FinishedRun, { facts }: DoneStep): Map<LockedPackage, string[]> {
  const names = new Map<string, string[]>();
  for (const input of run.request.lock.inputs) {
    if (!facts.step.inputs.includes(input.name) || !('packages' in input)) continue;
    for (const { sha256 } of input.packages) names.set(sha256, [...(names.get(sha256) ?? []), input.name]);
  }
  return new Map(facts.packages.map(({ entry }) => [entry, names.get(entry.sha256) ?? []]));
}

async function findShippedOf(run: FinishedRun, evidence: Evidence, image: Uint8Array): Promise<Shipped> {
  const { components } = run.request.definition;
  return findShipped({
    image,
    map: (await readOutput(run, evidence.map)).toString('latin1'),
    elf: await readOutput(run, evidence.elf),
    linkStep: evidence.map.step,
    mapFile: evidence.map.file,
    steps: evidenceSteps(run),
    depfiles: await Promise.all(
      evidence.depfiles.map(async (reference) => ({
        ...reference,
        text: (await readOutput(run, reference)).toString('utf8'),
      })),
    ),
    components,
  });
}

/** An output's bytes. */
export function readOutput(run: FinishedRun, { step, file }: OutputReference): Promise<Buffer> {
  return readFile(join(run.beside, 'outputs', step, file));
}

async function findFacts(run: FinishedRun, shipped: Shipped): Promise<Map<LockedPackage, PackageFacts>> {
  const facts = new Map<LockedPackage, PackageFacts>();
  for (const [entry, occurrences] of shipped.packages) {
    const record = [...run.done.values()].map(({ root }) => root.records.get(entry.sha256)).find(Boolean);
    if (record === undefined) throw new Error(`package ${entry.name} ships and is in no root`);
    const licence = await findLicence(run, entry, occurrences);
    facts.set(entry, { ...record, ...(licence === undefined ? {} : { licence }) });
  }
  return facts;
}

/** The licence of a package's files that ship: from its copyright file if it is clear for each of them, else from their tags. */
async function findLicence(
  run: FinishedRun,
  entry: LockedPackage,
  occurrences: readonly Occurrence[],
): Promise<string | undefined> {
  const path = `usr/share/doc/${entry.name}/copyright`;
  const roots = [...run.done.values()].map(({ root }) => root);
  const root = roots.find(({ owners }) => owners.get(path)?.sha256 === entry.sha256);
  const text = root === undefined ? '' : ((await readRootFile(root, path))?.toString('utf8') ?? '');
  const found = occurrences.map(({ path, member }) => licenceOf(text, path, member));
  const said = found.filter((licence) => licence !== undefined);
  return said.length === found.length ? joinLicences(said) : taggedLicences(occurrences);
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

const namesOf = (parts: readonly ResourceDescriptor[]): string[] => [
  ...new Set(parts.map(({ annotations }) => annotations?.input ?? '')),
];

/** What steps were given besides packages, by name of the input, sorted. */
export function otherInputs(run: FinishedRun): Map<string, ResourceDescriptor[]> {
  const inputs = new Map<string, ResourceDescriptor[]>();
  for (const { facts } of run.done.values()) {
    for (const name of namesOf(facts.dependencies))
      inputs.set(
        name,
        facts.dependencies.filter(({ annotations }) => annotations?.input === name),
      );
  }
  return new Map([...inputs].sort(([a], [b]) => (a < b ? -1 : 1)));
}
