// SPDX-License-Identifier: Apache-2.0
// Fetching what is locked into the store, by digest, from wherever it still is. The only file of the builder that opens a
// socket of its own (git, apt and ssh open theirs).

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { printable, Rejection, Unavailable } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import type { LockedPackage } from './lock-file.ts';
import type { ContentStore, Pinned } from './store.ts';

/** Where a blob can be had: a location, or something that makes its bytes. */
export type Place = URL | Source;

export interface Source {
  /** Where the bytes come from in the end, for messages. */
  readonly from: string;
  readonly read: (signal: AbortSignal | undefined) => AsyncIterable<Uint8Array>;
}

/** A blob that a build needs. */
export interface Wanted extends Pinned {
  /** Names it in messages. */
  readonly what: string;
  /** Best first; asked only if something has to be fetched. */
  readonly places: () => Promise<readonly Place[]>;
}

export interface BlobOptions {
  /** A local archive: read before anything else, and given everything that was fetched. */
  readonly archive?: ContentStore | undefined;
  /** A registry that keeps blobs by digest, asked before the places, which may be gone or somebody else's by now. Ends in a slash. */
  readonly registry?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Longest silence of a server. */
  readonly stallTimeoutMs?: number;
  readonly onProgress?: (done: {
    readonly count: number;
    readonly of: number;
    readonly sizeBytes: number;
  }) => void;
}

export interface FetchOptions extends BlobOptions {
  /** Gives the mirror of a package; asked only if something has to be fetched. Ends in a slash. */
  readonly mirrorOf: (entry: LockedPackage) => Promise<string>;
  /** An archive base that keeps older versions, asked when the mirror has a package no more. Ends in a slash. */
  readonly snapshot?: string | undefined;
}

/** What a place may answer so that the next one is asked. */
const ELSEWHERE = ['FETCH_GONE', 'FETCH_UNREACHABLE', 'FETCH_TRUNCATED', 'INPUT_GIT_UNUSABLE'];

/** Downloads at once; a mirror is shared with others. */
const CONCURRENCY = 4;

/** A package as a blob. */
export function wantedPackage(
  entry: LockedPackage,
  options: Pick<FetchOptions, 'mirrorOf' | 'snapshot'> & { readonly input?: string },
): Wanted {
  const { sha256, sizeBytes, name, version } = entry;
  const encoded = entry.path.split('/').map(encodeURIComponent).join('/');
  return {
    sha256,
    sizeBytes,
    what: `${name} ${version}${options.input === undefined ? '' : ` of input ${options.input}`}`,
    places: async () => {
      const bases = [await options.mirrorOf(entry), options.snapshot];
      return bases.flatMap((base) => (base === undefined ? [] : [new URL(encoded, base)]));
    },
  };
}

/**
 * Makes sure that the store holds every package, by digest. What is there already is hashed again, not fetched.
 * @throws as `fetchBlobs`
 */
export function fetchPackages(
  store: ContentStore,
  packages: readonly LockedPackage[],
  options: FetchOptions,
): Promise<{ readonly fetchedSizeBytes: number }> {
  return fetchBlobs(
    store,
    packages.map((entry) => wantedPackage(entry, options)),
    options,
  );
}

/**
 * Makes sure that the store, and the archive if there is one, hold every blob, by digest.
 * @throws FETCH_UNREACHABLE, FETCH_TRUNCATED, FETCH_GONE, FETCH_TOO_LARGE, FETCH_DIGEST_MISMATCH, FETCH_STORE_UNWRITABLE
 */
export async function fetchBlobs(
  store: ContentStore,
  wanted: readonly Wanted[],
  options: BlobOptions,
): Promise<{ readonly fetchedSizeBytes: number }> {
  const missing: Wanted[] = [];
  for (const blob of new Map(wanted.map((one) => [one.sha256, one])).values()) {
    options.signal?.throwIfAborted();
    if (!(await store.holds(blob))) missing.push(blob);
  }
  // One failure stops the other downloads, and is the one reported.
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const waiting = [...missing];
  let count = 0;
  let fetchedSizeBytes = 0;
  const work = async () => {
    for (let blob = waiting.shift(); blob !== undefined; blob = waiting.shift()) {
      await fetchBlob(store, blob, { ...options, signal });
      fetchedSizeBytes += blob.sizeBytes;
      options.onProgress?.({ count: ++count, of: missing.length, sizeBytes: fetchedSizeBytes });
    }
  };
  const workers = Array.from({ length: Math.min(CONCURRENCY, missing.length) }, () =>
    work().catch((failure: unknown) => {
      stop.abort(failure);
      throw failure;
    }),
  );
  const ended = await Promise.allSettled(workers);
  options.signal?.throwIfAborted();
  if (stop.signal.aborted) throw stop.signal.reason;
  for (const end of ended) if (end.status === 'rejected') throw end.reason;
  await archiveBlobs(store, wanted, options.archive);
  return { fetchedSizeBytes };
}

/** Copies into an archive what it does not hold yet. */
async function archiveBlobs(
  store: ContentStore,
  wanted: readonly Wanted[],
  archive: ContentStore | undefined,
): Promise<void> {
  if (archive === undefined) return;
  for (const blob of wanted) {
    if (await archive.holds(blob)) continue;
    await archive.take(blob, blob.what, createReadStream(store.path(blob.sha256)));
  }
}

/** Tries the archive, then the registry, then each place in turn; if none has it, what the first place said is reported. */
async function fetchBlob(store: ContentStore, wanted: Wanted, options: BlobOptions): Promise<void> {
  if (options.archive !== undefined && (await options.archive.holds(wanted))) {
    await store.take(wanted, wanted.what, createReadStream(options.archive.path(wanted.sha256)));
    return;
  }
  const failures: unknown[] = [];
  const attempt = async (place: Place): Promise<boolean> => {
    try {
      await take(store, wanted, place, options);
      return true;
    } catch (failure) {
      options.signal?.throwIfAborted();
      failures.push(failure);
      // Another place may have what this one has not; a place that lies is a reason to stop.
      if (!ELSEWHERE.includes((failure as { code?: string }).code ?? '')) throw failure;
      return false;
    }
  };
  const { registry } = options;
  if (registry !== undefined && (await attempt(new URL(`api/v1/blobs/${wanted.sha256}`, registry)))) return;
  const asked = failures.length;
  for (const place of await wanted.places()) if (await attempt(place)) return;
  throw failures[asked] ?? failures[0];
}

async function take(store: ContentStore, wanted: Wanted, place: Place, options: BlobOptions): Promise<void> {
  const what = whatFrom(wanted.what, place);
  const file = place instanceof URL && place.protocol === 'file:';
  try {
    await store.take(wanted, what, open(place, what, options));
  } catch (cause) {
    if (cause instanceof Rejection || cause instanceof Unavailable) throw cause;
    options.signal?.throwIfAborted();
    throw asFetchFault(cause, what, file);
  }
}

/**
 * Takes in a blob that no lock pins yet. If `sha256` is given the blob must have it.
 * @throws as `fetchBlobs`
 */
export async function addBlob(
  store: ContentStore,
  wanted: string,
  place: Place,
  options: Pick<BlobOptions, 'signal' | 'stallTimeoutMs'> & {
    readonly sha256?: string;
    readonly sizeBytesMax?: number;
  },
): Promise<Pinned> {
  const what = whatFrom(wanted, place);
  const file = place instanceof URL && place.protocol === 'file:';
  let added: Pinned;
  try {
    added = await store.add(what, open(place, what, options), options.sizeBytesMax);
  } catch (cause) {
    if (cause instanceof Rejection || cause instanceof Unavailable) throw cause;
    options.signal?.throwIfAborted();
    throw asFetchFault(cause, what, file);
  }
  if (options.sha256 !== undefined && added.sha256 !== options.sha256) {
    throw BUILDER.reject(
      'FETCH_DIGEST_MISMATCH',
      `expected ${what} with SHA-256 ${options.sha256}, got ${added.sha256}`,
    );
  }
  return added;
}

const URL_LENGTH_MAX = 300;

/** What is fetched and where from, without who asks: that is nobody else's. */
function whatFrom(what: string, place: Place): string {
  const given = place instanceof URL ? place.href : place.from;
  const from = withoutUser(given);
  return `${what} from ${from.length > URL_LENGTH_MAX ? `${from.slice(0, URL_LENGTH_MAX)}…` : from}`;
}

function withoutUser(text: string): string {
  return printable(text.replace(/([a-z+]+:\/\/)[^/\s]*@/g, '$1'));
}

function open(
  place: Place,
  what: string,
  options: Pick<BlobOptions, 'signal' | 'stallTimeoutMs'>,
): AsyncIterable<Uint8Array> {
  if (!(place instanceof URL)) return place.read(options.signal);
  return place.protocol === 'file:' ? readMirror(place, what) : download(place, what, options);
}

/** What the platform says of a failed download, in our words. */
function asFetchFault(cause: unknown, what: string, file: boolean): unknown {
  const code = (cause as NodeJS.ErrnoException).code;
  if (file && code === 'ENOENT') return gone(what, code);
  const reason = (cause as { cause?: { code?: string } }).cause?.code ?? code ?? (cause as Error).message;
  // undici reports a body that ends before its Content-Length this way.
  if (reason === 'UND_ERR_SOCKET' || reason === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
    return BUILDER.unavailable('FETCH_TRUNCATED', `expected ${what} whole, got fewer bytes than announced`, {
      cause,
    });
  }
  return BUILDER.unavailable('FETCH_UNREACHABLE', `expected ${what}, got ${withoutUser(reason)}`, {
    cause,
  });
}

function gone(what: string, got: string): Rejection {
  return BUILDER.reject('FETCH_GONE', `expected ${what}, got ${got}`);
}

async function* readMirror(url: URL, what: string): AsyncIterable<Uint8Array> {
  const path = fileURLToPath(url);
  // Whoever wrote the lock may name a pipe of this machine, which nobody ever writes to.
  if (!(await stat(path)).isFile()) throw gone(what, 'something that is no file');
  yield* createReadStream(path);
}

/** The body of a response, with a limit on silence rather than on the whole: packages may be large and networks slow. */
export async function* download(
  url: URL,
  what: string,
  options: Pick<BlobOptions, 'signal' | 'stallTimeoutMs'> & { readonly headers?: Record<string, string> },
): AsyncGenerator<Uint8Array> {
  const stalled = new AbortController();
  const timeoutMs = options.stallTimeoutMs ?? 30_000;
  const stall = () =>
    stalled.abort(
      BUILDER.unavailable('FETCH_UNREACHABLE', `expected ${what}, got nothing for ${timeoutMs} ms`),
    );
  let timer = setTimeout(stall, timeoutMs);
  const signal = AbortSignal.any([stalled.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    const response = await fetch(url, {
      signal,
      headers: { 'accept-encoding': 'identity', ...options.headers },
    });
    if (response.status === 404 || response.status === 410) throw gone(what, `status ${response.status}`);
    if (!response.ok || response.body === null) {
      throw BUILDER.unavailable(
        'FETCH_UNREACHABLE',
        `expected ${what} with status 200, got ${response.status}`,
      );
    }
    for await (const chunk of response.body) {
      clearTimeout(timer);
      yield chunk;
      timer = setTimeout(stall, timeoutMs);
    }
  } finally {
    clearTimeout(timer);
  }
}
