// SPDX-License-Identifier: Apache-2.0
// Timestamp requests: TimeStampReq in DER [RFC3161 §2.4.1] and the JSON form of Sigstore's authority
// [docs/spec/trust-services.md §Timestamps].

import * as asn1 from 'asn1js';
import { TimeStampReq } from 'pkijs';
import { base64Decode } from '../../core/encoding/base64.ts';
import { quote, type Rejection } from '../../core/faults.ts';
import { OID } from '../trust/certificate.ts';
import { TRUST } from '../trust-faults.ts';

/** The policy under which timestamps are made; the one that Sigstore's clients know [Fulcio-OIDs]. */
export const TIMESTAMP_POLICY = '1.3.6.1.4.1.57264.2';

/** What is asked for. */
export interface TimestampRequest {
  /** SHA-256, 32 octets. */
  readonly digest: Uint8Array;
  /** Content octets of the INTEGER to be sent back. */
  readonly nonce: Uint8Array | undefined;
  /** True if the authority's certificates shall come with the token. */
  readonly withCertificates: boolean;
}

/** Longer nonces than any known client sends. */
const NONCE_OCTETS_MAX = 32;

/**
 * Reads a DER request.
 * @throws TSA_REQUEST_MALFORMED, TSA_HASH_UNSUPPORTED, TSA_POLICY_UNKNOWN, TSA_EXTENSION_UNSUPPORTED
 */
export function parseTimestampQuery(der: Uint8Array): TimestampRequest {
  const request = readQuery(der);
  if (request === undefined || request.version !== 1) throw malformed('expected a TimeStampReq of version 1');
  const { messageImprint, reqPolicy, nonce, certReq, extensions } = request;
  checkHash(
    messageImprint.hashAlgorithm.algorithmId === OID.sha256,
    messageImprint.hashAlgorithm.algorithmId,
  );
  checkPolicy(reqPolicy);
  // [RFC3161 §2.4.1]: an unknown extension, critical or not, is refused.
  if (extensions !== undefined && extensions.length > 0) {
    throw TRUST.reject(
      'TSA_EXTENSION_UNSUPPORTED',
      `expected no extension, got ${quote(extensions[0]?.extnID ?? '')}`,
    );
  }
  return {
    digest: checkDigest(messageImprint.hashedMessage.valueBlock.valueHexView.slice()),
    nonce: nonce === undefined ? undefined : checkNonce(nonce.valueBlock.valueHexView.slice()),
    withCertificates: certReq === true,
  };
}

/** The JSON form, already of the right shape. */
export interface JsonTimestampRequest {
  readonly artifactHash: string;
  readonly hashAlgorithm: string;
  readonly nonce?: number;
  readonly certificates?: boolean;
  readonly tsaPolicyOID?: string;
}

/** Reads a JSON request. @throws TSA_REQUEST_MALFORMED, TSA_HASH_UNSUPPORTED, TSA_POLICY_UNKNOWN */
export function readJsonRequest(request: JsonTimestampRequest): TimestampRequest {
  checkHash(request.hashAlgorithm === 'sha256', request.hashAlgorithm);
  checkPolicy(request.tsaPolicyOID);
  return {
    digest: checkDigest(base64Decode(request.artifactHash) ?? new Uint8Array()),
    nonce: request.nonce === undefined ? undefined : nonceOf(request.nonce),
    withCertificates: request.certificates === true,
  };
}

function readQuery(der: Uint8Array): TimeStampReq | undefined {
  try {
    const parsed = asn1.fromBER(der);
    return parsed.offset === der.length ? new TimeStampReq({ schema: parsed.result }) : undefined;
  } catch {
    return undefined;
  }
}

function checkHash(isSha256: boolean, got: string): void {
  if (!isSha256) throw TRUST.reject('TSA_HASH_UNSUPPORTED', `expected SHA-256, got ${quote(got)}`);
}

function checkPolicy(policy: string | undefined): void {
  if (policy !== undefined && policy !== TIMESTAMP_POLICY) {
    throw TRUST.reject('TSA_POLICY_UNKNOWN', `expected the policy ${TIMESTAMP_POLICY}, got ${quote(policy)}`);
  }
}

function checkDigest(digest: Uint8Array): Uint8Array {
  if (digest.length !== 32) throw malformed(`expected a digest of 32 octets, got ${digest.length}`);
  return digest;
}

/** The nonce goes back as it came, so it must be a well-formed DER integer [X.690 §8.3.2]. */
function checkNonce(octets: Uint8Array): Uint8Array {
  const [first = 0, second = 0] = octets;
  const padded = octets.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
  if (octets.length === 0 || octets.length > NONCE_OCTETS_MAX || padded) {
    throw malformed(`expected a nonce of 1 to ${NONCE_OCTETS_MAX} octets, got ${octets.length}`);
  }
  return octets;
}

function nonceOf(value: number): Uint8Array {
  const hex = value.toString(16);
  const octets = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  return new Uint8Array((octets[0] ?? 0) < 0x80 ? octets : Buffer.concat([Buffer.of(0), octets]));
}

const malformed = (message: string): Rejection => TRUST.reject('TSA_REQUEST_MALFORMED', message);
