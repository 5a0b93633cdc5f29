// SPDX-License-Identifier: Apache-2.0
// The pair that `lock` and `build` work on: waybill.yaml, and the lock beside it.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuildDefinition, parseDefinition, refuseDefinition } from '../builder/definition.ts';
import { quote } from '../core/faults.ts';
import { CLI } from './faults.ts';
import { openYaml, readInput } from './files.ts';

export interface DefinitionFile {
  readonly path: string;
  readonly folder: string;
  readonly bytes: Uint8Array;
  readonly definition: BuildDefinition;
  /** Where its lock is or will be: `waybill.lock` in the same folder. */
  readonly lockPath: string;
}

/** Reads a definition. @throws CLI_FILE_UNREADABLE, DEFINITION_… */
export async function readDefinition(path: string): Promise<DefinitionFile> {
  const bytes = await readInput(path);
  const definition = parseDefinition(openYaml(path, bytes, refuseDefinition));
  const folder = dirname(path);
  return { path, folder, bytes, definition, lockPath: join(folder, 'waybill.lock') };
}

/** Reads the lock of a definition. @throws CLI_LOCK_MISSING, CLI_FILE_UNREADABLE */
export async function readLockFile({ lockPath, path }: DefinitionFile): Promise<Uint8Array> {
  if (!existsSync(lockPath)) {
    throw CLI.reject(
      'CLI_LOCK_MISSING',
      `expected ${quote(lockPath)} beside ${quote(path)}, got no such file`,
    );
  }
  return readInput(lockPath);
}

/** `--mirror`, else WAYBILL_MIRROR, else nothing, which leaves it to the host's apt sources. */
export function mirrorOption(option: string | undefined): string | undefined {
  return hostOption(option, 'WAYBILL_MIRROR');
}

/** The addresses that only a host knows: an option, else the environment, else none. */
export function hostOption(option: string | undefined, variable: string): string | undefined {
  return option ?? (process.env[variable] || undefined);
}
