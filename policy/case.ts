// SPDX-License-Identifier: Apache-2.0
// What is put before a gate and what it answers [docs/spec/policy.md §Evaluation].

import type { VerifiedBundle } from '../core/verify/verified.ts';
import type { Policy, RuleId } from './policy.ts';

/** What is put before the gate. */
export interface Case {
  readonly policy: Policy;
  readonly evidence: readonly VerifiedBundle[];
  /** Lower-case hex. */
  readonly imageSha256: string;
  /** The SBOM's bytes and their digest; undefined if nobody could give them. */
  readonly sbom: { readonly bytes: Uint8Array; readonly sha256: string } | undefined;
  readonly version: string;
  /** The highest version released or withdrawn before; undefined for a first release. */
  readonly lastVersion: string | undefined;
  /** Milliseconds since 1970 by the host's clock. */
  readonly nowMs: number;
}

/** One rule's answer. */
export interface RuleVerdict {
  readonly id: RuleId;
  readonly verdict: 'pass' | 'fail';
  /** One sentence: what was found. */
  readonly reason: string;
  /** For `fail`. */
  readonly code?: string;
  readonly remedy?: string;
  /** SHA-256 of the bundles that the rule looked at, sorted. */
  readonly bundles: readonly string[];
}

/** The gate's answer. A denial is a value, not an exception. */
export interface Decision {
  readonly result: 'PASSED' | 'DENIED';
  readonly product: string;
  readonly version: string;
  readonly imageSha256: string;
  readonly policyUri: string;
  readonly rules: readonly RuleVerdict[];
  /** Rules that the policy leaves out, and what it asks `none` of. */
  readonly notAsked: readonly string[];
  /** SHA-256 of every bundle that counted, sorted: the VSA's input attestations. */
  readonly bundles: readonly string[];
  /** SHA-256 of bundles that did not count: other kinds, other versions, builders that the policy does not trust. Sorted. */
  readonly setAside: readonly string[];
  readonly decidedAtMs: number;
}
