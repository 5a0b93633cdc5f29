// SPDX-License-Identifier: Apache-2.0
// Typed reading of a parsed document, member by member, each named by its JSON Pointer [RFC6901 §3]. JSON from the wire
// and YAML from a user are read by the same calls; only the place named in a message differs.

import { printable, quote, type Rejection } from '../faults.ts';
import { hexDecode } from './hex.ts';
import { type Json, type JsonObject, parseStrictJson } from './strict-json.ts';

/** What a document says when something in it is wrong. */
export interface DocumentContext {
  /** Makes the fault of the document's kind. */
  readonly refuse: (message: string, at: string) => Rejection;
  /** Turns a pointer into a place for people (`file:line:column`), of the value or of its name; the pointer itself by default. */
  readonly locate?: (pointer: string, part: 'value' | 'name') => string;
}

/** One value of a document, with its place. All reading methods throw the context's fault. */
export class DocumentNode {
  readonly value: Json;
  readonly pointer: string;
  readonly context: DocumentContext;

  constructor(value: Json, context: DocumentContext, pointer = '') {
    this.value = value;
    this.context = context;
    this.pointer = pointer;
  }

  /** The fault for this place: "expected …, got …". */
  wrong(message: string): Rejection {
    return this.wrongIn('value', message);
  }

  /** The fault for the name of this member. */
  wrongName(message: string): Rejection {
    return this.wrongIn('name', message);
  }

  private wrongIn(part: 'value' | 'name', message: string): Rejection {
    return this.context.refuse(message, this.context.locate?.(this.pointer, part) ?? this.place());
  }

  /** The pointer for people: the names in it are foreign text, and may be long. */
  private place(): string {
    const cut = this.pointer.length > 200 ? `${this.pointer.slice(0, 200)}…` : this.pointer;
    return cut === '' ? '/' : printable(cut);
  }

  private got(): string {
    if (this.value === null) return 'null';
    if (Array.isArray(this.value)) return 'an array';
    if (typeof this.value === 'object') return 'an object';
    return quote(String(this.value));
  }

  private object(): JsonObject {
    if (this.value === null || typeof this.value !== 'object' || Array.isArray(this.value)) {
      throw this.wrong(`expected an object, got ${this.got()}`);
    }
    return this.value as JsonObject;
  }

  private child(name: string | number, value: Json): DocumentNode {
    const token = String(name).replace(/~/g, '~0').replace(/\//g, '~1');
    return new DocumentNode(value, this.context, `${this.pointer}/${token}`);
  }

  /** A member that must be there. */
  field(name: string): DocumentNode {
    const found = this.optional(name);
    if (found === undefined) throw this.wrong(`expected a member ${quote(name)}, found none`);
    return found;
  }

  /** A member that may be absent. */
  optional(name: string): DocumentNode | undefined {
    const object = this.object();
    return Object.hasOwn(object, name) ? this.child(name, object[name] as Json) : undefined;
  }

  /** Refuses members other than those named; returns itself. */
  only(...names: readonly string[]): this {
    for (const name of Object.keys(this.object())) {
      if (!names.includes(name)) {
        throw this.child(name, null).wrongName(
          `unknown member ${quote(name)}; known here: ${names.length === 0 ? 'none' : names.join(', ')}`,
        );
      }
    }
    return this;
  }

  /** All members, in document order. */
  members(): readonly (readonly [string, DocumentNode])[] {
    const object = this.object();
    return Object.keys(object).map((name) => [name, this.child(name, object[name] as Json)] as const);
  }

  /** The elements of an array. */
  elements(): readonly DocumentNode[] {
    if (!Array.isArray(this.value)) throw this.wrong(`expected an array, got ${this.got()}`);
    return (this.value as readonly Json[]).map((value, i) => this.child(i, value));
  }

  /** The elements of an array that must not be empty: an empty list never means "anything" (fail closed). */
  someElements(): readonly DocumentNode[] {
    const elements = this.elements();
    if (elements.length === 0) throw this.wrong('expected at least one element, got an empty list');
    return elements;
  }

  /** A non-empty string. */
  string(): string {
    if (typeof this.value !== 'string' || this.value === '') {
      const bare = typeof this.value === 'number' || typeof this.value === 'boolean';
      throw this.wrong(`expected a string, got ${bare ? `${this.value} without quotes` : this.got()}`);
    }
    return this.value;
  }

  /** A string that matches a pattern; `what` names it in the message. */
  matching(pattern: RegExp, what: string): string {
    const text = this.string();
    if (!pattern.test(text)) throw this.wrong(`expected ${what}, got ${this.got()}`);
    return text;
  }

  /** One of the given words. */
  word<const W extends string>(...words: readonly W[]): W {
    const found = words.find((word) => word === this.value);
    if (found === undefined)
      throw this.wrong(`expected ${words.map((w) => quote(w)).join(' or ')}, got ${this.got()}`);
    return found;
  }

  boolean(): boolean {
    if (typeof this.value !== 'boolean') throw this.wrong(`expected true or false, got ${this.got()}`);
    return this.value;
  }

  /** A whole number in the given bounds, inclusive. */
  integer(min = 0, max = Number.MAX_SAFE_INTEGER): number {
    if (
      typeof this.value !== 'number' ||
      !Number.isSafeInteger(this.value) ||
      this.value < min ||
      this.value > max
    ) {
      throw this.wrong(`expected a whole number from ${min} to ${max}, got ${this.got()}`);
    }
    return this.value;
  }

  /** A SHA-256 digest in lower-case hex. */
  sha256(): string {
    const text = typeof this.value === 'string' ? this.value : '';
    if (text.length !== 64 || hexDecode(text) === undefined) {
      throw this.wrong(`expected a SHA-256 digest of 64 lower-case hex digits, got ${this.got()}`);
    }
    return text;
  }

  /** An RFC 3339 instant in UTC (`…Z`), as milliseconds since 1970 [RFC3339 §5.6]. */
  instantMs(): number {
    const text = typeof this.value === 'string' ? this.value : '';
    const ms = parseInstantMs(text);
    if (ms === undefined) throw this.wrong(`expected a time like 2026-01-31T12:00:00Z, got ${this.got()}`);
    return ms;
  }
}

const INSTANT = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,3}))?Z$/;

/** Milliseconds since 1970 of an RFC 3339 instant in UTC; undefined for anything else, 31 February included. */
export function parseInstantMs(text: string): number | undefined {
  const m = INSTANT.exec(text);
  if (m === null) return undefined;
  const [year, month, day, hour, minute, second] = m.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  const inMonth = days[month - 1];
  if (inMonth === undefined || day < 1 || day > inMonth || hour > 23 || minute > 59 || second > 59)
    return undefined;
  const millis = Number((m[7] ?? '').padEnd(3, '0'));
  // Days since 1970-03-01 by the civil calendar, then back to 1970-01-01: no Date object in core.
  const y = month > 2 ? year : year - 1;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const sinceEpoch =
    365 * y + Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400) + dayOfYear - 719468;
  return ((sinceEpoch * 24 + hour) * 60 + minute) * 60000 + second * 1000 + millis;
}

/** The RFC 3339 form of an instant in UTC, whole seconds rounded down; `parseInstantMs` reads it back. For messages. */
export function formatInstant(timeMs: number): string {
  const seconds = Math.floor(timeMs / 1000);
  const days = Math.floor(seconds / 86400);
  // The civil calendar backwards: years from 1 March, so that leap days come last.
  const era = days + 719468;
  const century = Math.floor((4 * era + 3) / 146097);
  const inCentury = era - Math.floor((146097 * century) / 4);
  const year = Math.floor((4 * inCentury + 3) / 1461);
  const dayOfYear = inCentury - Math.floor((1461 * year) / 4);
  const month = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * month + 2) / 5) + 1;
  const inDay = seconds - days * 86400;
  const two = (n: number) => String(n).padStart(2, '0');
  const fullYear = 100 * century + year + (month > 9 ? 1 : 0);
  const date = `${String(fullYear).padStart(4, '0')}-${two(month > 9 ? month - 9 : month + 3)}-${two(day)}`;
  return `${date}T${two(Math.floor(inDay / 3600))}:${two(Math.floor(inDay / 60) % 60)}:${two(inDay % 60)}Z`;
}

/** Parses strict JSON bytes into a node; syntax problems throw the context's fault with the offset. */
export function parseDocument(
  bytes: Uint8Array,
  context: DocumentContext,
  sizeBytesMax?: number,
): DocumentNode {
  const parsed = parseStrictJson(bytes, sizeBytesMax);
  if ('problem' in parsed) {
    throw context.refuse(`expected strict JSON, got ${parsed.problem}`, `offset ${parsed.offset}`);
  }
  return new DocumentNode(parsed.value, context);
}
