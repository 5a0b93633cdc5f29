#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// The `bin`: plain JavaScript, so that it starts before anything is built. Runs dist/ if published, else the sources.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

const [major, minor] = process.versions.node.split('.').map(Number);
const supported = (major === 22 && minor >= 22) || (major === 24 && minor >= 15) || major >= 26;
if (!supported) {
  console.error(
    `waybill: Node ${process.versions.node} is too old or unsupported; Waybill needs ^22.22.2, ^24.15.0 or >=26.\n` +
      '  In a checkout of Waybill run `npm ci` and then `npx waybill`: it brings its own Node 24. From other folders put\n' +
      '  node_modules/.bin of the checkout first in PATH.',
  );
  process.exit(2);
}
// Compiled code is kept beside what builds keep, where any was made, so that a command starts at once; without it all works the same.
const caches = process.env.XDG_CACHE_HOME ?? '';
const cache = join(isAbsolute(caches) ? caches : join(home(), '.cache'), 'waybill');
// An older Node has no such function, and would say that before it says its age.
if (isAbsolute(cache) && existsSync(cache))
  (await import('node:module')).enableCompileCache(join(cache, 'code'));
const built = new URL('../dist/cli/main.js', import.meta.url);
const { main } = await import(existsSync(built) ? built.href : new URL('./main.ts', import.meta.url).href);
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
process.exitCode = await main(process.argv, version);

/** A container may run as a user whom its system does not know. */
function home() {
  try {
    return homedir();
  } catch {
    return '';
  }
}
