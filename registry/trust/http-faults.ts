// SPDX-License-Identifier: Apache-2.0
// Faults of the trust services on the wire. The shape is the registry's own; `message` at the top is what stock clients print.

import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { Rejection, Unavailable } from '../../core/faults.ts';
import { handleError, logFault, sendFault } from '../http-errors.ts';
import { TRUST } from '../trust-faults.ts';

/** Turns what fastify itself refuses into a fault of the service; `tooLarge` tells the two kinds apart. */
export type RefusalOf = (message: string, tooLarge: boolean) => Rejection;

/** An error handler for one service's routes. Request bodies hold tokens: no text of a parser's making is passed on. */
export function trustErrorHandler(refusal: RefusalOf) {
  return (failure: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    if (failure instanceof Rejection || failure instanceof Unavailable) {
      if (!Object.hasOwn(TRUST.table, failure.code)) return handleError(failure, request, reply);
      logFault(request, failure);
      return send(reply, failure);
    }
    const { statusCode, code, validation } = (failure ?? {}) as Partial<FastifyError>;
    if (statusCode === undefined || statusCode < 400 || statusCode >= 500 || statusCode === 429) {
      return handleError(failure, request, reply);
    }
    const tooLarge = code === 'FST_ERR_CTP_BODY_TOO_LARGE';
    const [first] = validation ?? [];
    const at = first === undefined ? 'the body' : first.instancePath || 'the top level';
    const message = tooLarge
      ? 'expected a smaller body'
      : `expected a request of the documented form, got another at ${at}`;
    return send(reply, refusal(message, tooLarge));
  };
}

function send(reply: FastifyReply, fault: Rejection | Unavailable): FastifyReply {
  return sendFault(reply, fault, { message: `${fault.code}: ${fault.message}` });
}
