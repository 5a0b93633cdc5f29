// SPDX-License-Identifier: Apache-2.0
// JSON Canonicalization Scheme [RFC8785 §3.2]: names sorted by UTF-16 code units, no white space, ECMAScript numbers.

import type { Json, JsonObject } from './strict-json.ts';
import { utf8 } from './utf8.ts';

/** The canonical text of a value that `parseStrictJson` could return. */
export function formatCanonicalJson(value: Json): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(formatCanonicalJson).join(',')}]`;
  const object = value as JsonObject;
  const members = Object.keys(object)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${formatCanonicalJson(object[name] as Json)}`);
  return `{${members.join(',')}}`;
}

/** The canonical bytes of a value. */
export function canonicalJsonBytes(value: Json): Uint8Array {
  return utf8(formatCanonicalJson(value));
}
