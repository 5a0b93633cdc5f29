// SPDX-License-Identifier: Apache-2.0
// An OpenID Connect issuer on loopback, with keys of its own and GitHub's claims, for the tests of the authority.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type CompactJWSHeaderParameters,
  CompactSign,
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JWTHeaderParameters,
  type JWTPayload,
  SignJWT,
} from 'jose';

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
  private readonly key: IssuerKey;

  private constructor(url: string, key: IssuerKey, close: () => Promise<void>) {
    this.url = url;
    this.key = key;
    this.close = close;
  }

  /** @param kid name of its one key; two issuers may use the same */
  static async start(kid = 'one', alg: 'RS256' | 'ES256' = 'RS256'): Promise<LoopbackIssuer> {
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
    const issuer = new LoopbackIssuer(`http://127.0.0.1:${port}`, await newKey(kid, alg), close);
    return issuer;
  }

  /** A token as a run would get it; `claims` replace or, being undefined, remove. */
  token(claims: Readonly<Record<string, unknown>> = {}, header: object = {}): Promise<string> {
    return this.sign({ ...CLAIMS, ...claims }, header);
  }

  /** A token with these claims and the times of now; each is another, as those of real issuers are. */
  sign(claims: Readonly<Record<string, unknown>>, header: object = {}): Promise<string> {
    return signToken(this.key, this.url, claims, header);
  }

  /** A token whose claims are exactly this text, JSON or not. */
  signText(text: string, header: object = {}): Promise<string> {
    const { alg, kid, privateKey } = this.key;
    const protectedHeader = { alg, kid, ...header } as CompactJWSHeaderParameters;
    return new CompactSign(Buffer.from(text)).setProtectedHeader(protectedHeader).sign(privateKey);
  }

  /** A token whose signature is by a key that the issuer never published; `header` may offer that key. */
  async forgedToken(headerOf: (jwk: object) => object = () => ({})): Promise<string> {
    const forger = await newKey(this.key.kid, 'RS256');
    return signToken(forger, this.url, CLAIMS, headerOf(forger.jwk));
  }

  /** The published key, as whoever wants to misuse it would write it. */
  publicKeyPem(): Promise<string> {
    return exportSPKI(this.key.publicKey);
  }
}

interface IssuerKey {
  readonly kid: string;
  readonly alg: 'RS256' | 'ES256';
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly jwk: object;
}

function signToken({ kid, alg, privateKey }: IssuerKey, iss: string, claims: object, header: object) {
  const now = Math.floor(Date.now() / 1000);
  const payload: JWTPayload = { iss, iat: now, nbf: now, exp: now + 300, jti: randomUUID(), ...claims };
  const protectedHeader = { alg, typ: 'JWT', kid, ...header } as JWTHeaderParameters;
  return new SignJWT(payload).setProtectedHeader(protectedHeader).sign(privateKey);
}

async function newKey(kid: string, alg: IssuerKey['alg']): Promise<IssuerKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' };
  return { kid, alg, privateKey, publicKey, jwk };
}
