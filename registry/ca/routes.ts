// SPDX-License-Identifier: Apache-2.0
// The certificate authority over HTTP: the Fulcio v2 API [Fulcio-API-v2], mounted under a prefix.

import {
  type FastifyPluginAsyncTypebox,
  Type,
  TypeBoxValidatorCompiler,
} from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import { formatPem } from '../trust/authority.ts';
import { trustErrorHandler } from '../trust/http-faults.ts';
import { TRUST } from '../trust-faults.ts';
import { type Issuance, issueCertificate } from './certificate-authority.ts';
import { identityOf } from './identity.ts';
import type { Issuer } from './issuers.ts';
import { provedKey, requestedKey } from './key-to-certify.ts';
import type { TokenVerifier } from './token.ts';
import type { TokenMemory } from './token-memory.ts';

/** What the routes need. */
export interface CaDeps extends Issuance {
  readonly issuers: readonly Issuer[];
  readonly tokens: TokenVerifier;
  /** One for all addresses of an authority: a second one would let each token be used twice. */
  readonly used: TokenMemory;
}

const BODY_SIZE_BYTES_MAX = 32 * 1024;

// Members that we do not know are let through, as gRPC's JSON mapping of the original does.
const SigningRequest = Type.Object({
  credentials: Type.Optional(Type.Object({ oidcIdentityToken: Type.Optional(Type.String()) })),
  publicKeyRequest: Type.Optional(
    Type.Object({
      publicKey: Type.Object({
        algorithm: Type.Optional(Type.Union([Type.String(), Type.Integer()])),
        content: Type.String(),
      }),
      proofOfPossession: Type.Optional(Type.String()),
    }),
  ),
  certificateSigningRequest: Type.Optional(Type.String()),
});

/** `POST /api/v2/signingCert`, `GET /api/v2/trustBundle`, `GET /api/v2/configuration`. */
export const caRoutes: FastifyPluginAsyncTypebox<CaDeps> = async (app, deps) => {
  app.setValidatorCompiler(TypeBoxValidatorCompiler);
  app.removeContentTypeParser('text/plain');
  app.setErrorHandler(
    trustErrorHandler((message, tooLarge) =>
      TRUST.reject(tooLarge ? 'CA_REQUEST_TOO_LARGE' : 'CA_REQUEST_MALFORMED', message),
    ),
  );

  app.post(
    '/api/v2/signingCert',
    { bodyLimit: BODY_SIZE_BYTES_MAX, schema: { body: SigningRequest } },
    async (request, reply) => {
      const { credentials, publicKeyRequest, certificateSigningRequest } = request.body;
      const token = await deps.tokens.verify(tokenOf(request, credentials?.oidcIdentityToken));
      const { issuer, claims } = token;
      const identity = identityOf(issuer, claims);
      if ((publicKeyRequest === undefined) === (certificateSigningRequest === undefined)) {
        throw TRUST.reject(
          'CA_REQUEST_MALFORMED',
          `expected one of publicKeyRequest and certificateSigningRequest, got ${publicKeyRequest ? 'both' : 'none'}`,
        );
      }
      const proved =
        publicKeyRequest === undefined
          ? requestedKey(certificateSigningRequest ?? '')
          : provedKey(
              {
                publicKeyPem: publicKeyRequest.publicKey.content,
                proof: publicKeyRequest.proofOfPossession ?? '',
              },
              String(claims[issuer.kind.challenge]),
            );
      // Durable with the write of the certificate's entry, which issuing waits for.
      if (issuer.reuse === 'same-key') deps.used.bind(token, proved.spki);
      const certificates = await issueCertificate(deps, identity, proved);
      // Clients of the original accept no other status.
      return reply
        .code(200)
        .header('cache-control', 'no-store')
        .send({ signedCertificateEmbeddedSct: { chain: { certificates } } });
    },
  );

  app.get('/api/v2/trustBundle', async () => ({
    chains: [{ certificates: deps.authority.chain.map(formatPem) }],
  }));

  app.get('/api/v2/configuration', async () => ({ issuers: describeIssuers(deps.issuers) }));
};

/** The issuers as [Fulcio-API-v2 §OIDCIssuer] has them, every member written out; entries that read the same, once. */
function describeIssuers(issuers: readonly Issuer[]): readonly object[] {
  const described = new Map<string, object>();
  for (const { url, audiences, kind, subjectDomain } of issuers) {
    const [scheme, domain = ''] = (subjectDomain ?? '').split('://');
    const isSpiffe = scheme === 'spiffe';
    for (const audience of audiences) {
      const entry = {
        issuerUrl: url,
        audience,
        challengeClaim: kind.challenge,
        spiffeTrustDomain: isSpiffe ? domain : '',
        issuerType: isSpiffe ? 'spiffe' : kind.type,
        subjectDomain: isSpiffe ? '' : (subjectDomain ?? ''),
        skipEmailVerification: false,
      };
      described.set(JSON.stringify(entry), entry);
    }
  }
  return [...described.values()];
}

/** The token, from the body (JavaScript) or the header (Go, Python). @throws OIDC_TOKEN_MISSING */
function tokenOf(request: FastifyRequest, inBody: string | undefined): string {
  const [, inHeader] = /^Bearer ([^\s]+)$/i.exec(request.headers.authorization ?? '') ?? [];
  if (inBody && inHeader && inBody !== inHeader) {
    throw TRUST.reject('OIDC_TOKEN_MISSING', 'expected one identity token, got two different ones');
  }
  const token = inBody || inHeader;
  if (!token) throw TRUST.reject('OIDC_TOKEN_MISSING', 'expected an identity token, got none');
  return token;
}
