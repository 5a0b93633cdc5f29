// SPDX-License-Identifier: Apache-2.0
// The reader of trusted roots: both media types, and each part made wrong in turn.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { Rejection } from '../../../core/faults.ts';
import { LIMITS } from '../../../core/limits.ts';
import { parseTrustedRoot } from '../../../core/sigstore/trusted-root.ts';
import { Forge, LOG, OLD_LOG } from './forge.ts';

const forge = new Forge();
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const malformed = (at: string) => expect.objectContaining({ code: 'SIGSTORE_TRUSTED_ROOT_MALFORMED', at });
// biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
type Bent = any;

test('what is sound is read, under each of its media types', () => {
  for (const mediaType of [
    'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    'application/vnd.dev.sigstore.trustedroot.v0.1+json',
    'application/vnd.dev.sigstore.trustedroot.v0.2+json',
  ]) {
    const root = parseTrustedRoot(forge.trustedRoot((bent) => (bent.mediaType = mediaType)));
    expect(root.signatureLogs.map(({ origin }) => origin)).toEqual([LOG, OLD_LOG]);
    expect(root.certificateLogs.map(({ origin }) => origin)).toEqual(['ct.example']);
    expect(root.certificateAuthorities[0]?.issuers).toHaveLength(2);
    expect(root.timestampAuthorities[0]).toMatchObject({ uri: 'https://tsa.example', issuers: [{}] });
  }
});

test('what newer roots say besides is read: operators, key ids, ends, fractions, nulls', () => {
  const root = parseTrustedRoot(
    forge.trustedRoot((bent) => {
      const [log, old] = bent.tlogs;
      Object.assign(log, {
        operator: 'example',
        checkpointKeyId: { keyId: b64(forge.logId.subarray(0, 4)) },
      });
      Object.assign(old, { operator: null, checkpointKeyId: null, baseUrl: `${OLD_LOG}/` });
      log.publicKey.validFor = { start: '2026-01-31T12:00:00.123456789Z', end: null };
      bent.timestampAuthorities[0].validFor.end = '2026-12-31T12:00:00.5Z';
      delete bent.timestampAuthorities[0].uri;
      delete bent.ctlogs[0].baseUrl;
      bent.ctlogs[0].publicKey = {
        ...bent.ctlogs[0].publicKey,
        keyDetails: 'PKCS1_RSA_PKCS1V5',
        rawBytes: 'AAAA',
      };
    }),
  );
  expect(root.signatureLogs[0]?.validFor).toEqual({ startMs: Date.parse('2026-01-31T12:00:00.123Z') });
  expect(root.signatureLogs[1]?.origin).toBe(OLD_LOG);
  expect(root.timestampAuthorities[0]).toMatchObject({
    uri: '',
    validFor: { endMs: Date.parse('2026-12-31T12:00:00.500Z') },
  });
  expect(root.certificateLogs[0]).toMatchObject({
    origin: '',
    publicKey: { kind: 'other', name: 'PKCS1_RSA_PKCS1V5' },
  });
});

describe('refuses', () => {
  test.each<[string, string, (root: Bent) => unknown]>([
    ['another media type', '/mediaType', (root) => (root.mediaType = 'application/json')],
    ['an unknown member', '/stranger', (root) => (root.stranger = 1)],
    ['an unknown member of a log', '/tlogs/0/stranger', (root) => (root.tlogs[0].stranger = 1)],
    ['another hash', '/tlogs/0/hashAlgorithm', (root) => (root.tlogs[0].hashAlgorithm = 'SHA2_512')],
    ['a base URL that is none', '/tlogs/0/baseUrl', (root) => (root.tlogs[0].baseUrl = 'https://a b')],
    ['a log id of another length', '/tlogs/0/logId', (root) => (root.tlogs[0].logId.keyId = 'AAAA')],
    [
      'a key id that is not of the log id',
      '/tlogs/0/checkpointKeyId',
      (root) => (root.tlogs[0].checkpointKeyId = { keyId: 'AAAAAA==' }),
    ],
    [
      'a key id too short',
      '/tlogs/0/checkpointKeyId',
      (root) => (root.tlogs[0].checkpointKeyId = { keyId: b64(forge.logId.subarray(0, 3)) }),
    ],
    [
      'a key of another kind',
      '/tlogs/0/publicKey/rawBytes',
      (root) => (root.tlogs[0].publicKey.keyDetails = 'PKIX_ECDSA_P256_SHA_256'),
    ],
    [
      'a P-256 key as P-384',
      '/ctlogs/0/publicKey/rawBytes',
      (root) => (root.ctlogs[0].publicKey.keyDetails = 'PKIX_ECDSA_P384_SHA_384'),
    ],
    [
      'a P-256 key as RSA',
      '/ctlogs/0/publicKey/rawBytes',
      (root) => (root.ctlogs[0].publicKey.keyDetails = 'PKIX_RSA_PKCS1V15_2048_SHA256'),
    ],
    [
      'a key that is none',
      '/tlogs/0/publicKey/rawBytes',
      (root) => (root.tlogs[0].publicKey.rawBytes = 'AAAA'),
    ],
    [
      'base64 that is not canonical',
      '/tlogs/0/publicKey/rawBytes',
      (root) => (root.tlogs[0].publicKey.rawBytes += '='),
    ],
    [
      'a period without start',
      '/tlogs/0/publicKey/validFor',
      (root) => (root.tlogs[0].publicKey.validFor = {}),
    ],
    ['no period', '/tlogs/0/publicKey', (root) => delete root.tlogs[0].publicKey.validFor],
    [
      'no period of an authority',
      '/certificateAuthorities/0',
      (root) => delete root.certificateAuthorities[0].validFor,
    ],
    [
      'a time that is none',
      '/tlogs/0/publicKey/validFor/end',
      (root) => (root.tlogs[0].publicKey.validFor.end = '2026-02-30T00:00:00Z'),
    ],
    [
      'a local time',
      '/tlogs/0/publicKey/validFor/start',
      (root) => (root.tlogs[0].publicKey.validFor.start = '2026-01-31T00:00:00+01:00'),
    ],
    [
      'a chain without certificates',
      '/certificateAuthorities/0/certChain/certificates',
      (root) => (root.certificateAuthorities[0].certChain.certificates = []),
    ],
    [
      'a chain without root',
      '/certificateAuthorities/0/certChain',
      (root) => root.certificateAuthorities[0].certChain.certificates.pop(),
    ],
    [
      'a chain in another order',
      '/certificateAuthorities/0/certChain',
      (root) => root.certificateAuthorities[0].certChain.certificates.reverse(),
    ],
    [
      'a chain too long',
      '/certificateAuthorities/0/certChain',
      (root) =>
        (root.certificateAuthorities[0].certChain.certificates = Array(LIMITS.chainLength + 1).fill({
          rawBytes: b64(forge.root.der),
        })),
    ],
    [
      'a certificate that is none',
      '/certificateAuthorities/0/certChain/certificates/0/rawBytes',
      (root) => (root.certificateAuthorities[0].certChain.certificates[0].rawBytes = 'AAAA'),
    ],
    [
      'a timestamp authority that is its own root',
      '/timestampAuthorities/0/certChain',
      (root) => root.timestampAuthorities[0].certChain.certificates.shift(),
    ],
    [
      'too many logs',
      '/ctlogs',
      (root) => (root.ctlogs = Array(LIMITS.trustedRootCount + 1).fill(root.ctlogs[0])),
    ],
    ['logs that are no list', '/ctlogs', (root) => (root.ctlogs = {})],
  ])('%s', (_, at, change) => {
    expect(() => parseTrustedRoot(forge.trustedRoot(change))).toThrow(malformed(at));
  });

  test('a name given twice, and what is no JSON', () => {
    expect(() => parseTrustedRoot(utf8('{"tlogs":1,"tlogs":2}'))).toThrow(malformed('offset 11'));
    expect(() => parseTrustedRoot(utf8('{'))).toThrow(malformed('offset 1'));
  });
});

test('no octets make it throw anything but its refusal', () => {
  const sound = forge.trustedRoot();
  fc.assert(
    fc.property(fc.nat({ max: sound.length - 1 }), fc.nat({ max: 255 }), fc.boolean(), (at, octet, cut) => {
      const bent = cut ? sound.slice(0, at) : sound.with(at, octet);
      try {
        parseTrustedRoot(bent);
      } catch (failure) {
        expect(failure).toBeInstanceOf(Rejection);
      }
    }),
    { numRuns: 500 },
  );
});
