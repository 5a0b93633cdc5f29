// SPDX-License-Identifier: Apache-2.0
// One line a request, when its answer has been sent or broken off [docs/spec/registry-api.md §Log]. Routes, not paths: what a client puts
// into an address, a header or a body is not repeated.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { refusalOf } from '../http-errors.ts';
import { atOnce } from './hooks.ts';

/** What is told of a request. */
export interface Answered {
  readonly method: string;
  /** The pattern that the address matched; `unknown` if none did. */
  readonly route: string;
  readonly status: number;
  /** Why it was refused. */
  readonly code: string | undefined;
  readonly ms: number;
  /** Body of the answer, as announced. */
  readonly bytes: number | undefined;
  /** True if the client did not take the whole answer. */
  readonly broken: boolean;
}

/** Probes and scrapes, told at level `debug`. */
const FREQUENT = ['/healthz', '/readyz', '/metrics'];

/** Logs each answered request and hands it on. */
export function logRequests(
  app: FastifyInstance,
  observe: (answered: Answered) => void = () => undefined,
): void {
  app.addHook(
    'onResponse',
    atOnce((request, reply) => {
      const answered = describe(request, reply);
      observe(answered);
      const { code, broken, ...told } = answered;
      const line = {
        ...told,
        client: request.ip,
        ...(code === undefined ? {} : { code }),
        ...(broken ? { broken } : {}),
      };
      if (FREQUENT.includes(answered.route) && answered.status < 400) request.log.debug(line, 'answered');
      else request.log.info(line, 'answered');
    }),
  );
}

function describe(request: FastifyRequest, reply: FastifyReply): Answered {
  const length = reply.getHeader('content-length');
  return {
    method: request.method,
    route: request.routeOptions.url ?? 'unknown',
    status: reply.statusCode,
    code: refusalOf(request),
    ms: Math.round(reply.elapsedTime * 10) / 10,
    bytes: length === undefined ? undefined : Number(length),
    broken: !reply.raw.writableFinished,
  };
}
