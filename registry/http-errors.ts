// SPDX-License-Identifier: Apache-2.0
// Faults on the wire [docs/spec/registry-api.md §Errors]: `{error:{code,message,remedy}}` and the status that goes with it.

import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { Rejection, Unavailable } from '../core/faults.ts';
import { STORE } from './store-faults.ts';

/** Statuses that say more than "evidence bad" (422) or "try later" (503). [RFC9110 §15] */
const STATUS: Readonly<Record<string, number>> = {
  REGISTRY_REQUEST_MALFORMED: 400,
  REGISTRY_PURL_MALFORMED: 400,
  TUF_REPOSITORY_METADATA_MALFORMED: 400,
  BLOB_DIGEST_MALFORMED: 400,
  BLOB_TRUNCATED: 400,
  DEVICE_ENROL_MALFORMED: 400,
  DEVICE_REPORT_ENVELOPE_MALFORMED: 400,
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
  REGISTRY_REQUEST_TOO_LARGE: 413,
  BLOB_TOO_LARGE: 413,
  REGISTRY_REQUEST_RATE: 429,
  REGISTRY_INTERNAL: 500,
};

/** Replies with a fault; `extra` members stand beside `error`. */
export function sendFault(
  reply: FastifyReply,
  fault: Rejection | Unavailable,
  extra: Readonly<Record<string, unknown>> = {},
): FastifyReply {
  const status = STATUS[fault.code] ?? (fault instanceof Unavailable ? 503 : 422);
  const error = { code: fault.code, message: fault.message, remedy: fault.row.remedy };
  return reply
    .code(status)
    .type('application/json; charset=utf-8')
    .header('cache-control', 'no-store')
    .send(JSON.stringify({ error: fault.at === undefined ? error : { ...error, at: fault.at }, ...extra }));
}

/** Fastify's error handler: our faults as they are, fastify's own refusals under our codes, anything else as our bug. */
export function handleError(failure: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const fault = asFault(failure, request);
  if (fault.code === 'REGISTRY_INTERNAL') request.log.error({ err: failure }, 'unforeseen failure');
  else if (fault instanceof Unavailable) request.log.warn({ code: fault.code, err: failure }, 'unavailable');
  else request.log.info({ code: fault.code }, 'refused');
  return sendFault(reply, fault);
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
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    // Fastify names the member and the rule in its own words, never the value.
    return STORE.reject(
      'REGISTRY_REQUEST_MALFORMED',
      `expected another request: ${(failure as Error).message}`,
    );
  }
  return STORE.unavailable('REGISTRY_INTERNAL', `unforeseen failure in request ${request.id}`);
}
