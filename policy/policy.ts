// SPDX-License-Identifier: Apache-2.0
// The policy of a gate [docs/spec/policy.md]: in whose name it speaks, what it expects, which rules it asks.

import type { DocumentNode } from '../core/encoding/document.ts';
import { EXPECTATION_MEMBERS, type Expectations, parseExpectations } from '../core/release/expectations.ts';

/** Every rule that a policy can ask, in the order in which they are evaluated and printed. */
export const RULE_IDS = [
  'evidence-present',
  'evidence-consistent',
  'evidence-fresh',
  'builder-trusted',
  'build-hermetic',
  'chain-complete',
  'sbom-bound',
  'version-higher',
] as const;

export type RuleId = (typeof RULE_IDS)[number];

/** Asked whatever the policy lists: without it an empty set of evidence could pass. */
const ALWAYS: RuleId = 'evidence-present';

export interface Policy extends Expectations {
  /** Names this policy in the VSA. */
  readonly uri: string;
  /** Names the gate in the VSA; devices trust it together with the gate's key. */
  readonly verifierId: string;
  /** The rules asked, in the order of `RULE_IDS`. */
  readonly rules: readonly RuleId[];
  /** Days after which a signature is too old; `none` must be written out and is shown in every verdict. */
  readonly evidenceMaxAgeDays: number | 'none';
  /** Witness quorum asked of the log; `none` must be written out and is shown in every verdict. */
  readonly witnesses: 'none';
}

/** Reads a policy from an open document (a user's YAML). @throws the document's fault */
export function readPolicy(root: DocumentNode): Policy {
  root.only(...EXPECTATION_MEMBERS, 'uri', 'verifierId', 'rules', 'evidenceMaxAgeDays', 'witnesses');
  const age = root.field('evidenceMaxAgeDays');
  return {
    ...parseExpectations(root),
    uri: readUri(root.field('uri')),
    verifierId: readUri(root.field('verifierId')),
    rules: readRules(root.field('rules')),
    evidenceMaxAgeDays: age.value === 'none' ? 'none' : age.integer(1, 36500),
    witnesses: root.field('witnesses').word('none'),
  };
}

function readUri(node: DocumentNode): string {
  return node.matching(/^[a-z][a-z0-9+.-]*:[^\s]+$/, 'a URI');
}

function readRules(node: DocumentNode): readonly RuleId[] {
  if (node.value === 'all') return RULE_IDS;
  if (typeof node.value === 'string') throw node.wrong('expected `all` or a list of rules');
  const asked = node.someElements().map((element) => {
    return { element, id: element.word(...RULE_IDS) };
  });
  const ids = new Set(asked.map(({ id }) => id));
  for (const [i, { element, id }] of asked.entries()) {
    if (asked.findIndex((other) => other.id === id) !== i) throw element.wrong(`expected rule ${id} once`);
  }
  return RULE_IDS.filter((id) => id === ALWAYS || ids.has(id));
}
