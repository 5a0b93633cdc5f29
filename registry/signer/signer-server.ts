// SPDX-License-Identifier: Apache-2.0
// A signer: one key, one purpose, behind a Unix socket [docs/spec/signer.md].

import { randomUUID } from 'node:crypto';
import { chmod, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import fastify, { type FastifyError, type FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { quote } from '../../core/faults.ts';
import { handleError } from '../http-errors.ts';
import { STORE } from '../store-faults.ts';
import { TRUST } from '../trust-faults.ts';
import { guardOf, type Purpose } from './purpose.ts';
import type { TreeMemory } from './tree-memory.ts';

/** A key as a signer has it, in this process or in a token. */
export interface HeldKey {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  sign(data: Uint8Array): Uint8Array | Promise<Uint8Array>;
}

/** A precertificate is the largest thing that is signed. */
const DATA_BYTES_MAX = 64 * 1024;
/** The server itself waits for four seconds. */
const REQUEST_TIMEOUT_MS = 5000;

/** The endpoints of a signer; the caller listens. */
export function buildSignerServer(options: {
  readonly purpose: Purpose;
  readonly key: HeldKey;
  /** Of a log; closed with the server. */
  readonly trees: TreeMemory;
  readonly logLevel: 'silent' | 'warn';
}): FastifyInstance {
  const { purpose, key, trees, logLevel } = options;
  const guard = guardOf(purpose, trees);
  const app = fastify({
    logger: { level: logLevel, stream: pino.destination({ fd: 2, sync: true }) },
    genReqId: () => randomUUID(),
    bodyLimit: DATA_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Node would look at connections each half minute.
    http: { headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: 1000 },
    return503OnClosing: true,
    forceCloseConnections: 'idle',
  });
  app.setErrorHandler((failure: FastifyError, request, reply) => {
    // Whoever asks for what the key is not for has no business here: the operator should see it.
    if (failure.code === 'SIGNER_DATA_REFUSED')
      request.log.warn({ code: failure.code, reason: failure.message }, 'refused');
    return handleError(failure, request, reply);
  });
  app.setNotFoundHandler((request) => {
    throw STORE.reject('REGISTRY_REQUEST_UNKNOWN', `no ${quote(request.method)} at ${quote(request.url)}`);
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  // The purpose is in the path, so that a server that names the wrong socket is told so before anything is signed.
  const { service } = purpose;
  app.get(`/${service}/key`, async (_request, reply) => sendBytes(reply, key.spki));
  app.post(`/${service}/sign`, async ({ body }, reply) => {
    const data = body instanceof Uint8Array ? new Uint8Array(body) : new Uint8Array();
    await guard(data);
    return sendBytes(reply, await key.sign(data));
  });
  app.addHook('onClose', () => trees.close());
  return app;
}

type Reply = Parameters<FastifyInstance['errorHandler']>[2];

function sendBytes(reply: Reply, bytes: Uint8Array): Reply {
  return reply.type('application/octet-stream').header('cache-control', 'no-store').send(Buffer.from(bytes));
}

/** Listens at a socket that only its owner and group may use; one that nobody listens at any more is replaced. @throws SIGNER_SOCKET_UNUSABLE */
export async function listenAtSocket(app: FastifyInstance, path: string): Promise<void> {
  const unusable = (reason: string, cause?: unknown) =>
    TRUST.unavailable('SIGNER_SOCKET_UNUSABLE', `expected to listen at ${quote(path)}: ${reason}`, { cause });
  // Of a folder that is not there, listen() says EACCES.
  if ((await stat(dirname(path)).catch(() => undefined)) === undefined)
    throw unusable('its folder is not there');
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined && !found.isSocket()) throw unusable('another file is there');
  if (found !== undefined && (await isAnswered(path))) throw unusable('another process listens there');
  const before = process.umask(0o117);
  try {
    await rm(path, { force: true });
    await app.listen({ path });
    await chmod(path, 0o660);
  } catch (cause) {
    throw unusable((cause as NodeJS.ErrnoException).code ?? 'unknown', cause);
  } finally {
    process.umask(before);
  }
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
