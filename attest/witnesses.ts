// SPDX-License-Identifier: Apache-2.0
// Who witnesses a signature: the timestamp authority [docs/spec/trust-services.md §Timestamps], then the log
// [Rekor-v2 §rekor.v2.Rekor].

import { createHash } from 'node:crypto';
import { envelopeToJSON } from '@sigstore/bundle';
import { TransparencyLogEntry } from '@sigstore/protobuf-specs';
import type { SignatureBundle, Witness } from '@sigstore/sign';
import { base64Encode } from '../core/encoding/base64.ts';
import { quote } from '../core/faults.ts';
import { preAuthEncoding } from '../core/sigstore/bundle.ts';
import { ATTEST } from './faults.ts';
import { askService, readAnswer, type SigningService } from './service.ts';

/** Logs signatures under the certificate that comes with them. */
export function logWitness(logUrl: string, secret: string): Witness {
  return witnessOf(logUrl, secret, (envelope, certificatePem) => ({
    dsseRequestV002: {
      envelope: envelopeToJSON(envelope),
      verifiers: [verifierOf({ x509Certificate: { rawBytes: derOf(certificatePem) } })],
    },
  }));
}

/** Logs signatures by a managed P-256 key, given as DER SubjectPublicKeyInfo: as the public key that it is, so that the leaf says so too. */
export function logWitnessForKey(logUrl: string, publicKey: Uint8Array): Witness {
  return witnessOf(logUrl, '', ({ payloadType, payload, signatures }) => ({
    hashedRekordRequestV002: {
      digest: createHash('sha256').update(preAuthEncoding(payloadType, payload)).digest('base64'),
      signature: {
        content: signatures[0]?.sig.toString('base64'),
        verifier: verifierOf({ publicKey: { rawBytes: base64Encode(publicKey) } }),
      },
    },
  }));
}

type Envelope = Extract<SignatureBundle, { $case: 'dsseEnvelope' }>['dsseEnvelope'];

const verifierOf = (key: object) => ({ ...key, keyDetails: 'PKIX_ECDSA_P256_SHA_256' });

function witnessOf(
  logUrl: string,
  secret: string,
  requestOf: (envelope: Envelope, key: string) => object,
): Witness {
  const log: SigningService = { name: 'signature log', url: logUrl, secret };
  return {
    async testify(content, key) {
      const request = requestOf(envelopeOf(content), key ?? '');
      const body = await askService(log, `${logUrl}/api/v2/log/entries`, request, [201]);
      return { tlogEntries: [readAnswer(log, 'a log entry', body, readEntry)] };
    },
  };
}

function readEntry(json: unknown) {
  const { logId, kindVersion, ...rest } = TransparencyLogEntry.fromJSON(json);
  if (logId === undefined || kindVersion === undefined) throw new TypeError('no log id or kind');
  return { ...rest, logId, kindVersion };
}

/** Has the time of a signature confirmed; `timestampUrl` is the full path of the endpoint. */
export function timestampWitness(timestampUrl: string, secret: string): Witness {
  const authority: SigningService = { name: 'timestamp service', url: timestampUrl, secret };
  return {
    async testify(content) {
      const { sig } = envelopeOf(content).signatures[0] as { readonly sig: Buffer };
      const artifactHash = createHash('sha256').update(sig).digest('base64');
      const question = { artifactHash, hashAlgorithm: 'sha256' };
      const body = await askService(authority, timestampUrl, question, [200, 201]);
      if (body.length === 0) {
        const message = `expected a timestamp from the timestamp service at ${quote(timestampUrl)}, got nothing`;
        throw ATTEST.reject('SIGN_ANSWER_MALFORMED', message);
      }
      return { rfc3161Timestamps: [{ signedTimestamp: Buffer.from(body) }] };
    },
  };
}

/**
 * One witness after the other, in this order. The library asks all of them at once; but an entry stays in the log for ever, and
 * one that never gets its timestamp has no bundle, and looks to a monitor like a theft [docs/spec/monitor.md §Documents].
 */
export function inOrder(witnesses: readonly Witness[]): Witness {
  return {
    async testify(content, key) {
      let material: VerificationMaterial = {};
      for (const witness of witnesses) material = { ...material, ...(await witness.testify(content, key)) };
      return material;
    },
  };
}

type VerificationMaterial = Awaited<ReturnType<Witness['testify']>>;

function envelopeOf(content: SignatureBundle): Envelope {
  if (content.$case !== 'dsseEnvelope') throw new TypeError('expected a DSSE envelope');
  return content.dsseEnvelope;
}

/** DER in base64, which is what stands between the lines of PEM [RFC7468 §5]. */
function derOf(pem: string): string {
  return pem.replace(/-----[A-Z ]+-----|\s/g, '');
}
