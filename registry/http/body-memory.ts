// SPDX-License-Identifier: Apache-2.0
// Memory for bodies under way [docs/spec/registry-api.md §Limits]: a document is held whole before anything looks at it, so whoever
// opens many connections and sends all of them but the last byte would fill the machine.

import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { RegistryLimits } from '../config-limits.ts';
import { STORE } from '../store-faults.ts';
import { clientOf } from './client-address.ts';
import { atOnce, atSending } from './hooks.ts';

/** Log entries, certificates and timestamps are below it. */
const SMALL_BYTES = 64 * 1024;
const SHARE_OF_SMALL = 1.25;

/** Blobs are written as they come, however long they take within `requestTimeoutMs`; they are never held. */
export function isStreamed({ method, routeOptions }: FastifyRequest): boolean {
  return method === 'PUT' && routeOptions.url?.endsWith('/blobs/:sha256') === true;
}

/** Refuses a body for which there is no room left, all together or for one client, before any of it is read. */
export function limitBodies(app: FastifyInstance, limits: RegistryLimits): void {
  const { bodyBytes, bodyBytesPerClient } = limits;
  const ofClient = new Map<string, number>();
  let ofAll = 0;
  const count = (client: string, bytes: number): void => {
    ofAll += bytes;
    const own = (ofClient.get(client) ?? 0) + bytes;
    if (own === 0) ofClient.delete(client);
    else ofClient.set(client, own);
  };
  const held = new WeakMap<FastifyRequest, { readonly client: string; readonly bytes: number }>();
  app.addHook(
    'onRequest',
    atOnce((request, reply) => {
      const bytes = isStreamed(request) ? 0 : expectedBytes(request);
      if (bytes === 0) return;
      const client = clientOf(request.ip);
      // Small ones have room of their own: who announces much and sends nothing does not stop them.
      const share = bytes <= SMALL_BYTES ? SHARE_OF_SMALL : 1;
      const own = ofClient.get(client) ?? 0;
      if (ofAll + bytes > bodyBytes * share || own + bytes > bodyBytesPerClient * share) {
        reply.header('connection', 'close');
        throw STORE.unavailable(
          'REGISTRY_BODIES_TOO_LARGE',
          `expected at most ${bodyBytesPerClient} bytes of bodies under way from one client, ${bodyBytes} from all, got more`,
        );
      }
      count(client, bytes);
      held.set(request, { client, bytes });
    }),
  );
  // Runs however a request ends, also where its client is gone; the close of an answer that waits behind another does not.
  app.addHook(
    'onSend',
    atSending((request) => {
      const own = held.get(request);
      if (own !== undefined) count(own.client, -own.bytes);
      held.delete(request);
    }),
  );
}

/** What a body may grow to: as announced, or as far as its endpoint reads. */
function expectedBytes({ headers, routeOptions }: FastifyRequest): number {
  const most = routeOptions.bodyLimit ?? 0;
  if (headers['transfer-encoding'] !== undefined) return most;
  return Math.min(Number(headers['content-length'] ?? 0), most);
}
