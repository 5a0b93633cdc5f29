// SPDX-License-Identifier: Apache-2.0
// Signing and submission when a service refuses, is down or answers nonsense. The services here are fakes of foreign
// misbehaviour only; signing that works is tested against the real ones.

import { generateKeyPairSync } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { IdentitySource } from '../../attest/identity/token.ts';
import { signStatement, signStatementWithKey } from '../../attest/sign.ts';
import { parseSigningServices } from '../../attest/signing-config.ts';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import { formatStatement } from '../../core/intoto/statement.ts';
import { type DemoIssuer, startIssuer } from '../../examples/demo/oidc-issuer.ts';
import { planBuild } from './build-folder.ts';

interface Reply {
  readonly status: number;
  readonly body: string;
  readonly location?: string;
}
let answer: (path: string, body: string) => Reply;
let server: Server;
let base: string;
let issuer: DemoIssuer;
const [step] = planBuild().steps;
const statement = formatStatement(buildStepProvenance(step as NonNullable<typeof step>));
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const privateKeyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
const code = (code: string) => expect.objectContaining({ code });

beforeAll(async () => {
  issuer = await startIssuer();
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const reply = answer(request.url ?? '', body);
      const location = reply.location === undefined ? {} : { location: reply.location };
      response.writeHead(reply.status, { 'content-type': 'application/json', ...location }).end(reply.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await issuer.close();
  await new Promise((resolve) => server.close(resolve));
});

const service = (url: string, majorApiVersion: number, start = '2024-01-01T00:00:00Z') => ({
  url,
  majorApiVersion,
  validFor: { start },
  operator: 'waybill.example',
});

function configOf(at: string, change: Record<string, unknown> = {}): Uint8Array {
  const config = {
    mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
    caUrls: [service(`${at}/ca`, 1)],
    rekorTlogUrls: [service(`${at}/log`, 2)],
    tsaUrls: [service(`${at}/tsa/api/v1/timestamp`, 1)],
    rekorTlogConfig: { selector: 'ANY' },
    tsaConfig: { selector: 'ANY' },
    ...change,
  };
  return new TextEncoder().encode(JSON.stringify(config));
}

const now = Date.parse('2026-01-01T00:00:00Z');
const choose = (change: Record<string, unknown>) =>
  parseSigningServices(configOf('https://waybill.example', change), now);

test('each service is the newest that is valid now and of the right version', () => {
  const log = (url: string, version: number, start: string, end?: string) => ({
    ...service(url, version),
    validFor: end === undefined ? { start } : { start, end },
  });
  const rekorTlogUrls = [
    log('https://old.example', 2, '2024-01-01T00:00:00Z'),
    log('https://now.example', 2, '2025-01-01T00:00:00Z'),
    log('https://over.example', 2, '2025-06-01T00:00:00Z', '2025-12-31T00:00:00Z'),
    log('https://next.example', 2, '2026-06-01T00:00:00Z'),
    log('https://v1.example', 1, '2025-08-01T00:00:00Z'),
  ];
  expect(choose({ rekorTlogUrls })).toEqual({
    authorityUrl: 'https://waybill.example/ca',
    logUrl: 'https://now.example',
    timestampUrl: 'https://waybill.example/tsa/api/v1/timestamp',
  });
});

test('a signing configuration that would leave something out is refused, never completed by a default', () => {
  for (const change of [
    { mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.1+json' },
    { rekorTlogConfig: { selector: 'ALL' } },
    { tsaConfig: undefined },
    { rekorTlogConfig: undefined },
    { caUrls: undefined },
    { caUrls: [{ ...service('', 1) }] },
    { caUrls: [{ ...service('https://a.example/', 1) }] },
    { caUrls: [{ ...service('https://user@a.example', 1) }] },
    { caUrls: [{ ...service('https://a.example?x', 1) }] },
    { caUrls: [{ ...service('https://a.example#x', 1) }] },
    { caUrls: [{ ...service('a.example', 1) }] },
    { tsaUrls: [{ ...service('https://a.example', 1), validFor: undefined }] },
    { extra: 1 },
  ]) {
    expect(() => choose(change)).toThrow(code('SIGN_CONFIG_MALFORMED'));
  }
  for (const change of [
    { caUrls: [] },
    { rekorTlogUrls: [service('https://a.example', 1)] },
    { tsaUrls: [] },
  ]) {
    expect(() => choose(change)).toThrow(code('SIGN_CONFIG_NO_SERVICE'));
  }
  for (const url of ['http://waybill.example', 'ftp://127.0.0.1', 'http://127.0.0.1.evil.example']) {
    expect(() => choose({ caUrls: [service(url, 1)] })).toThrow(code('SIGN_URL_INSECURE'));
  }
  for (const url of ['http://127.0.0.1:1', 'http://localhost:1', 'http://[::1]:1']) {
    expect(choose({ caUrls: [service(url, 1)] }).authorityUrl).toBe(url);
  }
});

test('what is no statement is not signed', async () => {
  const identity = { origin: 'test', token: async () => issuer.token() };
  const nothing = new TextEncoder().encode('{}');
  await expect(signStatement(nothing, { signingConfig: configOf(base), identity })).rejects.toEqual(
    code('INTOTO_STATEMENT_MALFORMED'),
  );
  await expect(
    signStatementWithKey(nothing, { signingConfig: configOf(base), privateKeyPem }),
  ).rejects.toEqual(code('INTOTO_STATEMENT_MALFORMED'));
});

/** Every way in which a fault could carry text out: message, place, stack, and the whole tree of causes. */
function everythingSaid(failure: unknown): string {
  return inspect(failure, { depth: 20, showHidden: true });
}

async function failureOf(token: string): Promise<{ code: string; message: string }> {
  const identity: IdentitySource = { origin: 'test', token: async () => token };
  const failed = await signStatement(statement, { signingConfig: configOf(base), identity }).then(
    () => undefined,
    (failure: unknown) => failure,
  );
  const said = everythingSaid(failed);
  for (let at = 0; at + 12 <= token.length; at++) expect(said).not.toContain(token.slice(at, at + 12));
  return failed as { code: string; message: string };
}

test('no part of the token is in the error, whatever the authority echoes', async () => {
  const token = await issuer.token();
  answer = (_, body) => ({
    status: 403,
    body: JSON.stringify({ message: `ISSUER_REFUSED: ${JSON.parse(body).credentials.oidcIdentityToken}` }),
  });
  const echoed = await failureOf(token);
  expect(echoed.code).toBe('SIGN_SERVICE_REFUSED');
  expect(echoed.message).toContain('ISSUER_REFUSED: [token]');

  answer = (_, body) => ({ status: 500, body: JSON.stringify({ message: body.slice(40, 400) }) });
  expect((await failureOf(token)).code).toBe('SIGN_SERVICE_UNAVAILABLE');

  answer = (_, body) => ({ status: 200, body: body.slice(0, 300) });
  expect((await failureOf(token)).code).toBe('SIGN_ANSWER_MALFORMED');

  const strange = 'not-a-token-but-secret-all-the-same';
  expect((await failureOf(strange)).code).toBe('IDENTITY_TOKEN_MALFORMED');
});

test('a service that sends us elsewhere gets nobody there our token, statement or signature', async () => {
  const certificate = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  const issued = JSON.stringify({ signedCertificateEmbeddedSct: { chain: { certificates: [certificate] } } });
  const elsewhere: string[] = [];
  for (const [service, reached] of [
    ['/ca', 1],
    ['/tsa', 2],
    ['/log', 3],
  ] as const) {
    for (const status of [301, 303, 307, 308]) {
      const paths: string[] = [];
      answer = (path) => {
        paths.push(path);
        if (path.startsWith('/elsewhere')) elsewhere.push(path);
        if (path.startsWith(service)) return { status, body: '', location: `${base}/elsewhere${path}` };
        return path.startsWith('/ca') ? { status: 200, body: issued } : { status: 201, body: '{}' };
      };
      expect((await failureOf(await issuer.token())).code).toBe('SIGN_SERVICE_REFUSED');
      expect(paths.length).toBe(reached);
    }
  }
  expect(elsewhere).toEqual([]);
});

test('an authority that answers with something else gives no bundle', async () => {
  for (const body of ['{}', '[]', 'null', '{"signedCertificateEmbeddedSct":{"chain":{"certificates":[]}}}']) {
    answer = () => ({ status: 200, body });
    expect((await failureOf(await issuer.token())).code).toBe('SIGN_ANSWER_MALFORMED');
  }
});

test('with a managed key: log refused, log busy, log or timestamp nonsense, everything down', async () => {
  const sign = (at = base) => signStatementWithKey(statement, { signingConfig: configOf(at), privateKeyPem });
  const logSays = (status: number, body: string) => {
    answer = (path) => (path.startsWith('/log') ? { status, body } : { status: 200, body: 'stamp' });
  };
  logSays(400, '{"error":{"code":"LOG_ENTRY_REFUSED","message":"no","remedy":"look"}}');
  await expect(sign()).rejects.toEqual(code('SIGN_SERVICE_REFUSED'));
  await expect(sign()).rejects.toThrow('400 "LOG_ENTRY_REFUSED" "no" "look"');
  logSays(200, '{}');
  await expect(sign()).rejects.toEqual(code('SIGN_SERVICE_REFUSED'));
  logSays(503, '');
  await expect(sign()).rejects.toEqual(code('SIGN_SERVICE_UNAVAILABLE'));
  for (const body of ['', '{}', '[', '{"logId":{"keyId":"AA=="},"kindVersion":{"kind":"hashedrekord"}}']) {
    logSays(201, body);
    await expect(sign()).rejects.toEqual(code('SIGN_ANSWER_MALFORMED'));
  }
  await expect(sign('http://127.0.0.1:9')).rejects.toEqual(code('SIGN_SERVICE_UNAVAILABLE'));
});

test('without a timestamp nothing is logged: an entry of which there is no bundle would look like a theft', async () => {
  const timestamps = [
    { status: 503, body: '', failed: 'SIGN_SERVICE_UNAVAILABLE' },
    { status: 400, body: '', failed: 'SIGN_SERVICE_REFUSED' },
    { status: 200, body: '', failed: 'SIGN_ANSWER_MALFORMED' },
  ];
  for (const { status, body, failed } of timestamps) {
    const paths: string[] = [];
    answer = (path) => {
      paths.push(path);
      return path.startsWith('/tsa') ? { status, body } : { status: 201, body: '{}' };
    };
    const signing = signStatementWithKey(statement, { signingConfig: configOf(base), privateKeyPem });
    await expect(signing).rejects.toEqual(code(failed));
    expect(new Set(paths)).toEqual(new Set(['/tsa/api/v1/timestamp']));
  }
});

test('the log is asked to hold the public key itself', async () => {
  let asked = '';
  answer = (path, body) => {
    if (path.startsWith('/tsa')) return { status: 200, body: 'stamp' };
    asked = body;
    return { status: 400, body: '' };
  };
  await expect(
    signStatementWithKey(statement, { signingConfig: configOf(base), privateKeyPem }),
  ).rejects.toBeDefined();
  const { verifier } = JSON.parse(asked).hashedRekordRequestV002.signature;
  expect(Object.keys(verifier).sort()).toEqual(['keyDetails', 'publicKey']);
  expect(verifier.keyDetails).toBe('PKIX_ECDSA_P256_SHA_256');
});

test('a key under another hint than expected is not used', async () => {
  const options = { signingConfig: configOf(base), privateKeyPem, keyHint: '0'.repeat(64) };
  await expect(signStatementWithKey(statement, options)).rejects.toEqual(code('IDENTITY_KEY_UNSUITABLE'));
});
