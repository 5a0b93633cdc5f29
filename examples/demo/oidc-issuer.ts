// SPDX-License-Identifier: Apache-2.0
// A fake of something outside: an OIDC issuer on loopback that plays GitHub Actions' part [OpenID-Connect-Discovery-1.0 §4]. The
// protocol is the real one: discovery, JWKS, RS256 tokens, and the token endpoint that jobs ask with a bearer. Only the
// question "who is asking" is answered by a constant instead of a running job.

import { randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';

/** GitHub's tokens live for five minutes. */
const LIFETIME_S = 300;

const REPOSITORY = 'example/firmware';
const WORKFLOW_REF = `${REPOSITORY}/.github/workflows/build.yml@refs/heads/main`;
const COMMIT = '5f1c2b9d8e7a6453120fedcba98765432100abcd';

/** What a job of the demo's repository claims: the members of GitHub's tokens, without those of `enterprise`. */
export const DEMO_CLAIMS: Readonly<Record<string, string>> = {
  sub: `repo:${REPOSITORY}:ref:refs/heads/main`,
  actor: 'firmware-engineer',
  actor_id: '3003',
  base_ref: '',
  event_name: 'push',
  head_ref: '',
  job_workflow_ref: WORKFLOW_REF,
  job_workflow_sha: COMMIT,
  ref: 'refs/heads/main',
  ref_protected: 'true',
  ref_type: 'branch',
  repository: REPOSITORY,
  repository_id: '1001',
  repository_owner: 'example',
  repository_owner_id: '2002',
  repository_visibility: 'private',
  run_attempt: '1',
  run_id: '7007',
  run_number: '42',
  runner_environment: 'github-hosted',
  sha: COMMIT,
  workflow: 'build',
  workflow_ref: WORKFLOW_REF,
  workflow_sha: COMMIT,
};

export interface DemoIssuer {
  /** The `iss` of every token. */
  readonly url: string;
  /** A token whose claims are the demo's, overridden by those given; `undefined` removes one. */
  token(claims?: Readonly<Record<string, unknown>>): Promise<string>;
  /** What a job finds in ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN. */
  readonly requestUrl: string;
  readonly requestToken: string;
  close(): Promise<void>;
}

/** Starts the issuer on 127.0.0.1. `claims` change what the token endpoint gives to jobs. */
export async function startIssuer(
  options: { readonly port?: number; readonly claims?: Readonly<Record<string, unknown>> } = {},
): Promise<DemoIssuer> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  const jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(jwk);
  const requestToken = randomBytes(32).toString('base64url');
  const plan = `/${randomUUID()}/_apis/distributedtask/hubs/build/plans/1/jobs/1/oidctoken`;

  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const token = (claims: Readonly<Record<string, unknown>> = {}): Promise<string> => {
    const nowS = Math.floor(Date.now() / 1000);
    const times = { nbf: nowS - 300, iat: nowS, exp: nowS + LIFETIME_S };
    const identity = { ...DEMO_CLAIMS, ...options.claims };
    const payload = { iss: url, jti: randomUUID(), aud: 'waybill', ...identity, ...times, ...claims };
    return new SignJWT(payload as JWTPayload)
      .setProtectedHeader({ typ: 'JWT', alg: 'RS256', kid })
      .sign(privateKey);
  };

  const discovery = {
    issuer: url,
    jwks_uri: `${url}/.well-known/jwks`,
    subject_types_supported: ['public', 'pairwise'],
    response_types_supported: ['id_token'],
    claims_supported: ['iss', 'jti', 'aud', 'nbf', 'iat', 'exp', ...Object.keys(DEMO_CLAIMS)],
    id_token_signing_alg_values_supported: ['RS256'],
    scopes_supported: ['openid'],
  };
  const jwks = { keys: [{ ...jwk, kid, use: 'sig', alg: 'RS256' }] };

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const asked = URL.parse(request.url ?? '/', url);
    if (asked === null) return reply(response, 404, { message: 'no such page' });
    if (request.method !== 'GET') return reply(response, 405, { message: 'only GET' });
    if (asked.pathname === '/.well-known/openid-configuration') return reply(response, 200, discovery);
    if (asked.pathname === '/.well-known/jwks') return reply(response, 200, jwks);
    if (asked.pathname !== plan) return reply(response, 404, { message: 'no such page' });
    // Clients write the scheme in capitals or not, and GitHub takes both.
    if (request.headers.authorization?.replace(/^bearer /i, '') !== requestToken) {
      return reply(response, 401, { message: 'the request token is not that of this job' });
    }
    // GitHub's default audience is the owner's address.
    const audience = asked.searchParams.get('audience') ?? 'https://github.com/example';
    return void token({ aud: audience }).then((value) =>
      reply(response, 200, { count: value.length, value }),
    );
  });

  return {
    url,
    token,
    requestUrl: `${url}${plan}?api-version=2.0`,
    requestToken,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(body));
}
