// SPDX-License-Identifier: Apache-2.0
// How often one client may ask, and who must show a certificate [docs/spec/registry-api.md §Limits, §TLS].

import type { TLSSocket } from 'node:tls';
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, RouteOptions } from 'fastify';
import type { RegistryLimits } from '../config-limits.ts';
import { STORE } from '../store-faults.ts';

const MINUTE_MS = 60_000;

/** Reads that go through a part of the database, however large it is. */
const COSTLY_READS = ['/api/v1/attestations', '/api/v1/devices', '/api/v1/trace'];

/** What checks, signs or writes, and what searches, costs more than sending a file. */
function isCostly({ method, url }: RouteOptions): boolean {
  return (method !== 'GET' && method !== 'HEAD') || COSTLY_READS.includes(url);
}

/** Limits requests of one client address (of IPv6 one /64); call it before routes are added. */
export async function limitRates(app: FastifyInstance, limits: RegistryLimits): Promise<void> {
  const { requestsPerMinute, costlyPerMinute } = limits;
  if (costlyPerMinute !== undefined) {
    app.addHook('onRoute', (route) => {
      if (isCostly(route)) route.config = { ...route.config, rateLimit: { max: costlyPerMinute } };
    });
  }
  if (requestsPerMinute === undefined && costlyPerMinute === undefined) return;
  await app.register(rateLimit, {
    global: requestsPerMinute !== undefined,
    max: requestsPerMinute ?? Number.MAX_SAFE_INTEGER,
    timeWindow: MINUTE_MS,
  });
}

/** What verifiers, devices, monitors and witnesses read, none of which has a certificate; of the logs all shards. */
const PUBLIC_READ = /^\/(?:(?:ca|ct[0-9]*|log[0-9]*|tsa|tuf)\/|(?:healthz|readyz)$)/;

/** Demands a certificate of the configured authorities for all but public reads; what has no route is no public read. */
export function demandCertificates(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ method, routeOptions: { url = '' }, raw }) => {
    const isRead = method === 'GET' || method === 'HEAD';
    if (isRead && PUBLIC_READ.test(url)) return;
    if ((raw.socket as TLSSocket).authorized === true) return;
    throw STORE.reject(
      'REGISTRY_CLIENT_UNCERTIFIED',
      'expected a TLS client certificate of a configured authority, got none',
    );
  });
}
