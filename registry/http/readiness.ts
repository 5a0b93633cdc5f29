// SPDX-License-Identifier: Apache-2.0
// `/healthz` and `/readyz` [docs/spec/registry-api.md §Probes]: whether the process should go on, and whether it can do its work now.

import type { FastifyInstance } from 'fastify';
import { quote, Rejection, Unavailable } from '../../core/faults.ts';
import { LEAF_LIFE_MS } from '../ca/certificate-authority.ts';
import type { ServicesInForce } from '../services-in-force.ts';
import type { Database } from '../store/database.ts';
import { STORE } from '../store-faults.ts';
import { checkAuthorityTime } from '../trust/authority.ts';
import type { TufRepository } from '../tuf/repository.ts';

/** What is looked at. */
export interface ReadinessDeps {
  readonly database: Database;
  readonly services: ServicesInForce;
  readonly tuf: TufRepository;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** Why the registry cannot do all of its work. */
export interface Unready {
  readonly code: string;
  readonly message: string;
}

/** Everything that keeps the registry from its work now; nothing if it is ready. */
export function unreadiness(deps: ReadinessDeps): readonly Unready[] {
  const { services } = deps;
  const nowMs = deps.clock();
  const checks: readonly (() => void)[] = [
    () => deps.database.checkWritable(),
    () => services.log().log.tiles.checkAccepting(),
    () => services.ctLog().tiles.checkAccepting(),
    () => checkAuthorityTime(services.ca(), nowMs, nowMs + LEAF_LIFE_MS),
    () => checkAuthorityTime(services.tsa(), nowMs),
    ...Object.entries(deps.tuf.onlineExpiriesMs()).map(
      ([role, expiresMs]) =>
        () =>
          checkRole(role, expiresMs, nowMs),
    ),
  ];
  return checks.flatMap(reasonOf);
}

function checkRole(role: string, expiresMs: number, nowMs: number): void {
  if (expiresMs > nowMs) return;
  const expired = new Date(expiresMs).toISOString();
  throw STORE.unavailable(
    'REGISTRY_ROLE_EXPIRED',
    `role ${quote(role)}: expected it to be valid, got one expired at ${expired}`,
  );
}

function reasonOf(check: () => void): Unready[] {
  try {
    check();
    return [];
  } catch (failure) {
    if (!(failure instanceof Rejection || failure instanceof Unavailable)) throw failure;
    return [{ code: failure.code, message: failure.message }];
  }
}

/** `GET /healthz`, `GET /readyz`. */
export function probeRoutes(app: FastifyInstance, deps: ReadinessDeps): void {
  app.get('/healthz', async () => {
    deps.database.checkWritable();
    return { status: 'ok' };
  });
  app.get('/readyz', async (_request, reply) => {
    const reasons = unreadiness(deps);
    return reasons.length === 0 ? { status: 'ready' } : reply.code(503).send({ status: 'unready', reasons });
  });
}
