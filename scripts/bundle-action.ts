// SPDX-License-Identifier: Apache-2.0
// `npm run build:action`: bundles actions/build into the one file that GitHub runs, actions/build/dist/index.js. The same
// sources and the same lock file give the same bytes on every machine; a test bundles again and compares.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Plugin } from 'esbuild';
import { readSchemas } from '../builder/cyclonedx-schemas.ts';
import { bundleOneFile, type OneFile } from './one-file.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
export const BUNDLE_PATH = join(ROOT, 'actions', 'build', 'dist', 'index.js');

/** CommonJS packages inside the bundle ask for Node's modules, and where they lie, in the old way. */
const BANNER = [
  '// SPDX-License-Identifier: Apache-2.0',
  '// Made by `npm run build:action` from actions/build/main.ts; licences of the packages inside are at the end.',
  "import { createRequire as bundleCreateRequire } from 'node:module';",
  'const require = bundleCreateRequire(import.meta.url), __dirname = import.meta.dirname;',
].join('\n');

/** The CycloneDX library in one file: its schemas inside, its optional XML packages (one is native) absent. */
const cycloneDx: Plugin = {
  name: 'cyclonedx-in-one-file',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^(libxmljs2|xmlbuilder2)$/ }, ({ path }) => ({ path, namespace: 'absent' }));
    onLoad({ filter: /.*/, namespace: 'absent' }, ({ path }) => ({
      contents: `throw new Error('${path} is not in this bundle');`,
    }));
    onLoad({ filter: /builder[/\\]cyclonedx-schemas\.ts$/ }, () => {
      // In one file there is no disk to read from. What is parsed when it is asked for costs the start nothing.
      const schemas = JSON.stringify(JSON.stringify(readSchemas()));
      return { contents: `export const readSchemas = () => JSON.parse(${schemas});` };
    });
  },
};

/** Bundles the action and returns the file's bytes and the paths that went into it. */
export function bundleAction(): Promise<OneFile> {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  return bundleOneFile({
    entryPoints: ['actions/build/main.ts'],
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minifySyntax: true,
    minifyWhitespace: true,
    charset: 'utf8',
    plugins: [cycloneDx],
    banner: { js: BANNER },
    define: { WAYBILL_VERSION: JSON.stringify(version) },
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { bytes, inputs } = await bundleAction();
  mkdirSync(dirname(BUNDLE_PATH), { recursive: true });
  writeFileSync(BUNDLE_PATH, bytes);
  process.stdout.write(`actions/build/dist/index.js: ${bytes.length} bytes from ${inputs.length} files\n`);
}
