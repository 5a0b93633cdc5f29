// SPDX-License-Identifier: Apache-2.0
// Timestamp requests: TimeStampReq in DER [RFC3161 §2.4.1] and the JSON form of Sigstore's authority
// [docs/spec/trust-services.md §Timestamps].

import { base64Decode } from '../../core/encoding/base64.ts';
import { quote, type Rejection } from '../../core/faults.ts';
import { contextTag, type DerNode, parseDer, TAG } from '../../core/x509/der.ts';
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
  const members = parseDer(der, malformed).members();
  const version = members.next();
  if (version.integer() !== 1) throw version.wrong('expected a TimeStampReq of version 1');
  const imprint = members.next().members();
  const algorithm = imprint.next().members();
  const name = algorithm.next().oid();
  checkHash(name === OID.sha256, name);
  algorithm.optional(TAG.null);
  algorithm.end();
  const digest = checkDigest(imprint.next().octets());
  imprint.end();
  checkPolicy(members.optional(TAG.oid)?.oid());
  const nonce = members.optional(TAG.integer);
  const certReq = members.optional(TAG.boolean);
  checkExtensions(members.optional(contextTag(0, 'constructed')));
  members.end();
  return {
    digest,
    nonce: nonce === undefined ? undefined : checkNonce(nonce.content),
    withCertificates: certReq?.boolean() === true,
  };
}

/** [RFC3161 §2.4.1]: an unknown extension, critical or not, is refused; here all are. */
function checkExtensions(extensions: DerNode | undefined): void {
  if (extensions === undefined) return;
  const [first] = extensions.children;
  if (first === undefined) throw extensions.wrong('expected an extension, got none');
  const name = first.members().next().oid();
  throw TRUST.reject('TSA_EXTENSION_UNSUPPORTED', `expected no extension, got ${quote(name)}`);
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

/** It goes back as it came. */
function checkNonce(octets: Uint8Array): Uint8Array {
  if (octets.length > NONCE_OCTETS_MAX) {
    throw malformed(`expected a nonce of at most ${NONCE_OCTETS_MAX} octets, got ${octets.length}`);
  }
  return octets;
}

function nonceOf(value: number): Uint8Array {
  const hex = value.toString(16);
  const octets = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
  return new Uint8Array((octets[0] ?? 0) < 0x80 ? octets : Buffer.concat([Buffer.of(0), octets]));
}

const malformed = (message: string, at?: string): Rejection =>
  TRUST.reject('TSA_REQUEST_MALFORMED', message, at === undefined ? {} : { at });
