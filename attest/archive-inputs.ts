// SPDX-License-Identifier: Apache-2.0
// Gives the inputs that accepted provenance names to the registry [docs/spec/attest.md §Inputs], so that the build can be made again
// when the originals are gone. The registry takes them by digest and asks nobody who sends them.

import { quote } from '../core/faults.ts';
import type { NamedInput } from './build-output.ts';
import { ATTEST } from './faults.ts';
import type { HashedFile } from './folder.ts';
import { holdsBlob, uploadBlob } from './submit.ts';

/** The path of a file with these bytes, hashed now; undefined if there is none here. */
export type InputFinder = (input: NamedInput) => Promise<string | undefined>;

export interface ArchivingOptions {
  readonly registryUrl: string;
  readonly find: InputFinder;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** What is in the registry now, and how much of it was not there before. */
export interface ArchivedInputs {
  readonly count: number;
  readonly sizeBytes: number;
  readonly uploadedCount: number;
  readonly uploadedSizeBytes: number;
}

const QUESTIONS_AT_ONCE = 8;
const UPLOADS_AT_ONCE = 2;
/** Inputs that a message names. */
const SHOWN_MAX = 5;
const PROGRESS_INTERVAL_MS = 1000;

/**
 * Uploads what the registry does not keep yet. Nothing is uploaded if an input cannot be found: then somebody has to look for it first.
 * @throws ATTEST_INPUT_MISSING, SUBMIT_REFUSED, SUBMIT_UNAVAILABLE, and what `find` throws; the signal's reason when it is aborted
 */
export async function archiveInputs(
  inputs: readonly NamedInput[],
  options: ArchivingOptions,
): Promise<ArchivedInputs> {
  const { registryUrl, progress, signal } = options;
  progress(`asking the registry for ${inputs.length} inputs`);
  const absent: NamedInput[] = [];
  await forEach(inputs, QUESTIONS_AT_ONCE, signal, async (input, stop) => {
    if (!(await holdsBlob(registryUrl, input.sha256, stop))) absent.push(input);
  });
  const files = await findAll(absent, options);
  const tell = uploadProgress(files, progress);
  await forEach(files, UPLOADS_AT_ONCE, signal, async (file, stop) => {
    await uploadBlob(registryUrl, file, stop, (sentBytes) => tell(file, sentBytes));
  });
  return {
    count: inputs.length,
    sizeBytes: sizeOf(inputs),
    uploadedCount: files.length,
    uploadedSizeBytes: sizeOf(files),
  };
}

async function findAll(
  inputs: readonly NamedInput[],
  { find, progress, signal }: ArchivingOptions,
): Promise<readonly HashedFile[]> {
  if (inputs.length > 0) progress(`looking for ${inputs.length} inputs here`);
  const files: HashedFile[] = [];
  const missing: string[] = [];
  for (const input of inputs) {
    signal?.throwIfAborted();
    const path = await find(input);
    if (path === undefined) missing.push(input.uri);
    else files.push({ path, sha256: input.sha256, sizeBytes: input.sizeBytes });
  }
  if (missing.length === 0) return files;
  const more = missing.length > SHOWN_MAX ? ` and ${missing.length - SHOWN_MAX} more` : '';
  const shown = missing.slice(0, SHOWN_MAX).map(quote).join(', ');
  const message = `expected every input in the archive or the cache, found no ${shown}${more}`;
  throw ATTEST.reject('ATTEST_INPUT_MISSING', message);
}

const sizeOf = (all: readonly { readonly sizeBytes: number }[]): number =>
  all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/** Tells once a second how far all uploads are. */
function uploadProgress(
  files: readonly HashedFile[],
  progress: (text: string) => void,
): (file: HashedFile, sentBytes: number) => void {
  const allBytes = sizeOf(files);
  const sent = new Map<string, number>();
  let shownMs = Number.NEGATIVE_INFINITY;
  return (file, sentBytes) => {
    sent.set(file.sha256, sentBytes);
    const allSent = [...sent.values()].reduce((sum, bytes) => sum + bytes, 0);
    if (allSent < allBytes && performance.now() - shownMs < PROGRESS_INTERVAL_MS) return;
    shownMs = performance.now();
    progress(`uploading ${files.length} inputs: ${megabytes(allSent)} of ${megabytes(allBytes)} MB`);
  };
}

const megabytes = (sizeBytes: number): string => (sizeBytes / 1e6).toFixed(1);

/** Does the work for each, a few at a time. The first failure stops the others, which heed `stop`, and is the one thrown. */
async function forEach<T>(
  all: readonly T[],
  atOnce: number,
  signal: AbortSignal | undefined,
  work: (one: T, stop: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const waiting = all.values();
  const worker = async (): Promise<void> => {
    for (const one of waiting) await work(one, stop).catch((failure: unknown) => failed.abort(failure));
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  signal?.throwIfAborted();
  if (failed.signal.aborted) throw failed.signal.reason;
}
