// SPDX-License-Identifier: Apache-2.0
// From the inputs of a definition to a lock.

import { resolve } from 'node:path';
import { AptArchive, type Archive } from './apt.ts';
import { type BuildDefinition, type DebianInput, inputsSha256 } from './definition.ts';
import { type Lock, type LockedInput, sortPackages } from './lock-file.ts';
import { findMirror, type MirrorChoice } from './mirror.ts';

export interface LockOptions extends MirrorChoice {
  /** Folder of the definition; relative keyrings start there. */
  readonly folder: string;
  readonly onProgress?: (text: string) => void;
}

/**
 * Resolves every input of a definition. Nothing is written.
 * @throws LOCK_MIRROR_UNKNOWN, LOCK_MIRROR_UNREACHABLE, LOCK_KEYRING_UNREADABLE, LOCK_SIGNATURE_INVALID,
 *   LOCK_SUITE_MISMATCH, LOCK_PACKAGE_UNKNOWN, LOCK_CLOSURE_UNRESOLVABLE, SANDBOX_TOOL_MISSING
 */
export async function lockInputs(definition: BuildDefinition, options: LockOptions): Promise<Lock> {
  const archives = new Map<string, AptArchive>();
  const inputs: LockedInput[] = [];
  try {
    for (const input of definition.inputs) {
      const archive = await describeArchive(input, options);
      const key = JSON.stringify(archive);
      let opened = archives.get(key);
      if (opened === undefined) {
        options.onProgress?.(`fetching the signed index of ${archive.distribution} ${archive.suite}`);
        opened = await AptArchive.open(archive, options.signal);
        archives.set(key, opened);
      }
      const packages = sortPackages(await opened.resolve(input.packages));
      options.onProgress?.(`${input.name}: ${packages.length} packages`);
      const { inReleaseSha256, signers } = opened;
      inputs.push({
        name: input.name,
        kind: 'debian',
        suite: input.suite,
        inReleaseSha256,
        signers,
        packages,
      });
    }
  } finally {
    for (const archive of archives.values()) await archive.close();
  }
  return { inputsSha256: inputsSha256(definition), inputs };
}

async function describeArchive(input: DebianInput, options: LockOptions): Promise<Archive> {
  const { distribution, suite, architecture } = input;
  return {
    distribution,
    suite,
    architecture,
    components: [...input.components].sort(),
    keyring: resolve(options.folder, input.keyring),
    mirror: await findMirror(input, options),
  };
}
