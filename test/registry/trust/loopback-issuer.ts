// SPDX-License-Identifier: Apache-2.0
// An OpenID Connect issuer on loopback, with keys of its own and GitHub's claims, for the tests of the authority.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';

/** Claims of a build of `example/firmware`. */
export const CLAIMS: JWTPayload = {
  aud: 'waybill',
  sub: 'repo:example/firmware:ref:refs/heads/main',
  repository: 'example/firmware',
  repository_id: '1001',
  repository_owner: 'example',
  repository_owner_id: '2002',
  repository_visibility: 'private',
  job_workflow_ref: 'example/firmware/.github/workflows/build.yml@refs/heads/main',
  job_workflow_sha: '0123456789abcdef0123456789abcdef01234567',
  workflow_ref: 'example/firmware/.github/workflows/ci.yml@refs/heads/main',
  workflow_sha: '0123456789abcdef0123456789abcdef01234567',
  workflow: 'Build and release',
  runner_environment: 'github-hosted',
  sha: '89abcdef0123456789abcdef0123456789abcdef',
  ref: 'refs/heads/main',
  event_name: 'push',
  run_id: '77',
  run_attempt: '2',
  environment: 'production',
};

export class LoopbackIssuer {
  readonly url: string;
  /** Requests for the keys so far. */
  keyRequests = 0;
  /** What the discovery document says of itself, if not the truth. */
  discovery: Record<string, unknown> | undefined;
  readonly close: () => Promise<void>;
  private key: { readonly kid: string; readonly privateKey: CryptoKey; readonly jwk: object };

  private constructor(url: string, key: LoopbackIssuer['key'], close: () => Promise<void>) {
    this.url = url;
    this.key = key;
    this.close = close;
  }

  static async start(): Promise<LoopbackIssuer> {
    const server = createServer((request, response) => {
      response.setHeader('content-type', 'application/json');
      if (request.url === '/.well-known/openid-configuration') {
        response.end(
          JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/jwks`, ...issuer.discovery }),
        );
      } else if (request.url === '/jwks') {
        issuer.keyRequests++;
        response.end(JSON.stringify({ keys: [issuer.key.jwk] }));
      } else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const close = (): Promise<void> =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    const { port } = server.address() as AddressInfo;
    const issuer = new LoopbackIssuer(`http://127.0.0.1:${port}`, await newKey('one'), close);
    return issuer;
  }

  /** A token as a run would get it; `claims` replace or, being undefined, remove. */
  async token(claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const payload: JWTPayload = { iss: this.url, iat: now, nbf: now, exp: now + 300, ...CLAIMS, ...claims };
    return new SignJWT(payload)
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: this.key.kid })
      .sign(this.key.privateKey);
  }

  /** A token whose signature is by a key that the issuer never published. */
  async forgedToken(): Promise<string> {
    const { privateKey } = await newKey('other');
    const now = Math.floor(Date.now() / 1000);
    return new SignJWT({ iss: this.url, iat: now, exp: now + 300, ...CLAIMS })
      .setProtectedHeader({ alg: 'RS256', kid: this.key.kid })
      .sign(privateKey);
  }
}

async function newKey(kid: string): Promise<{ kid: string; privateKey: CryptoKey; jwk: object }> {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' } };
}
