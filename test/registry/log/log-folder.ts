// SPDX-License-Identifier: Apache-2.0
// A log in a folder of its own, in a real LevelDB; both go with the test.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { onTestFinished } from 'vitest';
import { TileLog, type TileLogOptions } from '../../../registry/log/tile-log.ts';
import { ORIGIN } from './numbered-entry.ts';

/** A new folder, and how to remove it. */
export async function makeFolder(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-log-'));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** A folder that goes when the test ends. */
export async function newFolder(): Promise<string> {
  const { folder, remove } = await makeFolder();
  onTestFinished(remove);
  return folder;
}

/** Opens a log that nobody verifies: its notes carry a constant. The database goes with the test. */
export async function openTiles(
  folder: string,
  change: Partial<TileLogOptions> = {},
): Promise<{ log: TileLog; db: Level<string, Uint8Array>; close: () => Promise<void> }> {
  const db = (change.db ?? new Level(folder)) as unknown as Level<string, Uint8Array>;
  const close = async () => {
    await log?.close();
    await db.close();
  };
  let log: TileLog | undefined;
  onTestFinished(close);
  log = await TileLog.open({
    origin: ORIGIN,
    signCheckpoint: () => `— ${ORIGIN} AAAAAAAA\n`,
    entryPath: 'entries',
    clock: Date.now,
    ...change,
    db: db as unknown as TileLogOptions['db'],
  });
  return { log, db, close };
}
