// SPDX-License-Identifier: Apache-2.0
// `npm run build:device [-- FILE]`: bundles the verifier, core/portable.ts, into one file for hosts other than Node (default
// .check/device/waybill-verifier.js). It is a script that defines one global, `waybillVerifier`, not a module: every engine can evaluate
// a script, also where whoever embeds it gives it no loader of modules. So QuickJS, browsers and Node run the same bytes.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { bundleOneFile, type OneFile } from './one-file.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DEFAULT_FILE = join(ROOT, '.check', 'device', 'waybill-verifier.js');

/** The one global that the file defines. */
export const VERIFIER_GLOBAL = 'waybillVerifier';
/** The room that a small device has for it, licences included. */
export const VERIFIER_SIZE_BYTES_MAX = 150_000;

const BANNER = [
  '// SPDX-License-Identifier: Apache-2.0',
  '// Made by `npm run build:device` from core/portable.ts; licences of the packages inside are at the end.',
].join('\n');

/** Bundles the verifier; the same sources and the same lock file give the same bytes. @throws Error if something of a host is asked for */
export function bundleVerifier(): Promise<OneFile> {
  return bundleOneFile({
    entryPoints: ['core/portable.ts'],
    // Of no host: what imports a module of Node or of a browser cannot be bundled.
    platform: 'neutral',
    target: 'es2022',
    format: 'iife',
    globalName: VERIFIER_GLOBAL,
    minify: true,
    charset: 'ascii',
    banner: { js: BANNER },
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const file = resolve(process.argv[2] ?? DEFAULT_FILE);
  const { bytes, inputs } = await bundleVerifier();
  const size = `${bytes.length} bytes from ${inputs.length} files`;
  if (bytes.length > VERIFIER_SIZE_BYTES_MAX) {
    process.stderr.write(`expected a verifier of at most ${VERIFIER_SIZE_BYTES_MAX} bytes, got ${size}\n`);
    process.exit(1);
  }
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  process.stdout.write(`${relative(process.cwd(), file)}: ${size}\n`);
}
