// SPDX-License-Identifier: Apache-2.0
// Inputs bent at random, each from a seed that says it all: octets changed, cut out, doubled, exchanged with those of other inputs, and words put
// in that parsers disagree about.

import { quote, Rejection } from '../../core/faults.ts';
import { PARSERS, type Parser } from './parsers.ts';

const WORDS = [
  ...[
    'null',
    '1e999',
    '-0',
    '9007199254740993',
    '"__proto__":',
    '"\\ud800"',
    '{}',
    '[]',
    '[[[[[[[[',
    '\u0000',
    '\r\n',
  ],
  ...[
    '\u2028',
    '\ufeff',
    '"',
    '\\',
    '00',
    '=',
    '+',
    '— ',
    '\n\n',
    '../',
    '%2e',
    '\ud83d\ude00',
    ',',
    ':',
    '0'.repeat(40),
  ],
].map((word) => new Uint8Array(Buffer.from(word)));
const LENGTHS = [0x80, 0x81, 0x84, 0xff, 0x30, 0x00, 0x7f].map((octet) => Uint8Array.of(octet, 0xff, 0xff));

/** Numbers below a bound, the same for the same seed (mulberry32). */
function numbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** The input of a parser that a number stands for. */
export function bend({ seeds }: Parser, seed: number): Uint8Array {
  const next = numbers(seed);
  let bytes = seeds[next(seeds.length)] as Uint8Array;
  for (let changes = 1 + next(4); changes > 0; changes--) {
    const at = next(bytes.length + 1);
    const until = at + next(Math.min(64, bytes.length - at + 1));
    const piece = (): Uint8Array => {
      const other = seeds[next(seeds.length)] as Uint8Array;
      const from = next(other.length + 1);
      return other.subarray(from, from + next(200));
    };
    const put = [
      () => Uint8Array.of(next(256)),
      () => WORDS[next(WORDS.length)] as Uint8Array,
      () => LENGTHS[next(LENGTHS.length)] as Uint8Array,
      () => new Uint8Array(),
      () => Buffer.concat([bytes.subarray(at, until), bytes.subarray(at, until)]),
      piece,
    ][next(6)] as () => Uint8Array;
    bytes = new Uint8Array(Buffer.concat([bytes.subarray(0, at), put(), bytes.subarray(until)]));
  }
  return bytes;
}

/** The longest that a parser may take for one input, in milliseconds: inputs are short, and time is linear. */
const SLOW_MS = 2000;

/** Parses bent inputs; a foreign exception, or a parser that takes long, is told with the input, to be put into corpus.json. */
export function tryParser(name: string, from: number, count: number): void {
  const parser = PARSERS[name] as Parser;
  for (let seed = from; seed < from + count; seed++) tryInput(name, parser, bend(parser, seed));
}

/** Parses one input. */
export function tryInput(name: string, parser: Parser, bytes: Uint8Array): void {
  const startedMs = performance.now();
  try {
    parser.parse(bytes);
  } catch (failure) {
    if (!(failure instanceof Rejection))
      throw new Error(fault(name, bytes, String(failure)), { cause: failure });
  }
  const tookMs = performance.now() - startedMs;
  if (tookMs > SLOW_MS) throw new Error(fault(name, bytes, `${Math.round(tookMs)} ms`));
}

function fault(name: string, bytes: Uint8Array, what: string): string {
  const line = JSON.stringify({ parser: name, input: Buffer.from(bytes).toString('base64') });
  return `expected a value or a Rejection in linear time, got ${quote(what)}; for corpus.json: ${line}`;
}
