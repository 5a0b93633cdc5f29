// SPDX-License-Identifier: Apache-2.0
// How often one client may ask, and who must show a certificate [docs/spec/registry-api.md §Limits, §TLS].

import type { TLSSocket } from 'node:tls';
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, onRequestAsyncHookHandler, RouteOptions } from 'fastify';
import type { RegistryLimits } from '../config-limits.ts';
import { refusalOf } from '../http-errors.ts';
import { STORE } from '../store-faults.ts';
import { atOnce } from './hooks.ts';

const MINUTE_MS = 60_000;

/** Reads that go through a part of the database, however large it is. */
const COSTLY_READS = ['/api/v1/attestations', '/api/v1/devices', '/api/v1/trace'];

/** What checks, signs or writes, and what searches, costs more than sending a file. */
function isCostly({ method, url }: RouteOptions): boolean {
  return (method !== 'GET' && method !== 'HEAD') || COSTLY_READS.includes(url);
}

/** Of all addresses of an endpoint the same: the authority has two, the signature log one a shard, and what answers GET answers HEAD. */
function endpointOf({ method, url }: RouteOptions): string {
  const path = url.replace(/^\/ca\//, '/').replace(/^\/log[0-9]*\//, '/log/');
  return `${method === 'HEAD' ? 'GET' : method} ${path}`;
}

/** Limits requests of one client address (of IPv6 one /64); call it before routes are added. */
export async function limitRates(app: FastifyInstance, limits: RegistryLimits): Promise<void> {
  const { requestsPerMinute, costlyPerMinute, wrongSignaturesPerMinute } = limits;
  if ([requestsPerMinute, costlyPerMinute, wrongSignaturesPerMinute].every((max) => max === undefined))
    return;
  if (costlyPerMinute !== undefined) limitCostly(app, costlyPerMinute);
  await app.register(rateLimit, {
    global: requestsPerMinute !== undefined,
    max: requestsPerMinute ?? Number.MAX_SAFE_INTEGER,
    timeWindow: MINUTE_MS,
  });
  if (wrongSignaturesPerMinute !== undefined) limitWrongSignatures(app, wrongSignaturesPerMinute);
}

/** One allowance an endpoint, whatever address of it is asked. */
function limitCostly(app: FastifyInstance, max: number): void {
  const checks = new Map<string, onRequestAsyncHookHandler>();
  app.addHook('onRoute', (route) => {
    if (!isCostly(route)) return;
    const endpoint = endpointOf(route);
    const check = checks.get(endpoint) ?? (app.rateLimit({ max }) as onRequestAsyncHookHandler);
    checks.set(endpoint, check);
    // Else the plugin would count it in an allowance of its own.
    route.config = { ...route.config, rateLimit: false };
    route.onRequest = [route.onRequest ?? [], check].flat();
  });
}

/**
 * Who sent so many wrong signatures has no more verified for a while. Looked at when the body is there, so that a crowd of requests at once
 * does not get past; counted by the answer, so that what is accepted never counts.
 */
function limitWrongSignatures(app: FastifyInstance, max: number): void {
  const count = app.createRateLimit({ max, timeWindow: MINUTE_MS });
  app.addHook('preHandler', async (request, reply) => {
    if (!/^\/log[0-9]*\/api\/v2\/log\/entries$/.test(request.routeOptions.url ?? '')) return;
    const found = await count(request, { increment: false });
    if (found.isAllowed || found.remaining > 0) return;
    reply.header('retry-after', found.ttlInSeconds);
    throw STORE.unavailable(
      'REGISTRY_SIGNATURES_WRONG',
      `expected at most ${max} wrong signatures a minute from one client`,
    );
  });
  app.addHook('onSend', async (request) => {
    if (refusalOf(request) === 'LOG_SIGNATURE_WRONG') await count(request);
  });
}

/** What verifiers, devices, monitors and witnesses read, none of which has a certificate; of the logs all shards. */
const PUBLIC_READ = /^\/(?:(?:ca|ct[0-9]*|log[0-9]*|tsa|tuf)\/|(?:healthz|readyz)$)/;

/** Demands a certificate of the configured authorities for all but public reads; what has no route is no public read. */
export function demandCertificates(app: FastifyInstance): void {
  app.addHook(
    'onRequest',
    atOnce(({ method, routeOptions: { url = '' }, raw }) => {
      const isRead = method === 'GET' || method === 'HEAD';
      if (isRead && PUBLIC_READ.test(url)) return;
      if ((raw.socket as TLSSocket).authorized === true) return;
      throw STORE.reject(
        'REGISTRY_CLIENT_UNCERTIFIED',
        'expected a TLS client certificate of a configured authority, got none',
      );
    }),
  );
}
