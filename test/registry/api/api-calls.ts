// SPDX-License-Identifier: Apache-2.0
// One call for each answer and each refusal that the OpenAPI document promises, against a running registry. They run in this order.

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { canonicalJsonBytes } from '../../../core/encoding/canonical-json.ts';
import type { Json } from '../../../core/encoding/strict-json.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import { buildInstallReport, type InstallReport } from '../../../core/intoto/install-report.ts';
import { buildSbomReference } from '../../../core/intoto/reference.ts';
import { formatStatement, PAYLOAD_TYPE } from '../../../core/intoto/statement.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import type { LocalSigner } from '../../../registry/trust/signer.ts';
import { newSigner } from '../../../registry/trust/signer.ts';
import { certified, dsseRequest, keyed, TestAuthority } from '../log/log-server.ts';
import { type Answer, newP256, type RunningRegistry } from '../running-registry.ts';
import { CLAIMS } from '../trust/loopback-issuer.ts';
import { delegationsTo, newKey, sha256, signRole, targetsRole } from '../tuf-house.ts';

/** What the calls need: a registry that lists `signer`'s key. */
export interface Caller {
  readonly running: RunningRegistry;
  readonly signer: LocalSigner;
}

/** A call of one operation, and the status or the code that it must be answered with. */
export interface Call {
  /** As the document names it: `get /tuf/{name}`. */
  readonly operation: string;
  readonly expected: number | string;
  readonly send: (caller: Caller) => Promise<Answer>;
}

const b64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const JSON_TYPE = { 'content-type': 'application/json' };
const get =
  (path: string) =>
  ({ running }: Caller): Promise<Answer> =>
    running.send('GET', path);
const post =
  (path: string, body: unknown, headers: Record<string, string> = JSON_TYPE) =>
  ({ running }: Caller): Promise<Answer> =>
    running.send('POST', path, body instanceof Uint8Array ? body : JSON.stringify(body), headers);
const large = new Uint8Array(6 * 1024 * 1024);

// --- certificate authority

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const CERT = 'post /ca/api/v2/signingCert';
const nowS = (): number => Math.floor(Date.now() / 1000);
const signingRequest = (token: string, change: object = {}) => ({
  credentials: { oidcIdentityToken: token },
  publicKeyRequest: {
    publicKey: { content: key.publicKey.export({ type: 'spki', format: 'pem' }) },
    proofOfPossession: b64(sign('sha256', Buffer.from(String(CLAIMS.sub)), key.privateKey)),
  },
  ...change,
});
const certificate = (
  expected: number | string,
  claims: Record<string, unknown>,
  change: object = {},
): Call => ({
  operation: CERT,
  expected,
  send: async (caller) =>
    post('/ca/api/v2/signingCert', signingRequest(await caller.running.issuer.token(claims), change))(caller),
});
const withToken = (expected: string, make: (caller: Caller) => Promise<string> | string): Call => ({
  operation: CERT,
  expected,
  send: async (caller) => post('/ca/api/v2/signingCert', signingRequest(await make(caller)))(caller),
});
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const withKey = (content: string, proofOfPossession = 'AAAA') => ({
  publicKeyRequest: { publicKey: { content }, proofOfPossession },
});
const csr = (text: string) => ({ publicKeyRequest: undefined, certificateSigningRequest: text });
const pemOfKey = key.publicKey.export({ type: 'spki', format: 'pem' }).toString();

const CA: readonly Call[] = [
  certificate(200, {}),
  certificate('CA_REQUEST_MALFORMED', {}, { publicKeyRequest: undefined }),
  certificate('CA_KEY_UNSUPPORTED', {}, withKey('no key')),
  certificate('CA_PROOF_WRONG', {}, withKey(pemOfKey)),
  certificate('CA_CSR_MALFORMED', {}, csr('bm90aGluZw==')),
  { operation: CERT, expected: 'CA_REQUEST_TOO_LARGE', send: post('/ca/api/v2/signingCert', large) },
  withToken('OIDC_TOKEN_MISSING', () => ''),
  withToken('OIDC_TOKEN_MALFORMED', () => 'a.b'),
  withToken('OIDC_TOKEN_ALGORITHM_REFUSED', () => `${part({ alg: 'none' })}.${part(CLAIMS)}.AA`),
  certificate('OIDC_TOKEN_ISSUER_UNKNOWN', { iss: 'https://elsewhere.example' }),
  withToken('OIDC_TOKEN_SIGNATURE_WRONG', ({ running }) => running.issuer.forgedToken()),
  certificate('OIDC_TOKEN_AUDIENCE_WRONG', { aud: 'sigstore' }),
  certificate('OIDC_TOKEN_EXPIRED', { exp: nowS() - 3600 }),
  certificate('OIDC_TOKEN_NOT_YET_VALID', { nbf: nowS() + 3600 }),
  certificate('OIDC_TOKEN_CLAIM_MALFORMED', { sub: undefined }),
  certificate('OIDC_TOKEN_IDENTITY_REFUSED', { repository_id: '9' }),
  { operation: 'get /ca/api/v2/trustBundle', expected: 200, send: get('/ca/api/v2/trustBundle') },
  { operation: 'get /ca/api/v2/configuration', expected: 200, send: get('/ca/api/v2/configuration') },
  // A certificate was issued above, so this log has an entry.
  { operation: 'get /ct/checkpoint', expected: 200, send: get('/ct/checkpoint') },
  { operation: 'get /ct/tile/{path}', expected: 200, send: get('/ct/tile/data/000.p/1') },
  { operation: 'get /ct/tile/{path}', expected: 'CT_RESOURCE_UNKNOWN', send: get('/ct/tile/9/000') },
  {
    operation: 'get /ct/issuer/{fingerprint}',
    expected: 200,
    send: (caller) =>
      get(`/ct/issuer/${sha256(caller.running.registry.services.ca().chain[0] as Uint8Array)}`)(caller),
  },
  {
    operation: 'get /ct/issuer/{fingerprint}',
    expected: 'CT_RESOURCE_UNKNOWN',
    send: get(`/ct/issuer/${'00'.repeat(32)}`),
  },
];

// --- timestamps

const TIMESTAMP = 'post /tsa/api/v1/timestamp';
const imprint = { artifactHash: Buffer.alloc(32, 1).toString('base64'), hashAlgorithm: 'sha256' };
/** TimeStampReq: version 1, SHA-256 imprint of 32 bytes. */
const query = Buffer.from(`30360201013031300d060960864801650304020105000420${'01'.repeat(32)}`, 'hex');
const timestamp = (body: unknown, type = 'application/json') =>
  post('/tsa/api/v1/timestamp', body, { 'content-type': type });
const TSA: readonly Call[] = [
  { operation: TIMESTAMP, expected: 201, send: timestamp(imprint) },
  {
    operation: TIMESTAMP,
    expected: 200,
    send: timestamp(new Uint8Array(query), 'application/timestamp-query'),
  },
  { operation: TIMESTAMP, expected: 'TSA_REQUEST_MALFORMED', send: timestamp({ artifactHash: 'AA==' }) },
  {
    operation: TIMESTAMP,
    expected: 'TSA_HASH_UNSUPPORTED',
    send: timestamp({ ...imprint, hashAlgorithm: 'md5' }),
  },
  {
    operation: TIMESTAMP,
    expected: 'TSA_POLICY_UNKNOWN',
    send: timestamp({ ...imprint, tsaPolicyOID: '1.2.3' }),
  },
  { operation: TIMESTAMP, expected: 'TSA_REQUEST_TOO_LARGE', send: timestamp(large) },
  {
    operation: 'get /tsa/api/v1/timestamp/certchain',
    expected: 200,
    send: get('/tsa/api/v1/timestamp/certchain'),
  },
];

// --- signature log

const LOG_ENTRY = 'post /log/api/v2/log/entries';
const entry = (expected: number | string, make: (caller: Caller) => unknown): Call => ({
  operation: LOG_ENTRY,
  expected,
  send: async (caller) => post('/log/api/v2/log/entries', await make(caller))(caller),
});
const reads = (below: string): readonly Call[] => [
  { operation: `get /log${below}/checkpoint`, expected: 200, send: get(`/log${below}/checkpoint`) },
  { operation: `get /log${below}/tile/{path}`, expected: 200, send: get(`/log${below}/tile/0/000.p/1`) },
  {
    operation: `get /log${below}/tile/{path}`,
    expected: 'LOG_TILE_UNKNOWN',
    send: get(`/log${below}/tile/0/001`),
  },
  {
    operation: `get /log${below}/tile/{path}`,
    expected: 'TLOG_PATH_MALFORMED',
    send: get(`/log${below}/tile/0/1`),
  },
];
const LOG: readonly Call[] = [
  entry(201, ({ signer }) => dsseRequest('one', signer, keyed(signer.spki)).request),
  entry('LOG_REQUEST_MALFORMED', () => ({})),
  entry('LOG_WRITER_UNLISTED', () => {
    const { signer } = newSigner();
    return dsseRequest('one', signer, keyed(signer.spki)).request;
  }),
  entry('LOG_CERTIFICATE_UNTRUSTED', async () => {
    const { signer } = newSigner();
    const foreign = await TestAuthority.make('foreign');
    return dsseRequest('one', signer, certified(await foreign.issue(signer.spki))).request;
  }),
  entry(
    'LOG_CERTIFICATE_MALFORMED',
    ({ signer }) => dsseRequest('one', signer, certified(Uint8Array.of(48, 0))).request,
  ),
  entry(
    'LOG_SIGNATURE_WRONG',
    ({ signer }) => dsseRequest('one', newSigner().signer, keyed(signer.spki)).request,
  ),
  { operation: LOG_ENTRY, expected: 'LOG_REQUEST_TOO_LARGE', send: post('/log/api/v2/log/entries', large) },
  { operation: 'get /log/api/v2/proof', expected: 200, send: get('/log/api/v2/proof?index=0') },
  {
    operation: 'get /log/api/v2/proof',
    expected: 'LOG_REQUEST_MALFORMED',
    send: get('/log/api/v2/proof?index=x'),
  },
  {
    operation: 'get /log/api/v2/proof',
    expected: 'TLOG_INDEX_OUTSIDE_TREE',
    send: get('/log/api/v2/proof?index=99'),
  },
  {
    operation: 'get /log/api/v2/proof',
    expected: 'LOG_SIZE_UNPUBLISHED',
    send: get('/log/api/v2/proof?index=0&size=99'),
  },
  ...reads(''),
  ...reads('/api/v2'),
];

// --- attestations and blobs

const THING = utf8('the thing');
const SBOM = utf8('{"no":"SBOM"}');
const statement = (bytes: Uint8Array) => ({
  subjects: [{ name: 'thing', sha256: sha256(bytes) }],
  predicateType: 'https://example.com/test/v1',
  predicate: {},
});
let bundle = new Uint8Array();
const ATTEST = 'post /api/v1/attestations';
const BLOB = '/api/v1/blobs';
const blob = (
  method: 'put' | 'get' | 'head',
  expected: number | string,
  digest: string,
  body?: Uint8Array,
): Call => ({
  operation: `${method} ${BLOB}/{sha256}`,
  expected,
  send: ({ running }) => running.send(method.toUpperCase(), `${BLOB}/${digest}`, body),
});
const EVIDENCE: readonly Call[] = [
  {
    operation: ATTEST,
    expected: 201,
    send: async ({ running }) => {
      bundle = new Uint8Array(await running.sign(statement(THING)));
      return running.submit(bundle);
    },
  },
  { operation: ATTEST, expected: 200, send: ({ running }) => running.submit(bundle) },
  { operation: ATTEST, expected: 'SIGSTORE_BUNDLE_MALFORMED', send: post('/api/v1/attestations', {}) },
  { operation: ATTEST, expected: 'REGISTRY_REQUEST_TOO_LARGE', send: post('/api/v1/attestations', large) },
  {
    operation: ATTEST,
    expected: 'SIGSTORE_SIGNATURE_INVALID',
    send: ({ running }) => {
      const json = JSON.parse(Buffer.from(bundle).toString());
      json.dsseEnvelope.payload = b64(formatStatement(statement(SBOM)));
      return running.submit(utf8(JSON.stringify(json)));
    },
  },
  {
    operation: 'get /api/v1/attestations',
    expected: 200,
    send: get(`/api/v1/attestations?subject=${sha256(THING)}`),
  },
  {
    operation: 'get /api/v1/attestations',
    expected: 'REGISTRY_REQUEST_MALFORMED',
    send: get('/api/v1/attestations'),
  },
  {
    operation: 'get /api/v1/attestations/{sha256}',
    expected: 200,
    send: (caller) => get(`/api/v1/attestations/${sha256(bundle)}`)(caller),
  },
  {
    operation: 'get /api/v1/attestations/{sha256}',
    expected: 'REGISTRY_ATTESTATION_UNKNOWN',
    send: get(`/api/v1/attestations/${'00'.repeat(32)}`),
  },
  blob('put', 201, sha256(THING), THING),
  blob('put', 200, sha256(THING), THING),
  blob('put', 'BLOB_DIGEST_MALFORMED', 'x', THING),
  blob('put', 'BLOB_NOT_NAMED', '00'.repeat(32), THING),
  {
    operation: `put ${BLOB}/{sha256}`,
    expected: 'BLOB_DIGEST_MISMATCH',
    send: async ({ running }) => {
      await running.submit(await running.sign(statement(utf8('another'))));
      return running.putBlob(THING, sha256(utf8('another')));
    },
  },
  {
    operation: `put ${BLOB}/{sha256}`,
    expected: 'BLOB_SBOM_MALFORMED',
    send: async ({ running }) => {
      const reference = buildSbomReference({
        subjects: [{ name: 'thing', sha256: sha256(THING) }],
        attesterId: 'https://waybill.example/builders/test',
        sbomSha256: sha256(SBOM),
        downloadLocation: 'sboms/thing.cdx.json',
      });
      await running.submit(await running.sign(reference));
      return running.putBlob(SBOM);
    },
  },
  {
    operation: `put ${BLOB}/{sha256}`,
    expected: 'BLOB_TOO_LARGE',
    send: async ({ running }) => {
      await running.submit(await running.sign(statement(large)));
      return running.putBlob(large);
    },
  },
  blob('head', 200, sha256(THING)),
  blob('get', 200, sha256(THING)),
  blob('get', 'BLOB_DIGEST_MALFORMED', 'x'),
  blob('get', 'BLOB_UNKNOWN', '00'.repeat(32)),
];

// --- TUF

const ROLE = 'put /api/v1/tuf/{role}';
const POLICY = utf8('the image');
const image = (version: number, more: Record<string, unknown> = {}, signer?: KeyObject) => ({
  operation: ROLE,
  send: ({ running }: Caller) =>
    running.putRole(
      'releases-optiboot',
      signRole(
        targetsRole(
          version,
          { 'images/optiboot/a.bin': POLICY },
          { expires: '2099-01-01T00:00:00Z', ...more },
        ),
        [signer ?? running.releasesKey],
      ),
    ),
});
const TUF: readonly Call[] = [
  { operation: ROLE, expected: 201, send: ({ running }) => running.addProduct() },
  {
    operation: ROLE,
    expected: 200,
    send: async (caller) => {
      const current = await get('/tuf/2.targets.json')(caller);
      return caller.running.putRole('targets', current.bytes);
    },
  },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_METADATA_MALFORMED',
    send: ({ running }) => running.putRole('targets', utf8('{')),
  },
  {
    operation: ROLE,
    expected: 'REGISTRY_REQUEST_TOO_LARGE',
    send: ({ running }) => running.putRole('targets', large),
  },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_ROLE_UNKNOWN',
    send: ({ running }) => running.putRole('snapshot', utf8('{}')),
  },
  { ...image(1), expected: 'TUF_TARGETS_MISSING' },
  { ...image(1, {}, newKey()), expected: 'TUF_REPOSITORY_THRESHOLD_UNMET' },
  { ...image(7), expected: 'TUF_REPOSITORY_VERSION_WRONG' },
  { ...image(1, { expires: '2020-01-01T00:00:00Z' }), expected: 'TUF_REPOSITORY_EXPIRED' },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_TARGET_FORBIDDEN',
    send: async ({ running }) =>
      running.putRole('targets', await running.nextTargets({ 'images/optiboot/a.bin': POLICY })),
  },
  {
    operation: ROLE,
    expected: 'TUF_REPOSITORY_DELEGATION_FORBIDDEN',
    send: async ({ running }) => {
      const delegations = delegationsTo({ optiboot: [running.releasesKey] }, { terminating: false });
      return running.putRole('targets', await running.nextTargets({}, { delegations }));
    },
  },
  { operation: 'get /tuf/{name}', expected: 200, send: get('/tuf/timestamp.json') },
  { operation: 'get /tuf/{name}', expected: 'TUF_REPOSITORY_FILE_UNKNOWN', send: get('/tuf/9.root.json') },
  {
    operation: 'get /tuf/targets/{path}',
    expected: 200,
    send: async (caller) => {
      const { targets } = (await caller.running.current('targets')) as { targets: Record<string, never> };
      const { hashes } = targets['tlog-policy'] as unknown as { hashes: { sha256: string } };
      return get(`/tuf/targets/${hashes.sha256}.tlog-policy`)(caller);
    },
  },
  {
    operation: 'get /tuf/targets/{path}',
    expected: 'TUF_REPOSITORY_FILE_UNKNOWN',
    send: get('/tuf/targets/x'),
  },
];

// --- devices and trace

const device = newP256();
const claim = { deviceId: 'dev-1', product: 'optiboot', hardwareId: 'uno-r3', publicKey: b64(device.spki) };
const DEVICES = 'post /api/v1/devices';
const enrol = (
  expected: number | string,
  change: Record<string, Json> = {},
  proof?: string,
  bearer?: string,
): Call => ({
  operation: DEVICES,
  expected,
  send: async (caller) => {
    const token = await readFile(join(caller.running.dataFolder, 'keys', 'enrolment.token'), 'utf8');
    const body = { ...claim, ...change };
    const proved = { ...body, proof: proof ?? b64(sign('sha256', canonicalJsonBytes(body), device.key)) };
    const headers = { ...JSON_TYPE, authorization: `Bearer ${bearer ?? token.trim()}` };
    return post('/api/v1/devices', proved, headers)(caller);
  },
});
const REPORT = 'post /api/v1/devices/{id}/reports';
const envelope = (payload: Uint8Array, signer: KeyObject = device.key) => ({
  payloadType: PAYLOAD_TYPE,
  payload: b64(payload),
  signatures: [{ sig: b64(sign('sha256', preAuthEncoding(PAYLOAD_TYPE, payload), signer)) }],
});
const report = (change: Partial<InstallReport> = {}): Uint8Array =>
  formatStatement(
    buildInstallReport(
      {
        deviceId: 'dev-1',
        product: 'optiboot',
        counter: 1,
        outcome: 'installed',
        imageSha256: sha256('image'),
        version: '8.1.0',
        reportedAtMs: Date.UTC(2026, 10, 22),
        ...change,
      },
      '2026-11-22T00:00:00.000Z',
    ),
  );
const reporting = (expected: number | string, body: unknown, id = 'dev-1'): Call => ({
  operation: REPORT,
  expected,
  send: post(`/api/v1/devices/${id}/reports`, body),
});
const DEVICE: readonly Call[] = [
  enrol(201),
  enrol(200),
  enrol('DEVICE_ENROL_MALFORMED', { deviceId: '..' }),
  enrol('DEVICE_ENROL_UNAUTHORIZED', {}, undefined, 'x'),
  enrol('DEVICE_ENROL_CONFLICT', { hardwareId: 'other' }),
  enrol('DEVICE_ENROL_KEY_UNSUITABLE', { publicKey: 'AAAA' }),
  enrol('DEVICE_ENROL_PROOF_WRONG', {}, 'AAAA'),
  { operation: DEVICES, expected: 'REGISTRY_REQUEST_TOO_LARGE', send: post('/api/v1/devices', large) },
  reporting(201, envelope(report())),
  reporting('DEVICE_REPORT_REPLAYED', envelope(report())),
  reporting('DEVICE_REPORT_ENVELOPE_MALFORMED', {}),
  reporting('DEVICE_REPORT_SIGNATURE_WRONG', envelope(report({ counter: 2 }), newP256().key)),
  reporting('DEVICE_REPORT_MISMATCH', envelope(report({ counter: 2, product: 'other' }))),
  reporting('INTOTO_STATEMENT_MALFORMED', envelope(utf8('{}'))),
  reporting('INSTALL_REPORT_MALFORMED', envelope(formatStatement(statement(THING)))),
  reporting('DEVICE_UNKNOWN', envelope(report()), 'dev-7'),
  {
    operation: REPORT,
    expected: 'REGISTRY_REQUEST_TOO_LARGE',
    send: post('/api/v1/devices/dev-1/reports', large),
  },
  { operation: 'get /api/v1/devices/{id}', expected: 200, send: get('/api/v1/devices/dev-1') },
  { operation: 'get /api/v1/devices/{id}', expected: 'DEVICE_UNKNOWN', send: get('/api/v1/devices/dev-7') },
  { operation: 'get /api/v1/devices', expected: 200, send: get('/api/v1/devices?product=optiboot') },
  { operation: 'get /api/v1/trace', expected: 200, send: get('/api/v1/trace?purl=pkg:deb/debian/gcc-avr') },
  { operation: 'get /api/v1/trace', expected: 'REGISTRY_PURL_MALFORMED', send: get('/api/v1/trace?purl=x') },
];

export const CALLS: readonly Call[] = [
  { operation: 'get /healthz', expected: 200, send: get('/healthz') },
  { operation: 'get /readyz', expected: 200, send: get('/readyz') },
  {
    operation: 'get /readyz',
    expected: 503,
    send: async (caller) => {
      caller.running.skewTo(30 * 365.25 * 86_400_000);
      const answer = await get('/readyz')(caller);
      caller.running.skewTo(0);
      return answer;
    },
  },
  { operation: 'get /openapi.json', expected: 200, send: get('/openapi.json') },
  ...CA,
  ...TSA,
  ...LOG,
  ...EVIDENCE,
  ...TUF,
  ...DEVICE,
];

/** Documented refusals that no request alone brings about, each with what must happen besides; tests of their own see to them. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  LOG_BUSY: 'thousands of requests at once',
  LOG_STORE_FAILED: 'a disk that fails',
  LOG_CLOSED: 'a log that is being closed',
  LOG_SELF_CHECK: 'tiles that were damaged',
  LOG_QUORUM_PENDING: 'witnesses that are silent',
  LOG_KEY_UNSUPPORTED: 'certificates of our own authority for other kinds of keys',
  LOG_CERTIFICATE_EXPIRED: 'certificates of our own authority, and time',
  CA_CHAIN_NOT_VALID: 'years',
  CA_CSR_SIGNATURE_WRONG: 'a signing request of another kind of writer',
  OIDC_ISSUER_UNREACHABLE: 'an issuer that is down',
  BLOB_TRUNCATED: 'a client that hangs up',
  BLOB_SPACE_SHORT: 'a full disk',
  REGISTRY_LEAF_UNKNOWN: 'a stolen log key',
  REGISTRY_TRACE_TOO_LARGE: 'ten thousand images',
};
