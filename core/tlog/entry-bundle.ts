// SPDX-License-Identifier: Apache-2.0
// Entry bundles [C2SP-tlog-tiles-v0.1.0 §Log entries]: up to 256 entries, each after its length as a 16-bit number.

import { LIMITS } from '../limits.ts';
import { TLOG } from './faults.ts';
import { FULL_WIDTH } from './tile-path.ts';

/** Parses a bundle into its entries. @throws TLOG_BUNDLE_MALFORMED */
export function parseEntryBundle(bundle: Uint8Array): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (at < bundle.length) {
    const length = ((bundle[at] as number) << 8) | (bundle[at + 1] ?? 0);
    const end = at + 2 + length;
    if (end > bundle.length) {
      throw TLOG.reject(
        'TLOG_BUNDLE_MALFORMED',
        `expected an entry of ${length} bytes, got ${bundle.length - at} bytes with its length`,
        { at: `offset ${at}` },
      );
    }
    entries.push(bundle.subarray(at + 2, end));
    at = end;
  }
  checkCount(entries.length);
  return entries;
}

/** The bundle of 1 to 256 entries; `parseEntryBundle` is the inverse. @throws TLOG_BUNDLE_MALFORMED */
export function formatEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  checkCount(entries.length);
  const out = new Uint8Array(entries.reduce((sum, entry) => sum + 2 + entry.length, 0));
  let at = 0;
  for (const entry of entries) {
    if (entry.length > LIMITS.logEntrySizeBytes) {
      throw TLOG.reject(
        'TLOG_BUNDLE_MALFORMED',
        `expected entries of at most ${LIMITS.logEntrySizeBytes} bytes, got ${entry.length}`,
      );
    }
    out[at] = entry.length >> 8;
    out[at + 1] = entry.length & 255;
    out.set(entry, at + 2);
    at += 2 + entry.length;
  }
  return out;
}

function checkCount(count: number): void {
  if (count < 1 || count > FULL_WIDTH) {
    throw TLOG.reject('TLOG_BUNDLE_MALFORMED', `expected 1 to ${FULL_WIDTH} entries, got ${count}`);
  }
}
