// SPDX-License-Identifier: Apache-2.0
// Policy, verified evidence and time → Decision [docs/spec/policy.md §Evaluation]. Every rule asked is evaluated, so that one
// run shows everything that is wrong; the same input gives the same decision, in whatever order the evidence came.

import { Rejection } from '../core/faults.ts';
import type { VerifiedBundle } from '../core/verify/verified.ts';
import type { Case, Decision, RuleVerdict } from './case.ts';
import { type Policy, RULE_IDS, type RuleId } from './policy.ts';
import { bundlesOf, countedBundles, RULES, type Weighed, weigh } from './rules.ts';

/** Evaluates every rule that the policy asks. Never throws for bad evidence: what cannot be read fails the rules that need it. */
export function evaluate(given: Case): Decision {
  const weighed = weigh({ ...given, evidence: inOrder(given.evidence) });
  const rules = given.policy.rules.map((id) => judge(id, weighed));
  const bundles = digests(() => countedBundles(weighed));
  const passed = rules.length > 0 && rules.every(({ verdict }) => verdict === 'pass') && bundles.length > 0;
  return {
    result: passed ? 'PASSED' : 'DENIED',
    product: given.policy.product,
    version: given.version,
    imageSha256: given.imageSha256,
    policyUri: given.policy.uri,
    rules,
    notAsked: notAsked(given.policy),
    bundles,
    setAside: digests(() => given.evidence).filter((digest) => !bundles.includes(digest)),
    decidedAtMs: given.nowMs,
  };
}

function judge(id: RuleId, weighed: Weighed): RuleVerdict {
  const bundles = digests(() => bundlesOf(id, weighed));
  try {
    return { id, verdict: 'pass', reason: RULES[id](weighed), bundles };
  } catch (failure) {
    if (!(failure instanceof Rejection)) throw failure;
    const { code, message, row } = failure;
    return { id, verdict: 'fail', reason: message, code, remedy: row.remedy, bundles };
  }
}

/** One order for one set of evidence, each bundle once: the registry's order must not show in a reason. */
function inOrder(evidence: readonly VerifiedBundle[]): readonly VerifiedBundle[] {
  const byDigest = new Map(evidence.map((bundle) => [bundle.sha256, bundle]));
  return [...byDigest.keys()].sort().map((digest) => byDigest.get(digest) as VerifiedBundle);
}

function digests(read: () => readonly VerifiedBundle[]): readonly string[] {
  try {
    return [...new Set(read().map(({ sha256 }) => sha256))].sort();
  } catch (failure) {
    // Evidence that cannot be read is reported by the rules; nothing of it counts.
    if (!(failure instanceof Rejection)) throw failure;
    return [];
  }
}

function notAsked(policy: Policy): readonly string[] {
  return [
    ...RULE_IDS.filter((id) => !policy.rules.includes(id) && id !== 'rebuild-agreed').map(
      (id) => `rule ${id}`,
    ),
    ...(policy.evidenceMaxAgeDays === 'none' ? ['maximum age of evidence'] : []),
    ...(policy.rebuilders === 'none' ? ['independent rebuilds'] : []),
    // Nothing else can be asked yet.
    'witnesses of the log',
  ];
}
