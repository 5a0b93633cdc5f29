// SPDX-License-Identifier: Apache-2.0
// A process that appends a fixed number of entries, several at once, and says what was acknowledged, a line each. Its LevelDB has small
// buffers, so that it changes files, compacts and renames in a short run. Arguments: folder, number of entries.

import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { LogHead } from '../../../registry/log/log-head.ts';
import { TileLog } from '../../../registry/log/tile-log.ts';
import { openLevelFolder } from '../../../registry/store/level-folder.ts';
import { entry, ORIGIN } from './numbered-entry.ts';

const [folder = '', count = '0'] = process.argv.slice(2);
const small = { writeBufferSize: 65_536, maxFileSize: 1_048_576 } as object;
const db = await openLevelFolder(join(folder, 'db'), small);
const log = await TileLog.open({
  db: db as never,
  head: LogHead.in(join(folder, 'heads'), ORIGIN),
  origin: ORIGIN,
  signCheckpoint: () => `— ${ORIGIN} AAAAAAAA\n`,
  entryPath: 'entries',
  clock: Date.now,
});
let next = 0;
async function client(): Promise<void> {
  while (next < Number(count)) {
    const n = next++;
    const { index, checkpoint } = await log.append(entry(n));
    const note = Buffer.from(checkpoint.note).toString('base64');
    writeSync(1, `${n} ${index} ${checkpoint.size} ${note}\n`);
  }
}
await Promise.all(Array.from({ length: 3 }, client));
await log.close();
await db.close();
