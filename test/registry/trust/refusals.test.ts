// SPDX-License-Identifier: Apache-2.0
// What the certificate authority refuses, each with its own code, and that no token shows up where it must not.

import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { JWTPayload } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CLAIMS } from './loopback-issuer.ts';
import { startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
beforeAll(async () => {
  server = await startTrustServer();
});
afterAll(() => server.close());
beforeEach(() => {
  server.time.skewMs = 0;
});

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pemOf = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
const proofOver = (subject: string, key: KeyObject = privateKey): string =>
  sign('sha256', Buffer.from(subject), key).toString('base64');

/** An honest request for a token; members replace or, being undefined, remove. */
function requestFor(token: string, members: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    credentials: { oidcIdentityToken: token },
    publicKeyRequest: {
      publicKey: { algorithm: 'ECDSA', content: pemOf(publicKey) },
      proofOfPossession: proofOver(String(CLAIMS.sub)),
    },
    ...members,
  };
}

interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  readonly text: string;
}

async function post(body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${server.url}/ca/api/v2/signingCert`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const { error } = JSON.parse(text) as { error?: { code: string } };
  return { status: response.status, code: error?.code, text };
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const nowS = (): number => Math.floor(Date.now() / 1000);
const honest = (): JWTPayload => ({ ...CLAIMS, iss: server.issuer.url, iat: nowS(), exp: nowS() + 300 });

test('the honest request that all others differ from in one point is granted', async () => {
  expect(await post(requestFor(await server.issuer.token()))).toMatchObject({ status: 200, code: undefined });
});

describe('tokens', () => {
  const cases: readonly (readonly [string, string, number, () => Promise<string> | string])[] = [
    ['alg none', 'OIDC_TOKEN_ALGORITHM_REFUSED', 401, () => `${part({ alg: 'none' })}.${part(honest())}.AA`],
    [
      'a shared secret, the public key as the secret',
      'OIDC_TOKEN_ALGORITHM_REFUSED',
      401,
      () => {
        const signed = `${part({ alg: 'HS256', kid: 'one' })}.${part(honest())}`;
        return `${signed}.${createHmac('sha256', pemOf(publicKey)).update(signed).digest('base64url')}`;
      },
    ],
    [
      'a key that the issuer never published',
      'OIDC_TOKEN_SIGNATURE_WRONG',
      401,
      () => server.issuer.forgedToken(),
    ],
    ['wrong audience', 'OIDC_TOKEN_AUDIENCE_WRONG', 401, () => server.issuer.token({ aud: 'sigstore' })],
    [
      'a second audience',
      'OIDC_TOKEN_AUDIENCE_WRONG',
      401,
      () => server.issuer.token({ aud: ['waybill', 'elsewhere'] }),
    ],
    ['expired', 'OIDC_TOKEN_EXPIRED', 401, () => server.issuer.token({ exp: nowS() - 11 })],
    [
      'not before a later time',
      'OIDC_TOKEN_NOT_YET_VALID',
      401,
      () => server.issuer.token({ nbf: nowS() + 30 }),
    ],
    [
      'issued in the future',
      'OIDC_TOKEN_NOT_YET_VALID',
      401,
      () => server.issuer.token({ iat: nowS() + 30 }),
    ],
    ['no expiry', 'OIDC_TOKEN_CLAIM_MALFORMED', 401, () => server.issuer.token({ exp: undefined })],
    ['no time of issue', 'OIDC_TOKEN_CLAIM_MALFORMED', 401, () => server.issuer.token({ iat: undefined })],
    ['no subject', 'OIDC_TOKEN_CLAIM_MALFORMED', 401, () => server.issuer.token({ sub: undefined })],
    [
      'issuer with a trailing slash',
      'OIDC_TOKEN_ISSUER_UNKNOWN',
      401,
      () => server.issuer.token({ iss: `${server.issuer.url}/` }),
    ],
    [
      'issuer in other case',
      'OIDC_TOKEN_ISSUER_UNKNOWN',
      401,
      () => server.issuer.token({ iss: server.issuer.url.replace('http', 'HTTP') }),
    ],
    [
      'issuer with something after it',
      'OIDC_TOKEN_ISSUER_UNKNOWN',
      401,
      () => server.issuer.token({ iss: `${server.issuer.url}.evil.example` }),
    ],
    ['no issuer', 'OIDC_TOKEN_ISSUER_UNKNOWN', 401, () => server.issuer.token({ iss: undefined })],
    [
      'another repository under the same name',
      'OIDC_TOKEN_IDENTITY_REFUSED',
      403,
      () => server.issuer.token({ repository_id: '1002' }),
    ],
    [
      'another owner under the same name',
      'OIDC_TOKEN_IDENTITY_REFUSED',
      403,
      () => server.issuer.token({ repository_owner_id: '2003' }),
    ],
    [
      'an id as a number',
      'OIDC_TOKEN_IDENTITY_REFUSED',
      403,
      () => server.issuer.token({ repository_id: 1001 }),
    ],
    [
      'another workflow',
      'OIDC_TOKEN_IDENTITY_REFUSED',
      403,
      () =>
        server.issuer.token({
          job_workflow_ref: 'example/firmware/.github/workflows/other.yml@refs/heads/main',
        }),
    ],
    [
      'the workflow on another branch',
      'OIDC_TOKEN_IDENTITY_REFUSED',
      403,
      () =>
        server.issuer.token({
          job_workflow_ref: 'example/firmware/.github/workflows/build.yml@refs/heads/main2',
        }),
    ],
    [
      'a claim with control characters',
      'OIDC_TOKEN_CLAIM_MALFORMED',
      401,
      () => server.issuer.token({ environment: 'production\nstaging' }),
    ],
    [
      'a repository owner that is a path',
      'OIDC_TOKEN_CLAIM_MALFORMED',
      401,
      () => server.issuer.token({ repository_owner: 'example/..' }),
    ],
    [
      'a claim that another reader would take for another address',
      'OIDC_TOKEN_CLAIM_MALFORMED',
      401,
      () => server.issuer.token({ workflow_ref: 'example/firmware/../other/.github/workflows/a.yml@main' }),
    ],
    [
      'a claim that an address would have to escape',
      'OIDC_TOKEN_CLAIM_MALFORMED',
      401,
      () => server.issuer.token({ workflow_ref: 'example/firmware/.github/workflows/a%2e.yml@main' }),
    ],
    [
      'a claim that the certificate needs left out',
      'OIDC_TOKEN_CLAIM_MALFORMED',
      401,
      () => server.issuer.token({ runner_environment: undefined }),
    ],
    ['two parts', 'OIDC_TOKEN_MALFORMED', 401, () => `${part({ alg: 'RS256' })}.${part(honest())}`],
    [
      'an empty signature',
      'OIDC_TOKEN_SIGNATURE_WRONG',
      401,
      () => `${part({ alg: 'RS256' })}.${part(honest())}.`,
    ],
    ['no JSON inside', 'OIDC_TOKEN_MALFORMED', 401, () => 'c2VjcmV0.c2VjcmV0.c2VjcmV0'],
    [
      'a claim given twice',
      'OIDC_TOKEN_MALFORMED',
      401,
      () => {
        const twice = Buffer.from(`{"iss":"https://a.example","iss":"${server.issuer.url}"}`).toString(
          'base64url',
        );
        return `${part({ alg: 'RS256', kid: 'one' })}.${twice}.AAAA`;
      },
    ],
    [
      'a critical header that nobody here knows',
      'OIDC_TOKEN_MALFORMED',
      401,
      () => `${part({ alg: 'RS256', kid: 'one', crit: ['x'], x: 1 })}.${part(honest())}.AAAA`,
    ],
    [
      'larger than any token',
      'OIDC_TOKEN_MALFORMED',
      401,
      () => server.issuer.token({ padding: 'x'.repeat(14_000) }),
    ],
    [
      'a claim longer than any name',
      'OIDC_TOKEN_CLAIM_MALFORMED',
      401,
      () => server.issuer.token({ environment: 'x'.repeat(1025) }),
    ],
  ];
  test.each(cases)('%s: %s', async (_name, code, status, make) => {
    const token = await make();
    const before = server.logged.length;
    const answer = await post(requestFor(token));
    expect(answer).toMatchObject({ code, status });
    const secret = token.split('.')[2] || token;
    if (secret.length > 8) {
      expect(answer.text).not.toContain(secret);
      expect(server.logged.slice(before).join('')).not.toContain(secret);
    }
  });

  test('a token that was good expires with the clock of the server', async () => {
    const token = await server.issuer.token();
    server.time.skewMs = 320_000;
    expect(await post(requestFor(token))).toMatchObject({ code: 'OIDC_TOKEN_EXPIRED' });
  });

  test('a certificate that would outlive its authority is not issued', async () => {
    const tenYearsMs = 10 * 365.25 * 86_400_000;
    const end = Date.now() + tenYearsMs;
    const token = await server.issuer.token({ exp: Math.floor(end / 1000) + 3600 });
    server.time.skewMs = tenYearsMs - 5 * 60_000;
    expect(await post(requestFor(token))).toMatchObject({ status: 503, code: 'CA_CHAIN_NOT_VALID' });
    server.time.skewMs = tenYearsMs - 15 * 60_000;
    expect(await post(requestFor(token))).toMatchObject({ status: 200 });
  });

  test('a changed claim breaks the signature', async () => {
    const [header, , signature] = (await server.issuer.token()).split('.');
    const token = `${header}.${part({ ...honest(), run_id: '78' })}.${signature}`;
    expect(await post(requestFor(token))).toMatchObject({ code: 'OIDC_TOKEN_SIGNATURE_WRONG' });
  });

  test('none, and two different ones', async () => {
    expect(await post(requestFor('', {}))).toMatchObject({ status: 401, code: 'OIDC_TOKEN_MISSING' });
    const token = await server.issuer.token();
    const other = await server.issuer.token({ run_id: '78' });
    expect(await post(requestFor(token), { authorization: `Bearer ${other}` })).toMatchObject({
      code: 'OIDC_TOKEN_MISSING',
    });
    expect(await post(requestFor(token), { authorization: `Bearer ${token}` })).toMatchObject({
      status: 200,
    });
  });
});

describe('bodies', () => {
  test('oversized, not JSON, wrong types, wrong content type', async () => {
    const token = await server.issuer.token();
    const large = await post(requestFor(token, { padding: 'x'.repeat(40_000) }));
    expect(large).toMatchObject({ status: 413, code: 'CA_REQUEST_TOO_LARGE' });
    const broken = await post(`{"credentials":{"oidcIdentityToken": ${token}}}`);
    expect(broken).toMatchObject({ status: 400, code: 'CA_REQUEST_MALFORMED' });
    expect(broken.text).not.toContain(token.slice(0, 12));
    expect(await post({ credentials: 'x' })).toMatchObject({ status: 400, code: 'CA_REQUEST_MALFORMED' });
    expect(await post([])).toMatchObject({ code: 'CA_REQUEST_MALFORMED' });
    expect(await post('x=1', { 'content-type': 'application/x-www-form-urlencoded' })).toMatchObject({
      code: 'CA_REQUEST_MALFORMED',
    });
    expect(server.logged.join('')).not.toContain(token.slice(0, 12));
  });

  test.each([
    ['nothing', ''],
    ['null', 'null'],
    ['a number', '1'],
    ['a text', '"x"'],
    ['cut off', '{"credentials":{'],
    ['two documents', '{}{}'],
    ['a prototype', '{"__proto__":{"credentials":{}}}'],
    ['a constructor', '{"constructor":{"prototype":{"credentials":{}}}}'],
    ['a key that is a list', '{"publicKeyRequest":{"publicKey":{"content":["x"]}}}'],
    ['a key that is null', '{"publicKeyRequest":{"publicKey":null}}'],
    ['a proof that is a number', '{"publicKeyRequest":{"publicKey":{"content":"x"},"proofOfPossession":1}}'],
    ['a token that is an object', '{"credentials":{"oidcIdentityToken":{}}}'],
    ['a request that is an object', '{"certificateSigningRequest":{}}'],
  ])('of the wrong form: %s', async (_name, body) => {
    expect(await post(body)).toMatchObject({ status: 400, code: 'CA_REQUEST_MALFORMED' });
  });

  test('a depth of 10,000 in a member that nobody reads, and in one that is read', async () => {
    const deep = `${'['.repeat(10_000)}${']'.repeat(10_000)}`;
    expect(await post(`{"more":${deep}}`)).toMatchObject({ status: 401, code: 'OIDC_TOKEN_MISSING' });
    expect(await post(`{"credentials":${deep}}`)).toMatchObject({
      status: 400,
      code: 'CA_REQUEST_MALFORMED',
    });
  });

  test('compressed bodies and other methods', async () => {
    const response = await fetch(`${server.url}/ca/api/v2/signingCert`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: new Uint8Array(gzipSync(JSON.stringify(requestFor(await server.issuer.token())))),
    });
    expect(await response.json()).toMatchObject({ error: { code: 'CA_REQUEST_MALFORMED' } });
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const response = await fetch(`${server.url}/ca/api/v2/signingCert`, { method });
      expect(response.status).toBe(404);
    }
  });
});
