// SPDX-License-Identifier: Apache-2.0
// The certificate transparency log over HTTP, read only [C2SP-static-ct-api-v1.0.0 §Monitoring APIs], mounted under a prefix.

import type { FastifyPluginAsync, FastifyReply } from 'fastify';
import { quote, Rejection } from '../../core/faults.ts';
import { parseTilePath, type TilePath } from '../../core/tlog/tile-path.ts';
import { refuseEncoded } from '../http/spelling.ts';
import { trustErrorHandler } from '../trust/http-faults.ts';
import { TRUST } from '../trust-faults.ts';
import type { CtLog } from './ct-log.ts';

/** What the routes need. */
export interface CtDeps {
  readonly ctLog: CtLog;
}

/** Tiles and issuers never change. */
const IMMUTABLE = 'public, max-age=31536000, immutable';

/** `GET /checkpoint`, `GET /tile/…`, `GET /issuer/<fingerprint>`. */
export const ctRoutes: FastifyPluginAsync<CtDeps> = async (app, { ctLog }) => {
  app.setErrorHandler(trustErrorHandler(() => unknown('the address')));
  app.addHook('preValidation', refuseEncoded(unknown));

  app.get('/checkpoint', async (_request, reply) =>
    reply
      .type('text/plain; charset=utf-8')
      .header('cache-control', 'no-cache')
      .send(ctLog.tiles.checkpoint().note),
  );

  app.get<{ Params: { '*': string } }>('/tile/*', async (request, reply) => {
    const path = `tile/${request.params['*']}`;
    const bytes = await readTile(ctLog, path);
    if (bytes === undefined) throw unknown(path);
    return immutable(reply, 'application/octet-stream', bytes);
  });

  app.get<{ Params: { fingerprint: string } }>('/issuer/:fingerprint', async (request, reply) =>
    immutable(reply, 'application/pkix-cert', ctLog.issuer(request.params.fingerprint)),
  );
};

async function readTile(ctLog: CtLog, path: string): Promise<Uint8Array | undefined> {
  let tile: TilePath;
  try {
    tile = parseTilePath(path);
  } catch (failure) {
    // To the reader a misspelt tile is one that is not there.
    if (failure instanceof Rejection) return undefined;
    throw failure;
  }
  const { level, index, width } = tile;
  if (level === 'entries') return undefined;
  return level === 'data' ? ctLog.tiles.entryBundle(index, width) : ctLog.tiles.tile(level, index, width);
}

function immutable(reply: FastifyReply, type: string, bytes: Uint8Array): FastifyReply {
  return reply.type(type).header('cache-control', IMMUTABLE).send(Buffer.from(bytes));
}

const unknown = (path: string): Rejection =>
  TRUST.reject('CT_RESOURCE_UNKNOWN', `expected something that the log has, got ${quote(path)}`);
