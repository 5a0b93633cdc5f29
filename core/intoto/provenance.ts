// SPDX-License-Identifier: Apache-2.0
// SLSA Provenance v1 [SLSA-v1.2 §Provenance] of one hermetic step, with the build type of docs/spec/build-type.md.
// Stricter than [SLSA-v1.2 §Provenance]: unknown build types and unknown external parameters are refused.

import type { DocumentNode } from '../encoding/document.ts';
import type { Json } from '../encoding/strict-json.ts';
import { CORE } from '../faults.ts';
import {
  formatResourceDescriptor,
  parseResourceDescriptor,
  type ResourceDescriptor,
  type Statement,
  type Subject,
  type UnsignedStatement,
} from './statement.ts';

export const PROVENANCE_TYPE = 'https://slsa.dev/provenance/v1';
/** The build type of docs/spec/build-type.md. */
export const HERMETIC_STEP_BUILD_TYPE = 'https://waybill.example/build-types/hermetic-step/v1';

/** How an input took part [docs/spec/build-type.md §Roles]; annotation `role` of a resolved dependency. */
export type InputRole = (typeof ROLES)[number];

const ROLES = ['source', 'toolchain', 'config', 'blob', 'rootfs', 'material'] as const;

/** The provenance of one step. */
export interface StepProvenance {
  /** The step's outputs. */
  readonly products: readonly Subject[];
  readonly builderId: string;
  readonly product: string;
  readonly version: string;
  readonly step: string;
  /** Every input, each with annotation `role`; a material also has annotation `step`, the one that made it. */
  readonly resolvedDependencies: readonly ResourceDescriptor[];
  /** What was in force around the step: `hermetic` is what policies ask for. */
  readonly sandbox: StepSandbox;
  readonly invocationId: string;
}

/** The isolation that was in force while the step ran. */
export interface StepSandbox {
  /** True if the step had no network, no host file and no inherited environment. */
  readonly hermetic: boolean;
  /** Name and version of the mechanism, e.g. `bubblewrap 0.8.0`. */
  readonly mechanism: string;
  /** Release of the host's kernel, which shows through. */
  readonly kernel: string;
  readonly sourceDateEpoch: number;
  /** True if the filter of system calls of docs/spec/build-type.md was in force. */
  readonly seccomp: boolean;
  /** What bounded memory and the number of processes: a control group, or limits of each process. */
  readonly limits: SandboxLimits;
  /** What `date` says: the host's clock, or SOURCE_DATE_EPOCH for whatever is linked dynamically. */
  readonly clock: SandboxClock;
  /** How many CPUs the step could count. */
  readonly cpus: number;
}

const LIMITS = ['cgroup', 'rlimits'] as const;
const CLOCKS = ['host', 'libfaketime'] as const;
export type SandboxLimits = (typeof LIMITS)[number];
export type SandboxClock = (typeof CLOCKS)[number];

/** Reads a statement as the provenance of a hermetic step. @throws SLSA_PROVENANCE_MALFORMED, INTOTO_STATEMENT_MALFORMED */
export function parseStepProvenance(statement: Statement): StepProvenance {
  if (statement.predicateType !== PROVENANCE_TYPE) {
    throw CORE.reject('SLSA_PROVENANCE_MALFORMED', `expected predicate type ${PROVENANCE_TYPE}, got another`);
  }
  const predicate = statement.predicate.only('buildDefinition', 'runDetails');
  const build = predicate.field('buildDefinition');
  build.only('buildType', 'externalParameters', 'internalParameters', 'resolvedDependencies');
  build.field('buildType').word(HERMETIC_STEP_BUILD_TYPE);
  const external = build.field('externalParameters').only('product', 'version', 'step');
  const run = predicate.field('runDetails').only('builder', 'metadata', 'byproducts');
  return {
    products: statement.subjects,
    builderId: run.field('builder').field('id').string(),
    product: external.field('product').string(),
    version: external.field('version').string(),
    step: external.field('step').string(),
    resolvedDependencies: build.field('resolvedDependencies').someElements().map(parseInput),
    sandbox: parseSandbox(build.field('internalParameters').only('sandbox').field('sandbox')),
    invocationId: run.field('metadata').field('invocationId').string(),
  };
}

/** An input without a role that is known here would be judged by nobody. */
function parseInput(node: DocumentNode): ResourceDescriptor {
  node
    .field('annotations')
    .field('role')
    .word(...ROLES);
  return parseResourceDescriptor(node);
}

function parseSandbox(sandbox: DocumentNode): StepSandbox {
  sandbox.only(
    ...['hermetic', 'mechanism', 'kernel', 'sourceDateEpoch', 'seccomp', 'limits', 'clock', 'cpus'],
  );
  return {
    hermetic: sandbox.field('hermetic').boolean(),
    mechanism: sandbox.field('mechanism').string(),
    kernel: sandbox.field('kernel').string(),
    sourceDateEpoch: sandbox.field('sourceDateEpoch').integer(),
    seccomp: sandbox.field('seccomp').boolean(),
    limits: sandbox.field('limits').word(...LIMITS),
    clock: sandbox.field('clock').word(...CLOCKS),
    cpus: sandbox.field('cpus').integer(1, 1024),
  };
}

/** Builds the unsigned statement of a step; `parseStepProvenance` is the inverse. */
export function buildStepProvenance(provenance: StepProvenance): UnsignedStatement {
  const predicate: Json = {
    buildDefinition: {
      buildType: HERMETIC_STEP_BUILD_TYPE,
      externalParameters: { product: provenance.product, version: provenance.version, step: provenance.step },
      internalParameters: { sandbox: { ...provenance.sandbox } },
      resolvedDependencies: provenance.resolvedDependencies.map(formatResourceDescriptor),
    },
    runDetails: {
      builder: { id: provenance.builderId },
      metadata: { invocationId: provenance.invocationId },
    },
  };
  return { subjects: provenance.products, predicateType: PROVENANCE_TYPE, predicate };
}
