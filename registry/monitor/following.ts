// SPDX-License-Identifier: Apache-2.0
// Following the logs of a registry [docs/spec/monitor.md §Logs, §Following]: which there are, as the trust material names them, and how each stands to
// what was seen of it.

import { quote, Rejection } from '../../core/faults.ts';
import { LIMITS } from '../../core/limits.ts';
import type { LogPolicy } from '../../core/tlog/log-policy.ts';
import { checkFreshness } from '../../core/tlog/quorum.ts';
import { describeSkew } from '../log/clock-skew.ts';
import { MONITOR } from '../monitor-faults.ts';
import { type Alarm, type Alarms, alarmOf } from './alarms.ts';
import type { Attempts } from './attempts.ts';
import { FollowedLog, type LogName, type Succession } from './followed-log.ts';
import { formatForkProof } from './fork-proof.ts';
import { LogReader } from './log-reader.ts';
import { jsonRow, type MonitorStore, type StateRow } from './monitor-store.ts';
import { type MonitorTrust, SERVICE_OF, type Shard, type ShardHead, shardsOf } from './shards.ts';
import { type Counts, certificateReader, type LoggedAt, loggedPrefix, signatureReader } from './sightings.ts';
import type { WatchList } from './watch-list.ts';

/** How far a log is read. */
export interface Progress {
  readonly event: 'progress';
  readonly log: LogName;
  readonly origin: string;
  readonly read: string;
  readonly of: string;
}

export interface FollowingOptions {
  /** The address of a log, by its origin, without a slash at its end. */
  readonly urlOf: (origin: string) => string;
  readonly list: WatchList;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** How long a log, or the trust material, may be out of reach, and how old cosignatures may be. */
  readonly staleMs: number;
  readonly report: (progress: Progress) => void;
}

/** What is kept of a shard from the round on that the trust material named it. */
interface ShardRow {
  readonly log: LogName;
  readonly origin: string;
  /** Milliseconds since 1970, both; the latter when it was last followed. */
  readonly sinceMs: number;
  readonly goodMs: number;
}

/** What is kept of the cosignatures of a log, by its origin. */
interface CosignedRow {
  /** Of the last round, by witness, milliseconds since 1970. */
  readonly timesMs: Readonly<Record<string, number>>;
  /** What is wrong with them, and since when. */
  readonly lapse?: { readonly state: string; readonly sinceMs: number };
}

const DAY_MS = 86_400_000;
const rowKey = ({ log, id }: Shard): string => `shard/${log}/${id}`;
const TRUST_GOOD = 'trust/good';

export class Following {
  readonly #options: FollowingOptions;
  readonly #store: MonitorStore;
  readonly #alarms: Alarms;
  readonly #attempts: Attempts;
  /** Entries that were read since the start and are in a form that is not known here. */
  readonly counts: Counts = { foreign: 0 };
  #shards: readonly Shard[] = [];
  /** By origin: the two logs of a registry have no origin in common. */
  #logs: ReadonlyMap<string, FollowedLog> = new Map();

  constructor(options: FollowingOptions, store: MonitorStore, alarms: Alarms, attempts: Attempts) {
    this.#options = options;
    this.#store = store;
    this.#alarms = alarms;
    this.#attempts = attempts;
  }

  /** The logs that are named now, each as far as it was verified. */
  get logs(): readonly FollowedLog[] {
    return [...this.#logs.values()];
  }

  /** Takes up the shards that are named now, new ones at their first entry; that one is named no more is an alarm. @throws MONITOR_STATE_DAMAGED */
  async takeUp(trust: MonitorTrust): Promise<void> {
    const nowMs = this.#options.clock();
    const shards = shardsOf(trust);
    const named = new Set(shards.map(rowKey));
    const changes: StateRow[] = [];
    const alarms: Alarm[] = [];
    for await (const [key, row] of this.#store.under<ShardRow>('shard/')) {
      if (named.delete(key)) continue;
      const of = [key, String(row.sinceMs)];
      const message = `the trust material names the log ${row.origin} no more, or another key of it`;
      alarms.push({ ...alarmOf('vanished', row, of, nowMs), message });
      changes.push({ key, value: undefined });
    }
    for (const shard of shards) {
      const { log, origin } = shard;
      const row: ShardRow = { log, origin, sinceMs: nowMs, goodMs: nowMs };
      if (named.has(rowKey(shard))) changes.push(jsonRow(rowKey(shard), row));
    }
    await this.#alarms.raise(alarms, changes);
    const logs = new Map<string, FollowedLog>();
    for (const { log, origin } of shards) {
      const known = logs.get(origin) ?? this.#logs.get(origin);
      logs.set(origin, known ?? (await FollowedLog.open(this.#store, log, origin)));
    }
    this.#shards = shards;
    this.#logs = logs;
    await this.#checkNamed(trust);
  }

  /** A trusted root without one of the two logs would leave that unwatched. */
  async #checkNamed({ trustedRoot }: MonitorTrust): Promise<void> {
    const expected: LogName[] = trustedRoot === undefined ? ['signatures'] : ['signatures', 'certificates'];
    const missing = expected.find((name) => !this.#shards.some(({ log }) => log === name));
    if (missing === undefined) return this.#store.write([jsonRow(TRUST_GOOD, this.#options.clock())]);
    const message = `expected ${SERVICE_OF[missing]}.<domain> or a later shard of it, got no such log`;
    this.#attempts.fail('trust', MONITOR.reject('MONITOR_LOG_UNNAMED', message));
  }

  /**
   * Goes on to what the logs serve. The checkpoints of the signature logs are asked for first: a certificate is logged before it is used, so the certificate
   * logs then have all that are used. Returns true if all of these could be followed.
   */
  async look(policy: LogPolicy, signal?: AbortSignal): Promise<boolean> {
    const signed = await this.#heads('signatures', signal);
    let hasCertificates = true;
    for (const [shard, head] of await this.#heads('certificates', signal)) {
      hasCertificates = (await this.#follow(shard, head, signal)) && hasCertificates;
    }
    for (const [shard, head] of signed) {
      if (head !== undefined) await this.#checkCosignatures(policy, head);
      await this.#follow(shard, head, signal);
    }
    return hasCertificates;
  }

  /** The verified checkpoints of the shards of a log; undefined for those that show none. */
  #heads(name: LogName, signal?: AbortSignal): Promise<(readonly [Shard, ShardHead | undefined])[]> {
    const shards = this.#shards.filter(({ log }) => log === name);
    const headOf = (shard: Shard) =>
      this.#attempts.at(
        shard.origin,
        async () => shard.verify(await this.#readerOf(shard).checkpoint(signal)),
        signal,
      );
    return Promise.all(shards.map(async (shard) => [shard, await headOf(shard)] as const));
  }

  #readerOf({ log, origin }: Shard): LogReader {
    return new LogReader(this.#options.urlOf(origin), log === 'signatures' ? 'entries' : 'data');
  }

  /** True if the log was read, however it stands to what was seen. */
  async #follow(shard: Shard, head: ShardHead | undefined, signal?: AbortSignal): Promise<boolean> {
    if (head === undefined) return false;
    const next = await this.#attempts.at(shard.origin, () => this.#advance(shard, head, signal), signal);
    if (next !== undefined) await this.#tell(shard, head, next);
    return next !== undefined;
  }

  #advance(shard: Shard, head: ShardHead, signal?: AbortSignal): Promise<Succession> {
    const { report, list, clock } = this.#options;
    const log = this.#logs.get(shard.origin) as FollowedLog;
    const deps = { log, list, counts: this.counts, nowMs: clock() };
    const progress = (read: bigint, of: bigint) =>
      report({
        event: 'progress',
        log: log.name,
        origin: shard.origin,
        read: String(read),
        of: String(of),
      });
    const [reader, options] = [this.#readerOf(shard), { signal, progress }];
    return log.name === 'signatures'
      ? log.advance(head, reader, signatureReader(deps), options)
      : log.advance(head, reader, certificateReader(deps), options);
  }

  async #tell(shard: Shard, head: ShardHead, next: Succession): Promise<void> {
    const nowMs = this.#options.clock();
    if (!('last' in next)) {
      const row = (await this.#store.json<ShardRow>(rowKey(shard))) as ShardRow;
      return this.#store.write([jsonRow(rowKey(shard), { ...row, goodMs: nowMs } satisfies ShardRow)]);
    }
    const notes = [next.last.note, head.note];
    const from = `size ${next.last.size} was signed before, then size ${head.size}`;
    if (next.kind === 'forked') {
      const proof = formatForkProof(next.proof);
      const message = `the log forked: ${from}, and neither tree begins with the other`;
      const alarm = alarmOf('forked', shard, [String(next.last.size)], nowMs);
      return this.#alarms.raise([{ ...alarm, message, notes, proof }]);
    }
    const message = `the log shrank: ${from}, which is a beginning of what was seen`;
    return this.#alarms.raise([{ ...alarmOf('shrunk', shard, notes, nowMs), message, notes }]);
  }

  /** Times of cosignatures that are wrong are one alarm when that begins, and one a day, whatever each new cosignature says. */
  async #checkCosignatures(policy: LogPolicy, head: ShardHead): Promise<void> {
    const { clock, staleMs } = this.#options;
    const { witnesses, origin } = head;
    if (witnesses === 'none') return;
    const nowMs = clock();
    const key = `cosigned/${origin}`;
    const before = await this.#store.json<CosignedRow>(key);
    const timesMs = {
      ...before?.timesMs,
      ...Object.fromEntries(witnesses.map(({ name, timeMs }) => [name, timeMs])),
    };
    const failure = rejectionOf(() => checkFreshness(policy, witnesses, { nowMs, ageMaxMs: staleMs }));
    if (failure === undefined) {
      // Who is not behind this checkpoint has not shown that its clock is right again.
      const [, ...wrong] = before?.lapse?.state.split(' ') ?? [];
      const lasts = wrong.some(
        (name) =>
          policy.witnesses.some((other) => other.name === name) &&
          !witnesses.some((other) => other.name === name),
      );
      const row: CosignedRow = lasts && before?.lapse ? { timesMs, lapse: before.lapse } : { timesMs };
      return this.#store.write([jsonRow(key, row)]);
    }
    const ahead = witnesses.filter(({ timeMs }) => timeMs > nowMs + LIMITS.clockSkewMs);
    const state = [failure.code, ...ahead.map(({ name }) => name).sort()].join(' ');
    const sinceMs = before?.lapse?.state === state ? before.lapse.sinceMs : nowMs;
    const day = Math.floor((nowMs - sinceMs) / DAY_MS);
    const row: CosignedRow = { timesMs, lapse: { state, sinceMs } };
    const clocks = witnesses.flatMap(({ name, timeMs }) => {
      if (timeMs > nowMs + LIMITS.clockSkewMs) {
        return `the clock of ${quote(name)} is ${describeSkew(timeMs - nowMs)}`;
      }
      // Whoever cosigned anew, and says it was long ago, has a clock that is behind.
      const last = before?.timesMs[name];
      const isAnew = last !== undefined && timeMs > last && nowMs - timeMs > staleMs;
      return isAnew ? `the clock of ${quote(name)} is ${describeSkew(timeMs - nowMs)}` : [];
    });
    const message = [failure.message, ...clocks].join('; ');
    const subject = { log: 'signatures', origin } as const;
    const alarm = alarmOf('stale', subject, [state, String(sinceMs), String(day)], nowMs);
    return this.#alarms.raise([{ ...alarm, message, notes: [head.note] }], [jsonRow(key, row)]);
  }

  /** A log that is out of reach, or serves what cannot be verified, is an alarm once it lasts; and so is the trust material that names the logs. */
  async checkStale(): Promise<void> {
    const { failures } = this.#attempts;
    const trustGoodMs = await this.#store.json<number>(TRUST_GOOD);
    if (trustGoodMs === undefined) await this.#store.write([jsonRow(TRUST_GOOD, this.#options.clock())]);
    else await this.#raiseStale({}, trustGoodMs, `the trust material could not be read`, failures.trust);
    for await (const [, row] of this.#store.under<ShardRow>('shard/')) {
      const why = failures[row.origin] ?? failures.trust ?? 'what it served did not follow what was seen';
      await this.#raiseStale(row, row.goodMs, 'the log could not be followed', why);
    }
  }

  async #raiseStale(
    subject: Pick<Alarm, 'log' | 'origin'>,
    goodMs: number,
    what: string,
    why = 'it was not asked',
  ): Promise<void> {
    const nowMs = this.#options.clock();
    if (nowMs - goodMs <= this.#options.staleMs) return;
    const message = `${what} since ${new Date(goodMs).toISOString()}: ${why}`;
    await this.#alarms.raise([{ ...alarmOf('stale', subject, [String(goodMs)], nowMs), message }]);
  }

  /** False if an entry was read ahead of what was verified: it may yet turn out to be a lie. */
  isVerified({ origin, index }: LoggedAt): boolean {
    const log = this.#logs.get(origin);
    return log === undefined || BigInt(index) < log.last.size;
  }

  /** True if a certificate log that is named now has a certificate, by `loggedAs` of its maker. */
  async hasLogged(loggedAs: string): Promise<boolean> {
    for await (const [, at] of this.#store.under<LoggedAt>(loggedPrefix(loggedAs))) {
      if (this.#logs.has(at.origin) && this.isVerified(at)) return true;
    }
    return false;
  }
}

/** Why the check refuses; undefined if it does not. */
function rejectionOf(check: () => void): Rejection | undefined {
  try {
    check();
    return undefined;
  } catch (failure) {
    if (failure instanceof Rejection) return failure;
    throw failure;
  }
}
