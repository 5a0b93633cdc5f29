// SPDX-License-Identifier: Apache-2.0
// Issuers: which entries a configuration may hold, how their keys are found, and what makes an issuer unusable.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Json } from '../../../core/encoding/strict-json.ts';
import { tokenVerifier } from '../../../registry/ca/token.ts';
import { LoopbackIssuer } from './loopback-issuer.ts';
import { entryFor, issuersOf } from './trust-server.ts';

let issuer: LoopbackIssuer;
beforeAll(async () => {
  issuer = await LoopbackIssuer.start();
});
afterAll(() => issuer.close());

describe('issuers', () => {
  test('keys are fetched once and kept', async () => {
    const verifier = tokenVerifier(issuersOf([entryFor(issuer.url)]), Date.now);
    const before = issuer.keyRequests;
    await verifier.verify(await issuer.token());
    await verifier.verify(await issuer.token());
    expect(issuer.keyRequests).toBe(before + 1);
  });

  test('an issuer that is down, or speaks for another, or sends keys over plain http is unavailable', async () => {
    const issuer = await LoopbackIssuer.start();
    const token = await issuer.token();
    const verifierOf = () => tokenVerifier(issuersOf([entryFor(issuer.url)]), Date.now);
    issuer.discovery = { issuer: 'https://another.example' };
    await expect(verifierOf().verify(token)).rejects.toMatchObject({ code: 'OIDC_ISSUER_UNREACHABLE' });
    // The right keys, from a place that only looks like an address of the issuer.
    const keys = await (await fetch(`${issuer.url}/jwks`)).text();
    issuer.discovery = { jwks_uri: `data:application/json;base64,${Buffer.from(keys).toString('base64')}` };
    await expect(verifierOf().verify(token)).rejects.toMatchObject({ code: 'OIDC_ISSUER_UNREACHABLE' });
    issuer.discovery = { padding: 'x'.repeat(300_000) };
    await expect(verifierOf().verify(token)).rejects.toMatchObject({ code: 'OIDC_ISSUER_UNREACHABLE' });
    issuer.discovery = { jwks_uri: `${issuer.url}/nothing` };
    await expect(verifierOf().verify(token)).rejects.toMatchObject({ code: 'OIDC_ISSUER_UNREACHABLE' });
    issuer.discovery = undefined;
    const verifier = verifierOf();
    expect((await verifier.verify(token)).claims.repository_id).toBe('1001');
    await issuer.close();
    await expect(verifierOf().verify(token)).rejects.toMatchObject({ code: 'OIDC_ISSUER_UNREACHABLE' });
  });

  test('what an issuer says of itself is asked again after an hour', async () => {
    let skewMs = 0;
    const verifier = tokenVerifier(issuersOf([entryFor(issuer.url)]), () => Date.now() + skewMs);
    const token = await issuer.token({ exp: Math.floor(Date.now() / 1000) + 8000 });
    await verifier.verify(token);
    issuer.discovery = { issuer: 'https://another.example' };
    skewMs = 59 * 60_000;
    await expect(verifier.verify(token)).resolves.toBeDefined();
    skewMs = 61 * 60_000;
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'OIDC_ISSUER_UNREACHABLE' });
    issuer.discovery = undefined;
  });

  test('a redirect is not followed', async () => {
    const redirector = createServer((_request, response) => {
      response.writeHead(302, { location: `${issuer.url}/jwks` }).end();
    });
    await new Promise<void>((resolve) => redirector.listen(0, '127.0.0.1', resolve));
    const { port } = redirector.address() as AddressInfo;
    issuer.discovery = { jwks_uri: `http://127.0.0.1:${port}/` };
    const verifier = tokenVerifier(issuersOf([entryFor(issuer.url)]), Date.now);
    const verifying = verifier.verify(await issuer.token());
    await expect(verifying).rejects.toMatchObject({ code: 'OIDC_ISSUER_UNREACHABLE' });
    issuer.discovery = undefined;
    redirector.close();
  });

  test('after a failure the next token asks again', async () => {
    const issuer = await LoopbackIssuer.start();
    const verifier = tokenVerifier(issuersOf([entryFor(issuer.url)]), Date.now);
    issuer.discovery = { issuer: 'https://another.example' };
    await expect(verifier.verify(await issuer.token())).rejects.toMatchObject({
      code: 'OIDC_ISSUER_UNREACHABLE',
    });
    issuer.discovery = undefined;
    await expect(verifier.verify(await issuer.token())).resolves.toBeDefined();
    await issuer.close();
  });

  test('of several entries for one issuer, one that accepts is enough', async () => {
    const { url } = issuer;
    const second = { ...entryFor(url), require: { repository_id: '3003' } };
    const verifier = tokenVerifier(issuersOf([entryFor(url), second]), Date.now);
    const accepted = await verifier.verify(await issuer.token({ repository_id: '3003' }));
    expect(accepted.issuer.require.get('repository_id')).toBe('3003');
    await expect(verifier.verify(await issuer.token({ repository_id: '3004' }))).rejects.toMatchObject({
      code: 'OIDC_TOKEN_IDENTITY_REFUSED',
    });
  });
});

describe('configuration of issuers', () => {
  const entry = entryFor('https://token.actions.githubusercontent.com');
  const codeOf = (members: Record<string, unknown>): string => {
    try {
      issuersOf([JSON.parse(JSON.stringify({ ...entry, ...members }))]);
      return 'accepted';
    } catch (failure) {
      return (failure as { code: string }).code;
    }
  };

  test('accepts https issuers, and ids written as numbers', () => {
    expect(codeOf({})).toBe('accepted');
    const [issuer] = issuersOf([{ ...entry, require: { repository_owner_id: 2002 } }]);
    expect(issuer?.require.get('repository_owner_id')).toBe('2002');
  });

  test('refuses a shared issuer without an id of repository or owner', () => {
    expect(codeOf({ require: {} })).toBe('OIDC_CONFIG_UNRESTRICTED');
    expect(codeOf({ require: { repository: 'example/firmware' } })).toBe('OIDC_CONFIG_UNRESTRICTED');
  });

  const SHARED = {
    'github-actions': 'https://token.actions.githubusercontent.com',
    'gitlab-ci': 'https://gitlab.com',
    buildkite: 'https://agent.buildkite.com',
  };

  test.each([
    ['github-actions', ['repository_id', 'repository_owner_id'], { repository: 'example/firmware' }],
    [
      'gitlab-ci',
      ['project_id', 'namespace_id'],
      { project_path: 'example/firmware', ref_protected: 'true' },
    ],
    ['buildkite', ['organization_id', 'pipeline_id'], { organization_slug: 'example', pipeline_slug: 'a' }],
  ] as const)('%s needs one of its ids, however much else is required', (kind, ids, names) => {
    const codeFor = (require: object) => codeOf({ kind, url: SHARED[kind], require });
    expect(codeFor(names)).toBe('OIDC_CONFIG_UNRESTRICTED');
    for (const id of ids) expect(codeFor({ ...names, [id]: '1' })).toBe('accepted');
    expect(codeFor({ [ids[0]]: '1', email: 'a@example.com' })).toBe('OIDC_CONFIG_MALFORMED');
  });

  test('other issuers need at least one claim, and none that restricts nothing', () => {
    const codeFor = (require: object, more: object = {}) =>
      codeOf({ kind: 'oidc', identity: 'email', url: 'https://id.example', require, ...more });
    expect(codeFor({})).toBe('OIDC_CONFIG_UNRESTRICTED');
    expect(codeFor({ email: 'release@example.com' })).toBe('accepted');
    expect(codeFor({ hd: 'example.com' })).toBe('accepted');
    for (const claim of ['iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'email_verified']) {
      expect(codeFor({ email: 'release@example.com', [claim]: 'x' })).toBe('OIDC_CONFIG_MALFORMED');
    }
    expect(codeFor({ hd: 'example.com' }, { identity: 'name' })).toBe('OIDC_CONFIG_MALFORMED');
    expect(codeFor({ hd: 'example.com' }, { identity: undefined })).toBe('OIDC_CONFIG_MALFORMED');
    expect(codeFor({ hd: 'example.com' }, { server: 'https://id.example' })).toBe('OIDC_CONFIG_MALFORMED');
    expect(codeFor({ hd: 'example.com' }, { subjectDomain: 'https://id.example' })).toBe(
      'OIDC_CONFIG_MALFORMED',
    );
  });

  test('a shared issuer under another kind would escape its restriction', () => {
    for (const [kind, url] of Object.entries(SHARED)) {
      const require = { sub: 'x', project_id: '1', repository_id: '1', pipeline_id: '1' };
      for (const other of ['oidc', ...Object.keys(SHARED)].filter((name) => name !== kind)) {
        const own = other === 'oidc' ? { identity: 'email', require: { sub: 'x' } } : {};
        const ids: Record<string, object> = {
          'github-actions': { repository_id: require.repository_id },
          'gitlab-ci': { project_id: require.project_id },
          buildkite: { pipeline_id: require.pipeline_id },
        };
        expect(codeOf({ kind: other, url, require: ids[other], ...own })).toBe('OIDC_CONFIG_MALFORMED');
        expect(codeOf({ kind: other, url: `${url}/sub`, require: ids[other], ...own })).toBe(
          'OIDC_CONFIG_MALFORMED',
        );
      }
    }
  });

  test("a server of one's own says its address; the shared one and one on loopback need not", () => {
    const gitlab = { kind: 'gitlab-ci', require: { project_id: 1 } };
    const own = { ...gitlab, url: 'https://git.example' };
    expect(codeOf(own)).toBe('OIDC_CONFIG_MALFORMED');
    for (const server of ['https://git.example', 'https://git.example:8443/gitlab']) {
      expect(codeOf({ ...own, server })).toBe('accepted');
    }
    for (const server of [
      'http://git.example',
      'https://git.example/',
      'https://me@git.example',
      'git.example',
      'https://gitlab.com',
      'https://github.com',
    ]) {
      expect(codeOf({ ...own, server })).toBe('OIDC_CONFIG_MALFORMED');
    }
    const serverOf = (entry: { [name: string]: Json }) =>
      issuersOf([{ audience: 'waybill', ...entry }])[0]?.server;
    expect(serverOf({ ...gitlab, url: 'https://gitlab.com' })).toBe('https://gitlab.com');
    expect(serverOf({ ...own, server: 'https://git.example' })).toBe('https://git.example');
    // GitHub gives an enterprise an issuer below the shared one.
    const enterprise = {
      url: 'https://token.actions.githubusercontent.com/acme',
      require: { repository_id: 1 },
    };
    expect(serverOf({ kind: 'github-actions', ...enterprise })).toBe('https://github.com');
    expect(codeOf({ url: 'https://github.example/_services/token' })).toBe('OIDC_CONFIG_MALFORMED');
  });

  test('subjects may lie in the domain of their issuer or in a SPIFFE trust domain, nowhere else', () => {
    const codeFor = (subjectDomain: string | undefined, url = 'https://accounts.example.com') =>
      codeOf({ kind: 'oidc', identity: 'uri', url, require: { sub: 'x' }, subjectDomain });
    for (const domain of [
      'https://accounts.example.com',
      'https://example.com',
      'https://users.example.com',
      'spiffe://example.org',
    ]) {
      expect(codeFor(domain)).toBe('accepted');
    }
    for (const domain of [
      'https://github.com',
      'http://example.com',
      'https://com',
      'https://evilexample.com',
      'https://example.com/users',
      'https://example.com/',
      'https://me@example.com',
      'ftp://example.com',
      'spiffe://',
      undefined,
    ]) {
      expect(codeFor(domain)).toBe('OIDC_CONFIG_MALFORMED');
    }
    expect(codeFor('http://127.0.0.1', 'http://127.0.0.1:7070')).toBe('accepted');
    expect(codeFor('http://10.0.0.1', 'http://127.0.0.1:7070')).toBe('OIDC_CONFIG_MALFORMED');
    expect(codeFor('https://internal', 'https://localhost')).toBe('OIDC_CONFIG_MALFORMED');
  });

  test.each([
    'http://issuer.example',
    'http://127.0.0.1.evil.example:1',
    'http://localhost.evil.example',
    'http://10.0.0.1',
  ])('refuses plain http beyond this machine: %s', (url) => {
    expect(codeOf({ url })).toBe('OIDC_CONFIG_URL_INSECURE');
  });

  test('refuses loopback http without its switch', () => {
    for (const url of ['http://127.0.0.1:8080', 'http://localhost:8080', 'http://[::1]:8080']) {
      expect(codeOf({ url })).toBe('accepted');
    }
    expect(codeOf({ url: 'http://127.0.0.1:8080', allowLoopbackHttp: false })).toBe(
      'OIDC_CONFIG_URL_INSECURE',
    );
  });

  test.each([
    ['an address with a query', { url: 'https://issuer.example/?a=1' }],
    ['an address with a user', { url: 'https://me@issuer.example' }],
    ['no address', { url: 'issuer' }],
    ['an unknown claim', { require: { repository_id: '1', repo: 'x' } }],
    ['an unknown kind', { kind: 'any' }],
    ['the audience of stock clients as one of our own', { audience: 'sigstore' }],
    ['a switch that is no switch', { stockClients: 'yes' }],
    ['an unknown rule for used tokens', { reuse: 'always' }],
    ['an unknown member', { audiences: ['waybill'] }],
    ['no audience', { audience: undefined }],
    ['an empty value', { require: { repository_id: '1', ref: '' } }],
  ])('refuses %s', (_name, members) => {
    expect(codeOf(members)).toBe('OIDC_CONFIG_MALFORMED');
  });

  test('every example of the page is accepted, one of each kind at least', () => {
    const page = readFileSync(new URL('../../../docs/spec/trust-services.md', import.meta.url), 'utf8');
    const examples = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, text = '']) => parse(text));
    const issuers = examples.flatMap((example) => issuersOf((example as { issuers: Json }).issuers));
    expect(new Set(issuers.map(({ kind }) => `${kind.name} ${kind.type}`))).toEqual(
      new Set([
        'github-actions ci-provider',
        'gitlab-ci ci-provider',
        'buildkite ci-provider',
        'oidc email',
        'oidc uri',
      ]),
    );
  });

  test('refuses an empty list', () => {
    expect(() => issuersOf([])).toThrow(expect.objectContaining({ code: 'OIDC_CONFIG_MALFORMED' }));
  });
});
