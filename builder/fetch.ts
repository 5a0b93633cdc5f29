// SPDX-License-Identifier: Apache-2.0
// Fetching locked packages into the store. The only file of the builder that opens a socket.

import { createReadStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Rejection, Unavailable } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import type { LockedPackage } from './lock-file.ts';
import type { ContentStore } from './store.ts';

export interface FetchOptions {
  /** Gives the mirror of a package; asked only if something has to be fetched. Ends in a slash. */
  readonly mirrorOf: (entry: LockedPackage) => Promise<string>;
  readonly signal?: AbortSignal | undefined;
  /** Longest silence of a mirror. */
  readonly stallTimeoutMs?: number;
  readonly onProgress?: (done: {
    readonly count: number;
    readonly of: number;
    readonly sizeBytes: number;
  }) => void;
}

/** Downloads at once; a mirror is shared with others. */
const CONCURRENCY = 4;

/**
 * Makes sure that the store holds every package, by digest. What is there already is hashed again, not fetched.
 * @throws FETCH_UNREACHABLE, FETCH_TRUNCATED, FETCH_GONE, FETCH_TOO_LARGE, FETCH_DIGEST_MISMATCH, FETCH_STORE_UNWRITABLE
 */
export async function fetchPackages(
  store: ContentStore,
  packages: readonly LockedPackage[],
  options: FetchOptions,
): Promise<{ readonly fetchedSizeBytes: number }> {
  const missing: LockedPackage[] = [];
  for (const entry of packages) {
    options.signal?.throwIfAborted();
    if (!(await store.holds(entry))) missing.push(entry);
  }
  // One failure stops the other downloads, and is the one reported.
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const waiting = [...missing];
  let count = 0;
  let fetchedSizeBytes = 0;
  const work = async () => {
    for (let entry = waiting.shift(); entry !== undefined; entry = waiting.shift()) {
      await fetchPackage(store, entry, { ...options, signal });
      fetchedSizeBytes += entry.sizeBytes;
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
  return { fetchedSizeBytes };
}

async function fetchPackage(store: ContentStore, entry: LockedPackage, options: FetchOptions): Promise<void> {
  const what = `${entry.name} ${entry.version}`;
  const encoded = entry.path.split('/').map(encodeURIComponent).join('/');
  const url = new URL(encoded, await options.mirrorOf(entry));
  try {
    await store.take(entry, what, url.protocol === 'file:' ? readMirror(url) : download(url, what, options));
  } catch (cause) {
    if (cause instanceof Rejection || cause instanceof Unavailable) throw cause;
    options.signal?.throwIfAborted();
    const code = (cause as NodeJS.ErrnoException).code;
    if (url.protocol === 'file:' && code === 'ENOENT') throw gone(what, code);
    const reason = (cause as { cause?: { code?: string } }).cause?.code ?? code ?? (cause as Error).message;
    // undici reports a body that ends before its Content-Length this way.
    if (reason === 'UND_ERR_SOCKET' || reason === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
      throw BUILDER.unavailable(
        'FETCH_TRUNCATED',
        `expected ${entry.sizeBytes} bytes of ${what}, got fewer`,
        {
          cause,
        },
      );
    }
    throw BUILDER.unavailable('FETCH_UNREACHABLE', `expected ${what} from the mirror, got ${reason}`, {
      cause,
    });
  }
}

function gone(what: string, got: string): Rejection {
  return BUILDER.reject('FETCH_GONE', `expected ${what} on the mirror, got ${got}`);
}

async function* readMirror(url: URL): AsyncIterable<Uint8Array> {
  yield* createReadStream(fileURLToPath(url));
}

/** The body of a response, with a limit on silence rather than on the whole: packages may be large and networks slow. */
async function* download(url: URL, what: string, options: FetchOptions): AsyncIterable<Uint8Array> {
  const stalled = new AbortController();
  const timeoutMs = options.stallTimeoutMs ?? 30_000;
  const stall = () =>
    stalled.abort(
      BUILDER.unavailable('FETCH_UNREACHABLE', `expected ${what}, got nothing for ${timeoutMs} ms`),
    );
  let timer = setTimeout(stall, timeoutMs);
  const signal = AbortSignal.any([stalled.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    const response = await fetch(url, { signal, headers: { 'accept-encoding': 'identity' } });
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
