// SPDX-License-Identifier: Apache-2.0
// Taking a step's outputs out of its work folder, once all its processes are dead. Nothing there is trusted.

import { createHash } from 'node:crypto';
import { chmodSync, constants, type Dirent, readdirSync, type Stats } from 'node:fs';
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

/** Files that are looked at for evidence; a work folder with more is listed in part. */
const LISTED_FILES_MAX = 50_000;

/**
 * SHA-256 of the regular files that a step left in its work folder, by path relative to it. What cannot be reached by a path,
 * since that is too long or no UTF-8, is passed over. @throws the signal's reason
 */
export async function listWorkFiles(work: string, signal?: AbortSignal): Promise<Map<string, string>> {
  const listed = new Map<string, string>();
  const waiting = [''];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    // Small files are read without a pause; who wants to stop the build is heard here.
    await setImmediate();
    signal?.throwIfAborted();
    for (const entry of (await orPassOver(readFolder(join(work, folder)))) ?? []) {
      // What is no UTF-8 comes with this in its place, and may so have the name of something else: of a link onto the host, say.
      if (entry.name.includes('\ufffd')) continue;
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) waiting.push(path);
      else if (entry.isFile() && listed.size < LISTED_FILES_MAX) {
        // A hundred thousand files of nothing but holes take no room and a day to read.
        signal?.throwIfAborted();
        const sha256 = await orPassOver(readDigest(join(work, path)));
        if (sha256 !== undefined) listed.set(path, sha256);
      }
    }
  }
  return listed;
}

// The step may have made either unreadable even for us.
async function readFolder(path: string): Promise<Dirent[]> {
  chmodSync(path, 0o700);
  return readdirSync(path, { withFileTypes: true });
}
async function readDigest(path: string): Promise<string> {
  chmodSync(path, 0o600);
  return hashFile(path);
}

async function orPassOver<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENAMETOOLONG') return undefined;
    throw cause;
  });
}
