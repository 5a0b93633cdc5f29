// SPDX-License-Identifier: Apache-2.0
// Each document: format and parse are inverses, and each member that a verifier relies on is refused when it is wrong.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseBom } from '../../core/cyclonedx/bom.ts';
import { base64Encode } from '../../core/encoding/base64.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { buildInstallReport, parseInstallReport } from '../../core/intoto/install-report.ts';
import { buildStepProvenance, parseStepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference, parseSbomReference } from '../../core/intoto/reference.ts';
import { formatStatement, parseStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { buildVerificationSummary, parseVerificationSummary } from '../../core/intoto/vsa.ts';
import { LIMITS } from '../../core/limits.ts';
import { parseDevicePolicy } from '../../core/release/device-policy.ts';
import { formatPack, parsePack } from '../../core/release/pack.ts';
import { formatReleaseIndex, parseReleaseIndex } from '../../core/release/release-index.ts';
import { compareVersions, isProductName, isVersion, releaseUri } from '../../core/release/version.ts';
import { BUNDLE_MEDIA_TYPE, parseBundle, preAuthEncoding } from '../../core/sigstore/bundle.ts';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
type Plain = Record<string, unknown>;
const bytesOf = (value: unknown) => utf8(JSON.stringify(value));
const coded = (code: string) => expect.objectContaining({ code });

/** Applies a change to a deep copy; `undefined` removes the member at the path. */
function changed(value: unknown, path: string, to: unknown): unknown {
  const copy = JSON.parse(JSON.stringify(value));
  const names = path.split('.');
  const last = names.pop() as string;
  const holder = names.reduce((node, name) => node[name], copy);
  if (to === undefined) delete holder[last];
  else holder[last] = to;
  return copy;
}

/** What a signed statement says after it went over the wire. */
const wire = (statement: UnsignedStatement) => parseStatement(formatStatement(statement));

const provenance = {
  products: [{ name: 'fw.bin', sha256: A }],
  builderId: 'https://waybill.example/builders/local',
  product: 'optiboot',
  version: '8.0.0',
  step: 'image',
  resolvedDependencies: [
    {
      name: 'fw.elf',
      uri: 'waybill:step/compile/fw.elf',
      sha256: B,
      annotations: { role: 'material', step: 'compile' },
    },
  ],
  sandbox: {
    hermetic: true,
    mechanism: 'bubblewrap 0.8.0',
    kernel: '6.1',
    sourceDateEpoch: 0,
    seccomp: true,
    limits: 'rlimits' as const,
    clock: 'host' as const,
    cpus: 1,
  },
  invocationId: 'one',
};
const summary = {
  subjects: [{ name: 'fw.bin', sha256: A }],
  verifierId: 'https://waybill.example/gates/optiboot',
  timeVerifiedMs: Date.parse('2026-01-31T12:00:00Z'),
  resourceUri: releaseUri('optiboot', '8.0.0'),
  policyUri: 'https://waybill.example/policies/optiboot',
  policySha256: B,
  inputAttestations: [A, B],
  result: 'PASSED' as const,
  verifiedLevels: ['SLSA_BUILD_LEVEL_1'],
};
const report = {
  deviceId: 'd1',
  product: 'optiboot',
  counter: 3,
  outcome: 'refused' as const,
  imageSha256: A,
  previousSha256: B,
  version: '8.0.0',
  code: 'UPDATE_VERSION_FLOOR',
  reportedAtMs: Date.parse('2026-01-31T12:00:00Z'),
};
const reference = {
  subjects: [{ name: 'fw.bin', sha256: A }],
  attesterId: 'https://waybill.example/builders/local',
  sbomSha256: B,
  downloadLocation: 'sbom.cdx.json',
};

describe('statements', () => {
  test('each predicate survives the wire', () => {
    for (const limits of ['cgroup', 'rlimits'] as const) {
      const bound = { ...provenance, sandbox: { ...provenance.sandbox, limits } };
      expect(parseStepProvenance(wire(buildStepProvenance(bound)))).toEqual(bound);
    }
    expect(parseVerificationSummary(wire(buildVerificationSummary(summary, '2026-01-31T12:00:00Z')))).toEqual(
      summary,
    );
    expect(parseInstallReport(wire(buildInstallReport(report, '2026-01-31T12:00:00Z')))).toEqual(report);
    expect(parseSbomReference(wire(buildSbomReference(reference)))).toEqual(reference);
  });

  const statement = JSON.parse(utf8Decode(formatStatement(buildStepProvenance(provenance))) ?? '') as Plain;
  test.each([
    ['_type', 'https://in-toto.io/Statement/v0.1'],
    ['subject', []],
    ['subject.0.name', ''],
    ['subject.0.digest', { sha1: 'a'.repeat(40) }],
    ['subject.0.digest.sha256', A.toUpperCase()],
    ['predicateType', 7],
    ['predicate', undefined],
    ['extra', 1],
  ])('refuses a statement whose %s is %j', (path, to) => {
    expect(() => parseStatement(bytesOf(changed(statement, path, to)))).toThrow(
      coded('INTOTO_STATEMENT_MALFORMED'),
    );
  });

  test('refuses a statement past the limit before reading it', () => {
    expect(() => parseStatement(new Uint8Array(LIMITS.statementSizeBytes + 1))).toThrow(
      coded('INTOTO_STATEMENT_MALFORMED'),
    );
  });

  test.each([
    ['predicate.buildDefinition.buildType', 'https://example.org/other'],
    ['predicate.buildDefinition.externalParameters.flags', '-DX'],
    ['predicate.buildDefinition.resolvedDependencies', []],
    ['predicate.buildDefinition.resolvedDependencies.0.annotations', {}],
    ['predicate.buildDefinition.resolvedDependencies.0.annotations.role', 'sauce'],
    ['predicate.buildDefinition.internalParameters.sandbox.hermetic', 'true'],
    ['predicate.buildDefinition.internalParameters.sandbox.seccomp', 1],
    ['predicate.buildDefinition.internalParameters.sandbox.seccomp', undefined],
    ['predicate.buildDefinition.internalParameters.sandbox.limits', 'none'],
    ['predicate.buildDefinition.internalParameters.sandbox.clock', 'frozen'],
    ['predicate.buildDefinition.internalParameters.sandbox.cpus', 0],
    ['predicate.buildDefinition.internalParameters.sandbox.network', false],
    ['predicate.runDetails.builder', {}],
    ['predicate.runDetails.metadata.invocationId', ''],
  ])('refuses provenance whose %s is %j', (path, to) => {
    const edited = parseStatement(bytesOf(changed(statement, path, to)));
    expect(() => parseStepProvenance(edited)).toThrow(coded('INTOTO_STATEMENT_MALFORMED'));
  });

  test('a statement of one type is not read as another', () => {
    const vsa = wire(buildVerificationSummary(summary, '2026-01-31T12:00:00Z'));
    expect(() => parseStepProvenance(vsa)).toThrow(coded('SLSA_PROVENANCE_MALFORMED'));
    expect(() => parseInstallReport(vsa)).toThrow(coded('INSTALL_REPORT_MALFORMED'));
    expect(() => parseSbomReference(vsa)).toThrow(coded('INTOTO_REFERENCE_MALFORMED'));
    expect(() => parseVerificationSummary(wire(buildStepProvenance(provenance)))).toThrow(
      coded('SLSA_VSA_MALFORMED'),
    );
  });

  test('a reference names exactly one CycloneDX document', () => {
    const good = JSON.parse(utf8Decode(formatStatement(buildSbomReference(reference))) ?? '');
    const [one] = good.predicate.references;
    for (const references of [[one, one], [{ ...one, mediaType: 'text/plain' }]]) {
      const edited = parseStatement(bytesOf(changed(good, 'predicate.references', references)));
      expect(() => parseSbomReference(edited)).toThrow(coded('INTOTO_REFERENCE_MALFORMED'));
    }
  });

  test('a report has one subject, a positive counter and a code of the right form', () => {
    const good = JSON.parse(
      utf8Decode(formatStatement(buildInstallReport(report, '2026-01-31T12:00:00Z'))) ?? '',
    );
    const read = (path: string, to: unknown) => () =>
      parseInstallReport(parseStatement(bytesOf(changed(good, path, to))));
    expect(read('subject', [...good.subject, ...good.subject])).toThrow(coded('INSTALL_REPORT_MALFORMED'));
    for (const [path, to] of [
      ['predicate.counter', 0],
      ['predicate.code', 'a b'],
      ['predicate.outcome', 'fine'],
      ['predicate.x', 1],
    ] as const) {
      expect(read(path, to)).toThrow(coded('INTOTO_STATEMENT_MALFORMED'));
    }
  });
});

describe('versions and products', () => {
  test('compare number by number', () => {
    expect(compareVersions('8.10.0', '8.9.9')).toBeGreaterThan(0);
    expect(compareVersions('8.0', '8.0.0.0')).toBe(0);
    expect(compareVersions('1', '1.0.0.1')).toBeLessThan(0);
  });
  test.each(['', '1.', '01', '1.0.0.0.0', 'v1', '1.0-rc1', '1234567890', '-1'])('refuse %j', (text) => {
    expect(isVersion(text)).toBe(false);
    expect(() => compareVersions(text, '1')).toThrow(coded('RELEASE_VERSION_MALFORMED'));
  });
  test('a product is a path segment', () => {
    expect(isProductName('optiboot-328')).toBe(true);
    for (const text of ['', '-a', 'A', 'a/b', '..', 'a.b', 'a'.repeat(64)])
      expect(isProductName(text)).toBe(false);
  });
});

const pack = {
  product: 'optiboot',
  version: '8.0.0',
  imageSha256: A,
  imageSizeBytes: 480,
  checkpoint: 'log.waybill.example\n1\nAAAA\n\n— log.waybill.example AAAA\n',
  bundles: [{ bundle: utf8('{"ü":1}\n'), leafIndex: 5n, proof: [new Uint8Array(32).fill(7)] }],
  bodies: [
    {
      name: 'packs/optiboot/optiboot-8.0.0.cdx.json',
      mediaType: 'application/vnd.cyclonedx+json',
      sha256: B,
      sizeBytes: 10,
    },
  ],
};

describe('evidence pack', () => {
  test('keeps bundles verbatim', () => {
    expect(parsePack(formatPack(pack))).toEqual(pack);
    expect(() =>
      formatPack({
        ...pack,
        bundles: [{ ...(pack.bundles[0] as never as object), bundle: new Uint8Array([0xff]) } as never],
      }),
    ).toThrow(coded('PACK_MALFORMED'));
  });
  const plain = JSON.parse(utf8Decode(formatPack(pack)) ?? '');
  test.each([
    ['mediaType', 'application/json'],
    ['product', '../etc'],
    ['version', '1.0-rc'],
    ['image.sha256', 'x'],
    ['image.sizeBytes', 0],
    ['bundles', []],
    [
      'bundles',
      Array.from({ length: LIMITS.packBundleCount + 1 }, (_, i) => ({ ...plain.bundles[0], bundle: `${i}` })),
    ],
    ['bundles', [plain.bundles[0], { ...plain.bundles[0], leafIndex: 99 }]],
    ['bundles.0.leafIndex', -1],
    ['bundles.0.proof', ['AAAA']],
    ['bundles.0.proof', Array(LIMITS.proofHashCount + 1).fill(plain.bundles[0].proof[0])],
    ['bodies.0.sha256', null],
    ['checkpoint', undefined],
    ['more', 1],
  ])('refuses a pack whose %s is wrong', (path, to) => {
    expect(() => parsePack(bytesOf(changed(plain, path, to)))).toThrow(coded('PACK_MALFORMED'));
  });
  test('no bytes make the parser fail otherwise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => parsePack(bytes)).toThrow(coded('PACK_MALFORMED'));
      }),
    );
  });
});

describe('release index', () => {
  const file = (name: string) => ({ name, sha256: A, sizeBytes: 1 });
  const release = (version: string) => ({
    version,
    image: file(`images/optiboot/optiboot-${version}.bin`),
    pack: file(`packs/optiboot/optiboot-${version}.waybill`),
    hardwareIds: ['atmega328'],
    releasedAt: '2026-01-31T12:00:00Z',
  });
  const index = {
    product: 'optiboot',
    releases: [release('8.0.0'), release('8.1.0')],
    denials: [{ imageSha256: B, version: '7.0.0', reason: 'bricks rev B', deniedAt: '2026-01-31T12:00:00Z' }],
  };
  test('survives the wire', () => {
    expect(parseReleaseIndex(formatReleaseIndex(index))).toEqual(index);
  });
  test.each([
    ['releases', [release('8.1.0'), release('8.0.0')]],
    ['releases', [release('8.0.0'), release('8.0')]],
    ['releases.0.image.name', 'images/other/x.bin'],
    ['releases.0.image.name', 'images/optiboot/../x.bin'],
    ['releases.0.pack.name', 'packs/optiboot/.hidden'],
    ['releases.0.hardwareIds', []],
    ['releases.0.releasedAt', 'yesterday'],
    ['denials.0.reason', ''],
    ['product', 'Optiboot'],
  ])('refuses an index whose %s is wrong', (path, to) => {
    expect(() => parseReleaseIndex(bytesOf(changed(index, path, to)))).toThrow(
      coded('RELEASE_INDEX_MALFORMED'),
    );
  });
});

describe('device policy', () => {
  const policy = {
    product: 'optiboot',
    hardwareIds: ['atmega328'],
    builders: [{ builderId: 'https://b', identity: 'https://i', issuer: 'https://o' }],
    steps: ['compile', 'image'],
    source: 'pkg:deb/debian/arduino-core-avr',
    gate: {
      verifierId: 'https://g',
      publicKey: base64Encode(new Uint8Array(91)),
      policies: [{ uri: 'https://p', sha256: A }],
    },
    witnesses: 'none',
  };
  test('is read', () => {
    expect(parseDevicePolicy(bytesOf(policy)).gate.policies).toEqual([{ uri: 'https://p', sha256: A }]);
    expect(parseDevicePolicy(bytesOf(policy)).witnesses).toBe('none');
  });
  test.each([1, 36500, 'none'])('may ask for witnesses of an age of %j', (checkpointAgeMaxDays) => {
    const asked = changed(policy, 'witnesses', { checkpointAgeMaxDays });
    expect(parseDevicePolicy(bytesOf(asked)).witnesses).toEqual({ checkpointAgeMaxDays });
  });
  test.each([
    ['builders', []],
    ['steps', []],
    ['steps', ['a', 'a']],
    ['hardwareIds', []],
    ['gate.policies', []],
    ['gate.publicKey', 'not base64'],
    ['source', 'arduino'],
    ['source', 'pkg:deb/debian/x@1'],
    ['witnesses', 'some'],
    ['witnesses', undefined],
    ['witnesses', {}],
    ['witnesses', { checkpointAgeMaxDays: 0 }],
    ['witnesses', { checkpointAgeMaxDays: 36501 }],
    ['witnesses', { checkpointAgeMaxDays: 'any' }],
    ['witnesses', { checkpointAgeMaxDays: 30, names: [] }],
    ['allow', true],
  ])('refuses a policy whose %s is %j (nothing empty ever means "anything")', (path, to) => {
    expect(() => parseDevicePolicy(bytesOf(changed(policy, path, to)))).toThrow(
      coded('DEVICE_POLICY_MALFORMED'),
    );
  });
});

describe('bundle', () => {
  const bundle = {
    mediaType: BUNDLE_MEDIA_TYPE,
    verificationMaterial: {
      certificate: { rawBytes: 'AQID' },
      tlogEntries: [
        {
          logIndex: '7',
          logId: { keyId: 'AAAA' },
          kindVersion: { kind: 'hashedrekord', version: '0.0.2' },
          canonicalizedBody: 'e30=',
        },
      ],
      timestampVerificationData: { rfc3161Timestamps: [] },
    },
    dsseEnvelope: {
      payloadType: 'application/vnd.in-toto+json',
      payload: 'e30=',
      signatures: [{ sig: 'AQI=' }],
    },
  };
  test('is read; entry 0 has no logIndex', () => {
    expect(parseBundle(bytesOf(bundle))).toMatchObject({
      leafIndex: 7n,
      payload: utf8('{}'),
      signature: new Uint8Array([1, 2]),
    });
    expect(
      parseBundle(bytesOf(changed(bundle, 'verificationMaterial.tlogEntries.0.logIndex', undefined)))
        .leafIndex,
    ).toBe(0n);
    const keyed = changed(
      changed(bundle, 'verificationMaterial.certificate', undefined),
      'verificationMaterial.publicKey',
      { hint: 'h' },
    );
    expect(parseBundle(bytesOf(keyed)).verifier).toEqual({ keyHint: 'h' });
  });
  test.each([
    ['mediaType', 'application/vnd.dev.sigstore.bundle+json;version=0.2'],
    ['verificationMaterial.publicKey', { hint: 'h' }],
    ['verificationMaterial.certificate', undefined],
    ['verificationMaterial.tlogEntries', []],
    ['verificationMaterial.tlogEntries', [1, 2]],
    ['verificationMaterial.tlogEntries.0.logIndex', '-1'],
    ['verificationMaterial.tlogEntries.0.logIndex', '07'],
    ['dsseEnvelope.signatures', []],
    ['dsseEnvelope.signatures', [{ sig: 'AQI=' }, { sig: 'AQI=' }]],
    ['dsseEnvelope.payload', 'e31='],
    ['dsseEnvelope.payload', 'e30'],
    ['messageSignature', {}],
    ['verificationMaterial.tlogEntries.0.inclusionProof', { rootHash: 'AAAA' }],
    ['verificationMaterial.tlogEntries.0.integratedTime', 7],
    ['verificationMaterial.timestampVerificationData', null],
    ['verificationMaterial.tlogEntries.0.kindVersion.kind', 'dsse'],
    ['verificationMaterial.tlogEntries.0.kindVersion.version', '0.0.1'],
    ['verificationMaterial.tlogEntries.0.inclusionPromise', { signedEntryTimestamp: 'AAAA' }],
  ])('refuses a bundle whose %s is %j', (path, to) => {
    expect(() => parseBundle(bytesOf(changed(bundle, path, to)))).toThrow(coded('SIGSTORE_BUNDLE_MALFORMED'));
  });
  test('pre-authentication encoding is that of the DSSE specification', () => {
    // Example of the DSSE protocol text.
    expect(utf8Decode(preAuthEncoding('http://example.com/HelloWorld', utf8('hello world')))).toBe(
      'DSSEv1 29 http://example.com/HelloWorld 11 hello world',
    );
  });
});

describe('CycloneDX', () => {
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    metadata: {
      component: {
        name: 'optiboot',
        hashes: [
          { alg: 'SHA-1', content: 'x' },
          { alg: 'SHA-256', content: A },
        ],
      },
    },
    components: [{ name: 'a', version: '1', purl: 'pkg:deb/debian/a@1', components: [{ name: 'inner' }] }],
  };
  test('nested components count', () => {
    expect(parseBom(bytesOf(bom))).toEqual({
      subject: { name: 'optiboot', sha256: [A] },
      components: [{ name: 'a', version: '1', purl: 'pkg:deb/debian/a@1' }, { name: 'inner' }],
    });
  });
  test.each([
    ['bomFormat', 'SPDX'],
    ['specVersion', '1.4'],
    ['metadata.component', undefined],
    ['components.0.name', undefined],
  ])('refuses a document whose %s is %j', (path, to) => {
    expect(() => parseBom(bytesOf(changed(bom, path, to)))).toThrow(coded('SBOM_MALFORMED'));
  });
});
