// SPDX-License-Identifier: Apache-2.0
// Reads a build output folder and hashes everything in it again [docs/spec/attest.md §Hashing again]. What comes out is
// still unauthenticated: it says that statements and files agree with each other, not that they are true.

import { createHash } from 'node:crypto';
import { quote } from '../core/faults.ts';
import { buildStepProvenance, parseStepProvenance, type StepProvenance } from '../core/intoto/provenance.ts';
import { buildSbomReference, parseSbomReference, type SbomReference } from '../core/intoto/reference.ts';
import { type AttributeReport, buildAttributeReport, parseAttributeReport } from '../core/intoto/scai.ts';
import { formatStatement, parseStatement } from '../core/intoto/statement.ts';
import { buildTestResult, parseTestResult, type TestResult } from '../core/intoto/test-result.ts';
import { LIMITS } from '../core/limits.ts';
import { checkAgreement } from './agreement.ts';
import { ATTEST } from './faults.ts';
import { type HashedFile, hashFile, hashTree, readFlat, readHashed } from './folder.ts';
import { type LockedBlobs, parseLockedBlobs } from './locked.ts';

/** One file of `statements/`, to be signed byte for byte. */
export interface StatementFile {
  /** e.g. `01-compile.provenance.json`. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

export interface StepStatement extends StatementFile {
  readonly provenance: StepProvenance;
}

/** What steps opened, of `waybill build --audit`. */
export interface AuditStatement extends StatementFile {
  readonly report: AttributeReport;
}

/** What the pruned build gave, of `waybill build --audit`. */
export interface TestStatement extends StatementFile {
  readonly test: TestResult;
}

export interface SbomStatement extends StatementFile {
  readonly reference: SbomReference;
}

/** Everything that lies in the folder, parsed and hashed, before it is compared. */
export interface FolderContent {
  /** In the order of their numbers. */
  readonly steps: readonly StepStatement[];
  readonly sbomStatement: SbomStatement;
  readonly audits: readonly AuditStatement[];
  readonly tests: readonly TestStatement[];
  /** Keyed `<step>/<file>`. */
  readonly outputs: ReadonlyMap<string, HashedFile>;
  /** Keyed by file name. */
  readonly products: ReadonlyMap<string, HashedFile>;
  readonly sbom: HashedFile;
  readonly lock: HashedFile;
  readonly locked: LockedBlobs;
  readonly definition: HashedFile;
  /** `audit.json`, where there is one. */
  readonly audit?: HashedFile;
}

/** A build output whose statements and files agree. */
export interface BuildOutput {
  readonly folder: string;
  readonly product: string;
  readonly version: string;
  readonly builderId: string;
  /** All statements, in the order of their numbers. */
  readonly statements: readonly StatementFile[];
  /** The images, by file name. */
  readonly products: ReadonlyMap<string, HashedFile>;
  readonly sbom: HashedFile;
  readonly definition: HashedFile;
  readonly lock: HashedFile;
  /** What the steps were built from, by the words of the statements and the lock, each once. Their bytes are not in the folder. */
  readonly inputs: readonly NamedInput[];
}

/** An input that provenance names and the lock pins. */
export interface NamedInput {
  /** Its package URL. */
  readonly uri: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/**
 * Reads the folder that `waybill build --out` wrote and compares every statement with every file.
 * @throws ATTEST_* for the first disagreement; INTOTO_*, SLSA_* for a statement that is none
 */
export async function readBuildOutput(folder: string): Promise<BuildOutput> {
  const content = await readFolder(folder);
  checkAgreement(content);
  const [first] = content.steps as readonly [StepStatement, ...StepStatement[]];
  const { product, version, builderId } = first.provenance;
  const { steps, sbomStatement, audits, tests } = content;
  const statements = [...steps, sbomStatement, ...audits, ...tests].sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  const { products, sbom, definition, lock } = content;
  const inputs = namedInputs(content);
  return { folder, product, version, builderId, statements, products, sbom, definition, lock, inputs };
}

/** Agreement has shown that each dependency with a package URL is in the lock. */
function namedInputs({ steps, locked }: FolderContent): readonly NamedInput[] {
  const inputs = new Map<string, NamedInput>();
  for (const { uri, sha256 } of steps.flatMap(({ provenance }) => provenance.resolvedDependencies)) {
    const pinned = locked.get(sha256);
    if (uri?.startsWith('pkg:') === true && pinned !== undefined)
      inputs.set(sha256, { uri, sha256, sizeBytes: pinned.sizeBytes });
  }
  return [...inputs.values()];
}

async function readFolder(folder: string): Promise<FolderContent> {
  const statements = await readFlat(folder, 'statements', LIMITS.statementSizeBytes);
  const lock = await readHashed(folder, 'waybill.lock', LIMITS.jsonSizeBytes);
  const definition = await hashFile(folder, 'waybill.yaml');
  const sbom = await hashFile(folder, 'sbom.cdx.json');
  const parsed = parseStatements(statements);
  return {
    ...parsed,
    ...(parsed.audits.length === 0 ? {} : { audit: await hashFile(folder, 'audit.json') }),
    outputs: await hashTree(folder, 'outputs'),
    products: await hashTree(folder, 'products'),
    sbom,
    lock: lock.file,
    locked: parseLockedBlobs(lock.bytes),
    definition,
  };
}

const STATEMENT_NAME =
  /^(\d{2})-(?:(sbom\.reference|audit\.scai|prune\.test-result)|([A-Za-z0-9][A-Za-z0-9._-]*)\.provenance)\.json$/;

/** Sorts the files of `statements/` into steps and the one SBOM reference. Names count from 01 without a gap. */
function parseStatements(files: ReadonlyMap<string, Uint8Array>): {
  readonly steps: readonly StepStatement[];
  readonly sbomStatement: SbomStatement;
  readonly audits: readonly AuditStatement[];
  readonly tests: readonly TestStatement[];
} {
  const steps: StepStatement[] = [];
  let sbomStatement: SbomStatement | undefined;
  const audits: AuditStatement[] = [];
  const tests: TestStatement[] = [];
  const seen = new Set<string>();
  let number = 0;
  for (const [name, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const match = STATEMENT_NAME.exec(name);
    if (match === null || seen.has(match[2] ?? '')) {
      const message =
        'expected <NN>-<step>.provenance.json, and sbom.reference, audit.scai and prune.test-result once at most';
      throw ATTEST.reject('ATTEST_STATEMENT_FILE_UNKNOWN', `${message}, got ${quote(name)}`);
    }
    if (Number(match[1]) !== ++number) throw missing(`number ${pad(number)}, got ${quote(name)}`);
    if (match[2] !== undefined) seen.add(match[2]);
    if (match[2] === 'sbom.reference') sbomStatement = parseSbomStatement(name, bytes);
    else if (match[2] === 'audit.scai') audits.push(parseAuditStatement(name, bytes));
    else if (match[2] === 'prune.test-result') tests.push(parseTestStatement(name, bytes));
    else steps.push(parseStepStatement(name, match[3] as string, bytes));
  }
  if (steps.length === 0) throw missing('at least one step provenance, got none');
  if (sbomStatement === undefined) throw missing(`${pad(number + 1)}-sbom.reference.json, got none`);
  return { steps, sbomStatement, audits, tests };
}

const pad = (number: number): string => String(number).padStart(2, '0');

function missing(expected: string) {
  return ATTEST.reject('ATTEST_STATEMENT_MISSING', `expected ${expected}`, { at: 'statements/' });
}

function parseStepStatement(name: string, step: string, bytes: Uint8Array): StepStatement {
  const provenance = parseStepProvenance(parseStatement(bytes));
  requireCanonical(name, bytes, formatStatement(buildStepProvenance(provenance)));
  if (provenance.step !== step) {
    const message = `expected the provenance of step ${quote(step)}, got that of ${quote(provenance.step)}`;
    throw ATTEST.reject('ATTEST_STATEMENT_MISNAMED', message, { at: `statements/${name}` });
  }
  return { name, bytes, sha256: sha256(bytes), provenance };
}

function parseSbomStatement(name: string, bytes: Uint8Array): SbomStatement {
  const reference = parseSbomReference(parseStatement(bytes));
  requireCanonical(name, bytes, formatStatement(buildSbomReference(reference)));
  return { name, bytes, sha256: sha256(bytes), reference };
}

function parseAuditStatement(name: string, bytes: Uint8Array): AuditStatement {
  const report = parseAttributeReport(parseStatement(bytes));
  requireCanonical(name, bytes, formatStatement(buildAttributeReport(report)));
  return { name, bytes, sha256: sha256(bytes), report };
}

function parseTestStatement(name: string, bytes: Uint8Array): TestStatement {
  const test = parseTestResult(parseStatement(bytes));
  requireCanonical(name, bytes, formatStatement(buildTestResult(test)));
  return { name, bytes, sha256: sha256(bytes), test };
}

/** Building the parsed statement anew must give the same bytes: nothing is signed that was not read and understood. */
function requireCanonical(name: string, got: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(got, expected) === 0) return;
  const message =
    "expected the builder's canonical bytes, got other spelling or members that the builder does not write";
  throw ATTEST.reject('ATTEST_STATEMENT_NOT_CANONICAL', message, { at: `statements/${name}` });
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
