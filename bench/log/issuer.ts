// SPDX-License-Identifier: Apache-2.0
// A loopback OpenID Connect issuer for the certificates that are measured: one key, tokens as GitHub's.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';

export interface BenchIssuer {
  /** As `issuers` of config.yaml lists it. */
  readonly entry: object;
  readonly subject: string;
  /** Different tokens, valid for an hour. */
  tokens(count: number): Promise<string[]>;
  close(): void;
}

const SUBJECT = 'repo:example/firmware:ref:refs/heads/main';
const WORKFLOW = 'example/firmware/.github/workflows/build.yml@refs/heads/main';
const CLAIMS: JWTPayload = {
  aud: 'waybill',
  sub: SUBJECT,
  repository: 'example/firmware',
  repository_id: '1001',
  repository_owner: 'example',
  repository_owner_id: '2002',
  repository_visibility: 'private',
  job_workflow_ref: WORKFLOW,
  job_workflow_sha: '0123456789abcdef0123456789abcdef01234567',
  workflow_ref: WORKFLOW,
  workflow_sha: '0123456789abcdef0123456789abcdef01234567',
  workflow: 'Build',
  runner_environment: 'github-hosted',
  sha: '89abcdef0123456789abcdef0123456789abcdef',
  ref: 'refs/heads/main',
  event_name: 'push',
  run_attempt: '1',
};

export async function openIssuer(): Promise<BenchIssuer> {
  const { publicKey, privateKey } = await generateKeyPair('RS256');
  const key = { ...(await exportJWK(publicKey)), kid: 'bench', alg: 'RS256', use: 'sig' };
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    const isDiscovery = request.url === '/.well-known/openid-configuration';
    response.end(JSON.stringify(isDiscovery ? { issuer: url, jwks_uri: `${url}/jwks` } : { keys: [key] }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const require = { repository_id: '1001' };
  let run = 0;
  return {
    entry: { url, audience: 'waybill', kind: 'github-actions', allowLoopbackHttp: true, require },
    subject: SUBJECT,
    async tokens(count) {
      const now = Math.floor(Date.now() / 1000);
      const tokens: string[] = [];
      for (let i = 0; i < count; i++) {
        const payload = { ...CLAIMS, iss: url, iat: now, exp: now + 3600, run_id: String(++run) };
        tokens.push(
          await new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid: 'bench' }).sign(privateKey),
        );
      }
      return tokens;
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
