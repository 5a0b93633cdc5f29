// SPDX-License-Identifier: Apache-2.0
// The mark of a log that never began [docs/spec/log.md §Beginning]: a file that is made before the log's key, and is gone before anybody
// sees its first checkpoint. A log without database, head and mark lost them, and must not begin a second tree under its key.

import { join } from 'node:path';
import type { NewFile } from './files.ts';
import { type LogService, shardName } from './instances.ts';

/** Where the mark lies: apart from `state/` and `keys/`, of which there are copies that would bring it back. */
export function unbegunPath(folder: string, service: LogService, instance = 1): string {
  return join(folder, 'unbegun', shardName(service, instance));
}

/** The mark, to be made before the key. */
export function unbegunMark(folder: string, service: LogService, instance?: number): NewFile {
  const text = 'This log has published nothing yet; `waybill serve` removes this file when it begins.\n';
  return { path: unbegunPath(folder, service, instance), text, secret: false };
}
