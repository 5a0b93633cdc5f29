// SPDX-License-Identifier: Apache-2.0
// Signs an artifact or a statement as sigstore-conformance asks, with attest/'s own parts: a certificate for the token, one entry of Rekor v2
// over what was signed, one timestamp; put together as a bundle of version 0.3.

import { createHash, generateKeyPairSync } from 'node:crypto';
import { certificateSigner } from '../../attest/certificate-signer.ts';
import { askService, readAnswer } from '../../attest/service.ts';
import { parseSigningServices } from '../../attest/signing-config.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { PAYLOAD_TYPE } from '../../core/intoto/statement.ts';
import { BUNDLE_MEDIA_TYPE, preAuthEncoding } from '../../core/sigstore/bundle.ts';

export interface SignRequest {
  /** The input is an in-toto statement; an artifact otherwise. */
  readonly inToto: boolean;
  readonly token: string;
  readonly signingConfig: Uint8Array;
}

const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

/** The bundle's JSON, not yet verified. @throws SIGN_*, IDENTITY_TOKEN_MALFORMED */
export async function signBundle(
  input: Uint8Array,
  { inToto, token, signingConfig }: SignRequest,
): Promise<Uint8Array> {
  const { authorityUrl, logUrl, timestampUrl } = parseSigningServices(signingConfig, Date.now());
  const signed = inToto ? preAuthEncoding(PAYLOAD_TYPE, input) : input;
  const { signature, key } = await certificateSigner(
    authorityUrl,
    token,
    generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ).sign(Buffer.from(signed));
  if (key.$case !== 'x509Certificate') throw new TypeError('expected a certificate');
  const rawBytes = key.certificate.replace(/-----[A-Z ]+-----|\s/g, '');
  const digest = sha256(signed).toString('base64');
  const content = b64(signature);

  const log = { name: 'signature log', url: logUrl, secret: token };
  const verifier = { x509Certificate: { rawBytes }, keyDetails: 'PKIX_ECDSA_P256_SHA_256' };
  const request = { hashedRekordRequestV002: { digest, signature: { content, verifier } } };
  const answer = await askService(log, `${logUrl}/api/v2/log/entries`, request, [201]);
  const entry = readAnswer(log, 'a log entry', answer, (json) => json as Json);

  const authority = { name: 'timestamp service', url: timestampUrl, secret: token };
  const question = { artifactHash: sha256(signature).toString('base64'), hashAlgorithm: 'sha256' };
  const stamp = await askService(authority, timestampUrl, question, [200, 201]);

  return utf8(
    JSON.stringify({
      mediaType: BUNDLE_MEDIA_TYPE,
      verificationMaterial: {
        certificate: { rawBytes },
        tlogEntries: [entry],
        timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp: b64(stamp) }] },
      },
      ...(inToto
        ? { dsseEnvelope: { payload: b64(input), payloadType: PAYLOAD_TYPE, signatures: [{ sig: content }] } }
        : { messageSignature: { messageDigest: { algorithm: 'SHA2_256', digest }, signature: content } }),
    }),
  );
}
