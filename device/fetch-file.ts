// SPDX-License-Identifier: Apache-2.0
// One bounded HTTP download into memory: limits before work, no redirects, neither silence nor a drip.

import { quote } from '../core/faults.ts';
import { TUF } from '../core/tuf/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceHost } from './host.ts';

export interface FetchLimits {
  readonly sizeBytesMax: number;
  /** Silence after which it is given up. On the whole it may take that and a millisecond for each byte that came: slow links are, and drips end. */
  readonly idleTimeoutMs: number;
  /** What it means if the file is longer. */
  readonly tooLong: 'TUF_METADATA_MALFORMED' | 'TUF_TARGET_DIGEST';
}

class TooLong extends Error {}

/**
 * Fetches a URL whole; 404 and 403 return undefined, as TUF asks for roots [TUF-1.0.34 §5.3.3].
 * @throws TUF_UNREACHABLE, and `tooLong`
 */
export async function fetchFile(
  host: Pick<DeviceHost, 'fetch'>,
  url: string,
  limits: FetchLimits,
): Promise<Uint8Array | undefined> {
  const { sizeBytesMax, idleTimeoutMs } = limits;
  const watch = new Watch(idleTimeoutMs);
  try {
    const response = await host.fetch(url, { redirect: 'error', signal: watch.signal });
    if (response.status === 404 || response.status === 403) {
      await response.body?.cancel();
      return undefined;
    }
    if (!response.ok || response.body === null) throw new Error(`HTTP status ${response.status}`);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of response.body) {
      size += chunk.length;
      if (size > sizeBytesMax) throw new TooLong();
      watch.came(size);
      chunks.push(chunk);
    }
    return new Uint8Array(Buffer.concat(chunks));
  } catch (cause) {
    if (cause instanceof TooLong) {
      const expected = `expected at most ${sizeBytesMax} bytes from ${quote(url)}, got more`;
      throw TUF.reject(limits.tooLong, expected);
    }
    throw DEVICE.unavailable('TUF_UNREACHABLE', `could not fetch ${quote(url)}: ${reason(cause)}`, { cause });
  } finally {
    watch.end();
  }
}

/** Gives up when too little comes for too long. */
class Watch {
  private readonly abort = new AbortController();
  private readonly idleTimeoutMs: number;
  private readonly startedMs = performance.now();
  private timer: NodeJS.Timeout;

  constructor(idleTimeoutMs: number) {
    this.idleTimeoutMs = idleTimeoutMs;
    this.timer = this.set(idleTimeoutMs);
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /** So many bytes came until now. */
  came(sizeBytes: number): void {
    const leftMs = this.startedMs + this.idleTimeoutMs + sizeBytes - performance.now();
    clearTimeout(this.timer);
    this.timer = this.set(Math.min(this.idleTimeoutMs, leftMs));
  }

  end(): void {
    clearTimeout(this.timer);
  }

  private set(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => this.abort.abort(new Error('timed out')), Math.max(0, delayMs));
  }
}

function reason(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const code = (inner as { code?: unknown }).code;
  return typeof code === 'string' ? code : quote(inner instanceof Error ? inner.message : String(inner));
}
