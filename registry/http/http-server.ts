// SPDX-License-Identifier: Apache-2.0
// The HTTP server under the registry [docs/spec/registry-api.md §Limits, §Every answer]: what holds for every request, before any
// service sees it.

import { randomUUID } from 'node:crypto';
import {
  createServer as createHttp,
  type RequestListener,
  type ServerOptions,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { Socket } from 'node:net';
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox';
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { pino } from 'pino';
import { quote } from '../../core/faults.ts';
import type { RegistryConfig } from '../config.ts';
import type { RegistryLimits } from '../config-limits.ts';
import { bodyOf, handleError, pathOf, statusOf } from '../http-errors.ts';
import { STORE } from '../store-faults.ts';
import { isStreamed, limitBodies } from './body-memory.ts';
import { clientOf } from './client-address.ts';
import { atOnce, atSending } from './hooks.ts';
import type { TlsFiles } from './tls-files.ts';

export interface HttpOptions {
  readonly limits: RegistryLimits;
  readonly logLevel: RegistryConfig['logLevel'];
  /** Plain HTTP if absent. */
  readonly tls?: TlsFiles | undefined;
  /** True: whoever shows no certificate of `tls.ca` gets no further than the handshake. */
  readonly onlyCertified?: boolean;
}

/** A connection that carries nothing for so long is closed; a large blob may take longer in all. */
const SILENCE_MS = 300_000;
const HEADERS_TIMEOUT_MS = 15_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const HEADERS_SIZE_BYTES_MAX = 16 * 1024;
/** Of one request; Node would drop what is past its own limit without a word. */
const HEADERS_COUNT_MAX = 100;
const REQUEST_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{7,63}$/;

/** Makes a server without services; nothing listens yet. */
export function makeHttpServer(options: HttpOptions): FastifyInstance {
  const { limits, logLevel } = options;
  const { trustedProxies } = limits;
  const app = fastify({
    serverFactory: (handler) => makeServer(handler, options),
    logger: {
      level: logLevel,
      base: null,
      stream: pino.destination({ fd: 2, sync: true }),
      // Nothing logs headers; this is for whoever logs a request some day.
      redact: { paths: ['req.headers', 'headers', 'token', '*.token'], remove: true },
    },
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: ({ headers, socket }) => {
      const given = headers['x-request-id'];
      const counts = typeof given === 'string' && REQUEST_ID.test(given);
      return counts && trustedProxies.includes(socket?.remoteAddress) ? given : randomUUID();
    },
    trustProxy: (address) => trustedProxies.includes(address),
    bodyLimit: 1024 * 1024,
    routerOptions: { maxParamLength: 512 },
    // Answered below, in the form of all refusals.
    return503OnClosing: false,
    clientErrorHandler: answerClientError,
    // What is refused before there is a route, a path that cannot be decoded or is too long.
    frameworkErrors: (failure, request, reply) => {
      setHeaders(request, reply, options.tls !== undefined);
      handleError(failure, request, reply);
    },
  });
  app.setValidatorCompiler(TypeBoxValidatorCompiler);
  app.setErrorHandler(handleError);
  app.addHook(
    'onRequest',
    atOnce((request, reply) => {
      setHeaders(request, reply, options.tls !== undefined);
      checkHeaders(request, reply);
    }),
  );
  limitTimes(app, limits);
  refuseWhileStopping(app);
  limitBodies(app, limits);
  return app;
}

/** Of these Node takes the first, others the last; a second one is refused, of `Host` as [RFC9112 §3.2] demands. */
const SINGULAR = ['host', 'authorization', 'content-type'];

function checkHeaders({ raw: { rawHeaders } }: FastifyRequest, reply: FastifyReply): void {
  const twice = SINGULAR.find((name) => countNamed(rawHeaders, name) > 1);
  if (rawHeaders.length <= 2 * HEADERS_COUNT_MAX && twice === undefined) return;
  // Whoever sends this is not asked further.
  reply.header('connection', 'close');
  throw twice === undefined
    ? STORE.reject('REGISTRY_REQUEST_HEADERS', `expected at most ${HEADERS_COUNT_MAX} headers`)
    : STORE.reject('REGISTRY_REQUEST_MALFORMED', `expected one header ${twice}, got more`);
}

/** `rawHeaders` holds names and values in turn. */
function countNamed(rawHeaders: readonly string[], name: string): number {
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const other = rawHeaders[i] as string;
    if (other.length === name.length && other.toLowerCase() === name) count++;
  }
  return count;
}

/** Fastify would make the same server, but without the limits on connections. */
function makeServer(handler: RequestListener, { limits, tls, onlyCertified }: HttpOptions) {
  const http: ServerOptions = {
    maxHeaderSize: HEADERS_SIZE_BYTES_MAX,
    headersTimeout: Math.min(HEADERS_TIMEOUT_MS, limits.requestTimeoutMs),
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: 1000,
    keepAliveTimeout: 72_000,
  };
  const server =
    tls === undefined
      ? createHttp(http, handler)
      : createHttps(
          {
            ...http,
            ...tls,
            handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
            requestCert: tls.ca !== undefined,
            rejectUnauthorized: onlyCertified === true,
          },
          handler,
        );
  server.timeout = Math.min(SILENCE_MS, limits.requestTimeoutMs);
  server.maxConnections = limits.connections;
  // Counted in `onRequest` instead.
  server.maxHeadersCount = 0;
  limitConnections(server, limits);
  return server;
}

/** Connections of one client; those of a trusted proxy are many clients'. */
function limitConnections(server: ReturnType<typeof createHttp>, limits: RegistryLimits): void {
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const { remoteAddress: address } = socket;
    // Gone before it was taken up: nobody waits for what it sent, and nobody could be counted.
    if (address === undefined) {
      socket.destroy();
      return;
    }
    if (limits.trustedProxies.includes(address)) return;
    const client = clientOf(address);
    const count = (open.get(client) ?? 0) + 1;
    if (count > limits.connectionsPerClient) {
      server.emit('drop');
      socket.destroy();
      return;
    }
    open.set(client, count);
    socket.once('close', () => {
      const left = (open.get(client) ?? 1) - 1;
      if (left === 0) open.delete(client);
      else open.set(client, left);
    });
  });
}

/** What Node cannot read as HTTP: bent requests, headers too large, requests too slow. Whatever else the connection carries is not read. */
function answerClientError(failure: NodeJS.ErrnoException, socket: Socket): void {
  // Whoever has a part of an earlier answer would take this for its rest. Node's own way of asking.
  const { _httpMessage: answer } = socket as { readonly _httpMessage?: ServerResponse | null };
  const isAnswering = answer?.headersSent === true;
  if (failure.code === 'ECONNRESET' || !socket.writable || isAnswering) {
    socket.destroy();
    return;
  }
  const fault =
    failure.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? STORE.unavailable('REGISTRY_REQUEST_SLOW', 'expected the request to arrive sooner')
      : failure.code === 'HPE_HEADER_OVERFLOW'
        ? STORE.reject(
            'REGISTRY_REQUEST_HEADERS',
            `expected at most ${HEADERS_SIZE_BYTES_MAX} bytes of headers`,
          )
        : STORE.reject('REGISTRY_REQUEST_MALFORMED', 'expected a request in strict HTTP/1.1');
  const status = statusOf(fault);
  const body = bodyOf(fault);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `Cache-Control: no-store\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  // Who does not hang up is cut off.
  socket.setTimeout(1000, () => socket.destroy());
}

/** Headers of every answer, as OWASP's cheat sheet for REST lists them. */
function setHeaders(request: FastifyRequest, reply: FastifyReply, isTls: boolean): void {
  reply.headers({
    'x-request-id': request.id,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    // Where an answer may be kept, its route says so.
    'cache-control': 'no-store',
    ...(isTls ? { 'strict-transport-security': 'max-age=31536000' } : {}),
  });
}

/** Bodies that trickle in, and answers that trickle out: one timer a request, since the second begins when the first has ended. */
function limitTimes(app: FastifyInstance, { documentTimeoutMs, answerTimeoutMs }: RegistryLimits): void {
  const timers = new WeakMap<FastifyReply['raw'], NodeJS.Timeout>();
  const stop = (raw: FastifyReply['raw']) => clearTimeout(timers.get(raw));
  app.addHook(
    'onRequest',
    atOnce((request, reply) => {
      const { raw } = request;
      reply.raw.once('close', () => stop(reply.raw));
      if (isStreamed(request)) return;
      const timer = setTimeout(() => {
        // Whoever reads the body gets this as its end; if nobody does, nothing waits for it.
        if (raw.listenerCount('error') === 0) return;
        reply.header('connection', 'close');
        raw.emit(
          'error',
          STORE.unavailable('REGISTRY_REQUEST_SLOW', `expected the body within ${documentTimeoutMs} ms`),
        );
      }, documentTimeoutMs);
      timers.set(reply.raw, timer);
    }),
  );
  app.addHook(
    'preValidation',
    atOnce((_request, { raw }) => stop(raw)),
  );
  app.addHook(
    'onSend',
    atSending((_request, { raw }) => {
      stop(raw);
      // Whoever is gone already takes nothing, and would never clear the timer.
      if (raw.closed) return;
      timers.set(
        raw,
        setTimeout(() => raw.destroy(), answerTimeoutMs),
      );
    }),
  );
}

function refuseWhileStopping(app: FastifyInstance): void {
  let isStopping = false;
  app.addHook('preClose', async () => {
    isStopping = true;
  });
  app.addHook(
    'onRequest',
    atOnce((_request, reply) => {
      if (!isStopping) return;
      reply.header('connection', 'close');
      throw STORE.unavailable(
        'REGISTRY_STOPPING',
        'expected a registry that runs, got one that is being stopped',
      );
    }),
  );
}

/** Answers what no route takes; call it once services are mounted. */
export function refuseUnknown(app: FastifyInstance): void {
  const limited = app.hasDecorator('rateLimit') ? { preHandler: app.rateLimit() } : {};
  app.setNotFoundHandler(limited, (request) => {
    throw STORE.reject(
      'REGISTRY_REQUEST_UNKNOWN',
      `no ${quote(request.method)} at ${quote(pathOf(request.url))}`,
    );
  });
}
