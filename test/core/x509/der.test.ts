// SPDX-License-Identifier: Apache-2.0
// The reader of DER: one encoding for each value, nothing behind it, limits before work.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatInstant } from '../../../core/encoding/document.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { CORE, Rejection } from '../../../core/faults.ts';
import { LIMITS } from '../../../core/limits.ts';
import { type DerNode, parseDer } from '../../../core/x509/der.ts';
import * as der from '../../../registry/trust/der.ts';

const refuse = (message: string, at: string) => CORE.reject('PACK_MALFORMED', message, { at });
const parse = (bytes: Uint8Array) => parseDer(bytes, refuse);
const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const refused = expect.objectContaining({
  code: 'PACK_MALFORMED',
  at: expect.stringMatching(/^offset \d+$/),
});

describe('what is not DER', () => {
  test.each([
    ['nothing', ''],
    ['a tag alone', '05'],
    ['the end of contents', '0000'],
    ['a tag of two octets', '1f8101 00'],
    ['an indefinite length', '3080 0000'],
    ['a long length below 128', '0481 01 00'],
    ['a length with a leading zero', '0482 0001 00'],
    ['a length that could be shorter', `0482 0080${'00'.repeat(128)}`],
    ['a length of four octets', '0484 00000001 00'],
    ['a length without its octets', '0482 01'],
    ['content that is cut', '0402 00'],
    ['a member that is cut', '3003 0402 00'],
    ['a member that reaches out', '3002 0401 00'],
    ['something behind the value', '0500 00'],
    ['an octet string in parts', '2402 0400'],
    ['a primitive sequence', '1000'],
    ['a constructed integer', '2200'],
    ['a boolean of 1', '0101 01'],
    ['a boolean of two octets', '0102 0000'],
    ['a boolean of none', '0100'],
    ['a null with content', '0501 00'],
    ['an integer of none', '0200'],
    ['an integer with a leading zero', '0202 007f'],
    ['a negative integer with a leading one', '0202 ff80'],
    ['a bit string of none', '0300'],
    ['a bit string with eight unused bits', '0302 0800'],
    ['a bit string with unused bits of nothing', '0301 01'],
    ['a bit string whose unused bits are set', '0302 0101'],
    ['an object identifier of none', '0600'],
    ['an arc with a leading zero', '0602 8001'],
    ['an arc with a leading zero inside', '0603 2a8001'],
    ['an arc that does not end', '0602 2a86'],
    ['an object identifier of 65 octets', `0641${'01'.repeat(65)}`],
  ])('%s', (_, text) => {
    expect(() => parse(hex(text))).toThrow(refused);
  });

  test('is nested deeper or larger than the limits', () => {
    const nest = (depth: number): Uint8Array => (depth === 0 ? hex('0500') : der.sequence(nest(depth - 1)));
    expect(() => parse(nest(LIMITS.derDepth))).not.toThrow();
    expect(() => parse(nest(LIMITS.derDepth + 1))).toThrow(refused);
    expect(() => parse(der.octetString(new Uint8Array(LIMITS.derSizeBytes)))).toThrow(refused);
    expect(() => parseDer(hex('0500'), refuse, 1)).toThrow(refused);
  });
});

describe('reading', () => {
  test('numbers, booleans, identifiers, bits', () => {
    expect(parse(der.small(0)).integer()).toBe(0);
    expect(parse(hex('0206 7fffffffffff')).integer()).toBe(2 ** 47 - 1);
    for (const text of ['0207 01000000000000', '0201 ff'])
      expect(() => parse(hex(text)).integer()).toThrow(refused);
    expect(parse(der.boolean(true)).boolean()).toBe(true);
    expect(parse(der.boolean(false)).boolean()).toBe(false);
    for (const oid of [
      '1.3.6.1.4.1.57264.1.24',
      '2.5.29.15',
      '2.16.840.1.101.3.4.2.1',
      '0.39.1',
      '2.999.3',
    ]) {
      expect(parse(der.oid(oid)).oid()).toBe(oid);
    }
    expect(parse(hex('0602 ff7f')).oid()).toBe('2.16303');
    expect(parse(hex('0303 07 0080')).namedBits()).toEqual([8]);
    expect(parse(hex('0302 07 80')).namedBits()).toEqual([0]);
    expect(parse(der.bitString(utf8('x'))).bitStringOctets()).toEqual(utf8('x'));
    expect(() => parse(hex('0302 07 80')).bitStringOctets()).toThrow(refused);
  });

  test('arcs past what a number holds have names of their own, never those of others', () => {
    const huge = (last: number) =>
      hex(`060a 2b ff ff ff ff ff ff ff ff ${last.toString(16).padStart(2, '0')}`);
    expect(parse(huge(1)).oid()).toMatch(/^1\.3\.x9-/);
  });

  test('another type than asked for', () => {
    for (const read of [
      'oid',
      'integer',
      'boolean',
      'octets',
      'bitStringOctets',
      'namedBits',
      'timeMs',
    ] as const) {
      expect(() => parse(hex('0500'))[read]()).toThrow(refused);
    }
    const members = parse(der.sequence(der.small(1))).members();
    expect(() => members.end()).toThrow(refused);
    expect(members.optional(0x04)).toBeUndefined();
    expect(members.next().integer()).toBe(1);
    expect(() => members.next()).toThrow(refused);
    expect(() => parse(der.sequence()).only()).toThrow(refused);
    expect(() => parse(hex('3100')).members()).toThrow(refused);
  });

  test('times', () => {
    const ms = (tag: number, text: string) => parse(der.tlv(tag, utf8(text))).timeMs();
    expect(ms(0x17, '491231235959Z')).toBe(Date.parse('2049-12-31T23:59:59Z'));
    expect(ms(0x17, '500101000000Z')).toBe(Date.parse('1950-01-01T00:00:00Z'));
    expect(ms(0x18, '20500101000000Z')).toBe(Date.parse('2050-01-01T00:00:00Z'));
    for (const [tag, text] of [
      [0x17, '2601311200Z'],
      [0x17, '260131120000+0000'],
      [0x17, '20260131120000Z'],
      [0x17, '260131120000.5Z'],
      [0x18, '260131120000Z'],
      [0x18, '20260131120000.5Z'],
      [0x18, '20260131120000'],
      [0x18, '20260229120000Z'],
      [0x18, '20260131240000Z'],
      [0x18, `20260131120000.${'1'.repeat(30)}Z`],
    ] as const) {
      expect(() => ms(tag, text), text).toThrow(refused);
    }
    const fraction = parse(der.tlv(0x18, utf8('20260131120000.987Z')));
    expect(fraction.timeMs('fractions')).toBe(Date.parse('2026-01-31T12:00:00Z'));
  });

  test('and writing are inverses', () => {
    const { tree } = fc.letrec<{ tree: Uint8Array }>((tie) => ({
      tree: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        fc.uint8Array({ maxLength: 300 }).map(der.octetString),
        fc.nat({ max: 65535 }).map(der.small),
        fc.boolean().map(der.boolean),
        fc.array(tie('tree'), { maxLength: 4 }).map((members) => der.sequence(...members)),
        tie('tree').map((member) => der.context(3, member)),
      ),
    }));
    const rebuild = (node: DerNode): Uint8Array =>
      node.children.length === 0
        ? der.tlv(node.tag, node.content)
        : der.tlv(node.tag, ...node.children.map(rebuild));
    fc.assert(
      fc.property(tree, (bytes) => {
        const node = parse(bytes);
        expect(node.der).toEqual(bytes);
        expect(rebuild(node)).toEqual(bytes);
      }),
    );
  });

  test('any octets never throws anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          parse(bytes);
        } catch (failure) {
          expect(failure).toBeInstanceOf(Rejection);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

test('instants for messages are those of the platform', () => {
  fc.assert(
    fc.property(fc.integer({ min: -62135596800, max: 253402300799 }), (seconds) => {
      expect(formatInstant(seconds * 1000 + 999)).toBe(
        new Date(seconds * 1000).toISOString().replace('.000Z', 'Z'),
      );
    }),
  );
});
