// SPDX-License-Identifier: Apache-2.0
// Keys of roles: which kinds sign, in which spellings, and what a host without RSA says. And the canonical form that they sign.

import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { canonicalMetadata } from '../../../core/tuf/canonical.ts';
import { codeOf } from '../tlog/refusal.ts';
import { Client, ecdsaKey, ed25519Key, rsaKey, type SimulatedKey, Simulator } from './simulator.ts';

let simulator: Simulator;
let client: Client;
const rsa = rsaKey();

beforeEach(() => {
  simulator = new Simulator();
  client = new Client(simulator);
});

/** The timestamp signed by these keys, of which so many must have. */
function signedBy(keys: readonly SimulatedKey[], threshold = keys.length): string {
  simulator.keys.set('timestamp', keys);
  simulator.list('timestamp', threshold);
  simulator.publishRoot();
  simulator.publishTimestamp();
  return codeOf(() => client.refresh());
}

/** A key whose public text is written otherwise. */
function spelled(key: SimulatedKey, change: (text: string) => string): SimulatedKey {
  return { ...key, json: { ...key.json, keyval: { public: change(key.json.keyval.public) } } };
}

describe('a signature counts', () => {
  test.each([
    ['ed25519', ed25519Key()],
    ['ecdsa', ecdsaKey()],
    ['ecdsa under its old name', ecdsaKey('ecdsa-sha2-nistp256')],
    ['rsa', rsa],
    ['ed25519 in capitals', spelled(ed25519Key(), (hex) => hex.toUpperCase())],
    ['PEM with other line ends', spelled(ecdsaKey(), (pem) => pem.replace(/\n/g, '\r\n'))],
    ['under a key id that is no digest', { ...ed25519Key(), keyId: 'alice' }],
  ])('by %s', (_, key) => {
    expect(signedBy([key])).toBe('accepted');
    const bad = { ...key, sign: (data: Uint8Array) => key.sign(Uint8Array.from([...data, 0])) };
    expect(signedBy([bad])).toBe('TUF_SIGNATURE_THRESHOLD');
    expect(signedBy([{ ...key, sign: (data: Uint8Array) => key.sign(data).toUpperCase() }])).toBe('accepted');
    expect(signedBy([{ ...key, sign: (data: Uint8Array) => key.sign(data).slice(2) }])).toBe(
      'TUF_SIGNATURE_THRESHOLD',
    );
  });

  test('once for a key in two spellings', () => {
    const key = ecdsaKey();
    const other = { ...spelled(key, (pem) => pem.replace(/\n/g, '\r\n')), keyId: 'other' };
    expect(signedBy([key, other], 2)).toBe('TUF_SIGNATURE_THRESHOLD');
    const twin = { ...spelled(rsa, (pem) => ` ${pem}`), keyId: 'twin' };
    expect(signedBy([rsa, twin], 2)).toBe('TUF_SIGNATURE_THRESHOLD');
    expect(signedBy([rsa, key], 2)).toBe('accepted');
  });
});

describe('a key that nobody here can check', () => {
  test('is told apart from one that did not sign: RSA without a host that checks it', () => {
    client.crypto = portableCrypto;
    expect(signedBy([rsa])).toBe('TUF_KEY_UNSUPPORTED');
    expect(signedBy([rsa, ed25519Key()], 2)).toBe('TUF_KEY_UNSUPPORTED');
    expect(signedBy([rsa, ed25519Key()], 1)).toBe('accepted');
    simulator.keys.set('timestamp', []);
    simulator.publishTimestamp();
    expect(codeOf(() => client.refresh())).toBe('TUF_SIGNATURE_THRESHOLD');
  });

  test.each([
    ['RSA with 1024 bits', rsaKey(1024)],
    ['RSA with eight bits too few', rsaKey(2040)],
    ['ed25519 of another length', spelled(ed25519Key(), (hex) => hex.slice(2))],
    ['a PEM that is none', spelled(ecdsaKey(), (pem) => pem.replace('PUBLIC', 'PRIVATE'))],
    ['a PEM without end', spelled(ecdsaKey(), (pem) => pem.slice(0, 60))],
    ['a PEM of something else', spelled(rsa, () => ecdsaKey().json.keyval.public)],
    ['RSA with bytes behind it', spelled(rsa, (pem) => pem.replace(/(.)\n-----END/, 'AAAA$1\n-----END'))],
    ['a very long text', spelled(rsa, (pem) => pem + ' '.repeat(4096))],
    ['an unknown scheme', { ...ed25519Key(), json: { ...ed25519Key().json, scheme: 'ed448' } }],
    ['a scheme of another type', { ...ed25519Key(), json: { ...ed25519Key().json, keytype: 'rsa' } }],
    ['a name of the language', { ...ed25519Key(), json: { ...ed25519Key().json, keytype: 'constructor' } }],
  ])('%s', (_, key) => {
    expect(signedBy([key])).toBe('TUF_KEY_UNSUPPORTED');
    expect(signedBy([key, ed25519Key()], 1)).toBe('accepted');
  });

  test('an elliptic curve other than P-256 signs nothing', () => {
    const p384 = Buffer.from(ecdsaKey().json.keyval.public).toString().replace('MFkw', 'MHYw');
    expect(signedBy([spelled(ecdsaKey(), () => p384)])).toMatch(
      /^TUF_(SIGNATURE_THRESHOLD|KEY_UNSUPPORTED)$/,
    );
  });
});

describe('the canonical form', () => {
  const form = (value: Parameters<typeof canonicalMetadata>[0]) =>
    Buffer.from(canonicalMetadata(value) ?? '-').toString();

  test('sorts by code point, and escapes quote and backslash alone', () => {
    expect(form({ b: [1, -2, true, null], a: 'x"\\\n\u0000é/' })).toBe(
      '{"a":"x\\"\\\\\n\u0000é/","b":[1,-2,true,null]}',
    );
    expect(form({ '\u{10000}': 1, '\uffff': 2, a: 3, '': 4, aa: 5 })).toBe(
      '{"":4,"a":3,"aa":5,"\uffff":2,"\u{10000}":1}',
    );
  });

  test('has no place for fractions', () => {
    for (const value of [0.5, [1, { a: 1.5 }]]) expect(canonicalMetadata(value)).toBeUndefined();
  });

  test('sorts names as their UTF-8 is sorted', () => {
    const letter = fc.constantFrom(
      'a',
      'b',
      '\u0000',
      'é',
      '\ud7ff',
      '\ue000',
      '\uffff',
      '\u{10000}',
      '\u{10ffff}',
    );
    const name = fc.array(letter, { maxLength: 3 }).map((letters) => letters.join(''));
    fc.assert(
      fc.property(fc.array(name, { maxLength: 6 }), (names) => {
        const value = Object.fromEntries(names.map((each) => [each, 1]));
        const sorted = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect(form(value)).toBe(`{${sorted.map((each) => `"${each}":1`).join(',')}}`);
      }),
    );
  });
});
