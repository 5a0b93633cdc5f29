// SPDX-License-Identifier: Apache-2.0
// The form of metadata that signatures cover [TUF-1.0.34 §4.1]: OLPC canonical JSON. Names in the order of their code points, no
// white space, in strings nothing escaped but quote and backslash, whole numbers alone.

import type { Json, JsonObject } from '../encoding/strict-json.ts';
import { utf8 } from '../encoding/utf8.ts';

/** The canonical bytes of a value that `parseStrictJson` could return; undefined if a number in it is not whole. */
export function canonicalMetadata(value: Json): Uint8Array | undefined {
  const parts: string[] = [];
  return append(value, parts) ? utf8(parts.join('')) : undefined;
}

function append(value: Json, parts: string[]): boolean {
  if (typeof value === 'string') parts.push(quoted(value));
  else if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) return false;
    parts.push(String(value));
  } else if (value === null || typeof value === 'boolean') parts.push(String(value));
  else if (Array.isArray(value)) {
    return between('[', ']', value, parts, (element: Json) => append(element, parts));
  } else {
    const object = value as JsonObject;
    return between('{', '}', Object.keys(object).sort(byCodePoint), parts, (name) => {
      parts.push(quoted(name), ':');
      return append(object[name] as Json, parts);
    });
  }
  return true;
}

function between<T>(
  open: string,
  close: string,
  members: readonly T[],
  parts: string[],
  add: (member: T) => boolean,
): boolean {
  parts.push(open);
  for (const [i, member] of members.entries()) {
    if (i > 0) parts.push(',');
    if (!add(member)) return false;
  }
  parts.push(close);
  return true;
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** As their UTF-8 bytes would be sorted: in UTF-16 surrogates stand before U+E000, in Unicode behind U+FFFF. */
function byCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
