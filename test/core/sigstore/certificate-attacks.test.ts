// SPDX-License-Identifier: Apache-2.0
// Bundles whose certificate is wrong in one place, everything else truly signed, at the verifier's own entry point.

import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { STRICT_POLICY } from '../../../core/verify/evidence.ts';
import { signatureVerifier } from '../../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { extendedKeyUsage, keyUsage, OID, sha256 } from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';
import { ed25519Pair, Forge, IDENTITY, ISSUER, LOG, NOW_MS, pair, rsaPair } from './forge.ts';
import { certifiedSigner, forgeBundle, verifyForged } from './forged-bundle.ts';

const forge = new Forge();
const coded = (code: string) => expect.objectContaining({ code });
const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const verify = (bundle: Uint8Array, trust: { forge?: Forge; root?: Uint8Array } = {}) =>
  verifyForged(trust.forge ?? forge, bundle, trust.root === undefined ? {} : { trustedRoot: trust.root });

test('what is sound is accepted, and says who, when, where and what', () => {
  const bundle = forgeBundle(forge);
  expect(verify(bundle)).toMatchObject({
    sha256: Buffer.from(sha256(bundle)).toString('hex'),
    signer: { kind: 'certificate', identity: IDENTITY, issuer: ISSUER },
    certificate: { kind: 'uri', claims: { issuer: ISSUER } },
    signedAtMs: NOW_MS,
    times: [{ by: 'authority', name: 'https://tsa.example', timeMs: NOW_MS }],
    entries: [{ origin: LOG, index: 1n, treeSize: 3n, witnesses: 'none' }],
    content: { kind: 'statement', statement: { predicateType: 'https://example.com/predicate/v1' } },
    waived: [],
  });
});

describe('the certificate', () => {
  const withCertificate =
    (...how: Parameters<Forge['signer']>) =>
    () =>
      verify(forgeBundle(forge, { signer: certifiedSigner(forge, ...how) }));
  const without = (oid: string) =>
    ({ extensions: (list: readonly { oid: string }[]) => list.filter((e) => e.oid !== oid) }) as never;
  const instead = (oid: string, ...more: object[]) =>
    ({
      extensions: (list: readonly { oid: string }[]) => [...list.filter((e) => e.oid !== oid), ...more],
    }) as never;
  const san = (...names: Uint8Array[]) =>
    instead(OID.subjectAltName, { oid: OID.subjectAltName, value: der.sequence(...names) });

  test.each<[string, string, Parameters<Forge['signer']>]>([
    ['of an authority that nobody named', 'X509_ISSUER_UNKNOWN', [{}, new Forge().intermediate]],
    ['in the name of an authority, by another key', 'X509_SIGNATURE_INVALID', [{ signedBy: pair() }]],
    ['issued by another certificate', 'X509_ISSUER_UNKNOWN', [{}, forge.signer()]],
    ['that has ended', 'X509_TIME_OUTSIDE_VALIDITY', [{ content: { notAfterMs: NOW_MS - 1000 } }]],
    ['that has not begun', 'X509_TIME_OUTSIDE_VALIDITY', [{ content: { notBeforeMs: NOW_MS + 1000 } }]],
    ['without key usage', 'X509_USAGE_FORBIDDEN', [without(OID.keyUsage)]],
    ['for certificates', 'X509_USAGE_FORBIDDEN', [instead(OID.keyUsage, keyUsage('certificates'))]],
    ['without purpose', 'X509_USAGE_FORBIDDEN', [without(OID.extKeyUsage)]],
    [
      'for timestamps',
      'X509_USAGE_FORBIDDEN',
      [instead(OID.extKeyUsage, extendedKeyUsage(OID.timeStamping))],
    ],
    ['for any purpose', 'X509_USAGE_FORBIDDEN', [instead(OID.extKeyUsage, extendedKeyUsage('2.5.29.37.0'))]],
    [
      'of an authority',
      'X509_USAGE_FORBIDDEN',
      [instead('none', { oid: OID.basicConstraints, value: der.sequence(der.boolean(true)) })],
    ],
    [
      'with a critical extension that nobody knows',
      'X509_EXTENSION_UNKNOWN',
      [instead('none', { oid: '1.2.3.4', critical: true, value: der.tlv(0x05) })],
    ],
    [
      'that is a precertificate',
      'X509_EXTENSION_UNKNOWN',
      [instead('none', { oid: OID.ctPoison, critical: true, value: der.tlv(0x05) })],
    ],
    ['without name', 'X509_IDENTITY_MALFORMED', [without(OID.subjectAltName)]],
    [
      'with two names',
      'X509_IDENTITY_MALFORMED',
      [san(der.contextPrimitive(6, utf8(IDENTITY)), der.contextPrimitive(1, utf8('a@b.example')))],
    ],
    ['with an empty name', 'X509_IDENTITY_MALFORMED', [san(der.contextPrimitive(6, utf8('')))]],
    [
      'with a name of control characters',
      'X509_IDENTITY_MALFORMED',
      [san(der.contextPrimitive(6, utf8('a\u0000b')))],
    ],
    [
      'with a name that is not ASCII',
      'X509_IDENTITY_MALFORMED',
      [san(der.contextPrimitive(6, utf8('https://é')))],
    ],
    ['with a DNS name', 'X509_IDENTITY_MALFORMED', [san(der.contextPrimitive(2, utf8('example.com')))]],
    [
      'with a foreign name form',
      'X509_IDENTITY_MALFORMED',
      [san(der.context(0, der.oid('1.2.3'), der.context(0, der.utf8String('x'))))],
    ],
    ['without issuer of the identity', 'X509_IDENTITY_MALFORMED', [without('1.3.6.1.4.1.57264.1.8')]],
    [
      'with two issuers of the identity',
      'X509_IDENTITY_MALFORMED',
      [instead('none', { oid: '1.3.6.1.4.1.57264.1.1', value: utf8('https://other.example') })],
    ],
    [
      'with a claim that is no UTF-8',
      'X509_IDENTITY_MALFORMED',
      [instead('none', { oid: '1.3.6.1.4.1.57264.1.12', value: der.tlv(0x0c, Uint8Array.of(0xff)) })],
    ],
    [
      'with a claim that is no string',
      'X509_IDENTITY_MALFORMED',
      [instead('none', { oid: '1.3.6.1.4.1.57264.1.12', value: der.small(7) })],
    ],
    ['that is in no log', 'X509_SCT_MISSING', [{ scts: () => [] }]],
    ['that is twice in one log', 'X509_SCT_MALFORMED', [{ scts: (sct) => [sct, sct] }]],
    ['whose log entry is cut', 'X509_SCT_MALFORMED', [{ scts: (sct) => [sct.slice(0, -1)] }]],
    [
      'with a byte after the log entry',
      'X509_SCT_MALFORMED',
      [{ scts: (sct) => [Uint8Array.of(...sct, 0)] }],
    ],
    [
      'with an entry of another version',
      'X509_SCT_MALFORMED',
      [{ scts: (sct) => [Uint8Array.of(1, ...sct.slice(1))] }],
    ],
    ['with too many entries', 'X509_SCT_MALFORMED', [{ scts: (sct) => Array(9).fill(sct) }]],
    [
      'in a log that nobody named',
      'X509_SCT_LOG_UNKNOWN',
      [{ scts: (sct) => [sct, forge.sct(new Uint8Array(3), forge.intermediate.key.spki, NOW_MS, pair())] }],
    ],
    [
      'whose log entry is about another certificate',
      'X509_SCT_SIGNATURE_INVALID',
      [{ scts: () => [forge.sct(new Uint8Array(300), forge.intermediate.key.spki)] }],
    ],
    [
      'with an entry signed in another manner',
      'X509_ALGORITHM_UNSUPPORTED',
      [{ scts: (sct) => [swapAlgorithm(sct)] }],
    ],
    ['with a P-384 key', 'SIGSTORE_KEY_UNSUITABLE', [{ key: pair('P-384', 'sha384') }]],
    ['with an Ed25519 key', 'SIGSTORE_KEY_UNSUITABLE', [{ key: ed25519Pair() }]],
  ])('%s: %s', (_, code, how) => {
    expect(withCertificate(...how)).toThrow(coded(code));
  });

  /** SHA-1 with RSA in place of SHA-256 with ECDSA: the two octets after the eight of the extensions. */
  function swapAlgorithm(sct: Uint8Array): Uint8Array {
    const copy = sct.slice();
    copy.set([2, 1], 1 + 32 + 8 + 2 + 8);
    return copy;
  }

  test('names of all three forms, and all claims, are read', () => {
    const claims = [2, 3, 4, 5, 6].map((n) => ({ oid: `1.3.6.1.4.1.57264.1.${n}`, value: utf8(`raw ${n}`) }));
    const strings = Array.from({ length: 16 }, (_, i) => ({
      oid: `1.3.6.1.4.1.57264.1.${i + 9}`,
      value: der.utf8String(`value ${i + 9}`),
    }));
    const username = der.context(
      0,
      der.oid('1.3.6.1.4.1.57264.1.7'),
      der.context(0, der.utf8String('ann!example.com')),
    );
    const named = certifiedSigner(
      forge,
      instead(
        OID.subjectAltName,
        { oid: OID.subjectAltName, value: der.sequence(username) },
        ...claims,
        ...strings,
      ),
    );
    expect(verify(forgeBundle(forge, { signer: named })).certificate).toMatchObject({
      kind: 'username',
      identity: 'ann!example.com',
      claims: {
        issuer: ISSUER,
        githubWorkflowTrigger: 'raw 2',
        githubWorkflowRef: 'raw 6',
        buildSignerUri: 'value 9',
        sourceRepositoryUri: 'value 12',
        tokenSubject: 'value 24',
      },
    });
    const mailed = certifiedSigner(forge, san(der.contextPrimitive(1, utf8('ann@example.com'))));
    expect(verify(forgeBundle(forge, { signer: mailed })).certificate).toMatchObject({
      kind: 'email',
      identity: 'ann@example.com',
    });
  });

  test.each<[string, string, ConstructorParameters<typeof Forge>[0]]>([
    ['is no authority', 'X509_AUTHORITY_UNFIT', { intermediate: without(OID.basicConstraints) }],
    [
      'says that it is none',
      'X509_AUTHORITY_UNFIT',
      { intermediate: instead(OID.basicConstraints, { oid: OID.basicConstraints, value: der.sequence() }) },
    ],
    [
      'may not sign certificates',
      'X509_AUTHORITY_UNFIT',
      { intermediate: instead(OID.keyUsage, keyUsage('digitalSignature')) },
    ],
    ['has no key usage', 'X509_AUTHORITY_UNFIT', { intermediate: without(OID.keyUsage) }],
    [
      'is for timestamps',
      'X509_AUTHORITY_UNFIT',
      { intermediate: instead(OID.extKeyUsage, extendedKeyUsage(OID.timeStamping)) },
    ],
    [
      'is below one that allows none below',
      'X509_AUTHORITY_UNFIT',
      {
        root: instead(OID.basicConstraints, {
          oid: OID.basicConstraints,
          critical: true,
          value: der.sequence(der.boolean(true), der.small(0)),
        }),
      },
    ],
    [
      'has a critical extension that nobody knows',
      'X509_EXTENSION_UNKNOWN',
      { intermediate: instead('none', { oid: '2.5.29.30', critical: true, value: der.sequence() }) },
    ],
    ['has ended', 'X509_TIME_OUTSIDE_VALIDITY', { intermediate: { content: { notAfterMs: NOW_MS - 1000 } } }],
    ['was not signed by its issuer', 'X509_SIGNATURE_INVALID', { intermediate: { signedBy: pair() } }],
    [
      'leads to a root that has ended',
      'X509_TIME_OUTSIDE_VALIDITY',
      { root: { content: { notAfterMs: NOW_MS - 1000 } } },
    ],
    ['leads to a root that did not sign itself', 'X509_SIGNATURE_INVALID', { root: { signedBy: pair() } }],
  ])('of an authority that %s: %s', (_, code, changes) => {
    const other = new Forge(changes);
    expect(() => verify(forgeBundle(other), { forge: other })).toThrow(coded(code));
  });

  test('of an authority that was not trusted at that time', () => {
    const early = forge.trustedRoot((root) => {
      root.certificateAuthorities[0].validFor = {
        start: '2020-01-01T00:00:00Z',
        end: '2026-02-28T00:00:00Z',
      };
    });
    expect(() => verify(forgeBundle(forge), { root: early })).toThrow(coded('X509_ISSUER_UNKNOWN'));
  });

  test('logged in a log that was not trusted at that time', () => {
    const early = forge.trustedRoot((root) => {
      root.ctlogs[0].publicKey.validFor.end = '2026-02-28T00:00:00Z';
    });
    expect(() => verify(forgeBundle(forge), { root: early })).toThrow(coded('X509_SCT_LOG_UNKNOWN'));
  });

  test('of an authority whose RSA this host cannot check is refused there, and only there', () => {
    const other = new Forge({ root: { key: rsaPair() } });
    const trust = { trustedRoot: other.trustedRoot(), keys: [], policy: STRICT_POLICY };
    const bundle = forgeBundle(other);
    expect(() => signatureVerifier(trust, portableCrypto).verify(bundle)).toThrow(
      coded('X509_ALGORITHM_UNSUPPORTED'),
    );
    expect(signatureVerifier(trust, nodeCrypto).verify(bundle).signer).toMatchObject({ identity: IDENTITY });
  });

  test.each([
    ['P-384', () => pair('P-384', 'sha384')],
    ['Ed25519', ed25519Pair],
  ])('of an authority with a key of %s is accepted, and its forgery is not', (_, key) => {
    const other = new Forge({
      root: { key: key() },
      intermediate: { key: key() },
      tsaRoot: { key: key() },
      tsa: { key: key() },
    });
    const trust = { trustedRoot: other.trustedRoot(), keys: [], policy: STRICT_POLICY };
    for (const crypto of [portableCrypto, nodeCrypto]) {
      const verifier = signatureVerifier(trust, crypto);
      expect(verifier.verify(forgeBundle(other)).signer).toMatchObject({ identity: IDENTITY });
      const forged = forgeBundle(other, { signer: certifiedSigner(other, { signedBy: key() }) });
      expect(() => verifier.verify(forged)).toThrow(coded('X509_SIGNATURE_INVALID'));
    }
  });

  test('chains in old bundles: what follows the signer is not trusted, and no root', () => {
    const signer = certifiedSigner(forge);
    const chained =
      (...others: Uint8Array[]) =>
      (bundle: { mediaType: string; verificationMaterial: Record<string, unknown> }) => {
        bundle.mediaType = 'application/vnd.dev.sigstore.bundle+json;version=0.2';
        const certificates = [signer.certificate as Uint8Array, ...others].map((one) => ({
          rawBytes: b64(one),
        }));
        bundle.verificationMaterial.x509CertificateChain = { certificates };
        delete bundle.verificationMaterial.certificate;
      };
    const of = (...others: Uint8Array[]) => forgeBundle(forge, { signer, change: chained(...others) });
    expect(verify(of(forge.intermediate.der)).signer).toMatchObject({ identity: IDENTITY });
    expect(() => verify(of(forge.root.der))).toThrow(coded('SIGSTORE_BUNDLE_ROOT_INCLUDED'));
    const stranger = new Forge();
    const foreign = certifiedSigner(stranger);
    const led = forgeBundle(forge, {
      signer: foreign,
      change: (bundle) => {
        chained()(bundle);
        bundle.verificationMaterial.x509CertificateChain = {
          certificates: [foreign.certificate as Uint8Array, stranger.intermediate.der].map((one) => ({
            rawBytes: b64(one),
          })),
        };
      },
    });
    expect(() => verify(led)).toThrow(coded('X509_ISSUER_UNKNOWN'));
  });
});
