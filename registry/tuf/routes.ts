// SPDX-License-Identifier: Apache-2.0
// The TUF repository over HTTP [TUF-1.0.34 §6.2, docs/spec/tuf-repository.md]: reads under `/tuf`, role metadata by PUT.

import type { FastifyPluginAsync } from 'fastify';
import { Type } from 'typebox';
import { quote } from '../../core/faults.ts';
import { sendFault } from '../http-errors.ts';
import { bytesOf, takeBytes } from '../routes.ts';
import type { Blobs } from '../store/blobs.ts';
import { STORE } from '../store-faults.ts';
import type { ChangeObserver, PutOutcome, TufRepository } from './repository.ts';
import { ROLE_SIZE_BYTES } from './role-document.ts';

/** What the endpoints need. */
export interface TufDeps {
  readonly tuf: TufRepository;
  readonly blobs: Blobs;
  readonly observer: ChangeObserver;
}

/** Read side: metadata, and target files under names that begin with their digest. */
export const tufReadRoutes: FastifyPluginAsync<TufDeps> = async (app, { tuf, blobs }) => {
  app.get<{ Params: { name: string } }>('/:name', async (request, reply) => {
    const { name } = request.params;
    const bytes = await tuf.metadataFile(name);
    // Versions never change; timestamp.json is the one file that says what is current.
    const caching = name === 'timestamp.json' ? 'no-cache' : 'public, max-age=31536000, immutable';
    return reply.type('application/json').header('cache-control', caching).send(Buffer.from(bytes));
  });

  app.get<{ Params: { '*': string } }>('/targets/*', async (request, reply) => {
    const path = request.params['*'];
    // The client compares the bytes with what a role names; the name is for people, the digest finds the file.
    const sha256 = /^(?:[a-z0-9-]+\/){0,2}([0-9a-f]{64})\.[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.exec(path)?.[1];
    if (sha256 === undefined || !tuf.isPublished(sha256)) {
      throw STORE.reject('TUF_REPOSITORY_FILE_UNKNOWN', `expected a published target, got ${quote(path)}`);
    }
    const { sizeBytes, body } = await blobs.stream(sha256);
    return reply
      .type('application/octet-stream')
      .header('cache-control', 'public, max-age=31536000, immutable')
      .header('content-length', sizeBytes)
      .send(body);
  });
};

const PutQuery = Type.Object(
  { reopen: Type.Optional(Type.Literal('allowed')) },
  { additionalProperties: false },
);

/** Write side: `PUT /api/v1/tuf/<role>`. */
export const tufWriteRoutes: FastifyPluginAsync<TufDeps> = async (app, { tuf, observer }) => {
  takeBytes(app, ROLE_SIZE_BYTES.targets);
  app.put<{ Params: { role: string }; Querystring: { reopen?: string } }>(
    '/tuf/:role',
    { bodyLimit: ROLE_SIZE_BYTES.targets, schema: { querystring: PutQuery } },
    async (request, reply) => {
      const { role } = request.params;
      const allowed = { reopen: request.query.reopen !== undefined };
      const bytes = bytesOf(request.body);
      const outcome: PutOutcome =
        role === 'root' ? await tuf.putRoot(bytes) : await tuf.put(role, bytes, observer, allowed);
      if (outcome.kind === 'pending') {
        const { missing } = outcome;
        const fault = STORE.reject(
          'TUF_TARGETS_MISSING',
          `role ${quote(role)}: expected every target file, lack ${missing.length}, first ${quote(missing[0]?.name ?? '')}`,
        );
        return sendFault(reply, fault, { missing });
      }
      if (allowed.reopen && outcome.kind === 'published') {
        request.log.warn(
          { role, version: outcome.version },
          'published, with ends of keys free to be taken back',
        );
      }
      return reply.code(outcome.kind === 'published' ? 201 : 200).send({ role, version: outcome.version });
    },
  );
};
