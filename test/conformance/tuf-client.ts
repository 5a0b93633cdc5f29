// SPDX-License-Identifier: Apache-2.0
// Our TUF client behind the command line of tuf-conformance: `init`, `refresh`, `download`. Exit code 0: done. 1: refused or not to
// be had, with the code on standard error. 70: a bug of ours, which must not pass for a refusal.

import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { Rejection, Unavailable } from '../../core/faults.ts';
import { checkTargetBytes } from '../../core/tuf/target.ts';
import { nodeHost } from '../../device/node-host.ts';
import { TufShell } from '../../device/tuf-shell.ts';

const TARGET_SIZE_BYTES_MAX = 256 * 1024 * 1024;
const host = nodeHost();

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'metadata-dir': { type: 'string' },
    'metadata-url': { type: 'string' },
    'target-name': { type: 'string', multiple: true },
    'target-base-url': { type: 'string' },
    'target-dir': { type: 'string' },
  },
});

function given(name: 'metadata-dir' | 'metadata-url' | 'target-base-url' | 'target-dir'): string {
  const value = values[name];
  if (value === undefined) throw new Error(`expected --${name}`);
  return value;
}

/** The root that the client was given, beside the one that it trusts by now. */
const factoryRoot = () => `${given('metadata-dir')}/factory-root`;

async function init(path: string): Promise<void> {
  const root = await readFile(path);
  await host.files.write(factoryRoot(), root);
  await host.files.write(`${given('metadata-dir')}/root.json`, root);
}

async function update(targetsUrl: string) {
  const shell = new TufShell(host, {
    metadataUrl: given('metadata-url'),
    targetsUrl,
    stateFolder: given('metadata-dir'),
  });
  const workflow = await shell.open(await readFile(factoryRoot()), host.nowMs());
  await shell.run(workflow.refresh());
  return { shell, workflow };
}

/** Each target once: what lies in the folder and is still what the metadata names is not fetched again. */
async function download(names: readonly string[]): Promise<void> {
  const { shell, workflow } = await update(given('target-base-url'));
  for (const name of names) {
    const target = await shell.run(workflow.findTarget(name));
    const path = `${given('target-dir')}/${encodeURIComponent(name)}`;
    const held = await host.files.read(path);
    if (held !== undefined && isTarget(() => checkTargetBytes(target, held, host.crypto))) continue;
    await host.files.write(path, await shell.fetchTarget(target, TARGET_SIZE_BYTES_MAX));
  }
}

function isTarget(check: () => void): boolean {
  try {
    check();
    return true;
  } catch (failure) {
    if (failure instanceof Rejection) return false;
    throw failure;
  }
}

async function run([command, path]: readonly string[]): Promise<void> {
  if (command === 'init' && path !== undefined) return init(path);
  if (command === 'refresh') await update('');
  else if (command === 'download') await download(values['target-name'] ?? []);
  else throw new Error('expected init TRUSTED_ROOT, refresh or download');
}

try {
  await run(positionals);
} catch (failure) {
  const known = failure instanceof Rejection || failure instanceof Unavailable;
  process.stderr.write(known ? `${failure.code}: ${failure.message}\n` : `${(failure as Error).stack}\n`);
  process.exitCode = known ? 1 : 70;
}
