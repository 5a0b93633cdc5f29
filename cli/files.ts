// SPDX-License-Identifier: Apache-2.0
// Reading and writing the files that a command names.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  type Document,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument as parseYaml,
} from 'yaml';
import { DocumentNode } from '../core/encoding/document.ts';
import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { utf8, utf8Decode } from '../core/encoding/utf8.ts';
import { quote, type Rejection } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { CLI } from './faults.ts';

/** What a file is read in. */
const PIECE_SIZE_BYTES = 1024 * 1024;
/** How often a pipe is asked whether there is more. */
const PIPE_WAIT_MS = 5;

/** Reads a file of at most that many bytes, as long as any document here; more is not taken into memory. @throws CLI_FILE_UNREADABLE */
export async function readInput(
  path: string,
  sizeBytesMax: number = LIMITS.jsonSizeBytes,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const piece of readPieces(path)) {
    pieces.push(piece.slice());
    sizeBytes += piece.length;
    if (sizeBytes > sizeBytesMax) {
      throw CLI.reject(
        'CLI_FILE_UNREADABLE',
        `expected a file of at most ${sizeBytesMax} bytes, ${quote(path)} has more`,
      );
    }
  }
  return new Uint8Array(Buffer.concat(pieces));
}

/** The same for a name that came from elsewhere: undefined unless there is a file of that name, and no device, pipe or folder. @throws CLI_FILE_UNREADABLE */
export async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    if (!(await stat(path)).isFile()) return undefined;
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ERR_INVALID_ARG_VALUE'].includes(code)) return undefined;
    throw unreadable(path, cause);
  }
  return readInput(path);
}

/**
 * Reads a file of any size, piece by piece; a piece holds until the next is asked for. A pipe is asked again and again: waiting for one that nobody writes to would hold the
 * process beyond every interrupt. One without a writer is empty.
 * @throws CLI_FILE_UNREADABLE
 */
export async function* readPieces(path: string): AsyncGenerator<Uint8Array> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const buffer = Buffer.allocUnsafeSlow(PIECE_SIZE_BYTES);
    for (;;) {
      const bytesRead = await readSome(file, buffer);
      if (bytesRead === 0) return;
      yield new Uint8Array(buffer.buffer, 0, bytesRead);
    }
  } catch (cause) {
    throw unreadable(path, cause);
  } finally {
    await file?.close();
  }
}

async function readSome(file: FileHandle, buffer: Buffer): Promise<number> {
  for (;;) {
    try {
      return (await file.read(buffer, 0, buffer.length, null)).bytesRead;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EAGAIN') throw cause;
      await wait(PIPE_WAIT_MS);
    }
  }
}

function unreadable(path: string, cause: unknown): Rejection {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  const reason = REASONS[code] === undefined ? code : `${code} (${REASONS[code]})`;
  return CLI.reject('CLI_FILE_UNREADABLE', `expected a readable file ${quote(path)}, got ${reason}`, {
    cause,
  });
}

/** What most often is wrong, in words. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'a folder',
  EACCES: 'no permission',
};

/**
 * Writes a file whole or not at all: beside, fsync, rename. `mode` 0o600 for private keys.
 * @throws CLI_FILE_UNWRITABLE
 */
export async function writeOutput(path: string, bytes: Uint8Array | string, mode = 0o644): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(beside, 'wx', mode);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (cause) {
    // Fails itself where a parent is no folder; the first reason is the one to tell.
    await rm(beside, { force: true }).catch(() => undefined);
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw CLI.unavailable('CLI_FILE_UNWRITABLE', `could not write ${quote(path)}: ${reason}`, { cause });
  }
}

type Refuse = (message: string, at: string) => Rejection;

/** Opens a user-written YAML (or JSON) document; faults of its reader name file, line, column and the offending line. */
export function openYaml(
  path: string,
  bytes: Uint8Array,
  refuse: Refuse = (message, at) => CLI.reject('CLI_DOCUMENT_MALFORMED', message, { at }),
): DocumentNode {
  const text = utf8Decode(bytes);
  if (text === undefined || bytes.length > 1024 * 1024) {
    throw refuse('expected at most 1 MiB of UTF-8 text', path);
  }
  const lines = new LineCounter();
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    const shown = text.split('\n')[line - 1]?.trim() ?? '';
    return `${path}:${line}:${col}: ${quote(shown)}`;
  };
  // Core schema of YAML 1.2; aliases are off, so that a short file cannot expand without end.
  const document = parseYaml(text, {
    lineCounter: lines,
    strict: true,
    // The library compares every key with every other; ours takes a step for each.
    uniqueKeys: false,
    prettyErrors: false,
  });
  const problem = document.errors[0] ?? document.warnings[0] ?? strayKey(document);
  if (problem !== undefined) throw refuse(`expected YAML: ${problem.message}`, place(problem.pos[0]));
  const locate = (pointer: string, part: 'value' | 'name'): string =>
    place(offsetOf(document.contents, pointer, part));
  let json: string;
  try {
    json = JSON.stringify(document.toJS({ maxAliasCount: 0 })) ?? 'null';
  } catch (cause) {
    throw refuse(`expected YAML without aliases: ${(cause as Error).message}`, path);
  }
  const parsed = parseStrictJson(utf8(json));
  if ('problem' in parsed) throw refuse(`expected plain YAML values, got ${parsed.problem}`, path);
  return new DocumentNode(parsed.value, { refuse, locate });
}

/** A key that is given twice, however it is written, or is no word or number; or a document that calls itself no YAML 1.2. */
function strayKey(document: Document): { message: string; pos: [number, number] } | undefined {
  const at = (node: unknown, message: string) => {
    const [start = 0, end = 0] = (node as Node | null)?.range ?? [];
    return { message, pos: [start, end] as [number, number] };
  };
  if (document.directives?.yaml.version !== '1.2') return at(document.contents, 'a document of version 1.2');
  const waiting: unknown[] = [document.contents];
  while (waiting.length > 0) {
    const node = waiting.pop();
    if (isSeq(node)) for (const item of node.items) waiting.push(item);
    if (!isMap(node)) continue;
    const seen = new Set<string>();
    for (const { key, value } of node.items) {
      if (!isScalar(key)) return at(key, 'keys that are words or numbers');
      const name = String(key.value ?? '');
      if (seen.has(name)) return at(key, `each key once, got ${quote(name)} twice`);
      seen.add(name);
      waiting.push(value);
    }
  }
  return undefined;
}

/** Offset of the node that a JSON pointer names, or of its key, or of its nearest parent. */
function offsetOf(root: Node | null, pointer: string, part: 'value' | 'name'): number {
  let node: unknown = root;
  let offset = root?.range?.[0] ?? 0;
  for (const token of pointer.split('/').slice(1)) {
    const name = token.replace(/~1/g, '/').replace(/~0/g, '~');
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === name,
      );
      if (pair === undefined) return offset;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(name)];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    } else return offset;
  }
  return part === 'name' ? offset : ((node as Node | null)?.range?.[0] ?? offset);
}
