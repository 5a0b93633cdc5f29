// SPDX-License-Identifier: Apache-2.0
// A Decision in words, for terminals and logs [docs/spec/policy.md §Explanation].

import type { Decision } from './case.ts';

/** Lines of text: each rule with verdict and reason, what was not asked, the result. */
export function explain(decision: Decision): readonly string[] {
  const width = Math.max(0, ...decision.rules.map(({ id }) => id.length));
  const lines = [`${decision.product} ${decision.version}, image sha256:${decision.imageSha256}`];
  for (const { id, verdict, reason, code, remedy } of decision.rules) {
    lines.push(`  ${verdict}  ${id.padEnd(width)}  ${code === undefined ? '' : `${code}: `}${reason}`);
    if (remedy !== undefined) lines.push(`        ${' '.repeat(width)}what to do: ${remedy}`);
  }
  for (const what of decision.notAsked) lines.push(`  none  the policy does not ask for: ${what}`);
  const aside = decision.setAside.length;
  if (aside > 0) lines.push(`  note  ${aside} further ${aside === 1 ? 'bundle' : 'bundles'} set aside`);
  const failed = decision.rules.filter(({ verdict }) => verdict === 'fail').length;
  const count = `${decision.rules.length - failed} of ${decision.rules.length} rules hold`;
  lines.push(`${decision.result}: ${count}, policy ${decision.policyUri}`);
  return lines;
}
