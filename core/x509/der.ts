// SPDX-License-Identifier: Apache-2.0
// A strict reader of DER [X.690 §8, §10, §11]: definite lengths in the fewest octets, tags of one octet, canonical booleans,
// integers, bit strings and object identifiers, nothing after the value. Limits come first; time is linear in the input.
// What certificates and signed timestamps do not use is not read: REAL, character sets, sets in order.

import { parseInstantMs } from '../encoding/document.ts';
import type { Rejection } from '../faults.ts';
import { LIMITS } from '../limits.ts';

/** Identifier octets, as X.509 and CMS use them. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The identifier octet of a context-specific tag. */
export function contextTag(number: number, form: 'primitive' | 'constructed'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number;
}

/** Makes the fault of the document that is being read. */
export type RefuseDer = (message: string, at: string) => Rejection;

/** One value with its tag. All reading methods throw the document's fault. Unauthenticated. */
export class DerNode {
  readonly tag: number;
  /** Tag, length and content. */
  readonly der: Uint8Array;
  readonly content: Uint8Array;
  /** Values inside; none in a primitive one. */
  readonly children: readonly DerNode[];
  /** Where it starts in the document. */
  readonly offset: number;
  private readonly refuse: RefuseDer;

  constructor(place: {
    tag: number;
    der: Uint8Array;
    content: Uint8Array;
    children: readonly DerNode[];
    offset: number;
    refuse: RefuseDer;
  }) {
    this.tag = place.tag;
    this.der = place.der;
    this.content = place.content;
    this.children = place.children;
    this.offset = place.offset;
    this.refuse = place.refuse;
  }

  /** The fault for this place. */
  wrong(message: string): Rejection {
    return this.refuse(message, `offset ${this.offset}`);
  }

  /** Refuses another tag; returns itself. */
  expect(tag: number): this {
    if (this.tag !== tag) throw this.wrong(`expected the tag ${hexTag(tag)}, got ${hexTag(this.tag)}`);
    return this;
  }

  /** Reads the values inside a constructed value of this tag, one after another. */
  members(tag: number = TAG.sequence): DerMembers {
    return new DerMembers(this.expect(tag));
  }

  /** The one value inside, as explicit tags have it. */
  only(): DerNode {
    const members = new DerMembers(this);
    const child = members.next();
    members.end();
    return child;
  }

  /** An object identifier in dotted form. */
  oid(): string {
    this.expect(TAG.oid);
    return oidText(this.content);
  }

  /** A non-negative integer below 2^53. */
  integer(): number {
    this.expect(TAG.integer);
    if ((this.content[0] as number) > 0x7f || this.content.length > 6) {
      throw this.wrong('expected an integer from 0 to 2^47');
    }
    return this.content.reduce((value, octet) => value * 256 + octet, 0);
  }

  boolean(): boolean {
    this.expect(TAG.boolean);
    return this.content[0] === 0xff;
  }

  octets(): Uint8Array {
    return this.expect(TAG.octetString).content;
  }

  /** A bit string of whole octets, as keys and signatures are. */
  bitStringOctets(): Uint8Array {
    this.expect(TAG.bitString);
    if (this.content[0] !== 0) throw this.wrong('expected a bit string of whole octets');
    return this.content.subarray(1);
  }

  /** The numbers of the bits that are set, of a bit string of named bits. */
  namedBits(): readonly number[] {
    this.expect(TAG.bitString);
    const bits: number[] = [];
    this.content.subarray(1).forEach((octet, i) => {
      for (let bit = 0; bit < 8; bit++) if ((octet & (0x80 >> bit)) !== 0) bits.push(8 * i + bit);
    });
    return bits;
  }

  /**
   * UTCTime or GeneralizedTime in UTC with seconds [RFC5280 §4.1.2.5], in milliseconds since 1970. Fractions of a second, which only
   * timestamps may have [RFC3161 §2.4.2], are rounded down.
   */
  timeMs(fractions: 'fractions' | 'whole seconds' = 'whole seconds'): number {
    const text = String.fromCharCode(...this.content.subarray(0, 40));
    const short = this.tag === TAG.utcTime;
    if (!short) this.expect(TAG.generalizedTime);
    const match = /^(\d\d|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d*[1-9])?Z$/.exec(text);
    const [, year = '', month, day, hour, minute, second, fraction] = match ?? [];
    const wide = year.length === 4;
    const century = wide ? '' : Number(year) >= 50 ? '19' : '20';
    const ms = parseInstantMs(`${century}${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
    const fractional = fraction !== undefined && (short || fractions === 'whole seconds');
    if (ms === undefined || wide === short || fractional || this.content.length > 40) {
      throw this.wrong('expected a time in UTC with seconds');
    }
    return ms;
  }
}

/** Reads the members of a constructed value in order. */
export class DerMembers {
  private readonly parent: DerNode;
  private at = 0;

  constructor(parent: DerNode) {
    this.parent = parent;
  }

  /** The next member, which must be there, and have this tag if one is given. */
  next(tag?: number): DerNode {
    const child = this.parent.children[this.at++];
    if (child === undefined) throw this.parent.wrong('expected one more value, found the end');
    return tag === undefined ? child : child.expect(tag);
  }

  /** The next member if it has this tag. */
  optional(tag: number): DerNode | undefined {
    if (this.parent.children[this.at]?.tag !== tag) return undefined;
    return this.parent.children[this.at++];
  }

  /** Refuses further members. */
  end(): void {
    const child = this.parent.children[this.at];
    if (child !== undefined) throw child.wrong(`expected the end, got the tag ${hexTag(child.tag)}`);
  }
}

/** Parses one value that fills the bytes. @throws the fault that `refuse` makes */
export function parseDer(bytes: Uint8Array, refuse: RefuseDer, sizeBytesMax = LIMITS.derSizeBytes): DerNode {
  if (bytes.length > sizeBytesMax) {
    throw refuse(`expected at most ${sizeBytesMax} bytes, got ${bytes.length}`, 'offset 0');
  }
  const node = readValue({ bytes, refuse }, 0, bytes.length, 0);
  if (node.der.length !== bytes.length) {
    throw refuse('expected the end of the value, found more', `offset ${node.der.length}`);
  }
  return node;
}

interface Source {
  readonly bytes: Uint8Array;
  readonly refuse: RefuseDer;
}

function readValue(source: Source, start: number, end: number, depth: number): DerNode {
  const { bytes, refuse } = source;
  const bad = (message: string) => refuse(message, `offset ${start}`);
  if (depth > LIMITS.derDepth) throw bad(`expected at most ${LIMITS.derDepth} levels`);
  const tag = bytes[start] as number;
  const first = bytes[start + 1];
  if (start + 2 > end || first === undefined) throw bad('expected a tag and a length, found the end');
  if ((tag & 0x1f) === 0x1f || tag === 0) throw bad('expected a tag of one octet');
  const width = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80 || width > 3 || start + 2 + width > end)
    throw bad('expected a definite length below 2^24');
  let length = width === 0 ? first : 0;
  for (let i = 0; i < width; i++) length = length * 256 + (bytes[start + 2 + i] as number);
  if (width > 0 && length < (width === 1 ? 0x80 : 256 ** (width - 1))) {
    throw bad('expected a length in the fewest octets');
  }
  const from = start + 2 + width;
  const to = from + length;
  if (to > end) throw bad(`expected ${length} octets of content, got ${end - from}`);
  const constructed = (tag & 0x20) !== 0;
  if (tag < 0x40) checkForm(tag, constructed, bad);
  const children: DerNode[] = [];
  if (constructed) {
    let at = from;
    while (at < to) {
      const child = readValue(source, at, to, depth + 1);
      children.push(child);
      at += child.der.length;
    }
  } else if (tag < 0x40) checkPrimitive(tag, bytes.subarray(from, to), bad);
  const der = bytes.subarray(start, to);
  return new DerNode({ tag, der, content: bytes.subarray(from, to), children, offset: start, refuse });
}

function checkForm(tag: number, constructed: boolean, bad: (message: string) => Rejection): void {
  const must = (tag | 0x20) === TAG.sequence || (tag | 0x20) === TAG.set;
  if (constructed !== must) throw bad(`expected a primitive value, or a sequence or set, got ${hexTag(tag)}`);
}

/** The values that have one encoding each [X.690 §8.3.2, §8.6.2, §8.19.2, §11.1, §11.2]. */
function checkPrimitive(tag: number, content: Uint8Array, bad: (message: string) => Rejection): void {
  const [first, second] = content;
  const last = content[content.length - 1];
  if (tag === TAG.boolean && (content.length !== 1 || (first !== 0 && first !== 0xff))) {
    throw bad('expected a boolean of 00 or ff');
  }
  if (tag === TAG.null && content.length !== 0) throw bad('expected an empty null');
  if (tag === TAG.integer) {
    const padded = second !== undefined && (first === 0 ? second < 0x80 : first === 0xff && second > 0x7f);
    if (first === undefined || padded) throw bad('expected an integer in the fewest octets');
  }
  if (tag === TAG.bitString) {
    const unused = first ?? 8;
    if (
      unused > 7 ||
      (content.length === 1 && unused > 0) ||
      ((last as number) & ((1 << unused) - 1)) !== 0
    ) {
      throw bad('expected a bit string whose unused bits are zero');
    }
  }
  if (tag === TAG.oid) {
    let starts = true;
    for (const octet of content) {
      if (starts && octet === 0x80) throw bad('expected object identifier arcs in the fewest octets');
      starts = octet < 0x80;
    }
    if (!starts || content.length === 0 || content.length > 64) throw bad('expected an object identifier');
  }
}

/** Arcs of more than 47 bits are written as they are, in hex: nothing known has them. */
function oidText(content: Uint8Array): string {
  const arcs: string[] = [];
  let arc = 0;
  let octets = 0;
  for (const octet of content) {
    arc = arc * 128 + (octet & 0x7f);
    octets++;
    if (octet >= 0x80) continue;
    if (arcs.length === 0 && octets < 7) {
      const root = Math.min(2, Math.floor(arc / 40));
      arcs.push(String(root), String(arc - 40 * root));
    } else arcs.push(octets < 7 ? String(arc) : `x${octets}-${arc}`);
    arc = 0;
    octets = 0;
  }
  return arcs.join('.');
}

function hexTag(tag: number): string {
  return `0x${tag.toString(16).padStart(2, '0')}`;
}
