// SPDX-License-Identifier: Apache-2.0
// `/healthz` and `/readyz` [docs/spec/registry-api.md §Probes]: whether the process should go on, and whether it can do its work now.

import type { FastifyInstance } from 'fastify';
import { quote, Rejection, Unavailable } from '../../core/faults.ts';
import { LEAF_LIFE_MS } from '../ca/certificate-authority.ts';
import { messageOf } from '../http-errors.ts';
import type { TileLog } from '../log/tile-log.ts';
import type { ServicesInForce } from '../services-in-force.ts';
import type { Database } from '../store/database.ts';
import { STORE } from '../store-faults.ts';
import { type Authority, checkAuthorityTime } from '../trust/authority.ts';
import type { P256Signer } from '../trust/signer.ts';
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
export async function unreadiness(deps: ReadinessDeps): Promise<readonly Unready[]> {
  const { services } = deps;
  const nowMs = deps.clock();
  const checks: readonly (() => void | Promise<void>)[] = [
    () => deps.database.checkWritable(),
    () => checkLog(services.log().log.tiles, services.log().log.key),
    () => checkLog(services.ctLog().tiles, services.ctLog().signer),
    () => checkAuthority(services.ca(), nowMs, nowMs + LEAF_LIFE_MS),
    () => checkAuthority(services.tsa(), nowMs, nowMs),
    ...Object.entries(deps.tuf.onlineExpiriesMs()).map(
      ([role, expiresMs]) =>
        () =>
          checkRole(role, expiresMs, nowMs),
    ),
  ];
  return (await Promise.all(checks.map(reasonOf))).flat();
}

async function checkLog(
  tiles: TileLog,
  { checkReachable }: Pick<P256Signer, 'checkReachable'>,
): Promise<void> {
  tiles.checkAccepting();
  await checkReachable?.();
}

async function checkAuthority(authority: Authority, nowMs: number, untilMs: number): Promise<void> {
  checkAuthorityTime(authority, nowMs, untilMs);
  await authority.signer.checkReachable?.();
}

function checkRole(role: string, expiresMs: number, nowMs: number): void {
  if (expiresMs > nowMs) return;
  const expired = new Date(expiresMs).toISOString();
  throw STORE.unavailable(
    'REGISTRY_ROLE_EXPIRED',
    `role ${quote(role)}: expected it to be valid, got one expired at ${expired}`,
  );
}

async function reasonOf(check: () => void | Promise<void>): Promise<Unready[]> {
  try {
    await check();
    return [];
  } catch (failure) {
    if (!(failure instanceof Rejection || failure instanceof Unavailable)) throw failure;
    return [{ code: failure.code, message: messageOf(failure) }];
  }
}

/** `GET /healthz`, `GET /readyz`. */
export function probeRoutes(app: FastifyInstance, deps: ReadinessDeps): void {
  app.get('/healthz', async () => {
    deps.database.checkWritable();
    return { status: 'ok' };
  });
  app.get('/readyz', async (_request, reply) => {
    const reasons = await unreadiness(deps);
    return reasons.length === 0 ? { status: 'ready' } : reply.code(503).send({ status: 'unready', reasons });
  });
}
