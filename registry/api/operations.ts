// SPDX-License-Identifier: Apache-2.0
// Every endpoint of the registry in words, with its bodies and its own codes [docs/spec/registry-api.md §OpenAPI document]. A test
// compares the list with the routes of a running server, both ways, and calls each.

import type { TSchema } from 'typebox';
import * as schemas from './schemas.ts';

/** A body: its media type, and its schema where it is JSON. */
export interface Body {
  readonly type: string;
  readonly schema?: TSchema;
}

export interface Operation {
  readonly summary: string;
  /** Absent: the route takes none, or its own schema describes it. */
  readonly body?: Body;
  /** Parameters of the query that the route checks without a schema: a pattern each, and whether it must be there. */
  readonly query?: Readonly<Record<string, { readonly pattern: string; readonly required: boolean }>>;
  /** Answers by status. */
  readonly answers: Readonly<Record<number, Body>>;
  /** Codes of refusals besides those that every endpoint has. */
  readonly codes?: readonly string[];
}

const json = (schema: TSchema): Body => ({ type: 'application/json; charset=utf-8', schema });
const text: Body = { type: 'text/plain; charset=utf-8' };
const bytes: Body = { type: 'application/octet-stream' };

/** Refusals that every endpoint may give. */
export const EVERYWHERE: readonly string[] = [
  'REGISTRY_REQUEST_MALFORMED',
  'REGISTRY_CLIENT_UNCERTIFIED',
  'REGISTRY_REQUEST_SLOW',
  'REGISTRY_REQUEST_RATE',
  'REGISTRY_REQUEST_HEADERS',
  'REGISTRY_INTERNAL',
  'REGISTRY_STOPPING',
  'REGISTRY_STORE_FAILED',
  'REGISTRY_STORE_STOPPED',
];

const TOKEN_CODES = [
  'OIDC_TOKEN_MISSING',
  'OIDC_TOKEN_MALFORMED',
  'OIDC_TOKEN_ALGORITHM_REFUSED',
  'OIDC_TOKEN_ISSUER_UNKNOWN',
  'OIDC_TOKEN_SIGNATURE_WRONG',
  'OIDC_TOKEN_AUDIENCE_WRONG',
  'OIDC_TOKEN_EXPIRED',
  'OIDC_TOKEN_NOT_YET_VALID',
  'OIDC_TOKEN_CLAIM_MALFORMED',
  'OIDC_TOKEN_IDENTITY_REFUSED',
];
const LOG_BUSY = ['LOG_BUSY', 'LOG_STORE_FAILED', 'LOG_CLOSED', 'LOG_SELF_CHECK', 'LOG_SHARD_LOST'];

const checkpoint: Operation = {
  summary: 'Newest published checkpoint of the signature log, with its cosignatures',
  answers: { 200: text },
  codes: ['LOG_QUORUM_PENDING'],
};
const tile: Operation = {
  summary: 'Tile or entry bundle of the signature log: `<L>/<N>[.p/<W>]`, `entries/<N>[.p/<W>]`',
  answers: { 200: bytes },
  codes: ['LOG_TILE_UNKNOWN', 'TLOG_PATH_MALFORMED'],
};

/** The certificate authority, wherever it is mounted. */
const AUTHORITY = {
  signingCert: {
    summary: 'Certificate for an identity token and a key (Fulcio v2)',
    answers: { 200: json(schemas.Certified) },
    codes: [
      'CA_REQUEST_MALFORMED',
      'CA_KEY_UNSUPPORTED',
      'CA_PROOF_WRONG',
      'CA_CSR_MALFORMED',
      'CA_CSR_SIGNATURE_WRONG',
      'CA_REQUEST_TOO_LARGE',
      ...TOKEN_CODES,
      'OIDC_ISSUER_UNREACHABLE',
      'CA_CHAIN_NOT_VALID',
      ...LOG_BUSY,
    ],
  },
  trustBundle: {
    summary: 'Chain of the certificate authority',
    answers: { 200: json(schemas.TrustBundle) },
  },
  configuration: {
    summary: 'Accepted issuers and their audience',
    answers: { 200: json(schemas.CaConfiguration) },
  },
} satisfies Record<string, Operation>;

/** By method and route, as the server names them. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  'GET /healthz': { summary: 'Whether the process should go on', answers: { 200: json(schemas.Alive) } },
  'GET /readyz': {
    summary: 'Whether the registry can do all of its work now',
    answers: { 200: json(schemas.Ready), 503: json(schemas.NotReady) },
  },
  'GET /openapi.json': {
    summary: 'This document',
    answers: { 200: { type: 'application/json; charset=utf-8' } },
  },

  'POST /ca/api/v2/signingCert': AUTHORITY.signingCert,
  'GET /ca/api/v2/trustBundle': AUTHORITY.trustBundle,
  'GET /ca/api/v2/configuration': AUTHORITY.configuration,
  // sigstore-python keeps the host of an authority's address alone.
  'POST /api/v2/signingCert': AUTHORITY.signingCert,
  'GET /api/v2/trustBundle': AUTHORITY.trustBundle,
  'GET /api/v2/configuration': AUTHORITY.configuration,

  'GET /ct/checkpoint': { summary: 'Checkpoint of the certificate transparency log', answers: { 200: text } },
  'GET /ct/tile/*': {
    summary: 'Tile of the certificate transparency log: `<L>/<N>[.p/<W>]`, `data/<N>[.p/<W>]`',
    answers: { 200: bytes },
    codes: ['CT_RESOURCE_UNKNOWN'],
  },
  'GET /ct/issuer/:fingerprint': {
    summary: 'Certificate of an issuer by its SHA-256',
    answers: { 200: { type: 'application/pkix-cert' } },
    codes: ['CT_RESOURCE_UNKNOWN'],
  },

  'POST /tsa/api/v1/timestamp': {
    summary: 'Timestamp (RFC 3161); a refused DER request is a TimeStampResp under status 400',
    answers: { 200: { type: 'application/timestamp-reply' }, 201: { type: 'application/timestamp-reply' } },
    codes: [
      'TSA_REQUEST_MALFORMED',
      'TSA_HASH_UNSUPPORTED',
      'TSA_POLICY_UNKNOWN',
      'TSA_REQUEST_TOO_LARGE',
      'CA_CHAIN_NOT_VALID',
    ],
  },
  'GET /tsa/api/v1/timestamp/certchain': {
    summary: 'Chain of the timestamp authority',
    answers: { 200: { type: 'application/pem-certificate-chain' } },
  },

  'POST /log/api/v2/log/entries': {
    summary: 'Logs a signature (Rekor v2); durable and covered by a checkpoint when it is answered',
    body: { type: 'application/json', schema: schemas.LogRequest },
    answers: { 201: json(schemas.LogEntry) },
    codes: [
      'LOG_REQUEST_MALFORMED',
      'LOG_KEY_UNSUPPORTED',
      'LOG_CERTIFICATE_MALFORMED',
      'LOG_CERTIFICATE_UNTRUSTED',
      'LOG_CERTIFICATE_EXPIRED',
      'LOG_WRITER_UNLISTED',
      'LOG_REQUEST_TOO_LARGE',
      'LOG_SIGNATURE_WRONG',
      'REGISTRY_SIGNATURES_WRONG',
      ...LOG_BUSY,
    ],
  },
  'GET /log/api/v2/proof': {
    summary: 'Inclusion proof of an entry in a published tree',
    query: {
      index: { pattern: '^(0|[1-9][0-9]{0,14})$', required: true },
      size: { pattern: '^(0|[1-9][0-9]{0,14})$', required: false },
    },
    answers: { 200: json(schemas.LogProof) },
    codes: [
      'LOG_REQUEST_MALFORMED',
      'TLOG_INDEX_OUTSIDE_TREE',
      'LOG_SIZE_UNPUBLISHED',
      'LOG_QUORUM_PENDING',
      'LOG_SELF_CHECK',
    ],
  },
  'GET /log/checkpoint': checkpoint,
  'GET /log/tile/*': tile,
  'GET /log/api/v2/checkpoint': checkpoint,
  'GET /log/api/v2/tile/*': tile,

  'GET /tuf/:name': {
    summary: 'TUF metadata: `timestamp.json`, `<version>.<role>.json`',
    answers: { 200: { type: 'application/json' } },
    codes: ['TUF_REPOSITORY_FILE_UNKNOWN'],
  },
  'GET /tuf/targets/*': {
    summary: 'Target file: `[<folder>/]<sha256>.<name>`',
    answers: { 200: bytes },
    codes: ['TUF_REPOSITORY_FILE_UNKNOWN'],
  },
  'PUT /api/v1/tuf/:role': {
    summary: 'Publishes the next version of a TUF role that its own keys signed',
    body: { type: 'application/json', schema: schemas.Metadata },
    answers: { 200: json(schemas.Published), 201: json(schemas.Published) },
    codes: [
      'TUF_REPOSITORY_METADATA_MALFORMED',
      'TUF_REPOSITORY_THRESHOLD_UNMET',
      'TUF_REPOSITORY_TARGET_FORBIDDEN',
      'TUF_REPOSITORY_DELEGATION_FORBIDDEN',
      'TUF_REPOSITORY_ROLE_UNKNOWN',
      'TUF_REPOSITORY_VERSION_WRONG',
      'TUF_TARGETS_MISSING',
      'REGISTRY_REQUEST_TOO_LARGE',
      'TUF_REPOSITORY_EXPIRED',
      'TRUST_ROOT_REOPENS',
      'TRUST_CONFIG_BEHIND',
    ],
  },

  'POST /api/v1/attestations': {
    summary: 'Submits a bundle; verified whole before it is stored',
    body: { type: 'application/vnd.dev.sigstore.bundle.v0.3+json', schema: schemas.Bundle },
    answers: { 200: json(schemas.Stored), 201: json(schemas.Stored) },
    codes: [
      'SIGSTORE_BUNDLE_MALFORMED',
      'REGISTRY_REQUEST_TOO_LARGE',
      'REGISTRY_LEAF_UNKNOWN',
      'SIGSTORE_SIGNATURE_INVALID',
    ],
  },
  'GET /api/v1/attestations': {
    summary: 'Bundles about a subject, in the order of the log',
    answers: { 200: json(schemas.Attestations) },
  },
  'GET /api/v1/attestations/by-leaf/:index': {
    summary: 'Bundles whose log entry has this index, in whichever shard',
    answers: { 200: json(schemas.Attestations) },
  },
  'GET /api/v1/attestations/:sha256': {
    summary: 'Bundle by its digest, verbatim',
    answers: { 200: { type: 'application/vnd.dev.sigstore.bundle.v0.3+json', schema: schemas.Bundle } },
    codes: ['REGISTRY_ATTESTATION_UNKNOWN'],
  },

  'PUT /api/v1/blobs/:sha256': {
    summary: 'Stores bytes that a stored attestation or TUF metadata names',
    body: bytes,
    answers: { 200: json(schemas.Kept), 201: json(schemas.Kept) },
    codes: [
      'BLOB_DIGEST_MALFORMED',
      'BLOB_TRUNCATED',
      'BLOB_NOT_NAMED',
      'BLOB_TOO_LARGE',
      'BLOB_DIGEST_MISMATCH',
      'BLOB_SBOM_MALFORMED',
      'BLOB_SPACE_SHORT',
    ],
  },
  'HEAD /api/v1/blobs/:sha256': {
    summary: 'Whether the bytes are there, and how many',
    answers: { 200: bytes },
  },
  'GET /api/v1/blobs/:sha256': {
    summary: 'Bytes by their digest',
    answers: { 200: bytes },
    codes: ['BLOB_DIGEST_MALFORMED', 'BLOB_UNKNOWN'],
  },

  'POST /api/v1/devices': {
    summary: 'Enrols a device; needs the enrolment token',
    body: { type: 'application/json', schema: schemas.Enrolment },
    answers: { 200: json(schemas.Enrolled), 201: json(schemas.Enrolled) },
    codes: [
      'DEVICE_ENROL_MALFORMED',
      'DEVICE_ENROL_UNAUTHORIZED',
      'DEVICE_ENROL_CONFLICT',
      'DEVICE_ENROL_KEY_UNSUITABLE',
      'DEVICE_ENROL_PROOF_WRONG',
      'REGISTRY_REQUEST_TOO_LARGE',
    ],
  },
  'POST /api/v1/devices/:id/reports': {
    summary: 'Install report signed by the device',
    body: { type: 'application/json', schema: schemas.Report },
    answers: { 201: json(schemas.Reported) },
    codes: [
      'DEVICE_REPORT_ENVELOPE_MALFORMED',
      'INTOTO_STATEMENT_MALFORMED',
      'INSTALL_REPORT_MALFORMED',
      'DEVICE_REPORT_SIGNATURE_WRONG',
      'DEVICE_UNKNOWN',
      'DEVICE_REPORT_REPLAYED',
      'DEVICE_REPORT_MISMATCH',
      'REGISTRY_REQUEST_TOO_LARGE',
    ],
  },
  'GET /api/v1/devices/:id': {
    summary: 'A device and its last report',
    answers: { 200: json(schemas.Device) },
    codes: ['DEVICE_UNKNOWN'],
  },
  'GET /api/v1/devices': { summary: 'Enrolled devices', answers: { 200: json(schemas.Devices) } },

  'GET /api/v1/trace': {
    summary: 'Images, releases and devices in which, or with which, a package was used',
    answers: { 200: json(schemas.Traced) },
    codes: ['REGISTRY_PURL_MALFORMED', 'REGISTRY_TRACE_TOO_LARGE'],
  },
};
