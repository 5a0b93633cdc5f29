// SPDX-License-Identifier: Apache-2.0
// Compares a finished build with what the provenance of another one claims [docs/spec/rebuild.md]: digests of every output, and where
// the image differs the bytes themselves.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import type { StepProvenance } from '../core/intoto/provenance.ts';
import { DIFFERENCE_COUNT_MAX, type RebuildReport, type RebuiltOutput } from '../core/intoto/rebuild.ts';
import { type BuildDefinition, elfOf } from './definition.ts';
import { findDifferences } from './difference.ts';
import { BUILDER } from './faults.ts';
import type { BuildSummary } from './output-folder.ts';

export interface Comparable {
  readonly definition: BuildDefinition;
  /** The steps that lead to the image, as somebody claims that they went. */
  readonly claims: readonly StepProvenance[];
  readonly imageSha256: string;
  /** The build made again. */
  readonly rebuilt: BuildSummary;
  /** The bytes of the image that was claimed, if they can be had. */
  readonly original: () => Promise<Uint8Array | undefined>;
  readonly nowMs: number;
}

/** Refuses claims that the definition does not bear out before anything is built. @throws REBUILD_CLAIM_CONTRADICTED */
export function checkClaims(definition: BuildDefinition, claims: readonly StepProvenance[]): void {
  for (const { product, version, step, products } of claims) {
    const refuse = (expected: string, got: string) =>
      BUILDER.reject(
        'REBUILD_CLAIM_CONTRADICTED',
        `expected ${expected} as in waybill.yaml, got ${quote(got)}`,
      );
    if (product !== definition.product) throw refuse(`product ${definition.product}`, product);
    if (version !== definition.version) throw refuse(`version ${definition.version}`, version);
    const defined = definition.steps.find(({ name }) => name === step);
    if (defined === undefined) throw refuse('a step', step);
    const files = defined.outputs.map(({ file }) => file);
    const foreign = products.find(({ name }) => !files.includes(name));
    if (foreign !== undefined) throw refuse(`an output of step ${step}`, foreign.name);
  }
}

/** What came out, against what was claimed. */
export async function compareRebuild(
  given: Comparable,
): Promise<Pick<RebuildReport, 'verdict' | 'outputs' | 'differences'>> {
  const made = new Map(given.rebuilt.outputs.map(({ step, file, sha256 }) => [`${step}/${file}`, sha256]));
  const outputs = given.claims.flatMap(({ step, products }) =>
    products.map(({ name, sha256 }): RebuiltOutput => {
      const rebuiltSha256 = made.get(`${step}/${name}`);
      if (rebuiltSha256 === undefined) throw new Error(`${step}/${name} was checked to be an output`);
      return { step, name, claimedSha256: sha256, rebuiltSha256 };
    }),
  );
  const differing = outputs.find(
    ({ claimedSha256, rebuiltSha256 }) =>
      claimedSha256 === given.imageSha256 && rebuiltSha256 !== claimedSha256,
  );
  if (differing === undefined) return { verdict: 'agrees', outputs, differences: [] };
  const first = await given.original();
  if (first === undefined) return { verdict: 'differs', outputs, differences: [] };
  const output = `${differing.step}/${differing.name}`;
  const read = (path: string) => readFile(join(given.rebuilt.out, 'outputs', path));
  const elf = elfOf(given.definition, output);
  const differences = findDifferences({
    output,
    first,
    second: await read(output),
    elf: elf === undefined ? undefined : await read(elf),
    nowMs: given.nowMs,
  });
  return { verdict: 'differs', outputs, differences: differences.slice(0, DIFFERENCE_COUNT_MAX) };
}
