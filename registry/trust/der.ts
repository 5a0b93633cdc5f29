// SPDX-License-Identifier: Apache-2.0
// A writer of DER [X.690 (02/2021) §8, §10], as much of it as certificates, signed timestamps and their requests need.
// Libraries that write ASN.1 issue some hundred certificates a second; this writer leaves the signature as the only cost.

/** Joins byte strings. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const out = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** One value: tag, length in the fewest octets, content. */
export function tlv(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of content) size += part.length;
  let more = 0;
  if (size >= 0x80) for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) more++;
  const out = new Uint8Array(2 + more + size);
  out[0] = tag;
  out[1] = more === 0 ? size : 0x80 | more;
  for (let at = 1 + more, rest = size; at > 1; at--, rest = Math.floor(rest / 256)) out[at] = rest & 0xff;
  let at = 2 + more;
  for (const part of content) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export const sequence = (...members: readonly Uint8Array[]): Uint8Array => tlv(0x30, ...members);
export const octetString = (bytes: Uint8Array): Uint8Array => tlv(0x04, bytes);
/** A bit string of whole octets. */
export const bitString = (bytes: Uint8Array): Uint8Array => tlv(0x03, Uint8Array.of(0), bytes);
export const boolean = (value: boolean): Uint8Array => tlv(0x01, Uint8Array.of(value ? 0xff : 0));
export const utf8String = (text: string): Uint8Array => tlv(0x0c, Buffer.from(text, 'utf8'));
/** A constructed context-specific tag: explicit, or implicit over a SEQUENCE or SET. */
export const context = (tag: number, ...members: readonly Uint8Array[]): Uint8Array =>
  tlv(0xa0 | tag, ...members);
/** A primitive context-specific tag: implicit over a string type. */
export const contextPrimitive = (tag: number, content: Uint8Array): Uint8Array => tlv(0x80 | tag, content);

/** A SET OF, its members in the order of their encodings [X.690 §11.6]. */
export function setOf(...members: readonly Uint8Array[]): Uint8Array {
  return tlv(0x31, ...[...members].sort(Buffer.compare));
}

/** A non-negative integer given as its big-endian magnitude. */
export function unsigned(magnitude: Uint8Array): Uint8Array {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const rest = magnitude.length === 0 ? Uint8Array.of(0) : magnitude.subarray(start);
  // A leading one bit would read as a negative number.
  return (rest[0] as number) & 0x80 ? tlv(0x02, Uint8Array.of(0), rest) : tlv(0x02, rest);
}

/** A small non-negative integer. */
export const small = (value: number): Uint8Array => unsigned(Uint8Array.of(value >> 8, value & 0xff));

const oids = new Map<string, Uint8Array>();

/** An object identifier in dotted form, one of those that the code names; arcs below 2^28. Worked out once. */
export function oid(dotted: string): Uint8Array {
  const known = oids.get(dotted) ?? encodeOid(dotted);
  oids.set(dotted, known);
  return known;
}

function encodeOid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...arcs] = dotted.split('.').map(Number);
  const out: number[] = [];
  for (const arc of [first * 40 + second, ...arcs]) {
    const digits = [arc & 0x7f];
    for (let rest = arc >> 7; rest > 0; rest >>= 7) digits.unshift(0x80 | (rest & 0x7f));
    out.push(...digits);
  }
  return tlv(0x06, Uint8Array.from(out));
}

/** An instant as GeneralizedTime in whole seconds, rounded down [RFC5280 §4.1.2.5.2]. */
export function generalizedTime(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().slice(0, 19).replace(/[-:T]/g, '');
  return tlv(0x18, Buffer.from(`${digits}Z`, 'latin1'));
}

/** An instant as certificates want it: UTCTime up to 2049, GeneralizedTime after [RFC5280 §4.1.2.5]. */
export function certificateTime(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().slice(0, 19).replace(/[-:T]/g, '');
  return digits < '2050' ? tlv(0x17, Buffer.from(`${digits.slice(2)}Z`, 'latin1')) : generalizedTime(ms);
}
