// SPDX-License-Identifier: Apache-2.0
// The reader of certificates: each part made wrong in turn, and no exception of another kind for any octets.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { Rejection } from '../../../core/faults.ts';
import { parseCertificate } from '../../../core/x509/certificate.ts';
import { readIdentity } from '../../../core/x509/identity.ts';
import { parseSctList } from '../../../core/x509/sct.ts';
import { parseTimestamp } from '../../../core/x509/timestamp.ts';
import { ECDSA_SHA256, OID } from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';
import { Forge, membersOf, NOW_MS, pair } from '../sigstore/forge.ts';
import { timestamp } from '../sigstore/forged-timestamp.ts';

const forge = new Forge();
const { der: SOUND, key } = forge.signer();
const [TBS] = membersOf(SOUND) as [Uint8Array];
const PARTS = membersOf(TBS);
const malformed = expect.objectContaining({ code: 'X509_CERTIFICATE_MALFORMED' });

/** A certificate whose TBSCertificate has these members; the signature is nobody's business here. */
function of(members: readonly Uint8Array[], algorithm = ECDSA_SHA256): Uint8Array {
  return der.sequence(der.sequence(...members), algorithm, der.bitString(new Uint8Array(8)));
}
const swapped = (at: number, ...members: Uint8Array[]) => of(PARTS.toSpliced(at, 1, ...members));
const extension = (oid: string, value: Uint8Array) => der.sequence(der.oid(oid), der.octetString(value));
const withExtensions = (...list: Uint8Array[]) => swapped(7, der.context(3, der.sequence(...list)));
const spki = (algorithm: Uint8Array, bits: Uint8Array) =>
  swapped(6, der.sequence(algorithm, der.bitString(bits)));

test('what is sound is read', () => {
  expect(parseCertificate(SOUND)).toMatchObject({
    algorithm: { kind: 'ecdsa', hash: 'sha256' },
    notBeforeMs: NOW_MS - 1000,
    notAfterMs: NOW_MS + 600_000,
    publicKey: { kind: 'ecdsa', curve: 'P-256', spki: key.spki },
    constraints: undefined,
    keyUsage: [0],
    purposes: [OID.codeSigning],
  });
  expect(parseCertificate(forge.intermediate.der).constraints).toEqual({ isAuthority: true, pathLength: 0 });
});

describe('refuses', () => {
  test.each<[string, Uint8Array]>([
    ['no certificate', der.sequence()],
    ['a fourth member', der.sequence(...membersOf(SOUND), der.small(1))],
    [
      'a signature that is no whole octets',
      der.sequence(TBS, ECDSA_SHA256, der.tlv(0x03, Uint8Array.of(1, 2))),
    ],
    ['version 1', of(PARTS.slice(1))],
    ['version 2', swapped(0, der.context(0, der.small(1)))],
    ['version 4', swapped(0, der.context(0, der.small(3)))],
    ['two versions', swapped(0, der.context(0, der.small(2), der.small(2)))],
    ['a serial that is no number', swapped(1, der.octetString(Uint8Array.of(1)))],
    ['another algorithm inside', swapped(2, der.sequence(der.oid('1.2.840.10045.4.3.3')))],
    [
      'ECDSA with parameters',
      of(
        PARTS.with(2, der.sequence(der.oid('1.2.840.10045.4.3.2'), der.tlv(0x05))),
        der.sequence(der.oid('1.2.840.10045.4.3.2'), der.tlv(0x05)),
      ),
    ],
    [
      'RSA without its NULL',
      of(
        PARTS.with(2, der.sequence(der.oid('1.2.840.113549.1.1.11'))),
        der.sequence(der.oid('1.2.840.113549.1.1.11')),
      ),
    ],
    ['an issuer that is no name', swapped(3, der.octetString(new Uint8Array(1)))],
    ['one time', swapped(4, der.sequence(der.certificateTime(NOW_MS)))],
    ['three times', swapped(4, der.sequence(...Array(3).fill(der.certificateTime(NOW_MS))))],
    ['a subject that is no name', swapped(5, der.octetString(new Uint8Array(1)))],
    ['a key of three parts', swapped(6, der.sequence(...membersOf(PARTS[6] as Uint8Array), der.small(1)))],
    ['an Ed25519 key of 31 octets', spki(der.sequence(der.oid('1.3.101.112')), new Uint8Array(31))],
    [
      'an Ed25519 key with parameters',
      spki(der.sequence(der.oid('1.3.101.112'), der.tlv(0x05)), new Uint8Array(32)),
    ],
    [
      'unique identifiers',
      of([...PARTS.slice(0, 7), der.tlv(0x81, new Uint8Array(2)), PARTS[7] as Uint8Array]),
    ],
    ['something after the extensions', of([...PARTS, der.small(1)])],
    ['two lists of extensions', swapped(7, der.context(3, der.sequence(), der.sequence()))],
    ['an extension twice', withExtensions(extension('1.2.3', utf8('x')), extension('1.2.3', utf8('x')))],
    [
      'an extension of four parts',
      withExtensions(
        der.sequence(der.oid('1.2.3'), der.boolean(true), der.octetString(utf8('x')), der.small(1)),
      ),
    ],
    ['an extension without value', withExtensions(der.sequence(der.oid('1.2.3')))],
    ['constraints that are no sequence', withExtensions(extension(OID.basicConstraints, der.boolean(true)))],
    [
      'constraints of three parts',
      withExtensions(
        extension(OID.basicConstraints, der.sequence(der.boolean(true), der.small(1), der.small(1))),
      ),
    ],
    [
      'a path of negative length',
      withExtensions(
        extension(OID.basicConstraints, der.sequence(der.boolean(true), der.tlv(0x02, Uint8Array.of(0xff)))),
      ),
    ],
    ['a key usage that is no bit string', withExtensions(extension(OID.keyUsage, der.small(1)))],
    ['no purpose in the list of purposes', withExtensions(extension(OID.extKeyUsage, der.sequence()))],
    [
      'something behind an extension',
      withExtensions(extension(OID.keyUsage, Uint8Array.of(3, 2, 7, 0x80, 0))),
    ],
    ['a key identifier that is none', withExtensions(extension(OID.subjectKeyIdentifier, der.small(1)))],
    [
      'an issuer key identifier that is none',
      withExtensions(extension(OID.authorityKeyIdentifier, der.small(1))),
    ],
  ])('%s', (_, bytes) => {
    expect(() => parseCertificate(bytes)).toThrow(malformed);
  });
});

test('keys and algorithms of kinds unknown are kept, to be refused where they are needed', () => {
  const gost = der.sequence(der.oid('1.2.643.7.1.1.1.1'), der.sequence());
  expect(parseCertificate(spki(gost, new Uint8Array(64))).publicKey).toMatchObject({
    kind: 'other',
    name: '1.2.643.7.1.1.1.1',
  });
  const p521 = pair('P-521', 'sha256');
  expect(parseCertificate(swapped(6, p521.spki)).publicKey).toMatchObject({ kind: 'other' });
  const pss = der.sequence(der.oid('1.2.840.113549.1.1.10'), der.sequence());
  expect(parseCertificate(of(PARTS.with(2, pss), pss)).algorithm).toEqual({
    kind: 'other',
    name: '1.2.840.113549.1.1.10',
  });
  // One spelling of a point: compressed ones are no P-256 key here.
  const compressed = der.sequence(
    der.sequence(der.oid('1.2.840.10045.2.1'), der.oid('1.2.840.10045.3.1.7')),
    der.bitString(Uint8Array.of(2, ...new Uint8Array(32))),
  );
  expect(parseCertificate(swapped(6, compressed)).publicKey).toMatchObject({ kind: 'other' });
});

test('no octets make a parser throw anything but its refusal, however sound the rest', () => {
  const stamp = timestamp(forge.tsa, forge.tsaRoot.name, utf8('x'));
  const parsers: [Uint8Array, (bytes: Uint8Array) => unknown][] = [
    [SOUND, (bytes) => readIdentity(parseCertificate(bytes))],
    [SOUND, (bytes) => parseSctList(parseCertificate(bytes))],
    [stamp, parseTimestamp],
  ];
  for (const [sound, parse] of parsers) {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: sound.length - 1 }), fc.nat({ max: 255 })), {
          minLength: 1,
          maxLength: 3,
        }),
        fc.nat({ max: sound.length }),
        fc.constantFrom('change', 'cut', 'repeat'),
        (changes, at, how) => {
          const bent = sound.slice();
          for (const [i, octet] of changes) bent[i] = octet;
          const bytes =
            how === 'cut'
              ? bent.slice(0, at)
              : how === 'repeat'
                ? Uint8Array.of(...bent, ...bent.slice(at))
                : bent;
          try {
            parse(bytes);
          } catch (failure) {
            expect(failure).toBeInstanceOf(Rejection);
          }
        },
      ),
      { numRuns: 1500 },
    );
  }
});
