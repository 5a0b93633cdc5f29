// SPDX-License-Identifier: Apache-2.0
// Bundles whose timestamp is wrong in one place, everything else truly signed, at the verifier's own entry point.

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { extendedKeyUsage, keyUsage, OID, sha256 } from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';
import { Forge, type ForgeChanges, NOW_MS, pair } from './forge.ts';
import { dated, forgeBundle, verifyForged } from './forged-bundle.ts';
import { attribute, namesCertificate, type TimestampChange, timestamp } from './forged-timestamp.ts';

const forge = new Forge();
const coded = (code: string) => expect.objectContaining({ code });
const SHA512 = der.sequence(der.oid('2.16.840.1.101.3.4.2.3'));
const SHA1 = der.sequence(der.oid('1.3.14.3.2.26'), der.tlv(0x05));
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';

const withTimestamp = (change: TimestampChange, dates?: Uint8Array) => () =>
  verifyForged(
    forge,
    forgeBundle(forge, {
      timestamps: (signature) => [timestamp(forge.tsa, forge.tsaRoot.name, dates ?? signature, change)],
    }),
  );
/** All attributes but the one of a type, and others in its stead. */
const instead = (type: string, ...others: Uint8Array[]): TimestampChange => ({
  attributes: (list) => [
    ...list.filter((one) => !Buffer.from(one).includes(Buffer.from(der.oid(type)))),
    ...others,
  ],
});
const CERTIFICATE_ID = '1.2.840.113549.1.9.16.2.47';

describe('a timestamp', () => {
  test.each<[string, string, TimestampChange]>([
    [
      'over something else',
      'TIMESTAMP_SUBJECT_MISMATCH',
      { imprint: der.sequence(der.sequence(der.oid(OID.sha256)), der.octetString(sha256(utf8('x')))) },
    ],
    [
      'by SHA-1',
      'TIMESTAMP_SUBJECT_MISMATCH',
      { imprint: der.sequence(SHA1, der.octetString(new Uint8Array(20))) },
    ],
    ['signed by another key', 'TIMESTAMP_SIGNATURE_INVALID', { signedBy: pair() }],
    ['whose content was exchanged', 'TIMESTAMP_SIGNATURE_INVALID', { swapped: infoOf(NOW_MS - 5000) }],
    [
      'with a message digest of SHA-1',
      'TIMESTAMP_SIGNATURE_INVALID',
      { digestAlgorithm: SHA1, digestAlgorithms: [SHA1] },
    ],
    [
      'with a message digest of another length',
      'TIMESTAMP_SIGNATURE_INVALID',
      { digestAlgorithm: SHA512, digestAlgorithms: [SHA512] },
    ],
    ['that does not name its certificate', 'TIMESTAMP_SIGNER_UNBOUND', instead(CERTIFICATE_ID)],
    [
      'that names another certificate',
      'TIMESTAMP_SIGNER_UNBOUND',
      instead(CERTIFICATE_ID, namesCertificate(forge.root.der)),
    ],
    [
      'that names its certificate by SHA-1 alone',
      'TIMESTAMP_SIGNER_UNBOUND',
      instead(
        CERTIFICATE_ID,
        attribute(
          CERTIFICATE_ID,
          der.sequence(der.sequence(der.sequence(SHA1, der.octetString(new Uint8Array(20))))),
        ),
      ),
    ],
    ['signed in a manner that nobody knows', 'X509_ALGORITHM_UNSUPPORTED', { signatureAlgorithm: SHA1 }],
    ['that was refused', 'TIMESTAMP_MALFORMED', { status: 2 }],
    ['that was granted with modifications', 'TIMESTAMP_MALFORMED', { status: 1 }],
    ['in a container of another version', 'TIMESTAMP_MALFORMED', { cmsVersion: 1 }],
    [
      'with more digest algorithms than the signer has',
      'TIMESTAMP_MALFORMED',
      { digestAlgorithms: [SHA512] },
    ],
    ['of another content type', 'TIMESTAMP_MALFORMED', { contentType: '1.2.840.113549.1.7.1' }],
    ['of another version', 'TIMESTAMP_MALFORMED', { tstVersion: 2 }],
    ['of a signer by key identifier', 'TIMESTAMP_MALFORMED', { signerVersion: 3 }],
    ['with two signers', 'TIMESTAMP_MALFORMED', { signerInfos: (one) => [one, one] }],
    ['without signer', 'TIMESTAMP_MALFORMED', { signerInfos: () => [] }],
    ['without message digest', 'TIMESTAMP_MALFORMED', instead(MESSAGE_DIGEST)],
    [
      'with an attribute twice',
      'TIMESTAMP_MALFORMED',
      { attributes: (list) => [...list, attribute(MESSAGE_DIGEST, der.octetString(new Uint8Array(32)))] },
    ],
    [
      'whose attributes are of another content type',
      'TIMESTAMP_MALFORMED',
      instead('1.2.840.113549.1.9.3', attribute('1.2.840.113549.1.9.3', der.oid('1.2.840.113549.1.7.1'))),
    ],
    [
      'with two message digests',
      'TIMESTAMP_MALFORMED',
      instead(
        MESSAGE_DIGEST,
        attribute(MESSAGE_DIGEST, der.octetString(new Uint8Array(32)), der.octetString(new Uint8Array(31))),
      ),
    ],
    ['of a time without seconds', 'TIMESTAMP_MALFORMED', { genTime: der.tlv(0x18, utf8('202603011200Z')) }],
    ['of a local time', 'TIMESTAMP_MALFORMED', { genTime: der.tlv(0x18, utf8('20260301120000+0100')) }],
    [
      'of a time with a fraction that ends in zero',
      'TIMESTAMP_MALFORMED',
      { genTime: der.tlv(0x18, utf8('20260301120000.50Z')) },
    ],
    ['of 30 February', 'TIMESTAMP_MALFORMED', { genTime: der.tlv(0x18, utf8('20260230120000Z')) }],
    [
      'with a critical extension',
      'TIMESTAMP_MALFORMED',
      {
        more: [
          der.context(
            1,
            der.sequence(der.oid('1.2.3'), der.boolean(true), der.octetString(new Uint8Array(1))),
          ),
        ],
      },
    ],
    ['with something behind its end', 'TIMESTAMP_MALFORMED', { more: [der.octetString(new Uint8Array(1))] }],
    ['before its authority was', 'X509_TIME_OUTSIDE_VALIDITY', { timeMs: NOW_MS - 60_000 }],
    ['after the certificate ended', 'X509_TIME_OUTSIDE_VALIDITY', { timeMs: NOW_MS + 601_000 }],
  ])('%s: %s', (_, code, change) => {
    expect(withTimestamp(change)).toThrow(coded(code));
  });

  /** A whole TSTInfo that nobody signed. */
  function infoOf(timeMs: number): Uint8Array {
    const imprint = der.sequence(der.sequence(der.oid(OID.sha256)), der.octetString(new Uint8Array(32)));
    return der.sequence(der.small(1), der.oid('1.2.3'), imprint, der.small(1), der.generalizedTime(timeMs));
  }

  test.each<[string, TimestampChange]>([
    [
      'accuracy, order, nonce, name and an extension',
      {
        more: [
          der.sequence(der.small(1)),
          der.boolean(true),
          der.small(7),
          der.context(0, der.contextPrimitive(6, utf8('x'))),
          der.context(1, der.sequence(der.oid('1.2.3'), der.octetString(new Uint8Array(1)))),
        ],
      },
    ],
    ['a fraction of a second', { genTime: der.tlv(0x18, utf8('20260301120000.25Z')) }],
    ['certificates, which nobody reads', { certificates: [new Forge().tsa.der] }],
    ['an imprint by SHA-512', {}],
  ])('may have %s', (what, change) => {
    const bundle = forgeBundle(forge, {
      timestamps: (signature) => {
        const digest = new Uint8Array(createHash('sha512').update(signature).digest());
        const imprint = what.includes('512')
          ? { imprint: der.sequence(SHA512, der.octetString(digest)) }
          : {};
        return [timestamp(forge.tsa, forge.tsaRoot.name, signature, { ...change, ...imprint })];
      },
    });
    expect(verifyForged(forge, bundle).signedAtMs).toBe(NOW_MS);
  });

  test('of an authority that nobody named, or not for that time', () => {
    const other = new Forge();
    expect(() => verifyForged(forge, forgeBundle(forge, { timestamps: dated(other) }))).toThrow(
      coded('TIMESTAMP_AUTHORITY_UNKNOWN'),
    );
    const trustedRoot = forge.trustedRoot((root) => {
      root.timestampAuthorities[0].validFor.end = new Date(NOW_MS - 1000).toISOString();
    });
    expect(() => verifyForged(forge, forgeBundle(forge), { trustedRoot })).toThrow(
      coded('TIMESTAMP_AUTHORITY_UNKNOWN'),
    );
  });

  test.each<[string, string, ForgeChanges]>([
    [
      'may not sign',
      'X509_USAGE_FORBIDDEN',
      { tsa: { extensions: (list) => [keyUsage('certificates'), ...list.slice(1)] } },
    ],
    [
      'is for code signing',
      'X509_USAGE_FORBIDDEN',
      { tsa: purpose(extendedKeyUsage(OID.codeSigning, true)) },
    ],
    [
      'is for timestamps, but not critically',
      'X509_USAGE_FORBIDDEN',
      { tsa: purpose(extendedKeyUsage(OID.timeStamping)) },
    ],
    [
      'is for timestamps and more',
      'X509_USAGE_FORBIDDEN',
      {
        tsa: purpose({
          oid: OID.extKeyUsage,
          critical: true,
          value: der.sequence(der.oid(OID.timeStamping), der.oid(OID.codeSigning)),
        }),
      },
    ],
    [
      'was issued by nobody who may',
      'X509_AUTHORITY_UNFIT',
      { tsaRoot: { extensions: (list) => list.slice(1) } },
    ],
    ['was not issued by its issuer', 'X509_SIGNATURE_INVALID', { tsa: { signedBy: pair() } }],
    [
      'leads to a root that has ended',
      'X509_TIME_OUTSIDE_VALIDITY',
      { tsaRoot: { content: { notAfterMs: NOW_MS - 1000 } } },
    ],
  ])('of an authority whose certificate %s: %s', (_, code, changes) => {
    const other = new Forge(changes);
    expect(() => verifyForged(other, forgeBundle(other))).toThrow(coded(code));
  });

  function purpose(extension: object) {
    return {
      extensions: (list: readonly { oid: string }[]) => [
        ...list.filter((e) => e.oid !== OID.extKeyUsage),
        extension,
      ],
    } as never;
  }

  test('none at all, and one that is there twice', () => {
    const none = forgeBundle(forge, { timestamps: () => [] });
    expect(() => verifyForged(forge, none)).toThrow(coded('SIGSTORE_TIMESTAMP_MISSING'));
    const twice = forgeBundle(forge, {
      timestamps: (signature) => [...dated(forge)(signature), ...dated(forge)(signature)],
    });
    expect(() => verifyForged(forge, twice)).toThrow(coded('SIGSTORE_TIMESTAMP_REPEATED'));
    const later = forgeBundle(forge, {
      timestamps: (signature) => [
        timestamp(forge.tsa, forge.tsaRoot.name, signature, { timeMs: NOW_MS + 5000 }),
        ...dated(forge)(signature),
      ],
    });
    expect(verifyForged(forge, later)).toMatchObject({ signedAtMs: NOW_MS, times: [{}, {}] });
  });
});
