// SPDX-License-Identifier: Apache-2.0
// Calls of probes, trust services and signature log, one for each answer and each refusal that the OpenAPI document promises.

import { generateKeyPairSync, sign } from 'node:crypto';
import { newSigner } from '../../../registry/trust/signer.ts';
import { certified, dsseRequest, keyed, TestAuthority } from '../log/log-server.ts';
import { CLAIMS } from '../trust/loopback-issuer.ts';
import { sha256 } from '../tuf-house.ts';
import { b64, type Call, type Caller, get, large, post } from './api-call.ts';

// --- certificate authority

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const nowS = (): number => Math.floor(Date.now() / 1000);
const signingRequest = (token: string, change: object = {}) => ({
  credentials: { oidcIdentityToken: token },
  publicKeyRequest: {
    publicKey: { content: key.publicKey.export({ type: 'spki', format: 'pem' }) },
    proofOfPossession: b64(sign('sha256', Buffer.from(String(CLAIMS.sub)), key.privateKey)),
  },
  ...change,
});
const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const withKey = (content: string, proofOfPossession = 'AAAA') => ({
  publicKeyRequest: { publicKey: { content }, proofOfPossession },
});
const csr = (text: string) => ({ publicKeyRequest: undefined, certificateSigningRequest: text });
const pemOfKey = key.publicKey.export({ type: 'spki', format: 'pem' }).toString();

/** Calls of the authority, at each of its two addresses. */
function authorityCalls(prefix: '/ca' | ''): readonly Call[] {
  const certificate = (
    expected: number | string,
    claims: Record<string, unknown>,
    change: object = {},
  ): Call => ({
    operation: `post ${prefix}/api/v2/signingCert`,
    expected,
    send: async (caller) =>
      post(
        `${prefix}/api/v2/signingCert`,
        signingRequest(await caller.running.issuer.token(claims), change),
      )(caller),
  });
  const withToken = (expected: string, make: (caller: Caller) => Promise<string> | string): Call => ({
    operation: `post ${prefix}/api/v2/signingCert`,
    expected,
    send: async (caller) => post(`${prefix}/api/v2/signingCert`, signingRequest(await make(caller)))(caller),
  });
  return [
    certificate(200, {}),
    certificate('CA_REQUEST_MALFORMED', {}, { publicKeyRequest: undefined }),
    certificate('CA_KEY_UNSUPPORTED', {}, withKey('no key')),
    certificate('CA_PROOF_WRONG', {}, withKey(pemOfKey)),
    certificate('CA_CSR_MALFORMED', {}, csr('bm90aGluZw==')),
    {
      operation: `post ${prefix}/api/v2/signingCert`,
      expected: 'CA_REQUEST_TOO_LARGE',
      send: post(`${prefix}/api/v2/signingCert`, large),
    },
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
    {
      operation: `get ${prefix}/api/v2/trustBundle`,
      expected: 200,
      send: get(`${prefix}/api/v2/trustBundle`),
    },
    {
      operation: `get ${prefix}/api/v2/configuration`,
      expected: 200,
      send: get(`${prefix}/api/v2/configuration`),
    },
  ];
}

const CT: readonly Call[] = [
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

/** In this order. */
export const SERVICE_CALLS: readonly Call[] = [
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
  ...authorityCalls('/ca'),
  ...authorityCalls(''),
  ...CT,
  ...TSA,
  ...LOG,
];
