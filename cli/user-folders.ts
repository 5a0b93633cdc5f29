// SPDX-License-Identifier: Apache-2.0
// Where the commands of a user keep what outlives them [XDG base directories]: a cache, and the newest metadata that was seen.

import { homedir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../builder/store.ts';
import { CLI } from './faults.ts';

/** A container may run as a user whom its system does not know, and who has no home. */
function home(): string {
  try {
    return homedir();
  } catch {
    return '';
  }
}

/** Packages, unpacked roots and finished steps. @throws BUILD_FOLDER_UNWRITABLE if neither HOME nor XDG_CACHE_HOME names a folder */
export function userCache(): string {
  return cacheFolder(process.env, home());
}

/** Verified metadata. @throws CLI_USAGE if neither HOME nor XDG_STATE_HOME names a folder */
export function userState(): string {
  if (process.env.XDG_STATE_HOME) return process.env.XDG_STATE_HOME;
  const folder = home();
  if (folder === '') {
    throw CLI.reject('CLI_USAGE', 'expected XDG_STATE_HOME or HOME to name a folder, found neither');
  }
  return join(folder, '.local', 'state');
}
