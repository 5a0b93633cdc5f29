// SPDX-License-Identifier: Apache-2.0
// One bounded HTTP download: limits before work, no redirects, a deadline.

import { quote } from '../core/faults.ts';
import { TUF } from '../core/tuf/faults.ts';
import { PEERS } from './faults.ts';

export interface DownloadLimits {
  readonly sizeBytesMax: number;
  /** Silence after which it is given up. On the whole it may take that and a millisecond a byte: slow links are, and drips end. */
  readonly idleTimeoutMs: number;
  /** What it means if the file is longer. */
  readonly tooLong: 'TUF_METADATA_MALFORMED' | 'TUF_TARGET_DIGEST';
}

class TooLong extends Error {}

/**
 * Fetches a URL whole; 404 and 403 return undefined, as TUF asks for roots [TUF-1.0.34 §5.3.3].
 * @throws TUF_UNREACHABLE, and `tooLong`
 */
export async function download(url: string, limits: DownloadLimits): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  const silence = new AbortController();
  const watch = () => setTimeout(() => silence.abort(new Error('timed out')), limits.idleTimeoutMs);
  const deadline = AbortSignal.timeout(limits.idleTimeoutMs + limits.sizeBytesMax);
  let timer = watch();
  try {
    const signal = AbortSignal.any([silence.signal, deadline]);
    const response = await fetch(url, { redirect: 'error', signal });
    if (response.status === 404 || response.status === 403) {
      await response.body?.cancel();
      return undefined;
    }
    if (!response.ok || response.body === null) throw new Error(`HTTP status ${response.status}`);
    let size = 0;
    for await (const chunk of response.body) {
      clearTimeout(timer);
      timer = watch();
      size += chunk.length;
      if (size > limits.sizeBytesMax) throw new TooLong();
      chunks.push(chunk);
    }
    return new Uint8Array(Buffer.concat(chunks));
  } catch (cause) {
    if (cause instanceof TooLong) {
      throw TUF.reject(
        limits.tooLong,
        `expected at most ${limits.sizeBytesMax} bytes from ${quote(url)}, got more`,
      );
    }
    throw PEERS.unavailable('TUF_UNREACHABLE', `could not fetch ${quote(url)}: ${reason(cause)}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

function reason(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const code = (inner as { code?: unknown }).code;
  return typeof code === 'string' ? code : quote(inner instanceof Error ? inner.message : String(inner));
}
