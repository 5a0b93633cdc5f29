// SPDX-License-Identifier: Apache-2.0
// A bundle in one file, with the licences that it must bring along: those of all packages of which something is inside.

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** One file of bytes that follow from sources and lock file alone, and the paths that went into it. */
export interface OneFile {
  readonly bytes: Uint8Array;
  readonly inputs: readonly string[];
}

/** Bundles into one file, licences at its end. */
export async function bundleOneFile(options: BuildOptions): Promise<OneFile> {
  const { outputFiles, metafile } = await build({
    ...options,
    absWorkingDir: ROOT,
    bundle: true,
    legalComments: 'none',
    metafile: true,
    write: false,
    logLevel: 'silent',
  });
  const [file] = outputFiles;
  if (file === undefined) throw new Error('expected one bundle, got none');
  const inputs = Object.keys(metafile.inputs).sort();
  return { bytes: Buffer.from(`${file.text}${licencesOf(inputs)}`), inputs };
}

/** The licence texts of the packages that these files are of, as a comment; each text once. Paths are relative to the root. */
function licencesOf(inputs: readonly string[]): string {
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
