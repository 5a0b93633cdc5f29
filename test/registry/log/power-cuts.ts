// SPDX-License-Identifier: Apache-2.0
// Power cuts over a recorded run of a log [docs/spec/log.md §Durability]: whatever the disk kept, the log opens, has what it acknowledged
// and every checkpoint as it was, and is sound.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Finding, LogCheck } from '../../../registry/log/log-check.ts';
import { LogHead } from '../../../registry/log/log-head.ts';
import { TileLog } from '../../../registry/log/tile-log.ts';
import { type LogDatabase, rowsOf } from '../../../registry/log/tile-store.ts';
import { openLevelFolder } from '../../../registry/store/level-folder.ts';
import { diskAfter, layDisk, recordRun, saidBefore, TREATMENTS } from './crash-disk.ts';
import { entry, ORIGIN, sha256 } from './numbered-entry.ts';

/** The rows of a log whose entries are numbered and whose notes nobody verifies. Nothing where all is well. */
export async function soundness(db: LogDatabase): Promise<Finding[]> {
  const check = new LogCheck({
    rows: rowsOf(db),
    name: 'log',
    origin: ORIGIN,
    readEntry: (bytes) => ({ leaf: bytes, identity: sha256(bytes) }),
    verifyNote: () => undefined,
    progress: () => undefined,
  });
  const findings: Finding[] = [];
  for await (const finding of check.run()) findings.push(finding);
  return findings;
}

/** Records a run in `home` and cuts the power at `cutCount` places evenly over it, or at each. Returns how many disks were tried. */
export async function cutPower(
  home: string,
  entryCount: number,
  cutCount = Number.POSITIVE_INFINITY,
): Promise<number> {
  const script = join(import.meta.dirname, 'append-recorded.ts');
  const recorded = join(home, 'recorded');
  const operations = await recordRun(script, recorded, String(entryCount));
  expect(saidBefore(operations, operations.length)).toHaveLength(entryCount);
  const step = Math.max(1, operations.length / cutCount);
  const notes = new Map<bigint, string>();
  let tried = 0;
  for (let at = 0; at <= operations.length; at += step) {
    const cut = Math.floor(at);
    for (const treatment of TREATMENTS) {
      const folder = join(home, 'cut');
      await rm(folder, { recursive: true, force: true });
      await layDisk(diskAfter(operations, cut, treatment), recorded, folder);
      const place = `cut ${cut} of ${operations.length}, ${treatment}`;
      await tryDisk(folder, saidBefore(operations, cut), notes).catch((cause: Error) => {
        throw new Error(`${place}: ${cause.message}`, { cause });
      });
      tried++;
    }
  }
  return tried;
}

async function tryDisk(
  folder: string,
  acknowledged: readonly string[],
  notes: Map<bigint, string>,
): Promise<void> {
  const db = await openLevelFolder(join(folder, 'db'));
  try {
    const log = await TileLog.open({
      db: db as never,
      head: LogHead.in(join(folder, 'heads'), ORIGIN),
      origin: ORIGIN,
      signCheckpoint: () => `— ${ORIGIN} AAAAAAAA\n`,
      entryPath: 'entries',
      clock: Date.now,
    });
    for (const line of acknowledged) {
      const [n = '', index = '', size = '', note = ''] = line.split(' ');
      notes.set(BigInt(size), Buffer.from(note, 'base64').toString());
      expect(Buffer.from((await log.leafBytes(BigInt(index))) ?? []).toString()).toBe(`entry ${n}`);
      expect(await log.checkpointNote(BigInt(size))).toBe(notes.get(BigInt(size)));
    }
    // No two checkpoints of one size, in whatever state the disk was before.
    for (const [size, note] of notes) {
      const own = size <= log.checkpoint().size ? await log.checkpointNote(size) : undefined;
      if (own !== undefined) expect(own).toBe(note);
    }
    await log.append(entry('after'));
    await log.close();
    expect(await soundness(db as never)).toEqual([]);
  } finally {
    await db.close();
  }
}
