// SPDX-License-Identifier: Apache-2.0
// Every member of every document, made wrong in turn: missing, of another type, empty, or with a stranger beside it. What a parser
// lets pass is listed here, and nothing else does.

import { describe, expect, test } from 'vitest';
import { parseBom } from '../../core/cyclonedx/bom.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { Rejection } from '../../core/faults.ts';
import { buildInstallReport, parseInstallReport } from '../../core/intoto/install-report.ts';
import { buildStepProvenance, parseStepProvenance } from '../../core/intoto/provenance.ts';
import { buildRebuildReport, parseRebuildReport } from '../../core/intoto/rebuild.ts';
import { buildSbomReference, parseSbomReference } from '../../core/intoto/reference.ts';
import { buildAttributeReport, parseAttributeReport } from '../../core/intoto/scai.ts';
import {
  formatStatement,
  parseStatement,
  type Statement,
  type UnsignedStatement,
} from '../../core/intoto/statement.ts';
import { buildTestResult, parseTestResult } from '../../core/intoto/test-result.ts';
import { buildVerificationSummary, parseVerificationSummary } from '../../core/intoto/vsa.ts';
import { parseDevicePolicy } from '../../core/release/device-policy.ts';
import { formatPack, parsePack } from '../../core/release/pack.ts';
import { formatReleaseIndex, parseReleaseIndex } from '../../core/release/release-index.ts';
import { releaseUri } from '../../core/release/version.ts';
import { parseAnyBundle } from '../../core/sigstore/any-bundle.ts';
import { BUNDLE_MEDIA_TYPE, parseBundle } from '../../core/sigstore/bundle.ts';
import { image, rebuilt, reference, SBOM, sha256 } from '../policy/evidence.ts';

const AT = '2026-01-31T12:00:00Z';
const [A, B] = [sha256('a'), sha256('b')];
/** 32 bytes. */
const HASH = `${'A'.repeat(43)}=`;
const loggedAs = { kindVersion: { kind: 'hashedrekord', version: '0.0.2' } };
const file = (name: string) => ({ name, sha256: A, sizeBytes: 1 });

/** A document, how it is read, and the pointers at which its format leaves freedom. */
interface Subject {
  readonly document: Json;
  readonly parse: (bytes: Uint8Array) => unknown;
  /** It is the predicate of a statement. */
  readonly statement?: true;
  /** May be absent. */
  readonly optional?: readonly string[];
  /** May have members that nobody reads. */
  readonly open?: readonly string[];
  /** May be empty. */
  readonly empty?: readonly string[];
  /** Nobody reads it. */
  readonly unread?: readonly string[];
}

const open = (bytes: Uint8Array): Json => JSON.parse(utf8Decode(bytes) ?? '');

/** What every statement leaves open: other digests of a subject, other members of it. */
function statement(
  given: UnsignedStatement,
  parse: (statement: Statement) => unknown,
  freedom: Omit<Subject, 'document' | 'parse' | 'statement'> = {},
): Subject {
  return {
    document: open(formatStatement(given)),
    parse: (bytes) => parse(parseStatement(bytes)),
    statement: true,
    ...freedom,
    open: ['/subject/0', '/subject/0/digest', ...(freedom.open ?? [])],
  };
}

const inputs = ['0', '1', '2'].map((i) => `/predicate/buildDefinition/resolvedDependencies/${i}`);
const under = (places: readonly string[], ...names: readonly string[]) =>
  places.flatMap((place) => names.map((name) => `${place}/${name}`));

const devicePolicy = {
  product: 'optiboot',
  hardwareIds: ['atmega328'],
  builders: [{ builderId: 'https://b', identity: 'https://i', issuer: 'https://o' }],
  steps: ['compile'],
  source: 'pkg:deb/debian/arduino-core-avr',
  gate: { verifierId: 'https://g', publicKey: 'AAAA', policies: [{ uri: 'https://p', sha256: A }] },
  witnesses: 'none',
};

const SUBJECTS: Readonly<Record<string, Subject>> = {
  provenance: statement(buildStepProvenance(image), parseStepProvenance, {
    optional: under(inputs, 'name', 'uri', 'annotations/step'),
    open: [
      ...inputs,
      ...under(inputs, 'digest', 'annotations'),
      '/predicate/runDetails/builder',
      '/predicate/runDetails/metadata',
    ],
  }),
  summary: statement(
    buildVerificationSummary(
      {
        subjects: [{ name: 'optiboot.bin', sha256: A }],
        verifierId: 'https://gate.example',
        timeVerifiedMs: Date.parse(AT),
        resourceUri: releaseUri('optiboot', '8.0.0'),
        policyUri: 'https://policy.example',
        policySha256: B,
        inputAttestations: [A],
        result: 'PASSED',
        verifiedLevels: ['SLSA_BUILD_LEVEL_1'],
      },
      AT,
    ),
    parseVerificationSummary,
    {
      open: [
        '/predicate',
        '/predicate/verifier',
        '/predicate/policy',
        '/predicate/policy/digest',
        '/predicate/inputAttestations/0',
        '/predicate/inputAttestations/0/digest',
      ],
      empty: ['/predicate/verifiedLevels'],
      unread: ['/predicate/slsaVersion'],
    },
  ),
  'reference to an SBOM': statement(buildSbomReference(reference), parseSbomReference, {
    optional: ['/predicate/references/0/downloadLocation'],
    open: ['/predicate/attester', '/predicate/references/0', '/predicate/references/0/digest'],
  }),
  'rebuild report': statement(buildRebuildReport(rebuilt), parseRebuildReport, {
    empty: ['/predicate/differences'],
  }),
  'rebuild report that differs': statement(
    buildRebuildReport({
      ...rebuilt,
      verdict: 'differs',
      outputs: rebuilt.outputs.map((output) => ({ ...output, rebuiltSha256: B })),
      differences: [
        {
          output: 'image/optiboot.bin',
          offset: 4,
          sizeBytes: 2,
          section: '.text',
          symbol: 'main',
          cause: 'date',
          detail: 'a date',
        },
      ],
    }),
    parseRebuildReport,
    {
      optional: ['/predicate/differences/0/section', '/predicate/differences/0/symbol'],
      empty: ['/predicate/differences'],
    },
  ),
  'attribute report': statement(
    buildAttributeReport({
      subjects: image.products,
      attribute: 'BINARY_AUDITED',
      conditions: { findings: 0 },
      evidence: { uri: 'https://a.example', sha256: B },
      producerId: 'https://b.example',
    }),
    parseAttributeReport,
    {
      optional: ['/predicate/attributes/0/conditions/findings', '/predicate/attributes/0/evidence/uri'],
      open: ['/predicate/attributes/0/evidence', '/predicate/attributes/0/evidence/digest'],
    },
  ),
  'test result': statement(
    buildTestResult({
      subjects: image.products,
      result: 'FAILED',
      configuration: [{ uri: 'https://a.example', sha256: B }],
      passedTests: ['boots'],
      failedTests: ['blinks'],
    }),
    parseTestResult,
    {
      optional: ['/predicate/configuration/0/uri'],
      open: ['/predicate/configuration/0', '/predicate/configuration/0/digest'],
      empty: ['/predicate/passedTests'],
    },
  ),
  'install report': statement(
    buildInstallReport(
      {
        deviceId: 'd1',
        product: 'optiboot',
        counter: 3,
        outcome: 'refused',
        imageSha256: A,
        previousSha256: B,
        version: '8.0.0',
        code: 'UPDATE_VERSION_FLOOR',
        reportedAtMs: Date.parse(AT),
      },
      AT,
    ),
    parseInstallReport,
    { optional: ['/predicate/previousSha256', '/predicate/code'] },
  ),
  SBOM: {
    document: {
      ...(open(SBOM) as { [name: string]: Json }),
      components: [{ name: 'a', version: '1', purl: 'pkg:generic/a@1', components: [{ name: 'b' }] }],
    },
    parse: parseBom,
    optional: [
      '/components',
      '/components/0/version',
      '/components/0/purl',
      '/components/0/components',
      '/metadata/component/hashes',
    ],
    empty: ['/components', '/components/0/components', '/metadata/component/hashes'],
    open: [
      '',
      '/metadata',
      '/metadata/component',
      '/metadata/component/hashes/0',
      '/components/0',
      '/components/0/components/0',
    ],
    unread: ['/metadata/component/type'],
  },
  pack: {
    document: open(
      formatPack({
        product: 'optiboot',
        version: '8.0.0',
        imageSha256: A,
        imageSizeBytes: 480,
        checkpoint: 'log.waybill.example\n1\nAAAA\n',
        bundles: [{ bundle: utf8('{}'), leafIndex: 5n, proof: [new Uint8Array(32)] }],
        bodies: [{ ...file('packs/optiboot/x.cdx.json'), mediaType: 'application/vnd.cyclonedx+json' }],
      }),
    ),
    parse: parsePack,
    empty: ['/bundles/0/proof', '/bodies'],
  },
  'index of releases': {
    document: open(
      formatReleaseIndex({
        product: 'optiboot',
        releases: [
          {
            version: '8.0.0',
            image: file('images/optiboot/optiboot-8.0.0.bin'),
            pack: file('packs/optiboot/optiboot-8.0.0.waybill'),
            hardwareIds: ['atmega328'],
            releasedAt: AT,
          },
        ],
        denials: [{ imageSha256: B, version: '7.0.0', reason: 'bricks rev B', deniedAt: AT }],
      }),
    ),
    parse: parseReleaseIndex,
    empty: ['/releases', '/denials'],
  },
  'device policy': { document: devicePolicy, parse: parseDevicePolicy },
  'device policy that asks for witnesses': {
    document: { ...devicePolicy, witnesses: { checkpointAgeMaxDays: 30 } },
    parse: parseDevicePolicy,
  },
  bundle: {
    document: {
      mediaType: BUNDLE_MEDIA_TYPE,
      verificationMaterial: {
        certificate: { rawBytes: 'AAAA' },
        tlogEntries: [{ logIndex: '5', logId: { keyId: 'AAAA' }, ...loggedAs, canonicalizedBody: 'AAAA' }],
        timestampVerificationData: { rfc3161Timestamps: [] },
      },
      dsseEnvelope: { payloadType: 'x', payload: 'AAAA', signatures: [{ sig: 'AAAA' }] },
    },
    parse: parseBundle,
    // Protobuf JSON leaves out what is zero or empty; entry 0 has no logIndex.
    optional: [
      '/verificationMaterial/tlogEntries/0/logIndex',
      '/verificationMaterial/timestampVerificationData',
      '/verificationMaterial/timestampVerificationData/rfc3161Timestamps',
    ],
    empty: ['/verificationMaterial/timestampVerificationData/rfc3161Timestamps'],
  },
  'bundle of Rekor v1': {
    document: {
      mediaType: 'application/vnd.dev.sigstore.bundle+json;version=0.2',
      verificationMaterial: {
        x509CertificateChain: { certificates: [{ rawBytes: 'AAAA' }] },
        tlogEntries: [
          {
            logIndex: '5',
            logId: { keyId: 'AAAA' },
            ...loggedAs,
            integratedTime: '7',
            inclusionPromise: { signedEntryTimestamp: 'AAAA' },
            inclusionProof: {
              logIndex: '3',
              rootHash: HASH,
              treeSize: '4',
              hashes: [HASH],
              checkpoint: { envelope: 'x' },
            },
            canonicalizedBody: 'AAAA',
          },
        ],
        timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp: 'AAAA' }] },
      },
      messageSignature: { messageDigest: { algorithm: 'SHA2_256', digest: HASH }, signature: 'AAAA' },
    },
    parse: parseAnyBundle,
    // What must be there by the version of the bundle is the verifier's to say.
    optional: [
      '/verificationMaterial/tlogEntries',
      '/verificationMaterial/tlogEntries/0/logIndex',
      '/verificationMaterial/tlogEntries/0/integratedTime',
      '/verificationMaterial/tlogEntries/0/inclusionPromise',
      '/verificationMaterial/tlogEntries/0/inclusionProof',
      '/verificationMaterial/tlogEntries/0/inclusionProof/logIndex',
      '/verificationMaterial/tlogEntries/0/inclusionProof/treeSize',
      '/verificationMaterial/tlogEntries/0/inclusionProof/hashes',
      '/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint',
      '/verificationMaterial/timestampVerificationData',
      '/verificationMaterial/timestampVerificationData/rfc3161Timestamps',
    ],
    empty: [
      '/verificationMaterial/tlogEntries',
      '/verificationMaterial/tlogEntries/0/inclusionProof/hashes',
      '/verificationMaterial/timestampVerificationData/rfc3161Timestamps',
    ],
  },
};

/** Every place of a document with what stands there, the whole first. */
function places(value: Json, pointer = ''): [string, Json][] {
  if (value === null || typeof value !== 'object') return [[pointer, value]];
  const members = Object.entries(value as { [name: string]: Json });
  return [[pointer, value], ...members.flatMap(([name, inner]) => places(inner, `${pointer}/${name}`))];
}

/** A copy with another value at a place; `undefined` removes it. */
function put(document: Json, pointer: string, value: Json | undefined): Json | undefined {
  if (pointer === '') return value;
  const copy = structuredClone(document);
  const names = pointer.split('/').slice(1);
  const last = names.pop() as string;
  // biome-ignore lint/suspicious/noExplicitAny: a document that is being spoiled has no shape.
  const holder = names.reduce((node: any, name) => node[name], copy);
  if (value !== undefined) holder[last] = value;
  else if (Array.isArray(holder)) holder.splice(Number(last), 1);
  else delete holder[last];
  return copy;
}

/** Values that no reader of this one may take for it. */
function strangers(value: Json): readonly Json[] {
  if (typeof value === 'string') return [7, '', null, [value], { value }];
  if (typeof value === 'number') return [String(value), -1, 0.5, null, [value]];
  if (typeof value === 'boolean') return [String(value), value ? 1 : 0, null];
  return Array.isArray(value) ? ['x', null, { 0: 'x' }] : ['x', 7, null, [value]];
}

describe.each(Object.entries(SUBJECTS))('%s', (_, subject) => {
  const { document, parse, optional = [], open: loose = [], empty = [], unread = [] } = subject;
  const all = places(document).filter(([pointer]) => !unread.includes(pointer));
  const read = (value: Json | undefined) => parse(utf8(JSON.stringify(value)));
  /** Each change with the answer that it must have; all that have another are told at once. */
  function expectAnswers(changes: readonly [string, Json | undefined, boolean][]): void {
    const wrong = changes.filter(([, value, passes]) => {
      try {
        read(value);
        return !passes;
      } catch (failure) {
        expect(failure).toBeInstanceOf(Rejection);
        return passes;
      }
    });
    expect(wrong.map(([what, , passes]) => `${what} ${passes ? 'is refused' : 'passes'}`)).toEqual([]);
  }

  test('passes as it is', () => {
    expect(() => read(document)).not.toThrow();
  });

  test('is read from a statement of its own type alone', () => {
    if (subject.statement !== true) return;
    expectAnswers([
      ['another type', put(document, '/predicateType', 'https://other.example/v1'), false],
      ['another version', put(document, '/_type', 'https://in-toto.io/Statement/v0.1'), false],
    ]);
  });

  test('has no member of another type', () => {
    expectAnswers(
      all.flatMap(([pointer, value]) =>
        strangers(value).map((stranger): [string, Json | undefined, boolean] => [
          `${pointer} = ${JSON.stringify(stranger)}`,
          put(document, pointer, stranger),
          false,
        ]),
      ),
    );
  });

  test('has no member too few, but for the optional ones', () => {
    expectAnswers(
      all
        .filter(([pointer]) => pointer !== '')
        .map(([pointer]) => {
          const parent = pointer.slice(0, pointer.lastIndexOf('/'));
          const passes = optional.includes(pointer) || (/\/\d+$/.test(pointer) && empty.includes(parent));
          const isOneOfSeveral = all.some(([other]) => other === `${parent}/1`) && /\/\d+$/.test(pointer);
          return [pointer, put(document, pointer, undefined), passes || isOneOfSeveral];
        }),
    );
  });

  test('has no member too many, but where members are open', () => {
    expectAnswers(
      all
        .filter(([, value]) => value !== null && typeof value === 'object' && !Array.isArray(value))
        .map(([pointer, value]) => {
          const more = { ...(value as { [name: string]: Json }), stranger: 'x' };
          return [pointer, put(document, pointer, more), loose.includes(pointer)];
        }),
    );
  });

  test('has no empty list, but where lists may be empty', () => {
    expectAnswers(
      all
        .filter(([, value]) => Array.isArray(value))
        .map(([pointer]) => [pointer, put(document, pointer, []), empty.includes(pointer)]),
    );
  });
});

test.each(['install report', 'rebuild report'])('%s is about one image', (name) => {
  const { document, parse } = SUBJECTS[name] as Subject;
  const [first] = (document as { subject: Json[] }).subject;
  const two = put(document, '/subject', [first as Json, first as Json]);
  expect(() => parse(utf8(JSON.stringify(two)))).toThrow(Rejection);
});
