// SPDX-License-Identifier: Apache-2.0
// The timestamp authority over HTTP: Sigstore's API and RFC 3161's own [RFC3161 §3.4], mounted under a prefix.

import {
  type FastifyPluginAsyncTypebox,
  Type,
  TypeBoxValidatorCompiler,
} from '@fastify/type-provider-typebox';
import { Rejection } from '../../core/faults.ts';
import { noteRefusal } from '../http-errors.ts';
import { type Authority, formatPem } from '../trust/authority.ts';
import { trustErrorHandler } from '../trust/http-faults.ts';
import { TRUST } from '../trust-faults.ts';
import { type FAILURE_BIT, makeTimestamp, refuseTimestamp } from './timestamp-authority.ts';
import { parseTimestampQuery, readJsonRequest } from './timestamp-request.ts';

/** What the routes need. */
export interface TsaDeps {
  /** The authority that signs now. @throws TRUST_KEY_UNPUBLISHED */
  readonly authority: () => Authority;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** A request is a tenth of it. */
const BODY_SIZE_BYTES_MAX = 1024;
const QUERY = 'application/timestamp-query';
const REPLY = 'application/timestamp-reply';

const JsonRequest = Type.Object({
  artifactHash: Type.String({ maxLength: 128 }),
  hashAlgorithm: Type.String({ maxLength: 32 }),
  nonce: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  certificates: Type.Optional(Type.Boolean()),
  tsaPolicyOID: Type.Optional(Type.String({ maxLength: 128 })),
});

const FAILURE_OF: Readonly<Record<string, keyof typeof FAILURE_BIT>> = {
  TSA_HASH_UNSUPPORTED: 'badAlg',
  TSA_POLICY_UNKNOWN: 'unacceptedPolicy',
  TSA_EXTENSION_UNSUPPORTED: 'unacceptedExtension',
};

/** `POST /api/v1/timestamp`, `GET /api/v1/timestamp/certchain`. */
export const tsaRoutes: FastifyPluginAsyncTypebox<TsaDeps> = async (app, { authority, clock }) => {
  app.setValidatorCompiler(TypeBoxValidatorCompiler);
  app.setErrorHandler(
    trustErrorHandler((message, tooLarge) =>
      TRUST.reject(tooLarge ? 'TSA_REQUEST_TOO_LARGE' : 'TSA_REQUEST_MALFORMED', message),
    ),
  );
  app.removeContentTypeParser('text/plain');
  app.addContentTypeParser(
    QUERY,
    { parseAs: 'buffer', bodyLimit: BODY_SIZE_BYTES_MAX },
    (_request, body, done) => done(null, body),
  );

  app.post(
    '/api/v1/timestamp',
    {
      bodyLimit: BODY_SIZE_BYTES_MAX,
      schema: {
        body: { content: { [QUERY]: { schema: Type.Any() }, 'application/json': { schema: JsonRequest } } },
      },
    },
    async (request, reply) => {
      const { body } = request;
      // Without a body there is no content type by which it would have been validated.
      if (body === undefined) throw TRUST.reject('TSA_REQUEST_MALFORMED', 'expected a body, got none');
      if (!Buffer.isBuffer(body)) {
        const made = await makeTimestamp(authority(), readJsonRequest(body as never), clock());
        // 201 as the original does; its clients accept 200 too.
        return reply.code(201).type(REPLY).send(Buffer.from(made));
      }
      try {
        const made = await makeTimestamp(authority(), parseTimestampQuery(body), clock());
        return reply.code(200).type(REPLY).send(Buffer.from(made));
      } catch (failure) {
        if (!(failure instanceof Rejection)) throw failure;
        // Clients of the protocol read the reason from the reply; those that look at the status first stop there.
        noteRefusal(request, failure.code);
        const refusal = refuseTimestamp(
          FAILURE_OF[failure.code] ?? 'badDataFormat',
          `${failure.code}: ${failure.message}`,
        );
        return reply.code(400).type(REPLY).send(Buffer.from(refusal));
      }
    },
  );

  app.get('/api/v1/timestamp/certchain', async (_request, reply) =>
    reply.type('application/pem-certificate-chain').send(authority().chain.map(formatPem).join('')),
  );
};
