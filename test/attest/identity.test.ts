// SPDX-License-Identifier: Apache-2.0
// Where tokens and keys come from, and that nothing of them gets into a message.

import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyHint, openManagedKey } from '../../attest/identity/key.ts';
import { redact } from '../../attest/identity/redact.ts';
import { findIdentity } from '../../attest/identity/token.ts';
import { portableCrypto } from '../../core/crypto.ts';
import { DEMO_CLAIMS, type DemoIssuer, startIssuer } from '../../examples/demo/oidc-issuer.ts';

let issuer: DemoIssuer;
let folder: string;
const audience = 'waybill';
const code = (code: string) => expect.objectContaining({ code });

beforeAll(async () => {
  issuer = await startIssuer();
  folder = await mkdtemp(join(tmpdir(), 'waybill-identity-'));
});
afterAll(async () => {
  await issuer.close();
  await rm(folder, { recursive: true });
});

const actions = (change: Record<string, string> = {}) => ({
  ACTIONS_ID_TOKEN_REQUEST_URL: issuer.requestUrl,
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: issuer.requestToken,
  ...change,
});

test("the issuer's tokens verify by discovery and carry GitHub's claims", async () => {
  const discovery = (await (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json()) as {
    issuer: string;
    jwks_uri: string;
  };
  expect(discovery.issuer).toBe(issuer.url);
  const keys = createRemoteJWKSet(new URL(discovery.jwks_uri));
  const { payload, protectedHeader } = await jwtVerify(await issuer.token(), keys, {
    issuer: issuer.url,
    audience,
    algorithms: ['RS256'],
  });
  expect(protectedHeader.typ).toBe('JWT');
  expect(payload).toMatchObject({
    ...DEMO_CLAIMS,
    repository: 'example/firmware',
    repository_id: '1001',
    repository_owner_id: '2002',
    job_workflow_ref: 'example/firmware/.github/workflows/build.yml@refs/heads/main',
    runner_environment: 'github-hosted',
  });
  expect((await fetch(`${issuer.url}/nowhere`)).status).toBe(404);
  expect((await fetch(issuer.url, { method: 'POST' })).status).toBe(405);
});

test('GitHub Actions gives a fresh token for the audience asked', async () => {
  const source = findIdentity({ env: actions(), audience });
  expect(source.origin).toBe('GitHub Actions');
  const [first, second] = [await source.token(), await source.token()];
  expect(decodeJwt(first)).toMatchObject({ aud: 'waybill', iss: issuer.url });
  expect(decodeJwt(first).jti).not.toBe(decodeJwt(second).jti);
});

test('a named file comes before the environment, that before GitHub Actions', async () => {
  const path = join(folder, 'token');
  const [filed, set] = [await issuer.token(), await issuer.token()];
  await writeFile(path, `${filed}\n`);
  const env = actions({ WAYBILL_ID_TOKEN: ` ${set}\n` });
  await expect(findIdentity({ env, tokenFile: path, audience }).token()).resolves.toBe(filed);
  await expect(findIdentity({ env, audience }).token()).resolves.toBe(set);
});

test('no source, and a file that is not there, are told apart', async () => {
  expect(() => findIdentity({ env: {}, audience })).toThrow(code('IDENTITY_NONE'));
  expect(() => findIdentity({ env: { ...actions(), ACTIONS_ID_TOKEN_REQUEST_TOKEN: '' }, audience })).toThrow(
    code('IDENTITY_NONE'),
  );
  const source = findIdentity({ env: {}, tokenFile: join(folder, 'none'), audience });
  await expect(source.token()).rejects.toEqual(code('IDENTITY_TOKEN_UNREADABLE'));
});

test('a token that is none, is for another, or is too old stays here', async () => {
  const given = (token: string) => findIdentity({ env: { WAYBILL_ID_TOKEN: token }, audience }).token();
  const part = (claims: unknown) => Buffer.from(JSON.stringify(claims)).toString('base64url');
  const sound = { sub: 's', aud: audience, exp: 4e9 };
  for (const bad of [
    'secret-that-is-no-token',
    `a.${part(sound)}`,
    `a.${part(sound)}.b.c`,
    `a.${part([])}.b`,
    `a.${part({ ...sound, sub: undefined })}.b`,
    `a.${part({ ...sound, aud: undefined })}.b`,
    `a.${part({ ...sound, exp: '4e9' })}.b`,
    `a b.${part(sound)}.c`,
  ]) {
    await expect(given(bad)).rejects.toEqual(code('IDENTITY_TOKEN_MALFORMED'));
    await expect(given(bad)).rejects.not.toThrow(bad);
  }
  await expect(given(`a.${part(sound)}.b`)).resolves.toBeTruthy();
  await expect(given(`a.${part({ ...sound, aud: ['x', audience] })}.b`)).resolves.toBeTruthy();
  await expect(given(await issuer.token({ aud: 'cloud' }))).rejects.toEqual(code('IDENTITY_TOKEN_AUDIENCE'));
  const past = Math.floor(Date.now() / 1000) - 10;
  await expect(given(await issuer.token({ exp: past }))).rejects.toEqual(code('IDENTITY_TOKEN_EXPIRED'));
});

test("GitHub's endpoint: wrong bearer, plain http outside this machine, redirect, no answer", async () => {
  const wrong = findIdentity({ env: actions({ ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'wrong-bearer' }), audience });
  await expect(wrong.token()).rejects.toEqual(code('IDENTITY_ISSUER_REFUSED'));
  await expect(wrong.token()).rejects.not.toThrow('wrong-bearer');

  for (const url of ['http://192.0.2.1/secret-path?x=1', 'nonsense', 'ftp://127.0.0.1/']) {
    const plain = findIdentity({ env: actions({ ACTIONS_ID_TOKEN_REQUEST_URL: url }), audience });
    await expect(plain.token()).rejects.toEqual(code('IDENTITY_ISSUER_REFUSED'));
    await expect(plain.token()).rejects.not.toThrow('secret-path');
  }

  let odd = '';
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/moved')) response.writeHead(302, { location: issuer.requestUrl }).end();
    else if (request.url?.startsWith('/odd')) response.writeHead(200).end(odd);
    else if (request.url?.startsWith('/denied')) response.writeHead(403).end('{"value":"a.b.c"}');
    else response.writeHead(503).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const at = (path: string) =>
    findIdentity({ env: actions({ ACTIONS_ID_TOKEN_REQUEST_URL: `${base}${path}` }), audience }).token();
  await expect(at('/moved')).rejects.toEqual(code('IDENTITY_ISSUER_REFUSED'));
  for (odd of ['{"value":7}', '{"value":""}', 'null', '[]', '"a.b.c"', '<html>']) {
    await expect(at('/odd')).rejects.toEqual(code('IDENTITY_ISSUER_REFUSED'));
  }
  await expect(at('/denied')).rejects.toEqual(code('IDENTITY_ISSUER_REFUSED'));
  await expect(at('/busy')).rejects.toEqual(code('IDENTITY_ISSUER_UNREACHABLE'));
  await new Promise((resolve) => server.close(resolve));
  await expect(at('/gone')).rejects.toEqual(code('IDENTITY_ISSUER_UNREACHABLE'));
});

test('redaction takes out whole tokens, pieces of them, and leaves the rest', () => {
  const token = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvIn0.c2lnbmF0dXJl';
  expect(redact(`invalid identity token: ${token}`, token)).toBe('invalid identity token: [token]');
  expect(redact(`got ${token.slice(5, 20)}, then ${token.slice(-9)}`, token)).toBe(
    'got [token], then [token]',
  );
  expect(redact('(403) Forbidden', token)).toBe('(403) Forbidden');
  expect(redact('nothing secret', '')).toBe('nothing secret');
});

test('a managed key is P-256 in PKCS#8 PEM and nothing else', () => {
  const pem = (key: ReturnType<typeof generateKeyPairSync>['privateKey'], type: 'pkcs8' | 'sec1' = 'pkcs8') =>
    key.export({ type, format: 'pem' }) as string;
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const key = openManagedKey(pem(privateKey));
  expect(key.publicKey).toEqual(spki);
  expect(key.hint).toBe(keyHint(spki));
  expect(key.hint).toMatch(/^[0-9a-f]{64}$/);
  const data = new TextEncoder().encode('data');
  expect(portableCrypto.verifyP256(spki, data, key.sign(data))).toBe(true);

  const encrypted = privateKey.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'x',
  });
  for (const bad of [
    '',
    'no key',
    '-----BEGIN PRIVATE KEY-----\nsecret-bytes\n-----END PRIVATE KEY-----\n',
    pem(privateKey, 'sec1'),
    encrypted as string,
    pem(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey),
    pem(generateKeyPairSync('ed25519').privateKey),
  ]) {
    expect(() => openManagedKey(bad)).toThrow(code('IDENTITY_KEY_UNSUITABLE'));
    expect(() => openManagedKey(bad)).not.toThrow('secret-bytes');
  }
});
