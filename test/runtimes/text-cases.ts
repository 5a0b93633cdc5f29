// SPDX-License-Identifier: Apache-2.0
// Text that parsers disagree about: JSON with names given twice, `__proto__`, lone surrogates, numbers past a double, UTF-8 and base64 in more
// spellings than one. One side's "sound" that is the other's "broken" is how evidence is shown to one and hidden from the other.

import type { Case } from './cases.ts';
import type { Octets } from './replay.ts';

const b64 = (bytes: Uint8Array | string): Octets => Buffer.from(bytes).toString('base64');
const octets = (...bytes: number[]) => Uint8Array.from(bytes);

/** JSON documents, and the problem that each must be told of; undefined for sound ones. */
const JSON_TEXTS: readonly (readonly [string, string | undefined])[] = [
  ['{"a":1,"a":2}', 'a name given twice'],
  ['{"a":{"b":1,"b":1}}', 'a name given twice'],
  ['{"a":1,"\\u0061":2}', 'a name given twice'],
  ['{"\\u00e9":1,"é":2}', 'a name given twice'],
  // The same letter to the eye, not to a comparison.
  ['{"\\u0065\\u0301":1,"é":2}', undefined],
  ['{"__proto__":1}', 'the name "__proto__"'],
  ['{"\\u005f_proto__":{"a":1}}', 'the name "__proto__"'],
  ['{"constructor":1,"toString":2,"hasOwnProperty":3}', undefined],
  ['"\\ud800"', 'a bad escape'],
  ['"\\ud800\\u0041"', 'a lone surrogate'],
  ['"\\udc00\\ud800"', 'a lone surrogate'],
  ['"\\ud83d\\ude00"', undefined],
  ['9007199254740991', undefined],
  ['9007199254740992', 'a number outside the safe range'],
  ['9007199254740993', 'a number outside the safe range'],
  ['1e999', 'a number outside the safe range'],
  ['-0', 'a number outside the safe range'],
  ['1.5e1', undefined],
  ['0.1', undefined],
  ['01', 'text after the document'],
  ['1.', 'text after the document'],
  ['+1', 'not a JSON value'],
  ['NaN', 'not a JSON value'],
  ['Infinity', 'not a JSON value'],
  ['[1,]', 'not a JSON value'],
  ['{"a":1,}', 'expected a name in double quotes'],
  ["{'a':1}", 'expected a name in double quotes'],
  ['{a:1}', 'expected a name in double quotes'],
  ['{"a":1}{}', 'text after the document'],
  ['{"a":1} // x', 'text after the document'],
  ['"a\nb"', 'a control character in a string'],
  ['"a\tb"', 'a control character in a string'],
  ['"a\u007fb\u2028c"', undefined],
  ['"\\u0000"', undefined],
  ['"\\x41"', 'a bad escape'],
  ['"\\u004"', 'a bad escape'],
  ['\ufeff1', 'not a JSON value'],
  ['\u00a01', 'not a JSON value'],
  ['', 'ends too early'],
  ['['.repeat(66), 'nested deeper than 64'],
];

const JSON_OCTETS: readonly Uint8Array[] = [
  octets(0x22, 0xc0, 0x80, 0x22), // an overlong NUL
  octets(0x22, 0xed, 0xa0, 0x80, 0x22), // a surrogate
  octets(0x22, 0xf4, 0x90, 0x80, 0x80, 0x22), // past U+10FFFF
  octets(0x22, 0xe2, 0x82, 0x22), // cut off
  octets(0x22, 0x80, 0x22), // only the middle of a character
  octets(0xff, 0xfe, 0x31, 0x00), // UTF-16
];

const BASE64_TEXTS: readonly (readonly [string, boolean])[] = [
  ['', true],
  ['AA==', true],
  ['AAA=', true],
  ['AAAA', true],
  ['AB==', false],
  ['AAB=', false],
  ['AA', false],
  ['AA=', false],
  ['AA===', false],
  ['A===', false],
  ['====', false],
  ['AA==AA==', false],
  ['AA-_', false],
  ['AA A', false],
  ['AA==\n', false],
  ['\u00c4AAA', false],
  ['AAA\u0000', false],
  ['\ud800AAA', false],
];

const UTF8_OCTETS: readonly (readonly [Uint8Array, boolean])[] = [
  [octets(0x00, 0x7f, 0xc2, 0x80, 0xdf, 0xbf, 0xe0, 0xa0, 0x80, 0xef, 0xbf, 0xbf), true],
  [octets(0xf0, 0x90, 0x80, 0x80, 0xf4, 0x8f, 0xbf, 0xbf, 0xef, 0xbb, 0xbf), true],
  [octets(0xc1, 0xbf), false],
  [octets(0xe0, 0x9f, 0xbf), false],
  [octets(0xf0, 0x8f, 0xbf, 0xbf), false],
  [octets(0xed, 0xbf, 0xbf), false],
  [octets(0xf5, 0x80, 0x80, 0x80), false],
  [octets(0xc2), false],
];

export function textCases(): Case[] {
  const json = (text: Uint8Array | string, problem: string | undefined): Case => ({
    name: `json/${typeof text === 'string' ? text.slice(0, 40) : Buffer.from(text).toString('hex')}`,
    question: { ask: 'json', text: b64(text) },
    expected: problem ?? 'accepted',
  });
  return [
    ...JSON_TEXTS.map(([text, problem]) => json(text, problem)),
    ...JSON_OCTETS.map((bytes) => json(bytes, 'not UTF-8')),
    ...BASE64_TEXTS.map(
      ([text, sound]): Case => ({
        name: `base64/${text}`,
        question: { ask: 'base64', text },
        expected: sound ? 'accepted' : 'refused',
      }),
    ),
    ...UTF8_OCTETS.map(
      ([bytes, sound]): Case => ({
        name: `utf8/${Buffer.from(bytes).toString('hex')}`,
        question: { ask: 'utf8', octets: b64(bytes) },
        expected: sound ? 'accepted' : 'refused',
      }),
    ),
  ];
}
