// SPDX-License-Identifier: Apache-2.0
// Taking a step's outputs out of its work folder, once all its processes are dead. Nothing there is trusted.

import { createHash } from 'node:crypto';
import { chmodSync, constants, type Dirent, lstatSync, opendirSync, readdirSync, type Stats } from 'node:fs';
import { chmod, lstat, mkdir, open, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { quote } from '../core/faults.ts';
import type { OutputDefinition, StepDefinition } from './definition.ts';
import { BUILDER } from './faults.ts';
import { hashFile } from './store.ts';

export interface TakenOutput {
  readonly file: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/**
 * Copies the outputs of a step from `work` into `into`, by file name; their time is `sourceDateEpoch`.
 * @throws STEP_OUTPUT_MISSING, STEP_OUTPUT_NOT_REGULAR, STEP_OUTPUT_PRIVILEGED, STEP_OUTPUT_TOO_LARGE
 */
export async function takeOutputs(
  step: StepDefinition,
  work: string,
  into: string,
  sourceDateEpoch: number,
): Promise<TakenOutput[]> {
  await chmod(work, 0o700);
  let sum = 0;
  for (const output of step.outputs) {
    const stat = await checkOutput(step, output, work);
    sum += stat.size;
    if (sum > step.outputSizeBytesMax) {
      throw BUILDER.reject(
        'STEP_OUTPUT_TOO_LARGE',
        `expected at most ${step.outputSizeBytesMax} bytes of outputs from step ${step.name}, got ${sum} with ${quote(output.path)}`,
      );
    }
  }
  const taken: TakenOutput[] = [];
  for (const { file, path } of step.outputs) {
    taken.push(await keepOutput(file, join(work, path), into, sourceDateEpoch));
  }
  return taken;
}

async function checkOutput(step: StepDefinition, output: OutputDefinition, work: string): Promise<Stats> {
  const what = `output ${quote(output.path)} of step ${step.name}`;
  const irregular = (got: string) =>
    BUILDER.reject('STEP_OUTPUT_NOT_REGULAR', `expected ${what} to be a regular file, got ${got}`);
  const segments = output.path.split('/');
  let path = work;
  for (const [i, segment] of segments.entries()) {
    path = join(path, segment);
    const stat = await lstat(path).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return undefined;
      throw cause;
    });
    if (stat === undefined) {
      throw BUILDER.reject('STEP_OUTPUT_MISSING', `expected ${what}, got no such file${listBriefly(work)}`);
    }
    if (i < segments.length - 1) {
      if (!stat.isDirectory()) throw irregular(`a path through ${kindOf(stat)}`);
      // The step may have made it unreadable even for us.
      await chmod(path, 0o700);
      continue;
    }
    if (!stat.isFile()) throw irregular(kindOf(stat));
    if (stat.nlink !== 1) throw irregular(`a file with ${stat.nlink} names`);
    if ((stat.mode & 0o7000) !== 0) {
      throw BUILDER.reject(
        'STEP_OUTPUT_PRIVILEGED',
        `expected ${what} without privileged bits, got mode ${(stat.mode & 0o7777).toString(8)}`,
      );
    }
    await chmod(path, 0o600);
    return stat;
  }
  throw irregular('nothing');
}

/** Names in /build that are told to whoever misses another. */
const TOLD_NAMES_MAX = 8;

function listBriefly(work: string): string {
  const names = readdirSync(work);
  const told = names.sort().slice(0, TOLD_NAMES_MAX).map(quote);
  if (names.length > told.length) told.push(`${names.length - told.length} more`);
  return told.length === 0 ? '; /build is empty' : `; /build holds ${told.join(', ')}`;
}

function kindOf(stat: Stats): string {
  if (stat.isSymbolicLink()) return 'a symbolic link';
  if (stat.isDirectory()) return 'a folder';
  if (stat.isFIFO()) return 'a pipe';
  if (stat.isSocket()) return 'a socket';
  return stat.isFile() ? 'a file' : 'a device';
}

/** Copies an output into a folder and hashes it in one pass: the digest is that of the bytes that were kept. */
export async function keepOutput(
  file: string,
  from: string,
  into: string,
  sourceDateEpoch: number,
): Promise<TakenOutput> {
  await mkdir(into, { recursive: true });
  const to = join(into, file);
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  const target = await open(to, 'wx', 0o644);
  try {
    for await (const chunk of source.createReadStream({ autoClose: false, highWaterMark: 1 << 20 })) {
      hash.update(chunk as Buffer);
      sizeBytes += (chunk as Buffer).length;
      await target.writeFile(chunk as Buffer);
    }
    await target.sync();
  } finally {
    await source.close();
    await target.close();
  }
  await utimes(to, sourceDateEpoch, sourceDateEpoch);
  return { file, sha256: hash.digest('hex'), sizeBytes };
}

/** Files, folders and what else of a work folder are looked at for evidence. */
const LISTED_ENTRIES_MAX = 200_000;

export interface ListOptions {
  readonly signal?: AbortSignal | undefined;
  /** 200,000 if it is not said. */
  readonly entriesMax?: number;
}

/**
 * SHA-256 of the regular files that a step left in its work folder, by path relative to it. What cannot be reached by a path,
 * since that is too long or no UTF-8, is passed over. @throws STEP_WORK_TOO_MANY, STEP_WORK_TOO_LARGE; the signal's reason
 */
export async function listWorkFiles(
  { name, limits: { workSizeBytesMax } }: Pick<StepDefinition, 'name' | 'limits'>,
  work: string,
  { signal, entriesMax = LISTED_ENTRIES_MAX }: ListOptions = {},
): Promise<Map<string, string>> {
  const listed = new Map<string, string>();
  let [count, sizeBytes] = [0, 0];
  const waiting = [''];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    for await (const entry of readFolder(join(work, folder))) {
      signal?.throwIfAborted();
      if (++count > entriesMax) {
        const most = `expected step ${name} to leave at most ${entriesMax} files and folders in /build, where evidence is looked for`;
        throw BUILDER.reject('STEP_WORK_TOO_MANY', `${most}, got more`);
      }
      // What is no UTF-8 comes with this in its place, and may so have the name of something else: of a link onto the host, say.
      if (entry.name.includes('\ufffd')) continue;
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) waiting.push(path);
      if (!entry.isFile()) continue;
      sizeBytes += orPassOver(() => makeReadable(join(work, path))) ?? 0;
      // Holes take no room, and a day to read.
      if (sizeBytes > workSizeBytesMax) {
        const most = `expected step ${name} to leave files of at most ${workSizeBytesMax} bytes in all in /build, holes in them counted`;
        throw BUILDER.reject('STEP_WORK_TOO_LARGE', `${most}, got more with ${quote(path)}`);
      }
      const sha256 = await hashFile(join(work, path)).catch(passOver);
      if (sha256 !== undefined) listed.set(path, sha256);
    }
  }
  return listed;
}

/** Entries between two pauses: who wants to stop the build is heard there. */
const ENTRIES_AT_ONCE = 1000;

async function* readFolder(path: string): AsyncGenerator<Dirent> {
  // The step may have made it unreadable even for us.
  const folder = orPassOver(() => {
    chmodSync(path, 0o700);
    return opendirSync(path, { bufferSize: ENTRIES_AT_ONCE });
  });
  try {
    for (let i = 0; ; i++) {
      if (i % ENTRIES_AT_ONCE === 0) await setImmediate();
      const entry = folder?.readSync() ?? undefined;
      if (entry === undefined) return;
      yield entry;
    }
  } finally {
    folder?.closeSync();
  }
}

/** Returns the size. */
function makeReadable(path: string): number {
  chmodSync(path, 0o600);
  return lstatSync(path).size;
}

function orPassOver<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (cause) {
    return passOver(cause);
  }
}

function passOver(cause: unknown): undefined {
  const { code } = cause as NodeJS.ErrnoException;
  if (code !== 'ENOENT' && code !== 'ENAMETOOLONG') throw cause;
}
