// SPDX-License-Identifier: Apache-2.0
// UTF-8 [RFC3629 §3, §4], for hosts without TextEncoder (QuickJS). Overlong forms, surrogates and code points
// past U+10FFFF are refused.

/** Most text: one octet a character, and no more room than that. Undefined if a character needs more. */
function asciiEncode(text: string): Uint8Array | undefined {
  const out = new Uint8Array(text.length);
  for (let i = 0; i < out.length; i++) {
    const c = text.charCodeAt(i);
    if (c > 0x7f) return undefined;
    out[i] = c;
  }
  return out;
}

/** Encodes a string; a lone surrogate returns undefined, since it has no UTF-8 form. */
export function utf8Encode(text: string): Uint8Array | undefined {
  const ascii = asciiEncode(text);
  if (ascii !== undefined) return ascii;
  const out = new Uint8Array(text.length * 3);
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    let c = text.charCodeAt(i);
    if (c >= 0xd800 && c <= 0xdfff) {
      const low = i + 1 < text.length ? text.charCodeAt(i + 1) : 0;
      if (c > 0xdbff || low < 0xdc00 || low > 0xdfff) return undefined;
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
      i++;
    }
    if (c < 0x80) out[n++] = c;
    else if (c < 0x800) {
      out[n++] = 0xc0 | (c >> 6);
      out[n++] = 0x80 | (c & 63);
    } else if (c < 0x10000) {
      out[n++] = 0xe0 | (c >> 12);
      out[n++] = 0x80 | ((c >> 6) & 63);
      out[n++] = 0x80 | (c & 63);
    } else {
      out[n++] = 0xf0 | (c >> 18);
      out[n++] = 0x80 | ((c >> 12) & 63);
      out[n++] = 0x80 | ((c >> 6) & 63);
      out[n++] = 0x80 | (c & 63);
    }
  }
  return out.slice(0, n);
}

/** Encodes text known to be well formed (constants, ASCII, text decoded by `utf8Decode`). */
export function utf8(text: string): Uint8Array {
  const bytes = utf8Encode(text);
  if (bytes === undefined) throw new TypeError('lone surrogate in text that must be well formed');
  return bytes;
}

/** Decodes strictly; ill-formed input returns undefined. */
export function utf8Decode(bytes: Uint8Array): string | undefined {
  const parts: string[] = [];
  let i = 0;
  while (i < bytes.length) {
    // Most text is ASCII, which is taken over as it is, in pieces that a call can have as arguments.
    const start = i;
    const most = Math.min(bytes.length, start + 4096);
    while (i < most && (bytes[i] as number) < 0x80) i++;
    if (i > start) {
      parts.push(String.fromCharCode.apply(null, bytes.subarray(start, i) as unknown as number[]));
      continue;
    }
    const b = bytes[i] as number;
    const length = b >= 0xc2 && b < 0xe0 ? 2 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xf0 && b < 0xf5 ? 4 : 0;
    if (length === 0 || i + length > bytes.length) return undefined;
    let c = b & (0xff >> (length + 1));
    for (let k = 1; k < length; k++) {
      const next = bytes[i + k] as number;
      if ((next & 0xc0) !== 0x80) return undefined;
      c = (c << 6) | (next & 63);
    }
    const overlong = (length === 3 && c < 0x800) || (length === 4 && (c < 0x10000 || c > 0x10ffff));
    if (overlong || (c >= 0xd800 && c <= 0xdfff)) return undefined;
    parts.push(String.fromCodePoint(c));
    i += length;
  }
  return parts.join('');
}
