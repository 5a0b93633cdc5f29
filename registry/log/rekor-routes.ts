// SPDX-License-Identifier: Apache-2.0
// The signature log over HTTP: the Rekor v2 write API [Rekor-v2 §rekor.v2.Rekor] and tlog-tiles reads
// [C2SP-tlog-tiles-v0.1.0 §APIs], mounted under a prefix.

import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type {
  FastifyError,
  FastifyInstance,
  FastifyPluginAsync,
  FastifyReply,
  FastifyRequest,
} from 'fastify';
import { quote, Rejection, Unavailable } from '../../core/faults.ts';
import { parseTilePath } from '../../core/tlog/tile-path.ts';
import { atOnce } from '../http/hooks.ts';
import { refuseEncoded } from '../http/spelling.ts';
import { Turns } from '../http/turns.ts';
import { handleError, logFault, messageOf, sendFault } from '../http-errors.ts';
import { LOG } from '../log-faults.ts';
import { STORE } from '../store-faults.ts';
import type { Cosigning } from './cosigning.ts';
import { formatEntry, REQUEST_SIZE_BYTES_MAX, verifyRequest } from './rekor-request.ts';
import type { SignatureLog } from './signature-log.ts';
import type { Writers } from './writers.ts';

/** What the routes need. */
export interface LogDeps {
  readonly log: SignatureLog;
  readonly cosigning: Cosigning;
  /** One for all shards. */
  readonly writers: Writers;
  /** Throws when the log takes no entries; a log without shards always takes them. */
  readonly checkActive?: () => void;
  /** Of those who send entries; one for all shards. */
  readonly turns?: Turns;
}

const compress = promisify(gzip);
/** Threads of the process that may compress; the database writes on the others. */
const COMPRESSING_MAX = 2;
let compressing = 0;
const FOREVER = 'public, max-age=31536000, immutable';

/** `POST /api/v2/log/entries`; reads at the prefix and, for Rekor's clients, below `/api/v2`; `GET /api/v2/proof`. */
export const rekorRoutes: FastifyPluginAsync<LogDeps> = async (app, deps) => {
  const { log, cosigning, writers, checkActive = () => undefined, turns = new Turns() } = deps;
  app.setErrorHandler(answerFault);
  app.addHook('preValidation', refuseEncoded(unknownPath));
  app.removeAllContentTypeParsers();
  // Bytes: our own strict reader follows.
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer', bodyLimit: REQUEST_SIZE_BYTES_MAX },
    (_request, body, done) => done(null, body),
  );

  const writing = {
    bodyLimit: REQUEST_SIZE_BYTES_MAX,
    onResponse: atOnce(({ raw }, { statusCode }) => {
      if (statusCode === 201) turns.answered(raw.socket);
    }),
  };
  // Who waits is told that the registry stops, as everybody.
  app.addHook('preClose', () => turns.end());
  app.post('/api/v2/log/entries', writing, async (request, reply) => {
    if (!(request.body instanceof Uint8Array)) {
      throw LOG.reject('LOG_REQUEST_MALFORMED', 'expected a JSON body, got none');
    }
    checkActive();
    const leaf = verifyRequest(request.body, writers, (made) => log.has(made));
    // Thousands may wait for the next checkpoint: they hold no more than that takes.
    request.body = undefined;
    const logged = await turns.count(log.add(leaf));
    // Clients of Rekor v2 accept no other status, for an entry that was there before neither.
    return reply.code(201).header('cache-control', 'no-store').send(formatEntry(logged, log.logId));
  });

  app.get('/api/v2/proof', async (request, reply) => {
    const query = request.query as Record<string, unknown>;
    const index = naturalNumber(query, 'index');
    const size = query.size === undefined ? await sizeCovering(index) : naturalNumber(query, 'size');
    const hashes = await log.tiles.inclusionProof(index, size);
    const checkpoint = await cosigning.noteOf(size);
    if (checkpoint === undefined) {
      throw LOG.reject('LOG_SIZE_UNPUBLISHED', `expected the size of a published checkpoint, got ${size}`);
    }
    return reply.header('cache-control', 'no-cache').send({
      index: Number(index),
      size: Number(size),
      hashes: hashes.map((hash) => Buffer.from(hash).toString('base64')),
      checkpoint,
    });
  });

  /** No witness is waited for where there is no entry. */
  async function sizeCovering(index: bigint): Promise<bigint> {
    const { size } = log.tiles.checkpoint();
    return index < size ? (await cosigning.covering(index)).size : size;
  }

  readRoutes(app, log, cosigning, '');
  readRoutes(app, log, cosigning, '/api/v2');
};

const unknownPath = (path: string): Rejection =>
  STORE.reject('REGISTRY_REQUEST_UNKNOWN', `no ${quote(path)}: expected no percent-encoding and no fragment`);

function readRoutes(app: FastifyInstance, log: SignatureLog, cosigning: Cosigning, below: string): void {
  app.get(`${below}/checkpoint`, async (_request, reply) =>
    reply
      .header('content-type', 'text/plain; charset=utf-8')
      .header('cache-control', 'no-cache')
      .send(cosigning.newest().note),
  );

  app.get<{ Params: { '*': string } }>(`${below}/tile/*`, async (request, reply) => {
    const path = `tile/${request.params['*']}`;
    const { level, index, width } = parseTilePath(path);
    const found =
      level === 'entries'
        ? await log.tiles.entryBundle(index, width)
        : level === 'data'
          ? undefined
          : await log.tiles.tile(level, index, width);
    if (found === undefined) {
      throw LOG.reject('LOG_TILE_UNKNOWN', `expected a tile of the published tree, got ${quote(path)}`);
    }
    return sendImmutable(request, reply, found, level === 'entries');
  });
}

/** Entries hold base64 and compress well; hashes do not. When many ask at once, some get theirs as they are. */
async function sendImmutable(
  request: FastifyRequest,
  reply: FastifyReply,
  body: Uint8Array,
  compressible: boolean,
): Promise<FastifyReply> {
  reply.header('content-type', 'application/octet-stream').header('cache-control', FOREVER);
  if (!compressible) return reply.send(Buffer.from(body));
  reply.header('vary', 'accept-encoding');
  if (!/(^|[\s,])gzip\s*(,|;\s*q=(1|0\.[0-9]*[1-9])|$)/.test(request.headers['accept-encoding'] ?? '')) {
    return reply.send(Buffer.from(body));
  }
  if (compressing >= COMPRESSING_MAX) return reply.send(Buffer.from(body));
  compressing++;
  const compressed = await compress(body).finally(() => compressing--);
  return reply.header('content-encoding', 'gzip').send(compressed);
}

function naturalNumber(query: Record<string, unknown>, name: string): bigint {
  const text = query[name];
  if (typeof text !== 'string' || !/^(0|[1-9][0-9]{0,14})$/.test(text)) {
    throw LOG.reject('LOG_REQUEST_MALFORMED', `expected ${name}=<whole number> in the query`);
  }
  return BigInt(text);
}

/** Faults as everywhere in the registry; `message` at the top is what stock clients print. */
function answerFault(failure: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const fault = asFault(failure);
  if (fault === undefined) return handleError(failure, request, reply);
  logFault(request, fault);
  return sendFault(reply, fault, { message: `${fault.code}: ${messageOf(fault)}` });
}

function asFault(failure: unknown): Rejection | Unavailable | undefined {
  if (failure instanceof Rejection || failure instanceof Unavailable) return failure;
  const { statusCode, code } = (failure ?? {}) as Partial<FastifyError>;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return LOG.reject('LOG_REQUEST_TOO_LARGE', `expected at most ${REQUEST_SIZE_BYTES_MAX} bytes`);
  }
  if (statusCode === undefined || statusCode < 400 || statusCode >= 500 || statusCode === 429)
    return undefined;
  return LOG.reject('LOG_REQUEST_MALFORMED', 'expected a JSON request of the documented form');
}
