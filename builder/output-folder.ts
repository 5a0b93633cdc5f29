// SPDX-License-Identifier: Apache-2.0
// What a build leaves: products, SBOM, statements, logs, copies of what it was made from, and a summary.

import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { statementNumber } from '../core/intoto/statement.ts';
import type { AuditSummary } from './audited-build.ts';
import type { Bill } from './bill.ts';
import { billKey, type KeptBill } from './bill-cache.ts';
import type { ProductDefinition } from './definition.ts';
import { BUILDER } from './faults.ts';
import { type FinishedRun, otherInputs, outputOf, packagesOf, readOutput } from './finished-run.ts';
import { clockLibrary } from './fixed-answers.ts';
import type { TakenOutput } from './outputs.ts';
import { type BuildIdentity, formatProvenance, formatSbomReference } from './statements.ts';
import type { Comparison } from './step.ts';

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

type Finished = Omit<BuildSummary, 'out' | 'durationMs'>;

/** An image whose SBOM is made; one that was kept comes without what it was made of. */
export interface ImageBill extends KeptBill, Pick<Bill, 'shipped'> {
  readonly image: TakenOutput;
  readonly bytes: Uint8Array;
}

/** Writes everything but the outputs, which the steps wrote. @throws SBOM_EVIDENCE_MALFORMED, SBOM_INVALID, SBOM_IMAGES_EQUAL */
export async function writeFolder(run: FinishedRun): Promise<Finished> {
  const { request, beside } = run;
  refuseEqualImages(run);
  // Few builds are audited.
  const auditing = request.audit === true ? await import('./audited-build.ts') : undefined;
  const audit = await auditing?.readTraces(run);
  const bills: ImageBill[] = [];
  for (const product of request.definition.products) {
    const bytes = await readOutput(run, product.image);
    const bill = await reuseOrMake(run, product, bytes, audit?.opened);
    bills.push({ image: outputOf(run.done, product.image), bytes, ...bill });
  }
  const audited = audit === undefined ? undefined : await auditing?.finishAudit(run, audit, bills);
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

/** The SBOM that was made before of the same, else one that is made now. */
async function reuseOrMake(
  run: FinishedRun,
  product: ProductDefinition,
  image: Uint8Array,
  opened: ReadonlyMap<string, readonly string[]> | undefined,
): Promise<KeptBill & Pick<Bill, 'shipped'>> {
  const { bills } = run;
  const key = bills === undefined ? '' : billKey(run, product);
  const kept = await bills?.read(key);
  if (kept !== undefined) return kept;
  // What makes SBOMs takes a tenth of a second to load.
  const { makeBill } = await import('./bill.ts');
  const made = await makeBill(run, product, image, opened);
  await bills?.write(key, made).catch((failure: unknown) => {
    const text = `SBOM not kept in the cache: ${quote((failure as Error).message)}`;
    run.request.onEvent?.({ kind: 'progress', text });
  });
  return made;
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
  const named = [...all, ...audits];
  const number = (i: number) => statementNumber(i + 1, named.length);
  return new Map(named.map(([name, bytes], i) => [`${number(i)}-${name}.json`, bytes]));
}

function summarize(run: FinishedRun, bills: readonly ImageBill[], statements: readonly string[]): Finished {
  const done = [...run.done];
  const { product, version } = run.request.definition;
  return {
    product,
    version,
    images: bills.map(({ image, sbom, ships }) => ({
      ...image,
      sbom: { file: sbomFile(image), sha256: sha256(sbom), sizeBytes: sbom.length },
      ships,
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

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
