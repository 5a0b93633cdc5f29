// SPDX-License-Identifier: Apache-2.0
// The monitor [docs/spec/monitor.md]: in rounds it goes on to what the logs serve, holds it against what it saw before, and asks of every entry of a
// watched identity or key who started that.

import { createHash } from 'node:crypto';
import { Rejection, Unavailable } from '../../core/faults.ts';
import type { TrustedRoot } from '../../core/sigstore/trusted-root.ts';
import type { LogPolicy } from '../../core/tlog/log-policy.ts';
import { checkFreshness } from '../../core/tlog/quorum.ts';
import { MONITOR } from '../monitor-faults.ts';
import { type Alarm, Alarms } from './alarms.ts';
import { verifyCertificateHead, verifySignatureHead } from './checkpoints.ts';
import { type Evidence, isMade, missingFor } from './explanations.ts';
import { type EntryReader, FollowedLog, type LogName } from './followed-log.ts';
import { formatForkProof, type Head } from './fork-proof.ts';
import { LogReader } from './log-reader.ts';
import { jsonRow, MonitorStore, type StateRow } from './monitor-store.ts';
import { type Counts, certificateReader, type Sighting, signatureReader } from './sightings.ts';

/** Whom the monitor believes. */
export interface MonitorTrust {
  readonly policy: LogPolicy;
  /** Undefined: the log's key alone is known, so no certificate log is followed and no authority asked for. */
  readonly trustedRoot: TrustedRoot | undefined;
}

/** What the monitor says while it works. */
export type MonitorEvent =
  | { readonly event: 'progress'; readonly log: LogName; readonly read: string; readonly of: string }
  | { readonly event: 'alarm'; readonly alarm: Alarm }
  | { readonly event: 'failure'; readonly about: string; readonly code: string; readonly message: string };

export interface MonitorOptions {
  readonly folder: string;
  /** Addresses of the logs, without a slash at their ends. */
  readonly urls: Readonly<Record<LogName, string>>;
  readonly trust: () => Promise<MonitorTrust>;
  readonly evidence: Evidence;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** How long an entry may stay unexplained. */
  readonly graceMs: number;
  /** How long a log may be out of reach, and how old its cosignatures may be. */
  readonly staleMs: number;
  readonly webhook?: string | undefined;
  readonly report: (event: MonitorEvent) => void;
}

/** How things stand after a round. */
export interface RoundResult {
  readonly logs: readonly { readonly log: LogName; readonly origin: string; readonly size: string }[];
  /** Sightings that wait for their explanation. */
  readonly pending: number;
  /** Entries that were read since the start and are in a form that is not known here. */
  readonly foreign: number;
  /** Ids of alarms that nobody acknowledged. */
  readonly open: readonly string[];
  /** Alarms that the webhook has not taken. */
  readonly undelivered: number;
  /** What could not be done, by what it is about. */
  readonly failures: Readonly<Record<string, string>>;
}

/** Sightings that are explained side by side. */
const AT_ONCE = 16;

export class Monitor {
  readonly #options: MonitorOptions;
  readonly #store: MonitorStore;
  readonly #alarms: Alarms;
  readonly #logs = new Map<LogName, FollowedLog>();
  readonly #counts: Counts = { foreign: 0 };
  #trust: MonitorTrust | undefined;
  /** Of this round. */
  #failures: Record<string, string> = {};

  private constructor(options: MonitorOptions, store: MonitorStore) {
    this.#options = options;
    this.#store = store;
    this.#alarms = new Alarms(options.folder, store, options.webhook);
  }

  /** Takes hold of a state folder, made if it is not there. @throws MONITOR_STATE_LOCKED, MONITOR_STATE_DAMAGED, MONITOR_BUILDS_MALFORMED, MONITOR_DECISION_MALFORMED */
  static async open(options: MonitorOptions): Promise<Monitor> {
    const { builds, decisions } = options.evidence;
    await builds?.refresh();
    await decisions?.refresh();
    return new Monitor(options, await MonitorStore.open(options.folder));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** One round. What could not be had is in the result; an interrupt or a failure of the state folder is thrown. @throws REGISTRY_STORE_FAILED, MONITOR_STATE_DAMAGED, the signal's reason */
  async round(signal?: AbortSignal): Promise<RoundResult> {
    this.#failures = {};
    const { builds, decisions } = this.#options.evidence;
    await this.#attempt('builds', async () => builds?.refresh(), signal);
    await this.#attempt('decisions', async () => decisions?.refresh(), signal);
    this.#trust = (await this.#attempt('trust', this.#options.trust, signal)) ?? this.#trust;
    if (this.#trust !== undefined) await this.#look(this.#trust, signal);
    await this.#checkStale(
      this.#trust?.trustedRoot === undefined ? ['signatures'] : ['signatures', 'certificates'],
    );
    await this.#alarms.file();
    const { waiting, failure } = await this.#alarms.deliver(this.#options.clock(), signal);
    if (failure !== undefined)
      this.#fail('webhook', 'MONITOR_LOG_UNREACHABLE', `the webhook took no alarm: ${failure}`);
    let pending = 0;
    for await (const _ of this.#store.under<Sighting>('pending/')) pending++;
    return {
      logs: [...this.#logs.values()].map(({ name, last }) => ({
        log: name,
        origin: last.origin,
        size: String(last.size),
      })),
      pending,
      foreign: this.#counts.foreign,
      open: await this.#alarms.open(),
      undelivered: waiting,
      failures: this.#failures,
    };
  }

  /** The signature log is asked first: a certificate is logged before it is used, so the certificate log then has all that are used. */
  async #look(trust: MonitorTrust, signal?: AbortSignal): Promise<void> {
    const { urls, evidence, clock } = this.#options;
    const readers = {
      signatures: new LogReader(urls.signatures, 'entries'),
      certificates: new LogReader(urls.certificates, 'data'),
    };
    const deps = (log: FollowedLog) => ({ log, list: evidence.list, counts: this.#counts, nowMs: clock() });
    const signed = await this.#attempt(
      'signatures',
      async () => verifySignatureHead(await readers.signatures.checkpoint(signal), trust.policy),
      signal,
    );
    let hasCertificates = false;
    const { trustedRoot } = trust;
    if (trustedRoot !== undefined) {
      const keys = trustedRoot.certificateLogs.map(({ publicKey }) => publicKey.spki);
      const follow = async () => {
        const head = verifyCertificateHead(await readers.certificates.checkpoint(signal), keys);
        await this.#follow(
          'certificates',
          head,
          readers.certificates,
          (log) => certificateReader(deps(log)),
          signal,
        );
        return true;
      };
      hasCertificates = (await this.#attempt('certificates', follow, signal)) ?? false;
    }
    if (signed !== undefined) {
      await this.#checkCosignatures(trust.policy, signed);
      const follow = () =>
        this.#follow('signatures', signed, readers.signatures, (log) => signatureReader(deps(log)), signal);
      await this.#attempt('signatures', follow, signal);
    }
    await this.#explain(trustedRoot, hasCertificates, signal);
  }

  async #follow<T>(
    name: LogName,
    head: Head,
    reader: LogReader,
    entriesOf: (log: FollowedLog) => EntryReader<T>,
    signal?: AbortSignal,
  ): Promise<void> {
    const { report, clock } = this.#options;
    const log = await this.#logOf(name, head);
    const progress = (read: bigint, of: bigint) =>
      report({ event: 'progress', log: name, read: String(read), of: String(of) });
    const next = await log.advance(head, reader, entriesOf(log), { signal, progress });
    if (!('last' in next)) {
      return this.#store.write([jsonRow(`good/${name}`, clock())]);
    }
    const notes = [next.last.note, head.note];
    const from = `size ${next.last.size} was signed before, then size ${head.size}`;
    if (next.kind === 'forked') {
      const proof = formatForkProof(next.proof);
      const message = `the log forked: ${from}, and neither tree begins with the other`;
      await this.#raise({
        ...this.#alarm('forked', name, head.origin, [String(next.last.size)]),
        message,
        notes,
        proof,
      });
    } else {
      const message = `the log shrank: ${from}, which is a beginning of what was seen`;
      await this.#raise({ ...this.#alarm('shrunk', name, head.origin, notes), message, notes });
    }
  }

  /** The log of a checkpoint's origin; that it is another than before is an alarm. */
  async #logOf(name: LogName, { origin, note }: Head): Promise<FollowedLog> {
    const before = await this.#store.json<string>(`followed/${name}`);
    const known = this.#logs.get(name);
    if (known?.last.origin === origin) return known;
    const log = await FollowedLog.open(this.#store, name, origin);
    if (before !== undefined && before !== origin) {
      const message = `the log ${before} is served no more, ${origin} stands in its place`;
      await this.#raise({ ...this.#alarm('replaced', name, origin, [before]), message, notes: [note] });
    }
    if (before !== origin) await this.#store.write([jsonRow(`followed/${name}`, origin)]);
    this.#logs.set(name, log);
    return log;
  }

  /** Asks of everything that waits whether it is explained by now. */
  async #explain(
    root: TrustedRoot | undefined,
    hasCertificates: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    const certificates = root && {
      has: async (key: string) => {
        if (await this.#store.has(key)) return true;
        if (hasCertificates) return false;
        throw MONITOR.unavailable(
          'MONITOR_LOG_UNREACHABLE',
          'the certificate log could not be followed in this round',
        );
      },
    };
    let batch: (readonly [string, Sighting])[] = [];
    const judge = async () => {
      const judged = batch.map(([key, sighting]) => this.#judge(key, sighting, root, certificates, signal));
      batch = [];
      const rows = (await Promise.all(judged)).flat();
      if (rows.length > 0) await this.#store.write(rows);
    };
    for await (const row of this.#store.under<Sighting>('pending/')) {
      batch.push(row);
      if (batch.length === AT_ONCE) await judge();
    }
    await judge();
  }

  async #judge(
    key: string,
    sighting: Sighting,
    root: TrustedRoot | undefined,
    certificates: Pick<MonitorStore, 'has'> | undefined,
    signal?: AbortSignal,
  ): Promise<readonly StateRow[]> {
    const { evidence, clock, graceMs, report } = this.#options;
    const asked = () => missingFor(sighting, evidence, certificates, signal);
    const reasons = await this.#attempt('explanations', asked, signal);
    if (reasons === undefined) return [];
    const settled = { key, value: undefined };
    if (reasons.length === 0) return [settled];
    if (clock() < sighting.sinceMs + graceMs) return [];
    if (!isMade(sighting, root)) return [settled];
    const { log, origin, index, maker, leafHash } = sighting;
    const kind = log === 'signatures' ? 'signature' : 'certificate';
    const who = maker.kind === 'certificate' ? maker.identity : `the key ${maker.name}`;
    const message = `${kind} of ${who} at index ${index} of ${origin}: ${reasons.join('; ')}`;
    const alarm = { ...this.#alarm(kind, log, origin, [index, leafHash]), message, reasons, sighting };
    const { rows, raised } = await this.#alarms.rows([alarm]);
    for (const each of raised) report({ event: 'alarm', alarm: each });
    return [settled, ...rows];
  }

  async #checkCosignatures(policy: LogPolicy, head: ReturnType<typeof verifySignatureHead>): Promise<void> {
    if (head.witnesses === 'none') return;
    try {
      checkFreshness(policy, head.witnesses, {
        nowMs: this.#options.clock(),
        ageMaxMs: this.#options.staleMs,
      });
    } catch (failure) {
      const { message } = failure as Rejection;
      const of = head.witnesses.map(({ timeMs }) => String(timeMs));
      await this.#raise({
        ...this.#alarm('stale', 'signatures', head.origin, of),
        message,
        notes: [head.note],
      });
    }
  }

  /** A log that is out of reach, or serves what cannot be verified, is an alarm once it lasts. */
  async #checkStale(names: readonly LogName[]): Promise<void> {
    const nowMs = this.#options.clock();
    for (const name of names) {
      const sinceMs = await this.#store.json<number>(`good/${name}`);
      if (sinceMs === undefined) await this.#store.write([jsonRow(`good/${name}`, nowMs)]);
      else if (nowMs - sinceMs > this.#options.staleMs) {
        const origin = (await this.#store.json<string>(`followed/${name}`)) ?? '';
        const why =
          this.#failures[name] ?? this.#failures.trust ?? 'what it served did not follow what was seen';
        const message = `the log could not be followed since ${new Date(sinceMs).toISOString()}: ${why}`;
        await this.#raise({ ...this.#alarm('stale', name, origin, [String(sinceMs)]), message });
      }
    }
  }

  /** The parts that every alarm has. `of` says what it is about: the same gives the same id. */
  #alarm(kind: Alarm['kind'], log: LogName, origin: string, of: readonly string[]) {
    const digest = createHash('sha256')
      .update(JSON.stringify([kind, log, origin, ...of]))
      .digest('hex');
    return {
      id: `${kind}-${digest.slice(0, 16)}`,
      kind,
      log,
      origin,
      at: new Date(this.#options.clock()).toISOString(),
    };
  }

  async #raise(alarm: Alarm): Promise<void> {
    const { rows, raised } = await this.#alarms.rows([alarm]);
    if (rows.length > 0) await this.#store.write(rows);
    for (const each of raised) this.#options.report({ event: 'alarm', alarm: each });
  }

  /** Does something that others may keep from being done: says so, and goes on. */
  async #attempt<T>(about: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
    try {
      return await work();
    } catch (failure) {
      signal?.throwIfAborted();
      if (!(failure instanceof Rejection || failure instanceof Unavailable)) throw failure;
      if (failure.code === 'REGISTRY_STORE_FAILED' || failure.code === 'MONITOR_STATE_DAMAGED') throw failure;
      this.#fail(about, failure.code, failure.message);
      return undefined;
    }
  }

  #fail(about: string, code: string, message: string): void {
    if (this.#failures[about] === undefined) this.#options.report({ event: 'failure', about, code, message });
    this.#failures[about] = `${code}: ${message}`;
  }
}
