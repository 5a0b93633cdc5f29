// SPDX-License-Identifier: Apache-2.0
// Hooks of every request that have nothing to wait for. Written as asynchronous functions, each would make the request wait a turn.

import type {
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction,
  onRequestHookHandler,
  onSendHookHandler,
} from 'fastify';

type Look = (request: FastifyRequest, reply: FastifyReply) => void;

/** For `onRequest`, `preValidation`, `preHandler` and `onResponse`; what `look` throws is the answer. */
export function atOnce(look: Look): onRequestHookHandler {
  return (request, reply, done) => {
    if (tried(look, request, reply, done)) done();
  };
}

/** For `onSend`, which leaves the body as it is. */
export function atSending(look: Look): onSendHookHandler {
  return (request, reply, _body, done) => {
    if (tried(look, request, reply, done)) done();
  };
}

/** Fastify does not catch what such a hook throws. */
function tried(
  look: Look,
  request: FastifyRequest,
  reply: FastifyReply,
  done: HookHandlerDoneFunction,
): boolean {
  try {
    look(request, reply);
    return true;
  } catch (failure) {
    done(failure as Error);
    return false;
  }
}
