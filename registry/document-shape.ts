// SPDX-License-Identifier: Apache-2.0
// How much there is in a JSON document, told before it is parsed: time goes into members and elements, far more than into long
// strings, and whoever sends a document to the registry may have signed nothing.

/** Of signed evidence, whose payload is base64 and has none. */
export const EVIDENCE_STRUCTURE_MAX = 4096;

const COUNTED = [',', ':', '[', '{'];

/** True if a document has more commas, colons and opening brackets than that, wherever they stand. */
export function isCrowded(bytes: Uint8Array, most: number): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  for (const mark of COUNTED) {
    for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + 1)) {
      if (++count > most) return true;
    }
  }
  return false;
}
