// SPDX-License-Identifier: Apache-2.0
// The table of docs/spec/verification.md §Differences between core and @sigstore/verify.

import { readFileSync } from 'node:fs';

/** A row: the vector's name and the code that core refuses with. */
export interface ListedDifference {
  readonly name: string;
  readonly code: string;
}

/** The rows of the table. */
export function listedDifferences(): readonly ListedDifference[] {
  const page = readFileSync(new URL('../../docs/spec/verification.md', import.meta.url), 'utf8');
  const [, section = ''] = page.split('## Differences between core and @sigstore/verify');
  return [...section.matchAll(/^\| .* \| `([A-Z0-9_]+)` \| `([a-z0-9-]+)` \|$/gm)].map(
    ([, code = '', name = '']) => ({ name, code }),
  );
}
