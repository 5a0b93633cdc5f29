// SPDX-License-Identifier: Apache-2.0
// Whether a shard of a data folder has begun, by what there is of it [docs/spec/log.md §Beginning], whatever its mark says.

import { join } from 'node:path';
import { Database } from '../store/database.ts';
import { isThere, type LogService, shardName, shardOrigin } from '../trust/instances.ts';
import { headFolder, LogHead } from './log-head.ts';
import { type LogRows, rowsOf } from './tile-store.ts';

/** Which shard of which data folder. */
interface Shard {
  readonly dataFolder: string;
  /** As in config.yaml. */
  readonly headFolder: string | undefined;
  readonly service: LogService;
  /** Of the service's first shard. */
  readonly firstOrigin: string;
  readonly instance: number;
}

/** True if there is anything of a log: a head, or a row. @throws LOG_STORE_FAILED */
export async function hasBegun(rows: LogRows, head: LogHead): Promise<boolean> {
  return (await head.isThere()) || (await rows.keys({ limit: 1 }).all()).length > 0;
}

/**
 * The same of a folder that nobody has opened, or a running server, which has made the head of each shard that it knows of.
 * @throws REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED, LOG_STORE_FAILED, CA_FILES_UNREADABLE
 */
export async function hasBegunIn(shard: Shard): Promise<boolean> {
  const { dataFolder, service, instance } = shard;
  const origin = shardOrigin(service, shard.firstOrigin, instance);
  const heads = headFolder(dataFolder, shard.headFolder);
  const head = LogHead.in(heads, origin);
  if (await head.isThere()) return true;
  const place = join(dataFolder, 'state', 'db');
  // Opening would make one.
  if (!(await isThere(join(place, 'CURRENT')))) return false;
  const database = await Database.open(place).catch(async (cause: { readonly code?: string }) => {
    // Of a server whose heads are there, each shard that it began has one.
    if (cause.code === 'REGISTRY_DATA_LOCKED' && (await isThere(heads))) return undefined;
    throw cause;
  });
  if (database === undefined) return false;
  try {
    return await hasBegun(rowsOf(database.sublevel(shardName(service, instance))), head);
  } finally {
    await database.close();
  }
}
