// SPDX-License-Identifier: Apache-2.0
// From a build whose steps have all run to its SBOM: evidence gathered, what ships found, facts about it read.

import { createHash } from 'node:crypto';
import type { KeptBill } from './bill-cache.ts';
import type { Evidence, ProductDefinition } from './definition.ts';
import { formOf } from './file-form.ts';
import {
  type DoneStep,
  type FinishedRun,
  inputNames,
  otherInputs,
  packagesOf,
  readOutput,
} from './finished-run.ts';
import type { EvidenceStep } from './input-files.ts';
import { licenceOf } from './licence.ts';
import { joinLicences } from './licence-expression.ts';
import type { LockedPackage } from './lock-file.ts';
import { readRootFile } from './root.ts';
import { buildSbom } from './sbom.ts';
import { type PackageFacts, taggedLicences } from './sbom-components.ts';
import { findShipped, type Occurrence, type Shipped } from './shipped.ts';

export interface Bill extends KeptBill {
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
      inputs: inputNames(facts.dependencies),
    })),
    comparisons: done.flatMap(([, { comparisons }]) =>
      comparisons.map(
        (found) => `${found.step}/${found.file} is ${found.path} of ${found.package}, sha256:${found.sha256}`,
      ),
    ),
  });
  return {
    sbom,
    ships: shipNames(shipped, definition.product),
    ...(shipped === undefined ? {} : { shipped }),
  };
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

function shipNames(shipped: Shipped | undefined, product: string): string[] {
  if (shipped === undefined) return [];
  const named = [...shipped.packages.keys(), ...shipped.components.keys()].map(({ name }) => name);
  const opaque = shipped.opaqueFiles.map(({ path }) => path);
  return [...named.filter((name) => name !== product), ...opaque].sort();
}
