// SPDX-License-Identifier: Apache-2.0
// Which targets a delegation covers [TUF-1.0.34 §4.5]: by patterns of paths, or by the first digits of the path's SHA-256.

import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import { utf8Encode } from '../encoding/utf8.ts';
import type { Delegation } from './roles.ts';

/** True if the delegation covers a target of this name. */
export function isCovered(delegation: Delegation, name: string, hasher: Pick<Crypto, 'sha256'>): boolean {
  const { paths, pathHashPrefixes } = delegation;
  if (paths !== undefined) return paths.some((pattern) => matchesPath(pattern, name));
  const bytes = pathHashPrefixes === undefined ? undefined : utf8Encode(name);
  if (bytes === undefined) return false;
  const digest = hexEncode(hasher.sha256(bytes));
  return pathHashPrefixes?.some((prefix) => digest.startsWith(prefix)) ?? false;
}

/** `*` and `?` stand for characters of one segment, never for a slash; everything else for itself. */
export function matchesPath(pattern: string, name: string): boolean {
  const segments = name.split('/');
  const wanted = pattern.split('/');
  return (
    segments.length === wanted.length && wanted.every((part, i) => matchesSegment(part, segments[i] ?? ''))
  );
}

/** Of all stars only the last one met is tried again, so that the time is at most the product of the two lengths. */
function matchesSegment(pattern: string, text: string): boolean {
  const [wanted, found] = [[...pattern], [...text]];
  let [p, t, star, resume] = [0, 0, -1, 0];
  while (t < found.length) {
    if (wanted[p] === '*') {
      [star, resume] = [p, t];
      p++;
    } else if (p < wanted.length && (wanted[p] === '?' || wanted[p] === found[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      resume++;
      t = resume;
    } else return false;
  }
  while (wanted[p] === '*') p++;
  return p === wanted.length;
}
