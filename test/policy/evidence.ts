// SPDX-License-Identifier: Apache-2.0
// A sound case for the gate of the example policy, as verified bundles, to be spoiled one way at a time.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { openYaml } from '../../cli/files.ts';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import { buildStepProvenance, type StepProvenance } from '../../core/intoto/provenance.ts';
import { buildRebuildReport, type RebuildReport } from '../../core/intoto/rebuild.ts';
import { buildSbomReference, type SbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, parseStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { asVerifiedBundle, type VerifiedBundle, type VerifiedSigner } from '../../core/verify/verified.ts';
import { asVerifiedSignature } from '../../core/verify/verified-signature.ts';
import type { Case } from '../../policy/case.ts';
import { type Policy, readPolicy } from '../../policy/policy.ts';

const POLICY_PATH = new URL('../../examples/optiboot/policy.yaml', import.meta.url).pathname;

export const examplePolicy: Policy = readPolicy(openYaml(POLICY_PATH, readFileSync(POLICY_PATH)));
export const NOW_MS = Date.UTC(2026, 10, 20);
export const [trusted] = examplePolicy.builders as [Policy['builders'][number]];
export const trustedSigner: VerifiedSigner = {
  kind: 'certificate',
  identity: trusted.identity,
  issuer: trusted.issuer,
};
export const strangerSigner: VerifiedSigner = {
  kind: 'certificate',
  identity: 'https://github.com/example/firmware/.github/workflows/other.yml@refs/heads/main',
  issuer: trusted.issuer,
};

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export const IMAGE = sha256('image');
export const ELF = sha256('elf');
const LOCK = { name: 'waybill.lock', sha256: sha256('lock'), annotations: { role: 'config' } };
const DEFINITION = { name: 'waybill.yaml', sha256: sha256('definition'), annotations: { role: 'config' } };
const SANDBOX = {
  hermetic: true,
  mechanism: 'bubblewrap 0.8.0',
  kernel: '6.1.0',
  sourceDateEpoch: 1,
  seccomp: true,
  limits: 'rlimits' as const,
  clock: 'host' as const,
  cpus: 1,
};
const SOURCE = {
  uri: 'pkg:deb/debian/arduino-core-avr@1.8.6?arch=all',
  sha256: sha256('deb'),
  annotations: { role: 'source' },
};

export const compile: StepProvenance = {
  products: [{ name: 'optiboot.elf', sha256: ELF }],
  builderId: trusted.builderId,
  product: 'optiboot',
  version: '8.1.0',
  step: 'compile',
  resolvedDependencies: [SOURCE, LOCK, DEFINITION],
  sandbox: SANDBOX,
  invocationId: 'run-1',
};

export const image: StepProvenance = {
  ...compile,
  products: [{ name: 'optiboot.bin', sha256: IMAGE }],
  step: 'image',
  resolvedDependencies: [
    { name: 'optiboot.elf', sha256: ELF, annotations: { role: 'material', step: 'compile' } },
    LOCK,
    DEFINITION,
  ],
};

/** The bytes of an SBOM that describes the image with this digest. */
export function sbomOf(imageSha256: string): Uint8Array {
  return canonicalJsonBytes({
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    metadata: {
      component: { type: 'firmware', name: 'optiboot', hashes: [{ alg: 'SHA-256', content: imageSha256 }] },
    },
    components: [{ type: 'library', name: 'arduino-core-avr', version: '1.8.6' }],
  });
}

export const SBOM = sbomOf(IMAGE);

export const reference: SbomReference = {
  subjects: [{ name: 'optiboot.bin', sha256: IMAGE }],
  attesterId: trusted.builderId,
  sbomSha256: sha256(SBOM),
  downloadLocation: 'sbom.cdx.json',
};

/** What a rebuilder says who got the same image. */
export const rebuilt: RebuildReport = {
  image: { name: 'optiboot.bin', sha256: IMAGE },
  rebuilderId: 'https://rebuilder.example/',
  product: 'optiboot',
  version: '8.1.0',
  definitionSha256: DEFINITION.sha256,
  lockSha256: LOCK.sha256,
  inputAttestations: [sha256('provenance')],
  sandbox: { mechanism: 'bubblewrap 0.8.0', kernel: '6.2.0' },
  verdict: 'agrees',
  outputs: [{ step: 'image', name: 'optiboot.bin', claimedSha256: IMAGE, rebuiltSha256: IMAGE }],
  differences: [],
};

/** What a verifier would return for a statement; `salt` tells bundles of one statement apart. */
export function asBundle(
  statement: UnsignedStatement,
  facts: Partial<VerifiedBundle> & { salt?: string } = {},
): VerifiedBundle {
  const { salt = '', ...rest } = facts;
  const bytes = formatStatement(statement);
  const said = {
    sha256: sha256(Buffer.concat([bytes, Buffer.from(JSON.stringify(rest.signer ?? '') + salt)])),
    signer: trustedSigner,
    signedAtMs: NOW_MS - 3600_000,
    ...rest,
  };
  const parsed = parseStatement(bytes);
  const evidence = asVerifiedSignature({
    ...said,
    certificate: undefined,
    times: [{ by: 'authority', name: 'https://tsa.example', timeMs: said.signedAtMs }],
    entries: [{ origin: 'log.example', index: 0n, treeSize: 1n, leaf: bytes, witnesses: 'none' }],
    content: { kind: 'statement', statement: parsed, payload: bytes },
    waived: [],
  });
  return asVerifiedBundle({ statement: parsed, leafIndex: 0n, leaf: bytes, evidence, ...said });
}

export const step = (provenance: StepProvenance, facts = {}) =>
  asBundle(buildStepProvenance(provenance), facts);
export const refers = (to: SbomReference, facts = {}) => asBundle(buildSbomReference(to), facts);

export const rebuild = (report: RebuildReport, facts = {}) => asBundle(buildRebuildReport(report), facts);

/** A case that passes every rule, with changes. */
export function soundCase(changes: Partial<Case> = {}): Case {
  return {
    policy: examplePolicy,
    evidence: [step(compile), step(image), refers(reference)],
    imageSha256: IMAGE,
    sbom: { bytes: SBOM, sha256: sha256(SBOM) },
    version: '8.1.0',
    lastVersion: '8.0.9',
    nowMs: NOW_MS,
    ...changes,
  };
}
