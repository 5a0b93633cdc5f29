// SPDX-License-Identifier: Apache-2.0
// The licences that a bundle must bring along: those of all packages of which something is inside.

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The licence texts of the packages that these files are of, as a comment; each text once. Paths are relative to the root. */
export function licencesOf(inputs: readonly string[]): string {
  const packages = new Set(
    inputs.flatMap((path) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? []),
  );
  const holders = new Map<string, string[]>();
  for (const path of packages) {
    const folder = join(ROOT, path);
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    const [file] = globSync('{LICENSE,LICENCE,license,License}*', { cwd: folder }).sort();
    const text =
      file === undefined ? `License: ${manifest.license}` : readFileSync(join(folder, file), 'utf8');
    const name = `${manifest.name}@${manifest.version}`;
    holders.set(text.trim(), [...(holders.get(text.trim()) ?? []), name].sort());
  }
  const blocks = [...holders].map(([text, names]) => `${names.join(', ')}\n\n${text}`).sort();
  const lines = blocks.join(`\n\n${'-'.repeat(80)}\n\n`).split(/\r?\n/);
  return `\n// Licences of the packages inside:\n${lines.map((line) => `// ${line}`.trimEnd()).join('\n')}\n`;
}
