// SPDX-License-Identifier: Apache-2.0
// Base64 [RFC4648 §4], with padding, canonical: non-zero trailing bits and foreign characters are refused [RFC4648 §3.3, §3.5].

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < 64; i++) VALUES[ALPHABET.charCodeAt(i)] = i;

/** Two characters for each value of 12 bits. */
const PAIRS: readonly string[] = Array.from(
  { length: 4096 },
  (_, n) => ALPHABET.charAt(n >> 6) + ALPHABET.charAt(n & 63),
);

/** Encodes with padding. */
export function base64Encode(bytes: Uint8Array): string {
  const whole = bytes.length - (bytes.length % 3);
  let out = '';
  for (let i = 0; i < whole; i += 3) {
    const n = ((bytes[i] as number) << 16) | ((bytes[i + 1] as number) << 8) | (bytes[i + 2] as number);
    out += (PAIRS[n >> 12] as string) + (PAIRS[n & 4095] as string);
  }
  if (whole === bytes.length) return out;
  const n = ((bytes[whole] as number) << 16) | ((bytes[whole + 1] ?? 0) << 8);
  return `${out}${PAIRS[n >> 12]}${bytes.length - whole === 2 ? ALPHABET.charAt((n >> 6) & 63) : '='}=`;
}

/** Decodes canonical base64; anything else returns undefined. */
export function base64Decode(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const out = new Uint8Array((text.length / 4) * 3 - padding);
  const whole = text.length - (padding === 0 ? 0 : 4);
  let n = 0;
  for (let i = 0; i < whole; i += 4) {
    const a = VALUES[text.charCodeAt(i)] ?? -1;
    const b = VALUES[text.charCodeAt(i + 1)] ?? -1;
    const c = VALUES[text.charCodeAt(i + 2)] ?? -1;
    const d = VALUES[text.charCodeAt(i + 3)] ?? -1;
    if ((a | b | c | d) < 0) return undefined;
    out[n++] = (a << 2) | (b >> 4);
    out[n++] = (b << 4) | (c >> 2);
    out[n++] = (c << 6) | d;
  }
  if (padding === 0) return out;
  // The bits that no octet has room for are zero.
  const a = VALUES[text.charCodeAt(whole)] ?? -1;
  const b = VALUES[text.charCodeAt(whole + 1)] ?? -1;
  const c = padding === 2 ? 0 : (VALUES[text.charCodeAt(whole + 2)] ?? -1);
  if ((a | b | c) < 0 || ((padding === 2 ? b << 4 : c << 6) & 0xff) !== 0) return undefined;
  out[n++] = (a << 2) | (b >> 4);
  if (padding === 1) out[n] = (b << 4) | (c >> 2);
  return out;
}
