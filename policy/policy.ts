// SPDX-License-Identifier: Apache-2.0
// The policy of a gate [docs/spec/policy.md]: in whose name it speaks, what it expects, which rules it asks.

import { base64Decode } from '../core/encoding/base64.ts';
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
  'rebuild-agreed',
  'version-higher',
] as const;

export type RuleId = (typeof RULE_IDS)[number];

/** Asked whatever the policy lists: without it an empty set of evidence could pass. */
const ALWAYS: RuleId = 'evidence-present';

/** Who may speak as an independent rebuilder: a certificate identity, or a key (DER SubjectPublicKeyInfo, base64). */
export type Rebuilder =
  | { readonly identity: string; readonly issuer: string }
  | { readonly publicKey: string };

/** So many of these must agree. */
export interface Rebuilders {
  readonly threshold: number;
  readonly listed: readonly Rebuilder[];
}

export interface Policy extends Expectations {
  /** Names this policy in the VSA. */
  readonly uri: string;
  /** Names the gate in the VSA; devices trust it together with the gate's key. */
  readonly verifierId: string;
  /** The rules asked, in the order of `RULE_IDS`. */
  readonly rules: readonly RuleId[];
  /** Days after which a signature is too old; `none` must be written out and is shown in every verdict. */
  readonly evidenceMaxAgeDays: number | 'none';
  /** Independent rebuilds asked; `none` must be written out and is shown in every verdict. */
  readonly rebuilders: Rebuilders | 'none';
  /** Witness quorum asked of the log; `none` must be written out and is shown in every verdict. */
  readonly witnesses: 'none';
}

/** Reads a policy from an open document (a user's YAML). @throws the document's fault */
export function readPolicy(root: DocumentNode): Policy {
  root.only(
    ...EXPECTATION_MEMBERS,
    'uri',
    'verifierId',
    'rules',
    'evidenceMaxAgeDays',
    'rebuilders',
    'witnesses',
  );
  const age = root.field('evidenceMaxAgeDays');
  const rebuilders = readRebuilders(root.field('rebuilders'));
  return {
    ...parseExpectations(root),
    uri: readUri(root.field('uri')),
    verifierId: readUri(root.field('verifierId')),
    rules: readRules(root.field('rules'), rebuilders),
    evidenceMaxAgeDays: age.value === 'none' ? 'none' : age.integer(1, 36500),
    rebuilders,
    witnesses: root.field('witnesses').word('none'),
  };
}

function readUri(node: DocumentNode): string {
  return node.matching(/^[a-z][a-z0-9+.-]*:[^\s]+$/, 'a URI');
}

/** The DER SubjectPublicKeyInfo of an uncompressed P-256 point [RFC5480 §2.1.1]. */
const P256_SPKI_SIZE_BYTES = 91;

/** The one rule that is asked only of policies that name rebuilders. */
const OF_REBUILDERS: RuleId = 'rebuild-agreed';

function readRules(node: DocumentNode, rebuilders: Policy['rebuilders']): readonly RuleId[] {
  const possible = RULE_IDS.filter((id) => id !== OF_REBUILDERS || rebuilders !== 'none');
  if (node.value === 'all') return possible;
  if (typeof node.value === 'string') throw node.wrong('expected `all` or a list of rules');
  const asked = node.someElements().map((element) => {
    return { element, id: element.word(...possible) };
  });
  const ids = new Set(asked.map(({ id }) => id));
  for (const [i, { element, id }] of asked.entries()) {
    if (asked.findIndex((other) => other.id === id) !== i) throw element.wrong(`expected rule ${id} once`);
  }
  // Rebuilders that are named and not asked would look like protection.
  if (rebuilders !== 'none' && !ids.has(OF_REBUILDERS)) {
    throw node.wrong(`expected rule ${OF_REBUILDERS} where rebuilders are named, found it nowhere`);
  }
  return RULE_IDS.filter((id) => id === ALWAYS || ids.has(id));
}

function readRebuilders(node: DocumentNode): Rebuilders | 'none' {
  if (node.value === 'none') return 'none';
  if (typeof node.value === 'string') throw node.wrong('expected `none`, or a threshold and rebuilders');
  node.only('threshold', 'identities', 'keys');
  const identities = (node.optional('identities')?.someElements() ?? []).map((element) => {
    element.only('identity', 'issuer');
    const rebuilder = {
      identity: element.field('identity').string(),
      issuer: element.field('issuer').string(),
    };
    return { element, rebuilder, id: `${rebuilder.issuer} ${rebuilder.identity}` };
  });
  const keys = (node.optional('keys')?.someElements() ?? []).map((element) => {
    const publicKey = element.string();
    if (base64Decode(publicKey)?.length !== P256_SPKI_SIZE_BYTES)
      throw element.wrong('expected a P-256 public key, DER SubjectPublicKeyInfo in base64');
    return { element, rebuilder: { publicKey }, id: publicKey };
  });
  const listed = [...identities, ...keys];
  // Twice the same would let one count for two.
  for (const [i, { element, id }] of listed.entries()) {
    if (listed.findIndex((other) => other.id === id) !== i)
      throw element.wrong('expected each rebuilder once');
  }
  if (listed.length === 0) throw node.wrong('expected identities or keys of rebuilders, found neither');
  return {
    threshold: node.field('threshold').integer(1, listed.length),
    listed: listed.map(({ rebuilder }) => rebuilder),
  };
}
