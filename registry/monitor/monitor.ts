// SPDX-License-Identifier: Apache-2.0
// The monitor [docs/spec/monitor.md]: in rounds it goes on to what the logs serve, holds it against what it saw before, and asks of every entry of a
// watched identity or key who started that.

import type { TrustedRoot } from '../../core/sigstore/trusted-root.ts';
import { MONITOR } from '../monitor-faults.ts';
import { type Alarm, Alarms, alarmOf } from './alarms.ts';
import { Attempts, type Failure } from './attempts.ts';
import { type Evidence, isMade, type LoggedCertificates, missingFor } from './explanations.ts';
import type { LogName } from './followed-log.ts';
import { Following, type FollowingOptions, type Progress } from './following.ts';
import { MonitorStore, type StateRow } from './monitor-store.ts';
import type { MonitorTrust } from './shards.ts';
import type { Sighting } from './sightings.ts';

/** What the monitor says while it works. */
export type MonitorEvent = Progress | Failure | { readonly event: 'alarm'; readonly alarm: Alarm };

export interface MonitorOptions extends Omit<FollowingOptions, 'list' | 'report'> {
  readonly folder: string;
  readonly trust: () => Promise<MonitorTrust>;
  readonly evidence: Evidence;
  /** How long an entry may stay unexplained; for `staleMs` more if somebody does not answer. */
  readonly graceMs: number;
  readonly webhook?: string | undefined;
  readonly report: (event: MonitorEvent) => void;
}

/** How things stand after a round. */
export interface RoundResult {
  /** The logs that the trust material names, and how much of each was read and verified. */
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

/** Sightings that are explained side by side; the store may answer each with megabytes. */
const AT_ONCE = 4;

export class Monitor {
  readonly #options: MonitorOptions;
  readonly #store: MonitorStore;
  readonly #alarms: Alarms;
  readonly #attempts: Attempts;
  readonly #following: Following;
  #trust: MonitorTrust | undefined;

  private constructor(options: MonitorOptions, store: MonitorStore) {
    const { folder, webhook, report, evidence } = options;
    this.#options = options;
    this.#store = store;
    this.#alarms = new Alarms(folder, store, {
      webhook,
      report: (alarm) => report({ event: 'alarm', alarm }),
    });
    this.#attempts = new Attempts(report);
    const following = { ...options, list: evidence.list };
    this.#following = new Following(following, store, this.#alarms, this.#attempts);
  }

  /** Takes hold of a state folder, made if it is not there. @throws MONITOR_STATE_LOCKED, MONITOR_STATE_DAMAGED, REGISTRY_STORE_FAILED, MONITOR_EVIDENCE_MISSING, MONITOR_BUILDS_MALFORMED, MONITOR_DECISION_MALFORMED */
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
    const attempts = this.#attempts;
    attempts.beginRound();
    const { builds, decisions } = this.#options.evidence;
    await attempts.at('builds', async () => builds?.refresh(), signal);
    await attempts.at('decisions', async () => decisions?.refresh(), signal);
    const trust = await attempts.at('trust', this.#options.trust, signal);
    if (trust !== undefined) await this.#following.takeUp(trust);
    this.#trust = trust ?? this.#trust;
    if (this.#trust !== undefined) {
      const hasCertificates = await this.#following.look(this.#trust.policy, signal);
      await this.#explain(this.#trust.trustedRoot, hasCertificates, signal);
    }
    await this.#following.checkStale();
    await this.#alarms.file();
    const { waiting, failure } = await this.#alarms.deliver(this.#options.clock(), signal);
    if (failure !== undefined) {
      const message = `the webhook took no alarm: ${failure}`;
      attempts.fail('webhook', MONITOR.unavailable('MONITOR_LOG_UNREACHABLE', message));
    }
    let pending = 0;
    for await (const _ of this.#store.under<Sighting>('pending/')) pending++;
    return {
      logs: this.#following.logs.map(({ name, last }) => ({
        log: name,
        origin: last.origin,
        size: String(last.size),
      })),
      pending,
      foreign: this.#following.counts.foreign,
      open: await this.#alarms.open(),
      undelivered: waiting,
      failures: attempts.failures,
    };
  }

  /** Asks of everything that waits whether it is explained by now. */
  async #explain(
    root: TrustedRoot | undefined,
    hasCertificates: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    const certificates = root && {
      has: async (loggedAs: string) => {
        if (await this.#following.hasLogged(loggedAs)) return true;
        if (hasCertificates) return false;
        throw MONITOR.unavailable(
          'MONITOR_LOG_UNREACHABLE',
          'a certificate log could not be followed in this round',
        );
      },
    };
    let batch: (readonly [string, Sighting])[] = [];
    const judge = async () => {
      const asked = batch.map(([key, sighting]) => this.#judge(key, sighting, root, certificates, signal));
      batch = [];
      const judged = await Promise.all(asked);
      const alarms = judged.flatMap(({ alarm }) => alarm ?? []);
      await this.#alarms.raise(
        alarms,
        judged.flatMap(({ rows }) => rows),
      );
    };
    for await (const row of this.#store.under<Sighting>('pending/')) {
      if (this.#following.isVerified(row[1])) batch.push(row);
      if (batch.length === AT_ONCE) await judge();
    }
    await judge();
  }

  /** What changes for a sighting: nothing yet, or it waits no more, explained or with an alarm. */
  async #judge(
    key: string,
    sighting: Sighting,
    root: TrustedRoot | undefined,
    certificates: LoggedCertificates | undefined,
    signal?: AbortSignal,
  ): Promise<{ readonly rows: readonly StateRow[]; readonly alarm?: Alarm }> {
    const { evidence, clock, graceMs, staleMs } = this.#options;
    let unanswered = '';
    const asked = () =>
      missingFor(sighting, evidence, certificates, signal).catch((failure: Error) => {
        unanswered = failure.message;
        throw failure;
      });
    const reasons = await this.#attempts.at('explanations', asked, signal);
    const settled = [{ key, value: undefined }];
    if (reasons?.length === 0) return { rows: settled };
    // Who never answers would hide an entry of a thief behind one question.
    const ageMs = clock() - sighting.sinceMs;
    if (ageMs < graceMs + (reasons === undefined ? staleMs : 0)) return { rows: [] };
    if (!isMade(sighting, root)) return { rows: settled };
    const { log, origin, index, maker, leafHash } = sighting;
    const what = log === 'signatures' ? 'signature' : 'certificate';
    const who = maker.kind === 'certificate' ? maker.identity : `the key ${maker.name}`;
    const entry = `${what} of ${who} at index ${index} of ${origin}`;
    if (reasons === undefined) {
      const message = `${entry} cannot be explained: ${unanswered}`;
      const common = alarmOf('unanswered', sighting, [index, leafHash], clock());
      // It is asked about on: the answer may be worse.
      return { rows: [], alarm: { ...common, message, sighting } };
    }
    const message = `${entry}: ${reasons.join('; ')}`;
    const common = alarmOf(what, sighting, [index, leafHash], clock());
    return { rows: settled, alarm: { ...common, message, reasons, sighting } };
  }
}
