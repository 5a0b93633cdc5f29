// SPDX-License-Identifier: Apache-2.0
// A witness behind HTTP [C2SP-tlog-witness-5ba5ee8 §add-checkpoint, §Monitor Retrieval Mechanism]: paths, statuses, limits.

import { randomUUID } from 'node:crypto';
import { createServer as createHttp, type RequestListener, type Server } from 'node:http';
import { createServer as createHttps } from 'node:https';
import rateLimit from '@fastify/rate-limit';
import fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { pino } from 'pino';
import { quote, Rejection } from '../../core/faults.ts';
import { logRequests } from '../http/request-log.ts';
import type { TlsFiles } from '../http/tls-files.ts';
import { handleError } from '../http-errors.ts';
import { WITNESS } from '../witness-faults.ts';
import { REQUEST_SIZE_BYTES_MAX, tooLarge } from './decision.ts';
import type { Witness } from './witness.ts';

/** A request is small; who needs longer to send one is no log. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How long a log's connection is kept for its next checkpoint. */
const KEEP_ALIVE_MS = 72_000;
/** Logs send 20 checkpoints a second at most. */
const REQUESTS_PER_MINUTE = 6000;

/** What people may set. */
export interface WitnessServerOptions {
  readonly logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug';
  /** Plain HTTP if absent. */
  readonly tls?: TlsFiles | undefined;
}

/** Puts an open witness behind HTTP; the caller listens. Closing the server closes the witness. */
export async function buildWitnessServer(
  witness: Witness,
  { logLevel, tls }: WitnessServerOptions,
): Promise<FastifyInstance> {
  const app = fastify({
    serverFactory: (handler) => makeServer(handler, tls),
    logger: { level: logLevel, stream: pino.destination({ fd: 2, sync: true }) },
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    bodyLimit: REQUEST_SIZE_BYTES_MAX,
    return503OnClosing: true,
    frameworkErrors: answerFault,
  });
  logRequests(app);
  app.setErrorHandler(answerFault);
  app.setNotFoundHandler((request) => {
    throw WITNESS.reject('WITNESS_REQUEST_UNKNOWN', `no ${quote(request.method)} at ${quote(request.url)}`);
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff' });
  });
  await app.register(rateLimit, { max: REQUESTS_PER_MINUTE, timeWindow: 60_000 });
  // The protocol names no media type: whatever the sender says, it is bytes.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.post('/add-checkpoint', async ({ body }, reply) => {
    const answer = await witness.addCheckpoint(body instanceof Uint8Array ? body : new Uint8Array());
    reply.header('cache-control', 'no-store');
    return answer.kind === 'conflict'
      ? reply
          .code(409)
          .header('content-type', 'text/x.tlog.size')
          .send(Buffer.from(`${answer.size}\n`))
      : reply.header('content-type', 'text/plain; charset=utf-8').send(answer.line);
  });
  app.get<{ Params: { hash: string } }>('/:hash/checkpoint', async ({ params }, reply) =>
    reply
      .header('content-type', 'text/plain; charset=utf-8')
      .header('cache-control', 'no-cache')
      .send(witness.checkpoint(params.hash)),
  );
  app.get('/healthz', async (_request, reply) =>
    reply.header('cache-control', 'no-store').send({ status: 'ok' }),
  );
  app.addHook('onClose', () => witness.close());
  return app;
}

/** Fastify would make the same server, but not with certificates that may be renewed. */
function makeServer(handler: RequestListener, tls: TlsFiles | undefined): Server {
  const limits = {
    headersTimeout: REQUEST_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: 1000,
    keepAliveTimeout: KEEP_ALIVE_MS,
  };
  const server =
    tls === undefined
      ? createHttp(limits, handler)
      : createHttps({ ...limits, ...tls, handshakeTimeout: REQUEST_TIMEOUT_MS }, handler);
  server.timeout = REQUEST_TIMEOUT_MS;
  return server;
}

function answerFault(failure: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if ((failure as Partial<FastifyError>).code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return handleError(tooLarge(), request, reply);
  }
  if (failure instanceof Rejection && failure.code === 'WITNESS_TREE_INCONSISTENT') {
    // Signed by the log: whoever has this can show the fork to others.
    request.log.error({ evidence: String(request.body) }, 'a log sent a tree that does not follow its last');
  }
  return handleError(failure, request, reply);
}
