// SPDX-License-Identifier: Apache-2.0
// Reads a build output folder and hashes everything in it again [docs/spec/attest.md §Hashing again]. What comes out is
// still unauthenticated: it says that statements and files agree with each other, not that they are true.

import { createHash } from 'node:crypto';
import { quote } from '../core/faults.ts';
import { buildStepProvenance, parseStepProvenance, type StepProvenance } from '../core/intoto/provenance.ts';
import { buildSbomReference, parseSbomReference, type SbomReference } from '../core/intoto/reference.ts';
import { type AttributeReport, buildAttributeReport, parseAttributeReport } from '../core/intoto/scai.ts';
import { formatStatement, parseStatement, statementNumber } from '../core/intoto/statement.ts';
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
  /** One an image. */
  readonly sbomStatements: readonly SbomStatement[];
  readonly audits: readonly AuditStatement[];
  readonly tests: readonly TestStatement[];
  /** Keyed `<step>/<file>`. */
  readonly outputs: ReadonlyMap<string, HashedFile>;
  /** Keyed by file name. */
  readonly products: ReadonlyMap<string, HashedFile>;
  /** Keyed by path in the folder, `sboms/<file>.cdx.json`. */
  readonly sboms: ReadonlyMap<string, HashedFile>;
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
  /** By path in the folder, `sboms/<file>.cdx.json`. */
  readonly sboms: ReadonlyMap<string, HashedFile>;
  readonly definition: HashedFile;
  readonly lock: HashedFile;
  /** `audit.json`, evidence of the statement about it. */
  readonly audit?: HashedFile;
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
  const { steps, sbomStatements, audits, tests } = content;
  const statements = [...steps, ...sbomStatements, ...audits, ...tests].sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  const { products, sboms, definition, lock, audit } = content;
  const inputs = namedInputs(content);
  const files = { products, sboms, definition, lock, ...(audit === undefined ? {} : { audit }) };
  return { folder, product, version, builderId, statements, ...files, inputs };
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
  const parsed = parseStatements(statements);
  return {
    ...parsed,
    ...(parsed.audits.length === 0 ? {} : { audit: await hashFile(folder, 'audit.json') }),
    outputs: await hashTree(folder, 'outputs'),
    products: await hashTree(folder, 'products'),
    sboms: new Map([...(await hashTree(folder, 'sboms'))].map(([name, file]) => [`sboms/${name}`, file])),
    lock: lock.file,
    locked: parseLockedBlobs(lock.bytes),
    definition,
  };
}

const STATEMENT_NAME =
  /^(\d{2,6})-(?:(audit\.scai|prune\.test-result)|([A-Za-z0-9_+~@%=,.-]{1,200})\.(provenance|sbom))\.json$/;

/** Sorts the files of `statements/` by what they are. Names count from 01, or 001 and so on, without a gap. */
function parseStatements(files: ReadonlyMap<string, Uint8Array>): {
  readonly steps: readonly StepStatement[];
  readonly sbomStatements: readonly SbomStatement[];
  readonly audits: readonly AuditStatement[];
  readonly tests: readonly TestStatement[];
} {
  const steps: StepStatement[] = [];
  const sbomStatements: SbomStatement[] = [];
  const audits: AuditStatement[] = [];
  const tests: TestStatement[] = [];
  let number = 0;
  for (const [name, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const match = STATEMENT_NAME.exec(name);
    const [, count, report, of = '', kind] = match ?? [];
    const again =
      (report === 'audit.scai' && audits.length > 0) || (report === 'prune.test-result' && tests.length > 0);
    if (match === null || again) {
      const message =
        'expected <NN>-<step>.provenance.json, <NN>-<image>.sbom.json, and audit.scai and prune.test-result once at most';
      throw ATTEST.reject('ATTEST_STATEMENT_FILE_UNKNOWN', `${message}, got ${quote(name)}`);
    }
    const next = statementNumber(++number, files.size);
    if (count !== next) throw missing(`number ${next}, got ${quote(name)}`);
    if (report === 'audit.scai') audits.push(parseAuditStatement(name, bytes));
    else if (report === 'prune.test-result') tests.push(parseTestStatement(name, bytes));
    else if (kind === 'sbom') sbomStatements.push(parseSbomStatement(name, of, bytes));
    else steps.push(parseStepStatement(name, of, bytes));
  }
  if (steps.length === 0) throw missing('at least one step provenance, got none');
  if (sbomStatements.length === 0) throw missing('<NN>-<image>.sbom.json, got none');
  return { steps, sbomStatements, audits, tests };
}

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

/** About one image: a policy, a device and an auditor ask by its digest. */
function parseSbomStatement(name: string, image: string, bytes: Uint8Array): SbomStatement {
  const reference = parseSbomReference(parseStatement(bytes));
  requireCanonical(name, bytes, formatStatement(buildSbomReference(reference)));
  const subjects = reference.subjects.map((subject) => subject.name);
  if (subjects.length !== 1 || subjects[0] !== image) {
    const message = `expected the SBOM of ${quote(image)} alone, got that of ${quote(subjects.join(', '))}`;
    throw ATTEST.reject('ATTEST_STATEMENT_MISNAMED', message, { at: `statements/${name}` });
  }
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
