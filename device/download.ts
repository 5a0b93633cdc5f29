// SPDX-License-Identifier: Apache-2.0
// The image as a stream. It is believed only after it was hashed; here it may only not hang.

import { quote } from '../core/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceHost } from './host.ts';

/** Silence after which a download is given up. */
export const IDLE_TIMEOUT_MS = 30_000;
/** What a timer can hold. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** The bytes at a URL, as they come; on the whole a millisecond a byte is allowed: slow links are, and drips end. @throws UPDATE_DOWNLOAD_INTERRUPTED, UPDATE_CANCELLED */
export async function* downloadImage(
  host: DeviceHost,
  url: string,
  cancel: AbortSignal,
  limits: { readonly idleTimeoutMs: number; readonly sizeBytes: number },
): AsyncGenerator<Uint8Array> {
  const { idleTimeoutMs, sizeBytes } = limits;
  const deadline = AbortSignal.timeout(Math.min(idleTimeoutMs + sizeBytes, TIMEOUT_MS_MAX));
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), idleTimeoutMs);
  try {
    const response = await host.fetch(url, {
      redirect: 'error',
      signal: AbortSignal.any([cancel, silence.signal, deadline]),
    });
    if (!response.ok || response.body === null) throw new Error(`HTTP status ${response.status}`);
    for await (const chunk of response.body) {
      clearTimeout(timer);
      yield chunk;
      timer = setTimeout(() => silence.abort(), idleTimeoutMs);
    }
  } catch (cause) {
    if (cancel.aborted)
      throw DEVICE.unavailable('UPDATE_CANCELLED', 'cancelled during the download', { cause });
    const slow = deadline.aborted ? 'less than 1000 bytes a second' : reasonOf(cause);
    const why = silence.signal.aborted ? `no byte for ${idleTimeoutMs / 1000} s` : slow;
    throw DEVICE.unavailable('UPDATE_DOWNLOAD_INTERRUPTED', `could not download ${quote(url)}: ${why}`, {
      cause,
    });
  } finally {
    clearTimeout(timer);
  }
}

function reasonOf(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const code = (inner as { code?: unknown }).code;
  return typeof code === 'string' ? code : quote(inner instanceof Error ? inner.message : String(inner));
}
