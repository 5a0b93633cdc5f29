// SPDX-License-Identifier: Apache-2.0
// kill -9 at random moments, with writers and readers at work. What anybody was told is remembered over all runs, and held against
// the folder after each.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { expect, onTestFinished } from 'vitest';
import { readConfigFile } from '../../../cli/serve.ts';
import { parseCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { parseNote } from '../../../core/tlog/note.ts';
import { fsck } from '../../../registry/fsck.ts';
import { rowKey, rowsOf } from '../../../registry/log/tile-store.ts';
import { type LocalSigner, newSigner } from '../../../registry/trust/signer.ts';
import { makeDataFolder } from '../running-registry.ts';
import { dsseRequest, keyed, type Reply } from './log-server.ts';

const WRITERS = 12;

/** What was told over all runs. */
interface Told {
  /** Entries by index, base64. */
  readonly entries: Map<number, string>;
  /** Checkpoints by size. */
  readonly notes: Map<bigint, string>;
}

function remember(told: Told, note: string): void {
  const { size } = parseCheckpoint(parseNote(note).text);
  expect(told.notes.get(size) ?? note).toBe(note);
  told.notes.set(size, note);
}

async function write(url: string, signer: LocalSigner, told: Told, next: () => number): Promise<void> {
  for (;;) {
    const { request } = dsseRequest(`statement ${next()}`, signer, keyed(signer.spki));
    const reply = await fetch(`${url}/log/api/v2/log/entries`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    const body = (await reply.json()) as Reply;
    expect(reply.status, JSON.stringify(body)).toBe(201);
    const index = Number(body.logIndex);
    expect(told.entries.has(index)).toBe(false);
    told.entries.set(index, body.canonicalizedBody ?? '');
    remember(told, body.inclusionProof?.checkpoint.envelope ?? '');
  }
}

async function read(url: string, told: Told): Promise<void> {
  for (;;) remember(told, await (await fetch(`${url}/log/checkpoint`)).text());
}

/** True if a request broke off because the server is gone. */
const isCut = (failure: unknown) => failure instanceof TypeError || (failure as Error).name === 'SyntaxError';

/** Starts the server, lets clients at it, and kills it a random while after `count` entries were told. */
async function runAndKill(command: readonly string[], signer: LocalSigner, told: Told, next: () => number) {
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const [line] = await Promise.race([once(child.stdout, 'data'), ended.then(() => ['{"address":"ended"}'])]);
  const url = /"address": *"([^"]*)"/.exec(String(line))?.[1] ?? '';
  const before = told.entries.size;
  const goal = before + 1 + Math.floor(Math.random() * 60);
  const watch = setInterval(() => {
    if (told.entries.size < goal) return;
    clearInterval(watch);
    setTimeout(() => child.kill('SIGKILL'), Math.random() * 60);
  }, 1);
  const clients = [
    ...Array.from({ length: WRITERS }, () => write(url, signer, told, next)),
    ...Array.from({ length: 2 }, () => read(url, told)),
  ].map((client) =>
    client.catch((failure) => {
      if (isCut(failure) && told.entries.size >= goal) return;
      child.kill('SIGKILL');
      throw failure;
    }),
  );
  await Promise.all(clients).finally(() => clearInterval(watch));
  const [, signal] = await ended;
  expect(signal).toBe('SIGKILL');
  return before;
}

/** Kills a server of a new data folder so many times; returns how many entries were told. */
export async function killUnderLoad(
  commandOf: (dataFolder: string, publicKey: string) => readonly string[],
  kills: number,
): Promise<number> {
  const { signer } = newSigner();
  const publicKey = Buffer.from(signer.spki).toString('base64');
  const { home, dataFolder } = await makeDataFolder('http://127.0.0.1:1', {
    keys: [{ name: 'test', publicKey }],
  });
  onTestFinished(() => rm(home, { recursive: true, force: true }));
  const told: Told = { entries: new Map(), notes: new Map() };
  let n = 0;
  for (let run = 0; run < kills; run++) {
    const before = await runAndKill(commandOf(dataFolder, publicKey), signer, told, () => n++);
    await compare(dataFolder, told, run === kills - 1 ? 0 : before);
  }
  return told.entries.size;
}

/** Nothing told is lost or another, and the folder is sound. */
async function compare(dataFolder: string, told: Told, from: number): Promise<void> {
  const config = await readConfigFile(dataFolder);
  const signal = new AbortController().signal;
  for await (const finding of fsck({ dataFolder, config, signal, progress: () => undefined })) {
    throw new Error(`${finding.at}: ${finding.problem}`);
  }
  const db = new Level<string, Uint8Array>(join(dataFolder, 'state', 'db'));
  try {
    const rows = rowsOf(db.sublevel('log'));
    for (const [index, body] of [...told.entries].slice(from)) {
      const entry = await rows.get(rowKey.entry(BigInt(index)));
      expect(Buffer.from(entry ?? []).toString('base64')).toBe(body);
    }
    for (const [size, note] of told.notes) {
      expect(Buffer.from((await rows.get(rowKey.checkpoint(size))) ?? []).toString()).toBe(note);
    }
  } finally {
    await db.close();
  }
}
