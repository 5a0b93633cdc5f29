// SPDX-License-Identifier: Apache-2.0
// Encodings and strict JSON: against the platform, against what they must refuse, and never a foreign exception.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { base64Decode, base64Encode } from '../../core/encoding/base64.ts';
import { canonicalJsonBytes, formatCanonicalJson } from '../../core/encoding/canonical-json.ts';
import { DocumentNode, parseDocument, parseInstantMs } from '../../core/encoding/document.ts';
import { hexDecode, hexEncode } from '../../core/encoding/hex.ts';
import { parseStrictJson } from '../../core/encoding/strict-json.ts';
import { utf8, utf8Decode, utf8Encode } from '../../core/encoding/utf8.ts';
import { CORE, quote, several } from '../../core/faults.ts';
import { LIMITS } from '../../core/limits.ts';

const json = (text: string) => parseStrictJson(utf8(text));
const problem = (text: string) => (json(text) as { problem?: string }).problem;

describe('strict JSON', () => {
  test('reads what JSON.parse reads, whatever the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false } as never), (value) => {
        const text = JSON.stringify(value);
        if (/-0(?![.\d])|__proto__/.test(text)) return;
        const parsed = parseStrictJson(utf8(text));
        if ('problem' in parsed) {
          // The only values of JSON.parse that are refused: numbers past the safe range and lone surrogates.
          expect(parsed.problem).toMatch(/safe range|surrogate/);
        } else expect(JSON.parse(JSON.stringify(parsed.value))).toEqual(JSON.parse(text));
      }),
    );
  });

  test.each([
    ['{"a":1,"a":2}', 'a name given twice'],
    ['{"a":{"b":1,"b":1}}', 'a name given twice'],
    ['{"a":1,"\\u0061":2}', 'a name given twice'],
    ['{"__proto__":1}', 'the name "__proto__"'],
    ['"\\ud800"', 'a bad escape'],
    ['"\\ud800\\u0041"', 'a lone surrogate'],
    ['"\\udc00\\ud800"', 'a lone surrogate'],
    ['9007199254740993', 'a number outside the safe range'],
    ['1e999', 'a number outside the safe range'],
    ['-0', 'a number outside the safe range'],
    ['01', 'text after the document'],
    ['1.', 'text after the document'],
    ['[1,]', 'not a JSON value'],
    ['{"a":1,}', 'expected a name in double quotes'],
    ['{"a" 1}', 'expected ":"'],
    ['[1 2]', 'expected "," or "]"'],
    ['"a\nb"', 'a control character in a string'],
    ['"a', 'ends inside a string'],
    ['', 'ends too early'],
    ['tru', 'not a JSON value'],
    ['"\\x"', 'a bad escape'],
    ['\ufeff1', 'not a JSON value'],
    ['['.repeat(LIMITS.jsonDepth + 2), `nested deeper than ${LIMITS.jsonDepth}`],
  ])('refuses %j', (text, expected) => {
    expect(problem(text)).toBe(expected);
  });

  test('strings are what JSON.parse makes of them, and lone surrogates are refused', () => {
    const parts = [
      '\\n',
      '\\u0041',
      '\\ud83d\\ude00',
      '\\ud83d',
      '\\ude00',
      'a',
      '"',
      '\\\\',
      '\\"',
      '\\x',
      'é',
      '\u{1f600}',
      '\u0001',
      '\\u12',
    ];
    for (let n = 0; n < parts.length ** 3; n++) {
      const chosen = [n, Math.floor(n / parts.length), Math.floor(n / parts.length ** 2)];
      const text = `"${chosen.map((each) => parts[each % parts.length]).join('')}"`;
      let expected: unknown;
      try {
        expected = JSON.parse(text);
      } catch {}
      if (/\p{Surrogate}/u.test(String(expected))) expected = undefined;
      const parsed = parseStrictJson(utf8(text));
      expect([text, 'value' in parsed ? parsed.value : undefined]).toEqual([text, expected]);
    }
  });

  test('refuses what is not UTF-8 and what is too large before it reads it', () => {
    expect(parseStrictJson(new Uint8Array([0x22, 0xc0, 0x80, 0x22]))).toEqual({
      problem: 'not UTF-8',
      offset: 0,
    });
    expect(parseStrictJson(new Uint8Array(11), 10)).toEqual({
      problem: 'larger than 10 bytes (11)',
      offset: 0,
    });
  });

  test('never lets a foreign exception out', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parseStrictJson(bytes)));
    fc.assert(fc.property(fc.string(), (text) => void parseStrictJson(utf8Encode(text) ?? new Uint8Array())));
  });

  test('objects have no prototype to pollute', () => {
    const parsed = json('{"constructor":1,"toString":2}') as { value: object };
    expect(Object.getPrototypeOf(parsed.value)).toBeNull();
  });

  test('time grows linearly with adversarial input', () => {
    const time = (n: number) => {
      const bytes = utf8(`[${'"\\u0041\\ud83d\\ude00",'.repeat(n)}1]`);
      const started = performance.now();
      expect('value' in parseStrictJson(bytes)).toBe(true);
      return performance.now() - started;
    };
    time(2000);
    const small = Math.max(time(4000), 1);
    expect(time(40_000)).toBeLessThan(small * 60);
  });
});

describe('canonical JSON [RFC8785]', () => {
  test('sorts by UTF-16 code units and writes numbers as ECMAScript does', () => {
    // The example of RFC 8785 §3.2.3, without the two control characters that it escapes.
    const value = {
      '\u20ac': 'Euro',
      '\r': 'CR',
      '1': 'One',
      '\ud83d\ude02': 'Smiley',
      ö: 'o',
      '\ufb33': 'Hebrew',
    };
    const keys = Object.keys(JSON.parse(formatCanonicalJson(value)));
    expect(formatCanonicalJson(value).indexOf('CR')).toBeLessThan(formatCanonicalJson(value).indexOf('One'));
    expect(keys).toHaveLength(6);
    expect(formatCanonicalJson([Number('333333333.33333329'), 1e30, 4.5, 2e-3, 1e-27])).toBe(
      '[333333333.3333333,1e+30,4.5,0.002,1e-27]',
    );
  });

  test('one value has one form', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.integer()), (object) => {
        if ('__proto__' in Object.getOwnPropertyDescriptors(object)) return;
        const reversed = Object.fromEntries(Object.entries(object).reverse());
        expect(canonicalJsonBytes(reversed)).toEqual(canonicalJsonBytes(object));
        expect(JSON.parse(formatCanonicalJson(object))).toEqual({ ...object });
      }),
    );
  });
});

describe('UTF-8, base64, hex', () => {
  test('agree with the platform on every string', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const bytes = utf8Encode(text);
        if (text.isWellFormed()) {
          expect(bytes).toEqual(new TextEncoder().encode(text));
          expect(utf8Decode(bytes as Uint8Array)).toBe(text);
        } else expect(bytes).toBeUndefined();
      }),
    );
    expect(() => utf8('\ud800')).toThrow(TypeError);
  });

  test('decode what the platform decodes and refuse what it refuses', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        let expected: string | undefined;
        try {
          expected = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
        } catch {
          expected = undefined;
        }
        expect(utf8Decode(bytes)).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });

  test('base64 and hex are inverses; base64 is canonical', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(base64Encode(bytes)).toBe(Buffer.from(bytes).toString('base64'));
        expect(base64Decode(base64Encode(bytes))).toEqual(bytes);
        expect(hexDecode(hexEncode(bytes))).toEqual(bytes);
      }),
    );
    for (const text of [
      'A',
      'AB',
      'AB=',
      'AB==C',
      'AR==',
      'AAB=',
      'A===',
      '====',
      'AA A',
      'AA-_',
      'AA==\n',
      'ÄAAA',
    ]) {
      expect(base64Decode(text), text).toBeUndefined();
    }
    for (const text of ['a', 'AB', '0g', ' 00']) expect(hexDecode(text), text).toBeUndefined();
  });
});

describe('documents', () => {
  const refuse = (message: string, at: string) => CORE.reject('PACK_MALFORMED', message, { at });
  const node = (value: unknown) => new DocumentNode(value as never, { refuse });

  test('name the place and what was expected', () => {
    const root = parseDocument(utf8('{"a":{"b/c":[1,"x"]}}'), { refuse });
    const element = root.field('a').field('b/c').elements()[1] as DocumentNode;
    expect(() => element.integer()).toThrow(
      expect.objectContaining({
        at: '/a/b~1c/1',
        message: expect.stringMatching(/expected a whole number .* got "x"/),
      }),
    );
    expect(() => parseDocument(utf8('{'), { refuse })).toThrow(
      expect.objectContaining({ code: 'PACK_MALFORMED', at: 'offset 1' }),
    );
  });

  test.each([
    ['field', () => node({}).field('a')],
    ['field of an array', () => node([]).field('a')],
    ['inherited field', () => node({}).field('toString')],
    ['only', () => node({ a: 1, b: 2 }).only('a')],
    ['elements', () => node({}).elements()],
    ['someElements', () => node([]).someElements()],
    ['string', () => node('').string()],
    ['matching', () => node('b').matching(/^a$/, 'an a')],
    ['word', () => node('b').word('a')],
    ['boolean', () => node('true').boolean()],
    ['integer', () => node(1.5).integer()],
    ['integer below', () => node(0).integer(1)],
    ['sha256', () => node('A'.repeat(64)).sha256()],
    ['sha256 too short', () => node('a'.repeat(62)).sha256()],
    ['instantMs', () => node('2026-02-30T00:00:00Z').instantMs()],
  ])('refuse a wrong %s', (_, read) => {
    expect(read).toThrow(expect.objectContaining({ code: 'PACK_MALFORMED' }));
  });

  test('instants agree with the platform and impossible dates are refused', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('1970-01-01'), max: new Date('2199-12-31'), noInvalidDate: true }),
        (date) => {
          expect(parseInstantMs(date.toISOString())).toBe(date.getTime());
        },
      ),
    );
    expect(parseInstantMs('2024-02-29T23:59:59Z')).toBe(Date.parse('2024-02-29T23:59:59Z'));
    for (const text of [
      '2023-02-29T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-01-01T24:00:00Z',
      '2026-01-01T00:00:60Z',
      '2026-01-01',
      '2026-01-01T00:00:00+01:00',
      '2026-00-10T00:00:00Z',
      '2026-01-00T00:00:00Z',
    ]) {
      expect(parseInstantMs(text), text).toBeUndefined();
    }
  });
});

test('names that a place is made of are foreign text too', () => {
  const refuse = (message: string, at: string) => CORE.reject('PACK_MALFORMED', message, { at });
  const root = new DocumentNode({ '\u001b[2J': 1, a: { ['x'.repeat(500)]: 1 } }, { refuse });
  expect(() => root.only('a')).toThrow(expect.objectContaining({ at: '/\\u001b[2J' }));
  expect(() => root.field('a').only()).toThrow(expect.objectContaining({ at: `/a/${'x'.repeat(197)}…` }));
});

test('of many things a message names five', () => {
  expect(several([])).toBe('');
  expect(several(['a', 'b', 'c', 'd', 'e'])).toBe('a, b, c, d, e');
  expect(several(Array(7000).fill('a'))).toBe('a, a, a, a, a and 6995 more');
});

test('foreign text in messages is quoted, escaped and cut', () => {
  expect(quote('a"b\n\u001b[31m')).toBe('"a\\"b\\n\\u001b[31m"');
  expect(quote('\u202egnp.exe\u0085')).toBe('"\\u202egnp.exe\\u0085"');
  expect(quote('\u061c\u00ad\u2060\u{e0041}')).toBe('"\\u061c\\u00ad\\u2060\\u{e0041}"');
  expect(quote('x'.repeat(300))).toHaveLength(259);
});
