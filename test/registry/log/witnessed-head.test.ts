// SPDX-License-Identifier: Apache-2.0
// At its start a log asks its witnesses what they saw of it last [docs/spec/log.md §Published heads]: more than it has, or something else,
// is proof that its database is not the newest.

import type { RequestListener } from 'node:http';
import { expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { parseLogPolicy } from '../../../core/tlog/log-policy.ts';
import { formatSignatureLine } from '../../../core/tlog/note.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { Cosigning } from '../../../registry/log/cosigning.ts';
import { rowKey, rowsOf } from '../../../registry/log/tile-store.ts';
import { noteSigner, witnessSigner } from '../../core/tlog/note-signers.ts';
import { codeOf, codeOfAsync } from '../../core/tlog/refusal.ts';
import { runWitness, witnessFolder } from '../witness/running-witness.ts';
import { witnessedLog } from '../witness/witnessed-log.ts';
import { newFolder, openTiles } from './log-folder.ts';
import { entry } from './numbered-entry.ts';
import { pretender } from './witnessed-house.ts';

const TIMES = { roundMs: 500, graceMs: 500, retryMs: 100, refreshMs: 600_000, waitMs: 1000 };
const ORIGIN = 'log.waybill.example';
const signer = noteSigner(ORIGIN);

/** A log of so many entries, signed with the key that `witnessedLog` has too, whose entries are others. */
async function logOf(count: number) {
  const { log } = await openTiles(await newFolder(), {
    signCheckpoint: ({ text }) => signatureLine(text),
  });
  for (let n = 0; n < count; n++) await log.append(entry(n));
  return log;
}
const signatureLine = (text: string) => formatSignatureLine(signer.sign(text));

/** Opens the log's cosigning with one witness at an address; tells what it reported once it started. */
async function openWith(log: Awaited<ReturnType<typeof logOf>>, vkey: string, url: string, quorum = 'w1') {
  const lines = [`log ${signer.vkey}`, `witness w1 ${vkey} ${url}`, `quorum ${quorum}`];
  const policy = parseLogPolicy(utf8(`${lines.join('\n')}\n`), nodeCrypto);
  const cosigning = await Cosigning.open({ tiles: log, policy: () => policy, times: TIMES });
  const reports: string[] = [];
  cosigning.start(({ failure }) => reports.push(failure ?? 'again'));
  await cosigning.close();
  return reports;
}

/** A witness that cosigned what is given, in order. */
async function witnessOf(...requests: readonly string[]) {
  const made = await witnessFolder([signer.vkey]);
  const witness = await runWitness(made);
  for (const request of requests) expect(await witness.add(request)).toMatchObject({ status: 200 });
  return { url: witness.url, vkey: made.vkey };
}

test('a witness that saw a larger tree, or another of a size, stops the start; one that saw what the log has does not', async () => {
  const log = await logOf(3);
  const own = await witnessOf(`old 0\n\n${await log.checkpointNote(2n)}`);
  expect(await openWith(log, own.vkey, own.url)).toEqual([]);
  const none = await witnessOf();
  expect(await openWith(log, none.vkey, none.url)).toEqual([]);
  const foreign = witnessedLog(ORIGIN);
  const larger = await witnessOf(foreign.request(0n, 5n));
  await expect(openWith(log, larger.vkey, larger.url)).rejects.toMatchObject({
    code: 'LOG_STORE_BEHIND',
    message: expect.stringContaining('the tree of size 5 that witness "w1" cosigned, got only size 3'),
  });
  const other = await witnessOf(foreign.request(0n, 3n));
  expect(await codeOfAsync(openWith(log, other.vkey, other.url))).toBe('LOG_STORE_BEHIND');
  const older = await witnessOf(foreign.request(0n, 2n));
  expect(await codeOfAsync(openWith(log, older.vkey, older.url))).toBe('LOG_STORE_BEHIND');
  // Nobody is asked where no quorum is asked for.
  expect(await openWith(log, larger.vkey, larger.url, 'none')).toEqual([]);
});

test('what a witness says without the signature of the log proves nothing, and neither does silence; the operator is told', async () => {
  const log = await logOf(1);
  const { vkey } = witnessSigner('w1.example');
  const forged = witnessedLog('other.example').checkpoint(5n).replaceAll('other.example', ORIGIN);
  const answers: [RequestListener, string][] = [
    [(_request, reply) => void reply.end(forged), 'TLOG|expected|signature'],
    [(_request, reply) => void reply.end('hello'), 'expected'],
    [(_request, reply) => void reply.writeHead(500).end('oh'), 'expected status 200, got 500: "oh"'],
    [(_request, reply) => void reply.end('x'.repeat(20_000)), 'expected at most 16384 bytes, got more'],
    [(_request, reply) => void reply.writeHead(302, { location: '/x' }).end(), 'fetch failed'],
    [() => undefined, 'no answer within 500 ms'],
  ];
  for (const [answer, reason] of answers) {
    const [first, ...more] = await openWith(log, vkey, await pretender(answer));
    expect(first).toMatch(/^what it saw is unknown: /);
    expect(first).toMatch(new RegExp(reason));
    expect(more).toEqual([]);
  }
  const [unreachable] = await openWith(log, vkey, 'http://127.0.0.1:1');
  expect(unreachable).toContain('what it saw is unknown: fetch failed');
});

test('a log with a newer shard in its place starts all the same, and takes no entry', async () => {
  const { log } = await openTiles(await newFolder(), {
    signCheckpoint: ({ text }) => signatureLine(text),
    hasSuccessor: true,
  });
  await log.append(entry(0));
  const larger = await witnessOf(witnessedLog(ORIGIN).request(0n, 5n));
  await openWith(log, larger.vkey, larger.url);
  expect(await codeOfAsync(log.append(entry(1)))).toBe('LOG_SHARD_LOST');
  expect(log.checkpoint().size).toBe(1n);
});

test('a damaged log that has a successor asks nobody, and says why it shows nothing', async () => {
  const folder = await newFolder();
  const { log: sound, db, close } = await openTiles(folder);
  await sound.append(entry(0));
  await rowsOf(db as never).put(rowKey.tile(0, 0n), new Uint8Array(32));
  await close();
  const { log } = await openTiles(folder, { hasSuccessor: true });
  let askedCount = 0;
  const url = await pretender((_request, response) => {
    askedCount++;
    response.end();
  });
  const { vkey } = witnessSigner('w1');
  const lines = [`log ${signer.vkey}`, `witness w1 ${vkey} ${url}`, 'quorum w1'];
  const policy = parseLogPolicy(utf8(`${lines.join('\n')}\n`), nodeCrypto);
  const cosigning = await Cosigning.open({ tiles: log, policy: () => policy, times: TIMES });
  cosigning.start(() => undefined);
  expect(codeOf(() => cosigning.newest())).toBe('LOG_SHARD_LOST');
  expect(await codeOfAsync(cosigning.covering(0n))).toBe('LOG_SHARD_LOST');
  await cosigning.close();
  expect(askedCount).toBe(0);
});
