// SPDX-License-Identifier: Apache-2.0
// Claims that make no identity: absent ones, and values that two readers of the certificate could take for different names.

import { generateKeyPairSync, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUILDKITE, ENTRIES, GITHUB, GITLAB } from './kinds-of-claims.ts';
import { startTrustServer, type TrustServer } from './trust-server.ts';

let server: TrustServer;
beforeAll(async () => {
  server = await startTrustServer(ENTRIES);
});
afterAll(() => server.close());

describe('claims that make no identity', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  async function ask(claims: Record<string, unknown>, challenge = claims.sub): Promise<string | undefined> {
    const response = await fetch(`${server.url}/ca/api/v2/signingCert`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        credentials: { oidcIdentityToken: await server.issuer.sign(claims) },
        publicKeyRequest: {
          publicKey: { content: publicKey.export({ type: 'spki', format: 'pem' }) },
          proofOfPossession: sign('sha256', Buffer.from(String(challenge)), privateKey).toString('base64'),
        },
      }),
    });
    return ((await response.json()) as { error?: { code: string } }).error?.code;
  }

  const address = { aud: 'waybill', sub: '1', email: 'foo@example.com', email_verified: true };
  const MALFORMED = 'OIDC_TOKEN_CLAIM_MALFORMED';

  test.each([
    ...Object.keys(GITHUB).map((name) => ['GitHub', GITHUB, name] as const),
    ...Object.keys(GITLAB).map((name) => ['GitLab', GITLAB, name] as const),
    ...Object.keys(BUILDKITE).map((name) => ['Buildkite', BUILDKITE, name] as const),
  ])('%s needs what goes into the certificate and nothing else', async (_kind, claims, name) => {
    const unused = ['pipeline_id', 'runner_id', 'build_branch', 'build_tag', 'step_key', 'agent_id'];
    const chosenBy = ['repository_id', 'project_id', 'organization_id'];
    const expected =
      name === 'aud'
        ? 'OIDC_TOKEN_AUDIENCE_WRONG'
        : chosenBy.includes(name)
          ? 'OIDC_TOKEN_IDENTITY_REFUSED'
          : [...unused, 'environment'].includes(name)
            ? undefined
            : MALFORMED;
    expect(await ask({ ...claims, [name]: undefined }, claims.sub)).toBe(expected);
  });

  test.each<[string, Record<string, unknown>, Record<string, unknown>, string | undefined]>([
    ['a whole number, as Buildkite counts builds', BUILDKITE, { build_number: 7 }, undefined],
    ['a number that is none', BUILDKITE, { build_number: 1.5 }, MALFORMED],
    ['a negative number', BUILDKITE, { build_number: -1 }, MALFORMED],
    ['a list', BUILDKITE, { build_source: ['ui'] }, MALFORMED],
    ['an organization that is a path', BUILDKITE, { organization_slug: 'acme-inc/other' }, MALFORMED],
    ['a job that ends the fragment', BUILDKITE, { job_id: 'a#b' }, MALFORMED],
    ['dots for a pipeline', BUILDKITE, { pipeline_slug: '..' }, MALFORMED],
    ['a ref that is neither branch nor tag', GITLAB, { ref_type: 'merge_request' }, MALFORMED],
    ['a ref type that every object has', GITLAB, { ref_type: 'constructor' }, MALFORMED],
    ['no definition of the pipeline in the project', GITLAB, { ci_config_ref_uri: null }, MALFORMED],
    [
      'a definition on another server',
      GITLAB,
      { ci_config_ref_uri: 'gitlab.example.com/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main' },
      MALFORMED,
    ],
    [
      'a definition on a server of a longer name',
      GITLAB,
      { ci_config_ref_uri: 'gitlab.com.evil.example/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main' },
      MALFORMED,
    ],
    [
      'a server behind a user name',
      GITLAB,
      { ci_config_ref_uri: 'gitlab.com@evil.example/cpanato/testing-cosign//.gitlab-ci.yml@refs/heads/main' },
      MALFORMED,
    ],
    [
      'a definition without a ref',
      GITLAB,
      { ci_config_ref_uri: 'gitlab.com/a/b//.gitlab-ci.yml' },
      MALFORMED,
    ],
    [
      'a definition without a file',
      GITLAB,
      { ci_config_ref_uri: 'gitlab.com/a/b@refs/heads/main' },
      MALFORMED,
    ],
    [
      'a second pair of slashes',
      GITLAB,
      { ci_config_ref_uri: 'gitlab.com/a//b//.gitlab-ci.yml@refs/heads/main' },
      MALFORMED,
    ],
    ['a project above its root', GITLAB, { project_path: 'cpanato/../other' }, MALFORMED],
    ['nested groups', GITLAB, { project_path: 'a/b/c/d', namespace_path: 'a/b/c' }, undefined],
    ['an attempt that is a path', GITHUB, { run_attempt: '1/../../..' }, MALFORMED],
    ['a repository of three parts', GITHUB, { repository: 'a/b/c' }, MALFORMED],
  ])('%s', async (_name, claims, changed, expected) => {
    expect(await ask({ ...claims, ...changed })).toBe(expected);
  });

  test('an address that nobody verified, or in a form that readers do not agree on', async () => {
    expect(await ask(address, address.email)).toBeUndefined();
    for (const email_verified of [false, 'false', undefined, 1, null]) {
      expect(await ask({ ...address, email_verified }, address.email)).toBe('OIDC_TOKEN_EMAIL_UNVERIFIED');
    }
    const open = await startTrustServer((url) => [
      {
        url,
        audience: 'waybill',
        allowLoopbackHttp: true,
        kind: 'oidc',
        identity: 'email',
        require: { hd: 'example.com' },
      },
    ]);
    try {
      const tokenOf = (email: unknown) => open.issuer.sign({ ...address, hd: 'example.com', email });
      for (const email of [
        'foo',
        'foo@example',
        '"foo bar"@example.com',
        'foo@[127.0.0.1]',
        'föö@example.com',
        'foo@exämple.com',
        'foo@example.com.',
        'foo@-example.com',
        'foo@example.-com',
        'foo@example.com-',
        'foo..bar@example.com',
        '.foo@example.com',
        'foo.@example.com',
        '@example.com',
        'foo@example.com@example.org',
        'foo@example.com\u0000',
        `${'f'.repeat(65)}@example.com`,
        `foo@${'e.'.repeat(125)}com`,
        ['foo@example.com'],
        '',
        undefined,
      ]) {
        const response = await fetch(`${open.url}/ca/api/v2/signingCert`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ credentials: { oidcIdentityToken: await tokenOf(email) } }),
        });
        expect((await response.json()) as object).toMatchObject({ error: { code: MALFORMED } });
      }
    } finally {
      await open.close();
    }
  });

  test('the address, not the subject, is what its holder signs; of others it is the subject', async () => {
    expect(await ask(address, address.sub)).toBe('CA_PROOF_WRONG');
    const uri = { aud: 'waybill', sub: `${server.issuer.url}/users/1`, team: 'firmware' };
    expect(await ask({ ...uri, email: 'foo@example.org', email_verified: true }, 'foo@example.org')).toBe(
      'CA_PROOF_WRONG',
    );
    expect(await ask(uri)).toBeUndefined();
  });

  test('a subject outside the domain of its entry', async () => {
    const { url } = server.issuer;
    const codeOf = (sub: string) => ask({ aud: 'waybill', sub, team: 'firmware' });
    expect(await codeOf(url)).toBeUndefined();
    for (const sub of [
      'https://github.com/sigstore/fulcio/.github/workflows/foo.yaml@refs/heads/main',
      `${url}0/users/1`,
      `${url}.evil.example/users/1`,
      `${url}@evil.example/users/1`,
      `${url}/users/../1`,
      `${url}/users//1`,
      `${url}/users/1?as=2`,
      `${url}/users/1#2`,
      `${url}/users/%31`,
      `${url}/`,
      url.toUpperCase(),
      'foo@example.com',
    ]) {
      expect(await codeOf(sub)).toBe(MALFORMED);
    }
  });
});
