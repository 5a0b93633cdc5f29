// SPDX-License-Identifier: Apache-2.0
// JSON [RFC8259], read strictly as [RFC7493 §2] (I-JSON) asks. Stricter than [RFC8259]: duplicate names, `__proto__`,
// lone surrogates, numbers that a double does not hold exactly as integers, and documents past the limits are refused.
// Objects come back without a prototype. One pass, time linear in the input.

import { LIMITS } from '../limits.ts';
import { utf8Decode } from './utf8.ts';

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** A syntax problem and the character offset at which it was seen. */
export interface JsonProblem {
  readonly problem: string;
  readonly offset: number;
}

class Stop {
  readonly problem: string;
  readonly offset: number;
  constructor(problem: string, offset: number) {
    this.problem = problem;
    this.offset = offset;
  }
}

/** Parses bytes; the result is unauthenticated. Returns a problem instead of throwing. */
export function parseStrictJson(
  bytes: Uint8Array,
  sizeBytesMax: number = LIMITS.jsonSizeBytes,
): { readonly value: Json } | JsonProblem {
  if (bytes.length > sizeBytesMax) {
    return { problem: `larger than ${sizeBytesMax} bytes (${bytes.length})`, offset: 0 };
  }
  const text = utf8Decode(bytes);
  return text === undefined ? { problem: 'not UTF-8', offset: 0 } : parseStrictJsonText(text);
}

/** Parses what the caller has decoded from strict UTF-8, and found to be no larger than it takes. */
export function parseStrictJsonText(text: string): { readonly value: Json } | JsonProblem {
  try {
    return { value: new Parser(text).document() };
  } catch (stop) {
    if (stop instanceof Stop) return { problem: stop.problem, offset: stop.offset };
    throw stop;
  }
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const HEX = /^[0-9a-fA-F]{4}$/;
const SHORT_ESCAPES = '"\\/bfnrt';
const SPACE = /[ \t\n\r]*/y;

class Parser {
  readonly text: string;
  at = 0;

  constructor(text: string) {
    this.text = text;
  }

  document(): Json {
    const value = this.value(0);
    this.space();
    if (this.at !== this.text.length) this.stop('text after the document');
    return value;
  }

  stop(problem: string): never {
    throw new Stop(problem, this.at);
  }

  match(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? '';
    this.at += found.length;
    return found;
  }

  space(): void {
    // Machines write without white space, and a pattern costs more than a look.
    if (this.text.charCodeAt(this.at) <= 0x20) this.match(SPACE);
  }

  value(depth: number): Json {
    if (depth > LIMITS.jsonDepth) this.stop(`nested deeper than ${LIMITS.jsonDepth}`);
    this.space();
    switch (this.text.charAt(this.at)) {
      case '{':
        return this.object(depth);
      case '[':
        return this.array(depth);
      case '"':
        return this.string();
      case 't':
        return this.word('true', true);
      case 'f':
        return this.word('false', false);
      case 'n':
        return this.word('null', null);
      default:
        return this.number();
    }
  }

  word(word: string, value: Json): Json {
    if (!this.text.startsWith(word, this.at)) this.stop('not a JSON value');
    this.at += word.length;
    return value;
  }

  number(): number {
    const found = this.match(NUMBER);
    if (found === '') this.stop(this.at < this.text.length ? 'not a JSON value' : 'ends too early');
    const value = Number(found);
    const exact = Number.isSafeInteger(value) || (!Number.isInteger(value) && Number.isFinite(value));
    if (!exact || Object.is(value, -0)) this.stop('a number outside the safe range');
    return value;
  }

  string(): string {
    const start = this.at++;
    const plain = this.match(PLAIN);
    if (this.text.charCodeAt(this.at) === 0x22) {
      this.at++;
      return plain;
    }
    this.toEnd();
    const literal = this.text.slice(start, ++this.at);
    this.checkEscapes(start + 1, this.at - 1);
    // In one step: putting it together piece by piece takes a hundred times as long as what has no escapes.
    return JSON.parse(literal) as string;
  }

  /** Goes to the quotation mark that ends the string, past escapes of whatever form. */
  toEnd(): void {
    for (;;) {
      const c = this.text.charCodeAt(this.at);
      if (c === 0x22) return;
      if (c === 0x5c) this.at += 2;
      else if (c >= 0x20) this.at++;
      else this.stop(this.at < this.text.length ? 'a control character in a string' : 'ends inside a string');
    }
  }

  /** Refuses escapes that JSON has not, and halves of surrogate pairs: escapes are the only way to write one. */
  checkEscapes(from: number, to: number): void {
    let at = this.text.indexOf('\\', from);
    for (; at >= 0 && at < to; at = this.text.indexOf('\\', at)) {
      if (SHORT_ESCAPES.includes(this.text.charAt(at + 1))) {
        at += 2;
        continue;
      }
      const unit = this.unicode(at);
      at += 6;
      if (unit < 0xd800 || unit > 0xdfff) continue;
      const low = unit < 0xdc00 ? this.unicode(at) : 0;
      if (low < 0xdc00 || low > 0xdfff) this.stopAt(at, 'a lone surrogate');
      at += 6;
    }
  }

  /** The code unit of the escape `\\uXXXX` here. */
  unicode(at: number): number {
    const hex = this.text.slice(at + 2, at + 6);
    if (!this.text.startsWith('\\u', at) || !HEX.test(hex)) this.stopAt(at, 'a bad escape');
    return Number.parseInt(hex, 16);
  }

  stopAt(at: number, problem: string): never {
    this.at = at;
    this.stop(problem);
  }

  array(depth: number): Json[] {
    const out: Json[] = [];
    this.at++;
    this.space();
    if (this.text.charAt(this.at) === ']') {
      this.at++;
      return out;
    }
    for (;;) {
      out.push(this.value(depth + 1));
      if (this.more(']')) return out;
    }
  }

  object(depth: number): JsonObject {
    const out: Record<string, Json> = Object.create(null);
    this.at++;
    this.space();
    if (this.text.charAt(this.at) === '}') {
      this.at++;
      return out;
    }
    for (;;) {
      this.space();
      if (this.text.charAt(this.at) !== '"') this.stop('expected a name in double quotes');
      const start = this.at;
      const name = this.string();
      if (name === '__proto__' || Object.hasOwn(out, name)) {
        this.at = start;
        this.stop(name === '__proto__' ? 'the name "__proto__"' : 'a name given twice');
      }
      this.space();
      if (this.text.charAt(this.at) !== ':') this.stop('expected ":"');
      this.at++;
      out[name] = this.value(depth + 1);
      if (this.more('}')) return out;
    }
  }

  /** Reads "," (false) or the closing bracket (true). */
  more(close: string): boolean {
    this.space();
    const c = this.text.charAt(this.at);
    if (c !== ',' && c !== close) this.stop(`expected "," or "${close}"`);
    this.at++;
    return c === close;
  }
}
