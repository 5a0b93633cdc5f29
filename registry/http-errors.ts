// SPDX-License-Identifier: Apache-2.0
// Faults on the wire [docs/spec/registry-api.md §Errors]: `{error:{code,message,remedy}}` and the status that goes with it.

import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { quote, Rejection, Unavailable } from '../core/faults.ts';
import { STORE } from './store-faults.ts';

/** Statuses that say more than "evidence bad" (422) or "try later" (503). [RFC9110 §15] */
const STATUS: Readonly<Record<string, number>> = {
  BLOB_TRUNCATED: 400,
  DEVICE_ENROL_UNAUTHORIZED: 401,
  BLOB_NOT_NAMED: 403,
  TUF_REPOSITORY_THRESHOLD_UNMET: 403,
  TUF_REPOSITORY_TARGET_FORBIDDEN: 403,
  TUF_REPOSITORY_DELEGATION_FORBIDDEN: 403,
  DEVICE_REPORT_SIGNATURE_WRONG: 403,
  REGISTRY_REQUEST_UNKNOWN: 404,
  REGISTRY_ATTESTATION_UNKNOWN: 404,
  TUF_REPOSITORY_ROLE_UNKNOWN: 404,
  TUF_REPOSITORY_FILE_UNKNOWN: 404,
  BLOB_UNKNOWN: 404,
  DEVICE_UNKNOWN: 404,
  TUF_REPOSITORY_VERSION_WRONG: 409,
  TUF_TARGETS_MISSING: 409,
  DEVICE_ENROL_CONFLICT: 409,
  DEVICE_REPORT_REPLAYED: 409,
  REGISTRY_REQUEST_RATE: 429,
  REGISTRY_SIGNATURES_WRONG: 429,
  REGISTRY_REQUEST_SLOW: 408,
  REGISTRY_REQUEST_HEADERS: 431,
  REGISTRY_CLIENT_UNCERTIFIED: 403,
  CA_KEY_UNSUPPORTED: 400,
  CA_PROOF_WRONG: 400,
  CA_CSR_SIGNATURE_WRONG: 400,
  TSA_HASH_UNSUPPORTED: 400,
  TSA_POLICY_UNKNOWN: 400,
  TSA_EXTENSION_UNSUPPORTED: 400,
  OIDC_TOKEN_MISSING: 401,
  OIDC_TOKEN_MALFORMED: 401,
  OIDC_TOKEN_ALGORITHM_REFUSED: 401,
  OIDC_TOKEN_ISSUER_UNKNOWN: 401,
  OIDC_TOKEN_SIGNATURE_WRONG: 401,
  OIDC_TOKEN_AUDIENCE_WRONG: 401,
  OIDC_TOKEN_EXPIRED: 401,
  OIDC_TOKEN_NOT_YET_VALID: 401,
  OIDC_TOKEN_CLAIM_MALFORMED: 401,
  OIDC_TOKEN_IDENTITY_REFUSED: 403,
  CT_RESOURCE_UNKNOWN: 404,
  SIGNER_DATA_REFUSED: 403,
  LOG_REQUEST_MALFORMED: 400,
  LOG_KEY_UNSUPPORTED: 400,
  LOG_CERTIFICATE_MALFORMED: 400,
  LOG_CERTIFICATE_UNTRUSTED: 403,
  LOG_CERTIFICATE_EXPIRED: 403,
  LOG_WRITER_UNLISTED: 403,
  LOG_SHARD_INACTIVE: 409,
  LOG_TILE_UNKNOWN: 404,
  LOG_SIZE_UNPUBLISHED: 404,
  TLOG_PATH_MALFORMED: 404,
  TLOG_INDEX_OUTSIDE_TREE: 404,
  LOG_REQUEST_TOO_LARGE: 413,
  LOG_ENTRY_SIZE: 413,
  WITNESS_SIGNATURE_WRONG: 403,
  WITNESS_LOG_UNKNOWN: 404,
  WITNESS_CHECKPOINT_UNKNOWN: 404,
  WITNESS_REQUEST_UNKNOWN: 404,
  WITNESS_SIZES_REVERSED: 400,
  REGISTRY_INTERNAL: 500,
};

/** Codes of refused requests, for the log and the figures. */
const refusals = new WeakMap<FastifyRequest['raw'], string>();

/** Notes why a request was refused, where the answer is not `sendFault`'s. */
export function noteRefusal(request: FastifyRequest, code: string): void {
  refusals.set(request.raw, code);
}

/** Why a request was refused; undefined if it was not. */
export function refusalOf(request: FastifyRequest): string | undefined {
  return refusals.get(request.raw);
}

/** Replies with a fault; `extra` members stand beside `error`. */
export function sendFault(
  reply: FastifyReply,
  fault: Rejection | Unavailable,
  extra: Readonly<Record<string, unknown>> = {},
): FastifyReply {
  noteRefusal(reply.request, fault.code);
  return reply
    .code(statusOf(fault))
    .type('application/json; charset=utf-8')
    .header('cache-control', 'no-store')
    .send(bodyOf(fault, extra));
}

/** Their messages name files of the server, which its log tells. */
const OF_FILES = ['REGISTRY_STORE_FAILED', 'LOG_STORE_FAILED'];

/** What clients are told. */
export function messageOf({ code, message }: Rejection | Unavailable): string {
  return OF_FILES.includes(code) ? 'the registry could not use its storage; its log says why' : message;
}

/** The JSON text of a fault. */
export function bodyOf(
  fault: Rejection | Unavailable,
  extra: Readonly<Record<string, unknown>> = {},
): string {
  const error = { code: fault.code, message: messageOf(fault), remedy: fault.row.remedy };
  return JSON.stringify({ error: fault.at === undefined ? error : { ...error, at: fault.at }, ...extra });
}

/** By the table, else by the last word of the code, else by the class. */
export function statusOf({ code, row }: Pick<Rejection | Unavailable, 'code' | 'row'>): number {
  const listed = STATUS[code];
  if (listed !== undefined) return listed;
  if (row.class === 'unavailable') return 503;
  if (code.endsWith('_MALFORMED')) return 400;
  if (code.endsWith('_TOO_LARGE')) return 413;
  if (code.startsWith('OIDC_TOKEN_')) return 401;
  return 422;
}

/** An address without its query, which may hold what must not be shown. */
export function pathOf(url: string): string {
  return url.split('?', 1)[0] ?? '';
}

/** Fastify's error handler: our faults as they are, fastify's own refusals under our codes, anything else as our bug. */
export function handleError(failure: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const fault = asFault(failure, request);
  logFault(request, fault, failure);
  return sendFault(reply, fault);
}

/** A failure as a line of the log tells it: one of ours by code, message and the message of its cause, any other with its stack. */
export function told(failure: unknown): object {
  if (!(failure instanceof Rejection || failure instanceof Unavailable)) return { err: failure };
  const { code, message, cause } = failure;
  return { code, message, ...(cause instanceof Error ? { cause: cause.message } : {}) };
}

/** Says what an operator must see; a refusal is told by the line of its request. */
export function logFault(
  request: FastifyRequest,
  fault: Rejection | Unavailable,
  failure: unknown = fault,
): void {
  if (fault.code === 'REGISTRY_INTERNAL') request.log.error(told(failure), 'unforeseen failure');
  else if (statusOf(fault) === 503) request.log.warn(told(fault), 'unavailable');
}

function asFault(failure: unknown, request: FastifyRequest): Rejection | Unavailable {
  if (failure instanceof Rejection || failure instanceof Unavailable) return failure;
  const { statusCode, code } = (failure ?? {}) as Partial<FastifyError>;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return STORE.reject('REGISTRY_REQUEST_TOO_LARGE', 'expected a smaller request body');
  }
  if (statusCode === 429) {
    return STORE.unavailable('REGISTRY_REQUEST_RATE', 'expected fewer requests a minute from one client');
  }
  if (code === 'FST_ERR_BAD_URL' || code === 'FST_ERR_MAX_PARAM_LENGTH') {
    const got = quote(pathOf(request.url));
    return STORE.reject('REGISTRY_REQUEST_MALFORMED', `expected a path that can be read, got ${got}`);
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    // Fastify names the member and the rule in its own words, never the value.
    return STORE.reject(
      'REGISTRY_REQUEST_MALFORMED',
      `expected another request: ${(failure as Error).message}`,
    );
  }
  return STORE.unavailable('REGISTRY_INTERNAL', `unforeseen failure in request ${request.id}`);
}
