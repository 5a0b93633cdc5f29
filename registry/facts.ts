// SPDX-License-Identifier: Apache-2.0
// What the registry indexes of a verified bundle [docs/spec/registry-api.md §Facts]: signer, subjects, place in the log, and for
// the statements it knows what they say about inputs. Facts can be made again from the original bytes at any time.

import { base64Encode } from '../core/encoding/base64.ts';
import { quote } from '../core/faults.ts';
import { PROVENANCE_TYPE, parseStepProvenance } from '../core/intoto/provenance.ts';
import { parseRebuildReport, REBUILD_TYPE } from '../core/intoto/rebuild.ts';
import { parseSbomReference, REFERENCE_TYPE } from '../core/intoto/reference.ts';
import { INPUTS_TRACED, parseAttributeReport, reportsAttribute } from '../core/intoto/scai.ts';
import type { ResourceDescriptor, Subject } from '../core/intoto/statement.ts';
import { parseVerificationSummary, VSA_TYPE } from '../core/intoto/vsa.ts';
import type { VerifiedBundle } from '../core/verify/verified.ts';
import { parsePackageUrl } from './package-url.ts';
import type { Change } from './store/database.ts';
import { STORE } from './store-faults.ts';

/** Who signed, as the verifier found it. */
export type Signer =
  | { readonly kind: 'certificate'; readonly identity: string; readonly issuer: string }
  | { readonly kind: 'key'; readonly publicKey: string };

/** A package among the inputs of a step. */
export interface Dependency {
  readonly purl: string;
  readonly role: string;
}

/** What a step's provenance says. */
export interface StepFacts {
  readonly product: string;
  readonly version: string;
  readonly step: string;
  readonly builderId: string;
  readonly invocationId: string;
  readonly dependencies: readonly Dependency[];
  /** Digests of the products of other steps that went in. */
  readonly materials: readonly string[];
  /** Digests of all other inputs, definition and lock among them: what is needed to build again, each one blob. */
  readonly inputs: readonly string[];
}

export interface AttestationFacts {
  readonly sha256: string;
  readonly predicateType: string;
  readonly subjects: readonly Subject[];
  readonly signer: Signer;
  readonly leafIndex: number;
  /** Which shard of the log holds the entry, counted from 1; absent for the first. */
  readonly logShard?: number;
  /** RFC 3339. */
  readonly signedAt: string;
  /** When the registry took it, RFC 3339. */
  readonly acceptedAt: string;
  readonly step?: StepFacts;
  /** Of a reference statement: the SBOM's digest. */
  readonly sbomSha256?: string;
  /** Of a report of what the steps of a build opened: the digest of `audit.json`. */
  readonly evidenceSha256?: string;
}

/**
 * The facts of a verified bundle. Statements of a known predicate type must be readable as such; of unknown types only the
 * subjects are indexed. @throws REGISTRY_DEPENDENCY_MALFORMED, SLSA_PROVENANCE_MALFORMED, INTOTO_REFERENCE_MALFORMED,
 * SLSA_VSA_MALFORMED, REBUILD_STATEMENT_MALFORMED, INTOTO_SCAI_MALFORMED, INTOTO_STATEMENT_MALFORMED
 */
export function factsOf(bundle: VerifiedBundle, nowMs: number, logShard = 1): AttestationFacts {
  const { statement } = bundle;
  const signer: Signer =
    bundle.signer.kind === 'certificate'
      ? { kind: 'certificate', identity: bundle.signer.identity, issuer: bundle.signer.issuer }
      : { kind: 'key', publicKey: base64Encode(bundle.signer.publicKey) };
  if (statement.predicateType === VSA_TYPE) parseVerificationSummary(statement);
  if (statement.predicateType === REBUILD_TYPE) parseRebuildReport(statement);
  return {
    sha256: bundle.sha256,
    predicateType: statement.predicateType,
    subjects: statement.subjects,
    signer,
    leafIndex: Number(bundle.leafIndex),
    ...(logShard === 1 ? {} : { logShard }),
    signedAt: new Date(bundle.signedAtMs).toISOString(),
    acceptedAt: new Date(nowMs).toISOString(),
    ...(statement.predicateType === PROVENANCE_TYPE ? { step: stepFacts(bundle) } : {}),
    ...(statement.predicateType === REFERENCE_TYPE
      ? { sbomSha256: parseSbomReference(statement).sbomSha256 }
      : {}),
    ...(reportsAttribute(statement, INPUTS_TRACED)
      ? { evidenceSha256: parseAttributeReport(statement).evidence.sha256 }
      : {}),
  };
}

function stepFacts(bundle: VerifiedBundle): StepFacts {
  const provenance = parseStepProvenance(bundle.statement);
  const inputs = provenance.resolvedDependencies;
  const dependencies = inputs
    .filter((input) => input.uri?.startsWith('pkg:'))
    .map(({ uri = '', annotations }) => {
      const role = annotations?.role ?? '';
      if (parsePackageUrl(uri) === undefined || !/^[a-z-]{1,32}$/.test(role)) {
        throw STORE.reject(
          'REGISTRY_DEPENDENCY_MALFORMED',
          `expected a package URL and a role, got ${quote(uri)} and ${quote(role)}`,
        );
      }
      return { purl: uri, role };
    });
  const isMaterial = (input: ResourceDescriptor) => input.annotations?.role === 'material';
  const digests = (of: readonly ResourceDescriptor[]) => [...new Set(of.map(({ sha256 }) => sha256))];
  return {
    product: provenance.product,
    version: provenance.version,
    step: provenance.step,
    builderId: provenance.builderId,
    invocationId: provenance.invocationId,
    dependencies,
    materials: digests(inputs.filter(isMaterial)),
    inputs: digests(inputs.filter((input) => !isMaterial(input))),
  };
}

/** In the order of the log: by shard, then by place in it. */
export function byLogPlace(
  a: Pick<AttestationFacts, 'leafIndex' | 'logShard'>,
  b: Pick<AttestationFacts, 'leafIndex' | 'logShard'>,
): number {
  return (a.logShard ?? 1) - (b.logShard ?? 1) || a.leafIndex - b.leafIndex;
}

/** The rows by which the facts are found again. */
export function indexRows(facts: AttestationFacts): readonly Change[] {
  const { sha256, step, sbomSha256, evidenceSha256 } = facts;
  const row = (table: Change['table'], ...key: readonly string[]): Change => ({ table, key, value: null });
  return [
    { table: 'fact', key: [sha256], value: { ...facts } as unknown as Change['value'] },
    row('byLeaf', String(facts.leafIndex), sha256),
    ...facts.subjects.map((subject) => row('bySubject', subject.sha256, sha256)),
    ...(step?.materials ?? []).map((material) => row('byMaterial', material, sha256)),
    ...(step?.inputs ?? []).map((input) => row('byInput', input, sha256)),
    ...(step?.dependencies ?? []).map(({ purl, role }) =>
      row('byDependency', parsePackageUrl(purl)?.name ?? purl, sha256, role, purl),
    ),
    ...(sbomSha256 === undefined ? [] : [row('bySbom', sbomSha256, sha256)]),
    ...(evidenceSha256 === undefined ? [] : [row('byEvidence', evidenceSha256, sha256)]),
  ];
}
