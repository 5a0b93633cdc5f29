// SPDX-License-Identifier: Apache-2.0
// A process that may write files up to a limit, as on a full disk, and goes on when the limit is gone. It writes rows and log entries
// and says on standard output, as one JSON document, what was acknowledged and what was refused. Argument: folder of the database.

import { execFileSync } from 'node:child_process';
import { TileLog } from '../../registry/log/tile-log.ts';
import { Database } from '../../registry/store/database.ts';
import { entry, ORIGIN } from './log/numbered-entry.ts';

const [folder = ''] = process.argv.slice(2);
const database = await Database.open(folder);
const log = await TileLog.open({
  db: database.sublevel('log'),
  origin: ORIGIN,
  signCheckpoint: () => `— ${ORIGIN} AAAAAAAA\n`,
  entryPath: 'entries',
  clock: Date.now,
});
const acknowledged: string[] = [];
const refused: string[] = [];
let next = 0;
async function row(): Promise<void> {
  const id = `device-${next++}`;
  const value = { id, filling: 'x'.repeat(3000) };
  await database.write([{ table: 'device', key: [id], value }]).then(
    () => acknowledged.push(id),
    (failure) => refused.push(failure.code),
  );
}

const first = await log.append(entry(1));
while (refused.length === 0) await Promise.all([row(), row(), row()]);
// There is space again.
execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);
const atFailure = refused.splice(0);
for (let n = 0; n < 5; n++) await row();
const logged = await log.append(entry(2)).then(
  () => 'acknowledged',
  (failure) => failure.code,
);
const { note } = log.checkpoint();
console.log(JSON.stringify({ acknowledged, atFailure, refused, logged, first: first.checkpoint.note, note }));
await database.close();
