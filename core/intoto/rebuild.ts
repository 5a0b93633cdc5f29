// SPDX-License-Identifier: Apache-2.0
// What an independent rebuild found [docs/spec/rebuild.md]: an in-toto Statement v1 that agrees with a build or differs from it.

import type { DocumentNode } from '../encoding/document.ts';
import type { Json } from '../encoding/strict-json.ts';
import { CORE } from '../faults.ts';
import type { Statement, Subject, UnsignedStatement } from './statement.ts';

export const REBUILD_TYPE = 'https://waybill.example/predicates/rebuild/v1';

/** Why two builds differ, as far as the bytes tell. */
export const DIFFERENCE_CAUSES = [
  'date',
  'path',
  'host',
  'build-id',
  'order',
  'random',
  'size',
  'unknown',
] as const;
export type DifferenceCause = (typeof DIFFERENCE_CAUSES)[number];

/** A run of bytes in which two files differ. */
export interface Difference {
  /** `<step>/<file>`. */
  readonly output: string;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly section?: string;
  readonly symbol?: string;
  readonly cause: DifferenceCause;
  /** For people. */
  readonly detail: string;
}

/** An output of a step, as its provenance claims it and as it was built again. */
export interface RebuiltOutput {
  readonly step: string;
  readonly name: string;
  readonly claimedSha256: string;
  readonly rebuiltSha256: string;
}

export interface RebuildReport {
  readonly image: Subject;
  readonly rebuilderId: string;
  readonly product: string;
  readonly version: string;
  readonly definitionSha256: string;
  readonly lockSha256: string;
  /** SHA-256 of each provenance bundle that was followed. */
  readonly inputAttestations: readonly string[];
  readonly sandbox: { readonly mechanism: string; readonly kernel: string };
  readonly verdict: 'agrees' | 'differs';
  readonly outputs: readonly RebuiltOutput[];
  readonly differences: readonly Difference[];
}

/** Most differences that one statement lists. */
export const DIFFERENCE_COUNT_MAX = 64;

/** Reads a statement as a rebuild report. @throws REBUILD_STATEMENT_MALFORMED, INTOTO_STATEMENT_MALFORMED */
export function parseRebuildReport(statement: Statement): RebuildReport {
  if (statement.predicateType !== REBUILD_TYPE) throw bad(`expected predicate type ${REBUILD_TYPE}`);
  const [image, ...more] = statement.subjects;
  if (image === undefined || more.length > 0) throw bad('expected exactly one subject, the image');
  const predicate = statement.predicate.only(
    'rebuilder',
    'product',
    'version',
    'definition',
    'lock',
    'inputAttestations',
    'sandbox',
    'verdict',
    'outputs',
    'differences',
  );
  const sandbox = predicate.field('sandbox').only('mechanism', 'kernel');
  const report: RebuildReport = {
    image,
    rebuilderId: predicate.field('rebuilder').only('id').field('id').string(),
    product: predicate.field('product').string(),
    version: predicate.field('version').string(),
    definitionSha256: digestIn(predicate.field('definition')),
    lockSha256: digestIn(predicate.field('lock')),
    inputAttestations: predicate.field('inputAttestations').someElements().map(digestIn),
    sandbox: { mechanism: sandbox.field('mechanism').string(), kernel: sandbox.field('kernel').string() },
    verdict: predicate.field('verdict').word('agrees', 'differs'),
    outputs: predicate.field('outputs').someElements().map(parseOutput),
    differences: predicate.field('differences').elements().map(parseDifference),
  };
  checkConsistency(report);
  return report;
}

/** Builds the unsigned statement; `parseRebuildReport` is the inverse. */
export function buildRebuildReport(report: RebuildReport): UnsignedStatement {
  const digest = (sha256: string): Json => ({ digest: { sha256 } });
  return {
    subjects: [report.image],
    predicateType: REBUILD_TYPE,
    predicate: {
      rebuilder: { id: report.rebuilderId },
      product: report.product,
      version: report.version,
      definition: digest(report.definitionSha256),
      lock: digest(report.lockSha256),
      inputAttestations: report.inputAttestations.map(digest),
      sandbox: { mechanism: report.sandbox.mechanism, kernel: report.sandbox.kernel },
      verdict: report.verdict,
      outputs: report.outputs.map(({ step, name, claimedSha256, rebuiltSha256 }) => ({
        step,
        name,
        claimed: { sha256: claimedSha256 },
        rebuilt: { sha256: rebuiltSha256 },
      })),
      differences: report.differences.map((difference) => ({ ...difference })),
    },
  };
}

function bad(message: string) {
  return CORE.reject('REBUILD_STATEMENT_MALFORMED', message);
}

function digestIn(node: DocumentNode): string {
  return node.only('digest').field('digest').only('sha256').field('sha256').sha256();
}

function parseOutput(node: DocumentNode): RebuiltOutput {
  node.only('step', 'name', 'claimed', 'rebuilt');
  const digest = (member: string) => node.field(member).only('sha256').field('sha256').sha256();
  return {
    step: node.field('step').string(),
    name: node.field('name').string(),
    claimedSha256: digest('claimed'),
    rebuiltSha256: digest('rebuilt'),
  };
}

function parseDifference(node: DocumentNode): Difference {
  node.only('output', 'offset', 'sizeBytes', 'section', 'symbol', 'cause', 'detail');
  const section = node.optional('section');
  const symbol = node.optional('symbol');
  return {
    output: node.field('output').string(),
    offset: node.field('offset').integer(),
    sizeBytes: node.field('sizeBytes').integer(),
    ...(section === undefined ? {} : { section: section.string() }),
    ...(symbol === undefined ? {} : { symbol: symbol.string() }),
    cause: node.field('cause').word(...DIFFERENCE_CAUSES),
    detail: node.field('detail').string(),
  };
}

/** A verdict that the digests beside it do not bear out is no verdict. */
function checkConsistency({ image, verdict, outputs, differences }: RebuildReport): void {
  const claims = outputs.filter(({ claimedSha256 }) => claimedSha256 === image.sha256);
  if (claims.length === 0) throw bad('expected the image among the claimed outputs, found it nowhere');
  const agrees = claims.every(({ rebuiltSha256 }) => rebuiltSha256 === image.sha256);
  if (agrees !== (verdict === 'agrees')) {
    throw bad(`expected a verdict that follows from the digests, got ${verdict}`);
  }
  if (differences.length > DIFFERENCE_COUNT_MAX || (differences.length > 0 && agrees)) {
    throw bad(`expected no differences in an image that agrees, else at most ${DIFFERENCE_COUNT_MAX}`);
  }
}
