// SPDX-License-Identifier: Apache-2.0
// The unsigned statements of a build: SLSA Provenance v1 a step [docs/spec/build-type.md], and the reference to the SBOM.

import { buildStepProvenance, type SandboxClock, type StepSandbox } from '../core/intoto/provenance.ts';
import { buildSbomReference } from '../core/intoto/reference.ts';
import { formatStatement, type ResourceDescriptor, type Subject } from '../core/intoto/statement.ts';
import type { BuildDefinition, StepDefinition } from './definition.ts';
import type { LockedPackage } from './lock-file.ts';

export interface BuildIdentity {
  readonly builderId: string;
  readonly invocationId: string;
  /** What is the same for all steps. */
  readonly sandbox: Omit<StepSandbox, 'clock' | 'cpus'>;
  readonly definitionSha256: string;
  readonly lockSha256: string;
}

export interface StepFacts {
  readonly step: StepDefinition;
  readonly outputs: readonly Subject[];
  readonly packages: readonly {
    readonly entry: LockedPackage;
    readonly url: string;
    readonly role: 'source' | 'toolchain';
  }[];
  /** Inputs of other kinds, with their roles. */
  readonly dependencies: readonly ResourceDescriptor[];
  /** Digest of each material, in the order of the step's `materials`. */
  readonly materials: readonly string[];
}

/** The provenance of one step, canonical bytes. */
export function formatProvenance(
  definition: BuildDefinition,
  identity: BuildIdentity,
  facts: StepFacts,
  clock: SandboxClock,
): Uint8Array {
  const packages = facts.packages.map(
    ({ entry, url, role }): ResourceDescriptor => ({ uri: url, sha256: entry.sha256, annotations: { role } }),
  );
  const config = (name: string, sha256: string): ResourceDescriptor => ({
    name,
    sha256,
    annotations: { role: 'config' },
  });
  const materials = facts.step.materials.map(
    ({ step, file }, i): ResourceDescriptor => ({
      name: file,
      uri: `waybill:step/${step}/${file}`,
      sha256: facts.materials[i] as string,
      annotations: { role: 'material', step },
    }),
  );
  return formatStatement(
    buildStepProvenance({
      products: facts.outputs.map(({ name, sha256 }) => ({ name, sha256 })),
      builderId: identity.builderId,
      product: definition.product,
      version: definition.version,
      step: facts.step.name,
      resolvedDependencies: [
        ...packages,
        ...facts.dependencies,
        config('waybill.yaml', identity.definitionSha256),
        config('waybill.lock', identity.lockSha256),
        ...materials,
      ],
      sandbox: { ...identity.sandbox, clock, cpus: facts.step.limits.cpus },
      invocationId: identity.invocationId,
    }),
  );
}

/** The statement that binds the SBOM to the image, canonical bytes. */
export function formatSbomReference(
  image: Subject,
  builderId: string,
  sbomSha256: string,
  downloadLocation: string,
): Uint8Array {
  return formatStatement(
    buildSbomReference({
      subjects: [{ name: image.name, sha256: image.sha256 }],
      attesterId: builderId,
      sbomSha256,
      downloadLocation,
    }),
  );
}
