// SPDX-License-Identifier: Apache-2.0
// Base64 [RFC4648 §4], with padding, canonical: non-zero trailing bits and foreign characters are refused [RFC4648 §3.3, §3.5].

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < 64; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

/** Encodes with padding. */
export function base64Encode(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const n = ((bytes[i] as number) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    parts.push(
      ALPHABET.charAt(n >> 18) +
        ALPHABET.charAt((n >> 12) & 63) +
        (left > 1 ? ALPHABET.charAt((n >> 6) & 63) : '=') +
        (left > 2 ? ALPHABET.charAt(n & 63) : '='),
    );
  }
  return parts.join('');
}

/** Decodes canonical base64; anything else returns undefined. */
export function base64Decode(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const out = new Uint8Array((text.length / 4) * 3 - padding);
  let n = 0;
  for (let i = 0; i < text.length; i += 4) {
    const last = i + 4 === text.length;
    let group = 0;
    for (let k = 0; k < 4; k++) {
      const c = text.charCodeAt(i + k);
      const pad = last && k >= 4 - padding;
      const v = pad ? 0 : c < 128 ? (VALUES[c] as number) : -1;
      if (v < 0) return undefined;
      group = (group << 6) | v;
    }
    if (last && ((padding === 1 && group & 0xff) || (padding === 2 && group & 0xffff))) return undefined;
    for (let k = 16; k >= 0 && n < out.length; k -= 8) out[n++] = (group >> k) & 0xff;
  }
  return out;
}
