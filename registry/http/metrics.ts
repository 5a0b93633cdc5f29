// SPDX-License-Identifier: Apache-2.0
// Figures of a running registry for Prometheus [Prometheus-exposition-0.0.4]; docs/operating.md says what each is good for.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry as MetricsRegistry } from 'prom-client';
import type { TileLog } from '../log/tile-log.ts';
import { type ReadinessDeps, unreadiness } from './readiness.ts';
import type { Answered } from './request-log.ts';
import type { Turns } from './turns.ts';

const DURATION_BUCKETS_S = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];
const BATCH_BUCKETS = [1, 4, 16, 64, 256, 1024];

/** Answers by which something is issued. */
const ISSUING: Readonly<Record<string, 'certificates' | 'timestamps'>> = {
  'POST /ca/api/v2/signingCert': 'certificates',
  'POST /api/v2/signingCert': 'certificates',
  'POST /tsa/api/v1/timestamp': 'timestamps',
};

/** Codes that no operator should see once. */
const ALARMING = ['REGISTRY_INTERNAL', 'SIGNER_UNREACHABLE'];

/** What figures are of. */
export interface MetricsDeps extends ReadinessDeps {
  readonly turns: Turns;
}

export class Metrics {
  readonly #registry = new MetricsRegistry();
  readonly #requests = this.#histogram(
    'waybill_http_request_duration_seconds',
    'From the first byte of a request to the last of its answer.',
    DURATION_BUCKETS_S,
    ['method', 'route', 'status'],
  );
  readonly #refusals = this.#counter('waybill_http_refusals_total', 'Refused requests by code.', ['code']);
  readonly #issued = {
    certificates: this.#counter('waybill_certificates_issued_total', 'Certificates issued.'),
    timestamps: this.#counter('waybill_timestamps_issued_total', 'Timestamps issued.'),
  };
  readonly #dropped = this.#counter(
    'waybill_http_connections_dropped_total',
    'Connections closed unheard, since too many were open.',
  );

  /** `connectionCount` tells how many connections are open. */
  constructor(measured: MetricsDeps, connectionCount: () => Promise<number>) {
    // Processor, memory, file descriptors, event loop.
    collectDefaultMetrics({ register: this.#registry });
    this.#gauge('waybill_http_connections', 'Open connections.', [], async (gauge) =>
      gauge.set(await connectionCount()),
    );
    this.#gauge(
      'waybill_log_connections_waiting',
      'Connections that brought an entry and are not read again before their turn.',
      [],
      (gauge) => gauge.set(measured.turns.waitingCount),
    );
    this.#gauge('waybill_ready', '1 if /readyz says so.', [], async (gauge) =>
      gauge.set((await unreadiness(measured)).length === 0 ? 1 : 0),
    );
    // A rate is seen of figures that were there before: the first of these counts.
    for (const code of ALARMING) this.#refusals.inc({ code }, 0);
    const { ct, log } = measured.services.held;
    this.#measureLogs(
      [...ct.map(({ tiles }) => tiles), ...log.map((shard) => shard.log.tiles)].filter(
        ({ isReadable }) => isReadable,
      ),
      measured.clock,
    );
    this.#measureWitnesses(measured);
    this.#measureRoles(measured);
  }

  /** Counts an answered request. */
  readonly answered = ({ method, route, status, code, ms }: Answered): void => {
    this.#requests.observe({ method, route, status: String(status) }, ms / 1000);
    if (code !== undefined) this.#refusals.inc({ code });
    const issued = ISSUING[`${method} ${route}`];
    if (issued !== undefined && status < 300) this.#issued[issued].inc();
  };

  /** Counts a connection that was one too many. */
  readonly dropped = (): void => this.#dropped.inc();

  /** The figures now, in the text form. */
  async text(): Promise<{ readonly type: string; readonly text: string }> {
    return { type: this.#registry.contentType, text: await this.#registry.metrics() };
  }

  #measureLogs(logs: readonly TileLog[], clock: () => number): void {
    const sizes = this.#histogram('waybill_log_batch_entries', 'Requests in a batch.', BATCH_BUCKETS, [
      'log',
    ]);
    const durations = this.#histogram(
      'waybill_log_commit_duration_seconds',
      'From the start of a batch until it is durable and published.',
      DURATION_BUCKETS_S,
      ['log'],
    );
    const each = (name: string, help: string, value: (tiles: TileLog) => number): void =>
      this.#gauge(name, help, ['log'], (gauge) => {
        for (const tiles of logs) gauge.set({ log: tiles.origin }, value(tiles));
      });
    each('waybill_log_size', 'Entries in the newest checkpoint that the log signed.', (tiles) =>
      Number(tiles.checkpoint().size),
    );
    each('waybill_log_waiting', 'Requests that wait for a batch.', (tiles) => tiles.waitingCount);
    each(
      'waybill_log_checkpoint_age_seconds',
      'Since the newest checkpoint was signed; it grows while nothing is logged.',
      (tiles) => (clock() - tiles.checkpointTimeMs) / 1000,
    );
    for (const tiles of logs) {
      const log = tiles.origin;
      tiles.observeBatches((count, durationMs) => {
        sizes.observe({ log }, count);
        durations.observe({ log }, durationMs / 1000);
      });
    }
  }

  #measureWitnesses({ services, clock }: ReadinessDeps): void {
    this.#gauge(
      'waybill_log_cosigned_size',
      'Entries in the tree that readers are shown, which has the quorum of the log policy; none yet: no figure.',
      ['log'],
      (gauge) => {
        gauge.reset();
        for (const { log, cosigning } of services.held.log) {
          const size = cosigning.newestOrNone()?.size;
          if (size !== undefined) gauge.set({ log: log.tiles.origin }, Number(size));
        }
      },
    );
    const labels = ['log', 'witness'];
    const witnesses = () =>
      services.held.log.flatMap(({ log, cosigning }) =>
        cosigning
          .witnesses()
          .map((witness) => ({ ...witness, labels: { log: log.tiles.origin, witness: witness.name } })),
      );
    this.#gauge(
      'waybill_witness_cosignature_age_seconds',
      "Since the witness's newest cosignature that was taken; none yet: no figure.",
      labels,
      (gauge) => {
        gauge.reset();
        for (const { labels: of, cosignedAtMs } of witnesses()) {
          if (cosignedAtMs !== undefined) gauge.set(of, (clock() - cosignedAtMs) / 1000);
        }
      },
    );
    const failures = this.#counter(
      'waybill_witness_failures_total',
      'Rounds in which the witness did not cosign.',
      labels,
      () => {
        failures.reset();
        for (const { labels: of, failureCount } of witnesses()) failures.inc(of, failureCount);
      },
    );
  }

  #measureRoles({ tuf, clock }: ReadinessDeps): void {
    this.#gauge(
      'waybill_tuf_role_expiry_seconds',
      'Until the role expires; snapshot and timestamp are signed again by the registry, the others by people.',
      ['role'],
      (gauge) => {
        const expiries = { ...tuf.offlineExpiriesMs(), ...tuf.onlineExpiriesMs() };
        for (const [role, expiresMs] of Object.entries(expiries))
          gauge.set({ role }, (expiresMs - clock()) / 1000);
      },
    );
  }

  #histogram(name: string, help: string, buckets: number[], labelNames: string[] = []): Histogram {
    return new Histogram({ name, help, buckets, labelNames, registers: [this.#registry] });
  }

  #counter(name: string, help: string, labelNames: string[] = [], collect?: () => void): Counter {
    return new Counter({
      name,
      help,
      labelNames,
      registers: [this.#registry],
      ...(collect === undefined ? {} : { collect }),
    });
  }

  #gauge(
    name: string,
    help: string,
    labelNames: string[],
    read: (gauge: Gauge) => void | Promise<void>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.#registry],
      async collect() {
        await read(this);
      },
    });
  }
}
