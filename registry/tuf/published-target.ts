// SPDX-License-Identifier: Apache-2.0
// A file that top-level targets of a data folder names, read from disk alone: for commands that may run beside the server.

import { join } from 'node:path';
import { quote } from '../../core/faults.ts';
import { blobPath } from '../store/blobs.ts';
import { diskFiles } from '../store/durable-files.ts';
import { STORE } from '../store-faults.ts';
import { readPublished } from './repository-state.ts';
import { targetsOf } from './role-document.ts';

/**
 * Reads a published target.
 * @throws REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED
 */
export async function readPublishedTarget(dataFolder: string, name: string): Promise<Uint8Array> {
  const state = join(dataFolder, 'state');
  const { roles } = (await readPublished(join(state, 'tuf'), diskFiles)).state;
  const metadata = roles.get('targets')?.metadata;
  const target = metadata && targetsOf(metadata).find((each) => each.name === name);
  const bytes = target && (await diskFiles.read(blobPath(join(state, 'blobs'), target.sha256)));
  if (bytes === undefined) {
    throw STORE.reject('REGISTRY_DATA_MISSING', `expected the published file ${quote(name)}, found none`);
  }
  return bytes;
}
