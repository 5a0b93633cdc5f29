// SPDX-License-Identifier: Apache-2.0
// Signs with a key that lives as long as an identity token, under a certificate for that token [Fulcio-API-v2
// §CreateSigningCertificateRequest].

import { generateKeyPairSync, type KeyPairKeyObjectResult, sign } from 'node:crypto';
import type { Signer } from '@sigstore/sign';
import { parseStrictJson } from '../core/encoding/strict-json.ts';
import { memberOf } from './exchange.ts';
import { ATTEST } from './faults.ts';
import type { IdentitySource } from './identity/token.ts';
import { askService, readAnswer, type SigningService } from './service.ts';

const newKey = (): KeyPairKeyObjectResult => generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** The newest token of each source, and its key. */
const keys = new WeakMap<IdentitySource, { readonly token: string; readonly key: KeyPairKeyObjectResult }>();

/**
 * A fresh key for each token. A source that gives the same token again (a variable, a file) gets the same key again, since
 * authorities tie a token to the key that it was first used for [docs/spec/trust-services.md §Replayed tokens].
 */
export function keyForToken(source: IdentitySource, token: string): KeyPairKeyObjectResult {
  const known = keys.get(source);
  if (known?.token === token) return known.key;
  const key = newKey();
  keys.set(source, { token, key });
  return key;
}

/** The signer; its errors hold no part of the token. */
export function certificateSigner(
  authorityUrl: string,
  token: string,
  { privateKey, publicKey } = newKey(),
): Signer {
  const authority: SigningService = { name: 'certificate authority', url: authorityUrl, secret: token };
  return {
    async sign(data) {
      // Proof of possession: the authority reads the same claim.
      const proof = sign('sha256', Buffer.from(subjectOf(token)), privateKey);
      const question = {
        credentials: { oidcIdentityToken: token },
        publicKeyRequest: {
          publicKey: { algorithm: 'ECDSA', content: publicKey.export({ type: 'spki', format: 'pem' }) },
          proofOfPossession: proof.toString('base64'),
        },
      };
      const body = await askService(authority, `${authorityUrl}/api/v2/signingCert`, question, [200, 201]);
      const certificate = readAnswer(authority, 'a certificate', body, firstCertificate);
      return {
        signature: sign('sha256', data, privateKey),
        key: { $case: 'x509Certificate', certificate },
      };
    },
  };
}

/** The claim that authorities have signed: an address where the token has one, the subject otherwise. */
function subjectOf(token: string): string {
  const claims = parseStrictJson(new Uint8Array(Buffer.from(token.split('.')[1] ?? '', 'base64url')));
  const [email, sub] = ['email', 'sub'].map((name) =>
    memberOf('value' in claims ? claims.value : null, name),
  );
  const subject = email ?? sub;
  if (typeof subject === 'string' && subject !== '') return subject;
  throw ATTEST.reject(
    'IDENTITY_TOKEN_MALFORMED',
    'expected a JSON Web Token with a subject, got something else',
  );
}

function firstCertificate(json: unknown): string {
  const found =
    memberOf(json, 'signedCertificateEmbeddedSct') ?? memberOf(json, 'signedCertificateDetachedSct');
  const certificates = memberOf(memberOf(found, 'chain'), 'certificates');
  const [first] = Array.isArray(certificates) ? certificates : [];
  if (typeof first === 'string' && /^-----BEGIN CERTIFICATE-----\n/.test(first)) return first;
  throw new TypeError('no chain of certificates');
}
