// SPDX-License-Identifier: Apache-2.0
// `/metrics` and probes on a listener of their own [docs/spec/registry-api.md §Metrics]: figures are for the operator, not for clients.

import type { FastifyInstance } from 'fastify';
import type { ListenAddress } from '../config.ts';
import { listen } from '../listen.ts';
import { type HttpOptions, makeHttpServer, refuseUnknown } from './http-server.ts';
import { Metrics, type MetricsDeps } from './metrics.ts';
import { probeRoutes } from './readiness.ts';
import { logRequests } from './request-log.ts';

/** Measures `app` and serves its figures elsewhere, from when it is ready until all of its requests are finished. */
export function serveOperations(
  app: FastifyInstance,
  measured: MetricsDeps,
  { at, ...options }: Pick<HttpOptions, 'limits' | 'logLevel'> & { readonly at: ListenAddress },
): Metrics {
  const metrics = new Metrics(measured, () => connectionCount(app));
  app.server.on('drop', metrics.dropped);
  const operations = makeHttpServer(options);
  logRequests(operations);
  probeRoutes(operations, measured);
  operations.get('/metrics', async (_request, reply) => {
    const { type, text } = await metrics.text();
    return reply.type(type).send(text);
  });
  refuseUnknown(operations);
  app.addHook('onReady', async () => {
    const address = await listen(operations, at);
    app.log.info({ address }, 'figures and probes');
  });
  app.addHook('onClose', () => operations.close());
  return metrics;
}

function connectionCount({ server }: FastifyInstance): Promise<number> {
  return new Promise((resolve) => server.getConnections((_failure, count) => resolve(count ?? 0)));
}
