// SPDX-License-Identifier: Apache-2.0
// The registry's own endpoints [docs/spec/registry-api.md]: attestations, blobs, devices, trace. Bodies reach the code as bytes: what is
// signed or hashed must not pass through a parser first.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { utf8Decode } from '../core/encoding/utf8.ts';
import { LIMITS } from '../core/limits.ts';
import type { RegistryLimits } from './config-limits.ts';
import type { DeviceRegister } from './devices/device-register.ts';
import { type AttestationFacts, byLogPlace } from './facts.ts';
import type { Ingest } from './ingest.ts';
import type { Blobs } from './store/blobs.ts';
import type { Database } from './store/database.ts';
import { STORE } from './store-faults.ts';
import type { Tracer } from './trace.ts';

/** What the endpoints need. */
export interface ApiDeps {
  readonly database: Database;
  readonly blobs: Blobs;
  readonly ingest: Ingest;
  readonly devices: DeviceRegister;
  readonly tracer: Tracer;
  readonly limits: RegistryLimits;
}

const IMMUTABLE = 'public, max-age=31536000, immutable';
const BUNDLE_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';
const Digest = Type.String({ pattern: '^[0-9a-f]{64}$' });
const LeafIndex = Type.String({ pattern: '^(0|[1-9][0-9]{0,14})$' });
const isDigest = (text: string): boolean => /^[0-9a-f]{64}$/.test(text);

/** Hands bodies on as bytes, whatever their type. */
export function takeBytes(app: FastifyInstance, sizeBytesMax: number): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: sizeBytesMax }, (_request, body, done) =>
    done(null, body),
  );
}

/** The body as bytes; an absent body is an empty one, and no document is empty. */
export function bytesOf(body: unknown): Uint8Array {
  return Buffer.isBuffer(body) ? new Uint8Array(body) : new Uint8Array();
}

/** `/api/v1/attestations…` */
export const attestationRoutes: FastifyPluginAsyncTypebox<ApiDeps> = async (app, { database, ingest }) => {
  takeBytes(app, LIMITS.bundleSizeBytes);

  app.post('/attestations', { bodyLimit: LIMITS.bundleSizeBytes }, async (request, reply) => {
    const { sha256, leafIndex, isNew } = await ingest.attestation(bytesOf(request.body));
    return reply.code(isNew ? 201 : 200).send({ sha256, leafIndex });
  });

  app.get(
    '/attestations',
    { schema: { querystring: Type.Object({ subject: Digest }, { additionalProperties: false }) } },
    async (request) => {
      const found: { readonly facts: AttestationFacts; readonly bundle: string }[] = [];
      for await (const [sha256 = ''] of database.keysUnder('bySubject', request.query.subject)) {
        const facts = await database.json<AttestationFacts>('fact', sha256);
        const bytes = await database.bytes('bundle', sha256);
        if (facts === undefined || bytes === undefined) continue;
        found.push({ facts, bundle: utf8Decode(bytes) ?? '' });
      }
      found.sort((a, b) => byLogPlace(a.facts, b.facts));
      return { attestations: found.map(({ facts, bundle }) => ({ sha256: facts.sha256, bundle })) };
    },
  );

  app.get(
    '/attestations/by-leaf/:index',
    { schema: { params: Type.Object({ index: LeafIndex }) } },
    async (request) => {
      const attestations: { readonly sha256: string; readonly bundle: string }[] = [];
      for await (const [sha256 = ''] of database.keysUnder('byLeaf', request.params.index)) {
        const bytes = await database.bytes('bundle', sha256);
        if (bytes !== undefined) attestations.push({ sha256, bundle: utf8Decode(bytes) ?? '' });
      }
      return { attestations };
    },
  );

  app.get<{ Params: { sha256: string } }>('/attestations/:sha256', async (request, reply) => {
    const { sha256 } = request.params;
    const bytes = isDigest(sha256) ? await database.bytes('bundle', sha256) : undefined;
    if (bytes === undefined) {
      throw STORE.reject('REGISTRY_ATTESTATION_UNKNOWN', 'expected the digest of a stored attestation');
    }
    return reply.type(BUNDLE_TYPE).header('cache-control', IMMUTABLE).send(Buffer.from(bytes));
  });
};

/** `/api/v1/blobs/<sha256>` */
export const blobRoutes: FastifyPluginAsyncTypebox<ApiDeps> = async (app, { blobs, ingest, limits }) => {
  app.removeAllContentTypeParsers();
  // Left unread: the handler streams it.
  app.addContentTypeParser('*', (_request, _payload, done) => done(null));

  app.put<{ Params: { sha256: string } }>(
    '/blobs/:sha256',
    { bodyLimit: Number.MAX_SAFE_INTEGER },
    async (request, reply) => {
      const sha256 = digestOf(request.params.sha256);
      const announced = Number(request.headers['content-length'] ?? 0);
      if (announced > limits.blobSizeBytes) {
        throw STORE.reject(
          'BLOB_TOO_LARGE',
          `expected at most ${limits.blobSizeBytes} bytes, got ${announced} announced`,
        );
      }
      const isNew = await ingest.blob(sha256, request.raw, limits.blobSizeBytes, announced);
      return reply.code(isNew ? 201 : 200).send({ sha256 });
    },
  );

  // Fastify's own answer to HEAD would read the whole file.
  app.head<{ Params: { sha256: string } }>('/blobs/:sha256', async (request, reply) => {
    const sizeBytes = await blobs.sizeBytes(digestOf(request.params.sha256));
    if (sizeBytes === undefined) throw STORE.reject('BLOB_UNKNOWN', 'expected the digest of a kept blob');
    return reply
      .type('application/octet-stream')
      .header('cache-control', IMMUTABLE)
      .header('content-length', sizeBytes)
      .send();
  });

  app.get<{ Params: { sha256: string } }>('/blobs/:sha256', async (request, reply) => {
    const { sizeBytes, body } = await blobs.stream(digestOf(request.params.sha256));
    return reply
      .type('application/octet-stream')
      .header('cache-control', IMMUTABLE)
      .header('content-length', sizeBytes)
      .send(body);
  });
};

function digestOf(text: string): string {
  if (isDigest(text)) return text;
  throw STORE.reject('BLOB_DIGEST_MALFORMED', 'expected 64 lower-case hex digits after /blobs/');
}

/** `/api/v1/devices…` */
export const deviceRoutes: FastifyPluginAsyncTypebox<ApiDeps> = async (app, { devices }) => {
  takeBytes(app, LIMITS.bundleSizeBytes);

  app.post('/devices', { bodyLimit: 16 * 1024 }, async (request, reply) => {
    const isNew = await devices.enrol(bytesOf(request.body), request.headers.authorization);
    return reply.code(isNew ? 201 : 200).send({ enrolled: true });
  });

  app.post<{ Params: { id: string } }>(
    '/devices/:id/reports',
    { bodyLimit: LIMITS.bundleSizeBytes },
    async (request, reply) => {
      const stored = await devices.report(request.params.id, bytesOf(request.body));
      return reply.code(201).send({ sha256: stored.sha256, counter: stored.counter });
    },
  );

  app.get<{ Params: { id: string } }>('/devices/:id', async (request) => devices.device(request.params.id));

  app.get(
    '/devices',
    {
      schema: {
        querystring: Type.Object(
          { product: Type.Optional(Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$' })) },
          { additionalProperties: false },
        ),
      },
    },
    async (request) => ({ devices: await devices.devices(request.query.product) }),
  );
};

/** `/api/v1/trace` */
export const traceRoutes: FastifyPluginAsyncTypebox<ApiDeps> = async (app, { tracer }) => {
  app.get(
    '/trace',
    { schema: { querystring: Type.Object({ purl: Type.String() }, { additionalProperties: false }) } },
    async (request) => tracer.trace(request.query.purl),
  );
};
