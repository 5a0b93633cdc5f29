// SPDX-License-Identifier: Apache-2.0
// What a log serves, over plain HTTP [C2SP-tlog-tiles-v0.1.0 §APIs]: its checkpoint, tiles and bundles of entries. Nothing of it is believed here.

import { setTimeout as wait } from 'node:timers/promises';
import { utf8Decode } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { LIMITS } from '../../core/limits.ts';
import { hashPart, type ProofPart, type TreeNode } from '../../core/tlog/merkle.ts';
import { FULL_WIDTH, formatTilePath, type TilePath } from '../../core/tlog/tile-path.ts';
import { HASH_BYTES, HashTile, hashesAtLevel, nodeHasher, tileOf } from '../log/hash-tiles.ts';
import { MONITOR } from '../monitor-faults.ts';

const REQUEST_MS = 20_000;
/** How long after a failed request it is tried again; then it counts as failed. */
const RETRIES_MS = [250, 1000];
/** A full bundle of the largest entries, with their lengths. */
const BUNDLE_SIZE_BYTES_MAX = FULL_WIDTH * (2 + LIMITS.logEntrySizeBytes);

/** Which a bundle of signatures, or of certificates, rarely is: 4 KiB an entry. */
const USUAL_BUNDLE_SIZE_BYTES = 1024 * 1024;

/** What a document is asked for with. */
interface Asking {
  readonly sizeBytesMax: number;
  readonly signal?: AbortSignal | undefined;
  readonly headers?: Record<string, string>;
  readonly redirect?: 'follow';
}

/** Asks for a document; undefined if there is none (404). @throws MONITOR_LOG_UNREACHABLE, MONITOR_LOG_UNREADABLE, the signal's reason */
export async function get(url: string, options: Asking): Promise<Uint8Array | undefined> {
  const answer = await getIfSmall(url, options);
  if (answer !== 'too large') return answer;
  throw unreadable(`expected at most ${options.sizeBytesMax} bytes at ${quote(url)}`);
}

/** The same, where a document that is too large is no failure. */
async function getIfSmall(url: string, options: Asking): Promise<Uint8Array | undefined | 'too large'> {
  for (let tries = 0; ; tries++) {
    try {
      return await getOnce(url, options);
    } catch (failure) {
      options.signal?.throwIfAborted();
      const delayMs = RETRIES_MS[tries];
      if (delayMs === undefined) throw failure;
      await wait(delayMs, undefined, { signal: options.signal });
    }
  }
}

async function getOnce(
  url: string,
  { sizeBytesMax, signal, headers = {}, redirect }: Asking,
): Promise<Uint8Array | undefined | 'too large'> {
  const timeout = AbortSignal.timeout(REQUEST_MS);
  const unreachable = (why: string, cause?: unknown) =>
    MONITOR.unavailable('MONITOR_LOG_UNREACHABLE', `expected an answer at ${quote(url)}, got ${why}`, {
      cause,
    });
  let response: Response;
  // One buffer, filled in place: of what is as large as it may be there are no two copies. What is not written to takes no memory.
  const whole = new Uint8Array(sizeBytesMax);
  let sizeBytes = 0;
  try {
    response = await fetch(url, {
      headers,
      redirect: redirect ?? 'error',
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    for await (const chunk of response.body ?? []) {
      sizeBytes += chunk.length;
      if (sizeBytes > sizeBytesMax) break;
      whole.set(chunk, sizeBytes - chunk.length);
    }
  } catch (cause) {
    const { code } = ((cause as Error).cause ?? {}) as { code?: string };
    throw unreachable(code ?? (timeout.aborted ? `none in ${REQUEST_MS} ms` : 'a broken connection'), cause);
  }
  if (response.status === 404) return undefined;
  if (response.status !== 200) throw unreachable(`status ${response.status}`);
  if (sizeBytes > sizeBytesMax) return 'too large';
  return whole.subarray(0, sizeBytes);
}

export class LogReader {
  readonly #base: string;
  readonly #entries: 'entries' | 'data';

  /** `base` has no slash at its end. */
  constructor(base: string, entries: 'entries' | 'data') {
    this.#base = base;
    this.#entries = entries;
  }

  /** The checkpoint as it is served now. @throws MONITOR_LOG_UNREACHABLE, MONITOR_LOG_UNREADABLE */
  async checkpoint(signal?: AbortSignal): Promise<string> {
    const bytes = await get(`${this.#base}/checkpoint`, { sizeBytesMax: LIMITS.noteSizeBytes, signal });
    const note = bytes === undefined ? undefined : utf8Decode(bytes);
    if (note === undefined) throw unreadable('expected a checkpoint, got none');
    return note;
  }

  /** The bundle of entries at an index, at least `width` of them: the full one where there is one. */
  async bundle(index: bigint, width: number, signal?: AbortSignal): Promise<Uint8Array> {
    const path = { level: this.#entries, index, width };
    return small(await this.#tile(path, BUNDLE_SIZE_BYTES_MAX, signal), path);
  }

  /** The same if it is of a usual size, as several may be held at once; undefined if it is larger. */
  async usualBundle(index: bigint, width: number, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    const path = { level: this.#entries, index, width };
    const found = await this.#tile(path, USUAL_BUNDLE_SIZE_BYTES, signal);
    return found === 'too large' ? undefined : found;
  }

  /** Hashes of parts of the tree of `size` leaves, from its tiles. */
  async hashes(parts: readonly ProofPart[], size: bigint, signal?: AbortSignal): Promise<Uint8Array[]> {
    const tiles = new Map<string, HashTile>();
    const keyOf = (node: TreeNode) => `${tileOf(node).level}/${tileOf(node).tile}`;
    for (const node of parts.flat()) {
      if (tiles.has(keyOf(node))) continue;
      const { level, tile: index } = tileOf(node);
      const count = hashesAtLevel(size, level) - index * BigInt(FULL_WIDTH);
      const width = count < FULL_WIDTH ? Number(count) : FULL_WIDTH;
      const path = { level, index, width };
      const bytes = small(await this.#tile(path, FULL_WIDTH * HASH_BYTES, signal), path);
      if (bytes.length < width * HASH_BYTES)
        throw unreadable(`expected ${width} hashes in a tile, got fewer`);
      tiles.set(keyOf(node), HashTile.of(bytes.slice(0, width * HASH_BYTES)));
    }
    const read = (node: TreeNode) => {
      const { height, index } = tileOf(node);
      return (tiles.get(keyOf(node)) as HashTile).subtree(height, index);
    };
    return parts.map((part) => hashPart(part, read, nodeHasher));
  }

  /** A partial tile may go once the full one is there [C2SP-tlog-tiles-v0.1.0 §Merkle Tree]. */
  async #tile(path: TilePath, sizeBytesMax: number, signal?: AbortSignal): Promise<Uint8Array | 'too large'> {
    const ask = (width: number) =>
      getIfSmall(`${this.#base}/${formatTilePath({ ...path, width })}`, { sizeBytesMax, signal });
    const found = (await ask(path.width)) ?? (path.width < FULL_WIDTH ? await ask(FULL_WIDTH) : undefined);
    if (found === undefined) throw unreadable(`expected ${formatTilePath(path)}, got none`);
    return found;
  }
}

function small(tile: Uint8Array | 'too large', path: TilePath): Uint8Array {
  if (tile !== 'too large') return tile;
  throw unreadable(`expected ${formatTilePath(path)} of a size that entries can have, got a larger one`);
}

/** The fault for what a log serves and did not sign. */
export function unreadable(message: string, cause?: unknown) {
  return MONITOR.unavailable('MONITOR_LOG_UNREADABLE', message, { cause });
}
