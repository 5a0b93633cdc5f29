// SPDX-License-Identifier: Apache-2.0
// Every parser of core, and those of the registry that read what strangers send in DER, with sound inputs to bend. The vectors are the corpus; what
// once found a fault is kept in corpus.json.

import { readFileSync } from 'node:fs';
import { portableCrypto } from '../../core/crypto.ts';
import { decodePoint } from '../../core/curve/ed25519.ts';
import { parseBom } from '../../core/cyclonedx/bom.ts';
import { base64Decode } from '../../core/encoding/base64.ts';
import { type DocumentNode, parseDocument, parseInstantMs } from '../../core/encoding/document.ts';
import { hexDecode } from '../../core/encoding/hex.ts';
import { parseStrictJson, parseStrictJsonText } from '../../core/encoding/strict-json.ts';
import { utf8Decode } from '../../core/encoding/utf8.ts';
import { CORE } from '../../core/faults.ts';
import { buildInstallReport, parseInstallReport } from '../../core/intoto/install-report.ts';
import { buildStepProvenance, parseStepProvenance } from '../../core/intoto/provenance.ts';
import { buildRebuildReport, parseRebuildReport } from '../../core/intoto/rebuild.ts';
import { buildSbomReference, parseSbomReference } from '../../core/intoto/reference.ts';
import { buildAttributeReport, parseAttributeReport } from '../../core/intoto/scai.ts';
import { formatStatement, parseResourceDescriptor, parseStatement } from '../../core/intoto/statement.ts';
import { buildTestResult, parseTestResult } from '../../core/intoto/test-result.ts';
import { buildVerificationSummary, parseVerificationSummary } from '../../core/intoto/vsa.ts';
import { parseDevicePolicy, readDevicePolicy } from '../../core/release/device-policy.ts';
import { parseExpectations } from '../../core/release/expectations.ts';
import { parsePack } from '../../core/release/pack.ts';
import { parseReleaseIndex } from '../../core/release/release-index.ts';
import { parseAnyBundle } from '../../core/sigstore/any-bundle.ts';
import { parseBundle } from '../../core/sigstore/bundle.ts';
import { parseTrustedRoot } from '../../core/sigstore/trusted-root.ts';
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { parseCosignature } from '../../core/tlog/cosignature.ts';
import { parseEntryBundle } from '../../core/tlog/entry-bundle.ts';
import { parseHashedRekord } from '../../core/tlog/hashed-rekord.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { parseNote, parseVerifierKey } from '../../core/tlog/note.ts';
import { formatLogProof, parseLogProof } from '../../core/tlog/proof.ts';
import { parseTilePath } from '../../core/tlog/tile-path.ts';
import { parseEnvelope } from '../../core/tuf/envelope.ts';
import { readRoot, readSnapshot, readTargets, readTimestamp } from '../../core/tuf/roles.ts';
import { parseCertificate } from '../../core/x509/certificate.ts';
import { parseDer } from '../../core/x509/der.ts';
import { X509 } from '../../core/x509/faults.ts';
import { readIdentity } from '../../core/x509/identity.ts';
import { parsePublicKey } from '../../core/x509/public-key.ts';
import { parseSctList } from '../../core/x509/sct.ts';
import { parseTimestamp } from '../../core/x509/timestamp.ts';
import { requestedKey } from '../../registry/ca/key-to-certify.ts';
import { parseTimestampQuery } from '../../registry/tsa/timestamp-request.ts';
import { bytesOf, Simulator } from '../core/tuf/simulator.ts';
import { image, rebuilt, reference } from '../policy/evidence.ts';

const VECTORS = new URL('../vectors/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, VECTORS)));
const text = (bytes: Uint8Array) => utf8Decode(bytes) ?? '';
const json = (value: unknown) => bytesOf(JSON.stringify(value));
const b64 = (value: string) => new Uint8Array(Buffer.from(value, 'base64'));
const refuse = (message: string, at: string) => CORE.reject('PACK_MALFORMED', message, { at });
const refuseDer = (message: string, at: string) => X509.reject('X509_CERTIFICATE_MALFORMED', message, { at });

/** A parser, and inputs that it takes. */
export interface Parser {
  readonly seeds: readonly Uint8Array[];
  /** Refuses by a Rejection or by returning nothing; anything else thrown is a fault. */
  readonly parse: (bytes: Uint8Array) => unknown;
}

const AT = '2026-01-31T12:00:00Z';
const A = 'a'.repeat(64);
const DSSE = 'sigstore-bundle/rekor2-dsse-happy-path/bundle.sigstore.json';
const bundles = [DSSE, 'sigstore-bundle/happy-path-v0.2/bundle.sigstore.json'].map(read);
const opened = JSON.parse(text(read(DSSE)));
const { verificationMaterial: material, dsseEnvelope } = opened;
const certificate = b64(material.certificate.rawBytes);
const stamp = b64(material.timestampVerificationData.rfc3161Timestamps[0].signedTimestamp);
const [entry] = material.tlogEntries;
const note: string = entry.inclusionProof.checkpoint.envelope;
const leaf = b64(entry.canonicalizedBody);
const proof = formatLogProof({
  index: BigInt(entry.inclusionProof.logIndex),
  hashes: entry.inclusionProof.hashes.map(b64),
  checkpoint: note,
});
const cosigned = text(read('tlog-cosignature/public/tlog-policy'));
const pack = read('packs/sound/pack.waybill');
const policy = read('packs/device-policy.json');
const trustedRoots = [read('packs/trusted_root.json'), read('sigstore-bundle/public-good.trusted_root.json')];
const file = (name: string) => ({ name, sha256: A, sizeBytes: 1 });
const index = {
  product: 'optiboot',
  releases: [
    {
      ...{ version: '8.0.0', image: file('images/optiboot/a.bin'), pack: file('packs/optiboot/a.waybill') },
      ...{ hardwareIds: ['atmega328'], releasedAt: AT },
    },
  ],
  denials: [{ imageSha256: A, version: '7.0.0', reason: 'bricks', deniedAt: AT }],
};

const statements = {
  provenance: formatStatement(buildStepProvenance(image)),
  reference: formatStatement(buildSbomReference(reference)),
  rebuild: formatStatement(buildRebuildReport(rebuilt)),
  attributes: formatStatement(
    buildAttributeReport({
      ...{ subjects: image.products, attribute: 'BINARY_AUDITED', conditions: { findings: 0 } },
      ...{ evidence: { uri: 'https://a.example', sha256: A }, producerId: 'https://b.example' },
    }),
  ),
  tests: formatStatement(
    buildTestResult({
      ...{
        subjects: image.products,
        result: 'FAILED',
        configuration: [{ uri: 'https://a.example', sha256: A }],
      },
      ...{ passedTests: ['boots'], failedTests: ['blinks'] },
    }),
  ),
  summary: formatStatement(
    buildVerificationSummary(
      {
        ...{ subjects: [{ name: 'a', sha256: A }], verifierId: 'https://g', timeVerifiedMs: Date.parse(AT) },
        ...{
          resourceUri: 'pkg:generic/a@1',
          policyUri: 'https://p',
          policySha256: A,
          inputAttestations: [A],
        },
        ...{ result: 'PASSED', verifiedLevels: [] },
      },
      AT,
    ),
  ),
  install: formatStatement(
    buildInstallReport(
      {
        ...{ deviceId: 'd1', product: 'optiboot', counter: 3, outcome: 'refused', imageSha256: A },
        ...{ version: '8.0.0', code: 'UPDATE_VERSION_FLOOR', reportedAtMs: Date.parse(AT) },
      },
      AT,
    ),
  ),
};
const predicate = (
  seed: Uint8Array,
  parse: (statement: ReturnType<typeof parseStatement>) => unknown,
): Parser => ({
  seeds: [seed],
  parse: (bytes) => parse(parseStatement(bytes)),
});

const repository = new Simulator();
const role = (
  name: string,
  reader: (signed: DocumentNode, crypto: typeof portableCrypto) => unknown,
): Parser => ({
  seeds: [...repository.files].filter(([path]) => path.endsWith(`${name}.json`)).map(([, bytes]) => bytes),
  parse: (bytes) => reader(parseEnvelope(name, bytes, bytes.length).signed, portableCrypto),
});

/** As `openssl req` and `openssl ts -query` made them. */
const SIGNING_REQUEST =
  'MIH6MIGhAgEAMCAxCjAIBgNVBAMMAWExEjAQBgkqhkiG9w0BCQEWA2JAYzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNkw' +
  'tQjyxNPTEXU4lmqA+hFwd3Ys6lE5pMdqbyZ5NnPtfsDvOzUOeIM7/RQJiLmc34kSuBqW+vPXeg80UY6rWGGgHzAdBgkqhkiG' +
  '9w0BCQ4xEDAOMAwGA1UdEQQFMAOCAWEwCgYIKoZIzj0EAwIDSAAwRQIhAOyBzoWG8eXocARTsEEhSieu9EC6dl3ly94JhgwQ' +
  'Z0YoAiBxbEFEbiegwZWF+u6BXl8eU9cOZmspKxuHUbZuLKs7+w==';
const TIMESTAMP_QUERY =
  'MEMCAQEwMTANBglghkgBZQMEAgEFAAQgq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6sCCFEx6fjO7bhVAQH/';
const armoured = (request: Uint8Array) =>
  Buffer.from(
    `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(request).toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
  ).toString('base64');

/** By the names of the functions. */
export const PARSERS: Readonly<Record<string, Parser>> = {
  parseStatement: { seeds: [b64(dsseEnvelope.payload), ...Object.values(statements)], parse: parseStatement },
  parseStepProvenance: predicate(statements.provenance, parseStepProvenance),
  parseSbomReference: predicate(statements.reference, parseSbomReference),
  parseRebuildReport: predicate(statements.rebuild, parseRebuildReport),
  parseAttributeReport: predicate(statements.attributes, parseAttributeReport),
  parseTestResult: predicate(statements.tests, parseTestResult),
  parseVerificationSummary: predicate(statements.summary, parseVerificationSummary),
  parseInstallReport: predicate(statements.install, parseInstallReport),
  parseResourceDescriptor: {
    seeds: [
      json({ name: 'a', uri: 'pkg:generic/a', digest: { sha256: A }, annotations: { role: 'source' } }),
    ],
    parse: (bytes) => parseResourceDescriptor(parseDocument(bytes, { refuse })),
  },
  parseBom: { seeds: [read('packs/sbom.cdx.json')], parse: parseBom },
  parsePack: { seeds: [pack], parse: parsePack },
  parseReleaseIndex: { seeds: [json(index)], parse: parseReleaseIndex },
  parseDevicePolicy: { seeds: [policy], parse: parseDevicePolicy },
  readDevicePolicy: { seeds: [policy], parse: (bytes) => readDevicePolicy(parseDocument(bytes, { refuse })) },
  parseExpectations: {
    seeds: [policy],
    parse: (bytes) => parseExpectations(parseDocument(bytes, { refuse })),
  },
  parseAnyBundle: { seeds: bundles, parse: parseAnyBundle },
  parseBundle: { seeds: bundles, parse: parseBundle },
  parseTrustedRoot: { seeds: trustedRoots, parse: parseTrustedRoot },
  parseNote: { seeds: [bytesOf(note)], parse: (bytes) => parseNote(text(bytes)) },
  parseCheckpoint: { seeds: [bytesOf(parseNote(note).text)], parse: (bytes) => parseCheckpoint(text(bytes)) },
  parseCosignature: { seeds: [new Uint8Array(72).fill(1).fill(0, 0, 4)], parse: parseCosignature },
  parseLogProof: { seeds: [bytesOf(proof)], parse: (bytes) => parseLogProof(text(bytes)) },
  parseLogPolicy: {
    seeds: [bytesOf(cosigned), read('packs/tlog-policy')],
    parse: (bytes) => parseLogPolicy(bytes, portableCrypto),
  },
  parseVerifierKey: {
    seeds: [bytesOf(cosigned.split(/\s/)[1] ?? '')],
    parse: (bytes) => parseVerifierKey(text(bytes), portableCrypto),
  },
  parseHashedRekord: { seeds: [leaf], parse: parseHashedRekord },
  parseEntryBundle: { seeds: [read('tlog-tiles/log/tile/entries/000.p/3')], parse: parseEntryBundle },
  parseTilePath: { seeds: [bytesOf('tile/0/x001/067.p/8')], parse: (bytes) => parseTilePath(text(bytes)) },
  parseEnvelope: {
    seeds: [...repository.files.values()],
    parse: (bytes) => parseEnvelope('root', bytes, bytes.length),
  },
  readRoot: role('root', readRoot),
  readTimestamp: role('timestamp', readTimestamp),
  readSnapshot: role('snapshot', readSnapshot),
  readTargets: role('targets', readTargets),
  parseDer: { seeds: [certificate, stamp], parse: (bytes) => parseDer(bytes, refuseDer) },
  parseCertificate: { seeds: [certificate], parse: parseCertificate },
  readIdentity: { seeds: [certificate], parse: (bytes) => readIdentity(parseCertificate(bytes)) },
  parseSctList: { seeds: [certificate], parse: (bytes) => parseSctList(parseCertificate(bytes)) },
  parsePublicKey: {
    seeds: [parseCertificate(certificate).publicKey.spki],
    parse: (bytes) => parsePublicKey(bytes, refuseDer),
  },
  parseTimestamp: { seeds: [stamp], parse: parseTimestamp },
  parseStrictJson: { seeds: [pack.subarray(0, 2000), json(index)], parse: parseStrictJson },
  parseStrictJsonText: {
    seeds: [pack.subarray(0, 2000), json(index)],
    parse: (bytes) => parseStrictJsonText(text(bytes)),
  },
  parseDocument: { seeds: [json(index)], parse: (bytes) => parseDocument(bytes, { refuse }) },
  parseInstantMs: { seeds: [bytesOf(AT)], parse: (bytes) => parseInstantMs(text(bytes)) },
  hexDecode: { seeds: [bytesOf(A)], parse: (bytes) => hexDecode(text(bytes)) },
  base64Decode: {
    seeds: [bytesOf(material.certificate.rawBytes)],
    parse: (bytes) => base64Decode(text(bytes)),
  },
  utf8Decode: { seeds: [bytesOf('aé€😀')], parse: utf8Decode },
  requestedKey: { seeds: [b64(SIGNING_REQUEST)], parse: (bytes) => requestedKey(armoured(bytes)) },
  parseTimestampQuery: { seeds: [b64(TIMESTAMP_QUERY)], parse: parseTimestampQuery },
  decodePoint: { seeds: [new Uint8Array(32).fill(0x66)], parse: decodePoint },
};
