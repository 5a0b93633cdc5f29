// SPDX-License-Identifier: Apache-2.0
// Lower-case hexadecimal [RFC4648 §8]. Stricter than [RFC4648 §8]: upper case is refused, so that a digest has one spelling.

/** Encodes in lower case. */
export function hexEncode(bytes: Uint8Array): string {
  let text = '';
  for (const b of bytes) text += (b < 16 ? '0' : '') + b.toString(16);
  return text;
}

/** Decodes lower-case hex of even length; anything else returns undefined. */
export function hexDecode(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) return undefined;
  const out = new Uint8Array(text.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return out;
}
