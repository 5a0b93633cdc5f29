// SPDX-License-Identifier: Apache-2.0
// The OpenAPI document of a running registry [OpenAPI-3.1.1 §4.8]: its routes as they are mounted, with the schemas they check by and the
// limits they keep, and what `operations.ts` says of them.

import type { FastifyInstance, RouteOptions } from 'fastify';
import { CORE, type FaultRow } from '../../core/faults.ts';
import { SIGSTORE } from '../../core/sigstore/faults.ts';
import { TLOG } from '../../core/tlog/faults.ts';
import { statusOf } from '../http-errors.ts';
import { LOG } from '../log-faults.ts';
import { STORE } from '../store-faults.ts';
import { TRUST } from '../trust-faults.ts';
import { type Body, EVERYWHERE, OPERATIONS, type Operation } from './operations.ts';
import { Digest, faultSchema } from './schemas.ts';

const TABLES: readonly Readonly<Record<string, FaultRow>>[] = [
  CORE.table,
  SIGSTORE.table,
  TLOG.table,
  LOG.table,
  STORE.table,
  TRUST.table,
];
const JSON_TYPE = 'application/json; charset=utf-8';

type Json = Record<string, unknown>;

/** Better than to leave out that there is something; a test refuses it. */
const NOT_DESCRIBED: Operation = { summary: '', answers: {} };

/** Serves the document of all routes of a server; call it before they are added. `url` is the address that clients use. */
export function describeApi(app: FastifyInstance, url: string): void {
  const routes: RouteOptions[] = [];
  app.addHook('onRoute', (route) => {
    routes.push(route);
  });
  let document = '';
  app.addHook('onReady', async () => {
    document = JSON.stringify(openApiOf(routes, url));
  });
  app.get('/openapi.json', async (_request, reply) => reply.type(JSON_TYPE).send(document));
}

/** The document as JSON. */
export function openApiOf(routes: readonly RouteOptions[], url: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    const operation = OPERATIONS[`${route.method} ${route.url}`] ?? NOT_DESCRIBED;
    // Fastify answers HEAD wherever there is GET.
    if (operation === NOT_DESCRIBED && route.method === 'HEAD') continue;
    const path = route.url.replace(/:(\w+)/g, '{$1}').replace('*', '{path}');
    paths[path] = { ...paths[path], [String(route.method).toLowerCase()]: describe(route, operation) };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Waybill registry',
      version: '1',
      description: 'docs/spec/registry-api.md and docs/spec/trust-services.md say what the endpoints mean.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url }],
    paths,
    components: { responses: { Refused: refused(EVERYWHERE, 'What every endpoint may answer.') } },
  };
}

function describe(route: RouteOptions, operation: Operation): Json {
  const parameters = [...pathParameters(route.url), ...queryParameters(route, operation)];
  const body = requestBody(route, operation);
  return {
    summary: operation.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: body }),
    responses: responses(operation),
  };
}

function pathParameters(url: string): Json[] {
  const names = [...url.matchAll(/:(\w+)|\*/g)].map(([, name = 'path']) => name);
  return names.map((name) => ({
    name,
    in: 'path',
    required: true,
    schema: name === 'sha256' || name === 'fingerprint' ? Digest : { type: 'string' },
    ...(name === 'path' ? { description: 'The rest of the address, its slashes unescaped.' } : {}),
  }));
}

function queryParameters({ schema }: RouteOptions, { query = {} }: Operation): Json[] {
  const checked = schema?.querystring as
    | { properties?: Record<string, unknown>; required?: string[] }
    | undefined;
  return [
    ...Object.entries(checked?.properties ?? {}).map(([name, of]) => ({
      name,
      in: 'query',
      required: checked?.required?.includes(name) === true,
      schema: of,
    })),
    ...Object.entries(query).map(([name, { pattern, required }]) => ({
      name,
      in: 'query',
      required,
      schema: { type: 'string', pattern },
    })),
  ];
}

function requestBody({ schema, bodyLimit }: RouteOptions, { body }: Operation): Json | undefined {
  const checked = schema?.body as { content?: Record<string, unknown> } | undefined;
  if (checked === undefined && body === undefined) return undefined;
  const content =
    checked === undefined
      ? contentOf(body as Body)
      : (checked.content ?? { 'application/json': { schema: checked } });
  const limit =
    bodyLimit === undefined || bodyLimit === Number.MAX_SAFE_INTEGER ? '' : `At most ${bodyLimit} bytes.`;
  return { required: true, content, ...(limit === '' ? {} : { description: limit }) };
}

const contentOf = ({ type, schema }: Body): Json => ({ [type]: schema === undefined ? {} : { schema } });

function responses({ answers, codes = [] }: Operation): Json {
  const found: Record<string, Json> = {};
  for (const status of new Set(codes.map(statusOfCode))) {
    const own = codes.filter((code) => statusOfCode(code) === status);
    const shared = EVERYWHERE.filter((code) => statusOfCode(code) === status);
    found[status] = refused([...own, ...shared], own.join(', '));
  }
  for (const [status, body] of Object.entries(answers)) {
    found[status] = { description: 'Done.', content: contentOf(body) };
  }
  return { ...found, default: { $ref: '#/components/responses/Refused' } };
}

function refused(codes: readonly string[], description: string): Json {
  return { description, content: { [JSON_TYPE]: { schema: faultSchema(codes) } } };
}

function statusOfCode(code: string): number {
  const row = TABLES.find((table) => Object.hasOwn(table, code))?.[code];
  if (row === undefined) throw new TypeError(`no table has ${code}`);
  return statusOf({ code, row });
}
