// SPDX-License-Identifier: Apache-2.0
// A process that appends without end and says what was acknowledged, a line each, until it is killed.
// Arguments: folder of the database, first entry number.

import { writeSync } from 'node:fs';
import { Level } from 'level';
import { TileLog } from '../../../registry/log/tile-log.ts';
import { entry, ORIGIN } from './numbered-entry.ts';

const [folder = '', first = '0'] = process.argv.slice(2);
const db = new Level(folder);
const log = await TileLog.open({
  db,
  origin: ORIGIN,
  // A note tells which process signed it: two of one size would show.
  signCheckpoint: () => `— ${ORIGIN} ${Buffer.from(`0000${first}/`).toString('base64')}\n`,
  entryPath: 'entries',
  clock: Date.now,
});

let next = Number(first);
async function client(): Promise<void> {
  for (;;) {
    const n = next++;
    const { index, checkpoint } = await log.append(entry(n));
    const note = Buffer.from(checkpoint.note).toString('base64');
    writeSync(1, `${n} ${index} ${checkpoint.size} ${note}\n`);
  }
}
await Promise.all(Array.from({ length: 32 }, client));
