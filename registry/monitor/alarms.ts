// SPDX-License-Identifier: Apache-2.0
// Alarms [docs/spec/monitor.md §Alarms]: written down with what raised them, shown as a file each, and sent to a webhook until it takes them.

import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../../core/faults.ts';
import { MONITOR } from '../monitor-faults.ts';
import { diskFiles } from '../store/durable-files.ts';
import type { LogName } from './followed-log.ts';
import { jsonRow, type MonitorStore, type StateRow } from './monitor-store.ts';
import type { Sighting } from './sightings.ts';

/** Something that somebody must look at. */
export interface Alarm {
  /** The same cause has the same id, over restarts too. */
  readonly id: string;
  readonly kind: 'signature' | 'certificate' | 'unanswered' | 'forked' | 'shrunk' | 'vanished' | 'stale';
  /** Neither, if it is about the trust material. */
  readonly log?: LogName;
  readonly origin?: string;
  /** When it was raised, RFC 3339. */
  readonly at: string;
  /** One line for people; once raised, with the log's origin in it. */
  readonly message: string;
  /** What is missing for the entry to be explained. */
  readonly reasons?: readonly string[];
  readonly sighting?: Sighting;
  /** Signed notes: the last verified, and the one that does not follow. */
  readonly notes?: readonly string[];
  /** The text of a fork proof; kept as a file of its own. */
  readonly proof?: string;
}

/** What an alarm is about. */
export type Subject = Pick<Alarm, 'log' | 'origin'>;

/** The parts that every alarm has. `of` says what happened to the subject: the same gives the same id. */
export function alarmOf(kind: Alarm['kind'], { log, origin }: Subject, of: readonly string[], nowMs: number) {
  const digest = createHash('sha256')
    .update(JSON.stringify([kind, log ?? '', origin ?? '', ...of]))
    .digest('hex');
  const about = { ...(log === undefined ? {} : { log }), ...(origin === undefined ? {} : { origin }) };
  return { id: `${kind}-${digest.slice(0, 16)}`, kind, ...about, at: new Date(nowMs).toISOString() };
}

/** A pager shows the message alone. */
function named(alarm: Alarm): Alarm {
  const { origin, message } = alarm;
  return origin === undefined || message.includes(origin)
    ? alarm
    : { ...alarm, message: `${origin}: ${message}` };
}

const REQUEST_MS = 10_000;
/** What a webhook says of one alarm: malformed to it, too large, not to be processed. Other failures are about all. */
const OF_ONE = /^status (400|413|422)$/;
const BACKOFF_MS = { first: 1000, last: 300_000 };

export class Alarms {
  readonly #folder: string;
  readonly #store: MonitorStore;
  readonly #webhook: string | undefined;
  readonly #report: (alarm: Alarm) => void;
  #backoffMs = 0;
  #notBeforeMs = 0;

  /** Alarms of a state folder; `webhook` gets each, and `report` each that is new. */
  constructor(
    folder: string,
    store: MonitorStore,
    { webhook, report }: { readonly webhook: string | undefined; readonly report: (alarm: Alarm) => void },
  ) {
    this.#folder = join(folder, 'alarms');
    this.#store = store;
    this.#webhook = webhook;
    this.#report = report;
  }

  /** Raises those that were not raised before, in one batch with what else changes. @throws REGISTRY_STORE_FAILED */
  async raise(alarms: readonly Alarm[], changes: readonly StateRow[] = []): Promise<void> {
    const raised: Alarm[] = [];
    for (const alarm of alarms) {
      if (!(await this.#store.has(`alarm/${alarm.id}`))) raised.push(named(alarm));
    }
    const rows = raised.flatMap((alarm) => [
      jsonRow(`alarm/${alarm.id}`, alarm),
      jsonRow(`unfiled/${alarm.id}`, null),
      ...(this.#webhook === undefined ? [] : [jsonRow(`outbox/${alarm.id}`, null)]),
    ]);
    if (rows.length + changes.length > 0) await this.#store.write([...changes, ...rows]);
    for (const alarm of raised) this.#report(alarm);
  }

  /** Makes the files of alarms that have none yet. @throws REGISTRY_STORE_FAILED */
  async file(): Promise<void> {
    for await (const [key] of this.#store.under<null>('unfiled/')) {
      const id = key.slice('unfiled/'.length);
      const { proof, ...alarm } = (await this.#store.json<Alarm>(`alarm/${id}`)) as Alarm;
      await mkdir(this.#folder, { recursive: true });
      if (proof !== undefined) await diskFiles.write(join(this.#folder, `${id}.proof.json`), proof);
      await diskFiles.write(join(this.#folder, `${id}.json`), `${JSON.stringify(alarm, null, 2)}\n`);
      await this.#store.write([{ key, value: undefined }]);
    }
  }

  /** Ids of alarms that nobody acknowledged. */
  async open(): Promise<readonly string[]> {
    const names = new Set(await diskFiles.list(this.#folder));
    const ids: string[] = [];
    for await (const [key] of this.#store.under<Alarm>('alarm/')) {
      const id = key.slice('alarm/'.length);
      if (!names.has(acknowledgement(id))) ids.push(id);
    }
    return ids;
  }

  /**
   * Sends what waits, each until the webhook answers 2xx; what it does not take waits longer each time. One that it refuses for itself does not keep
   * the others back. Returns how many still wait, and why. The address is in no message: it may be a secret.
   */
  async deliver(
    nowMs: number,
    signal?: AbortSignal,
  ): Promise<{ readonly waiting: number; readonly failure?: string }> {
    const waiting: string[] = [];
    for await (const [key] of this.#store.under<null>('outbox/')) waiting.push(key);
    if (waiting.length === 0) return { waiting: 0 };
    if (this.#webhook === undefined) return { waiting: waiting.length, failure: 'no --webhook was given' };
    if (nowMs < this.#notBeforeMs) return { waiting: waiting.length };
    let left = waiting.length;
    let refused: string | undefined;
    for (const key of waiting) {
      const failure = await this.#post(this.#webhook, key.slice('outbox/'.length), signal);
      if (failure === undefined) {
        await this.#store.write([{ key, value: undefined }]);
        left--;
        continue;
      }
      refused ??= failure;
      if (!OF_ONE.test(failure)) break;
    }
    if (refused === undefined) this.#backoffMs = 0;
    else {
      this.#backoffMs = Math.min(Math.max(this.#backoffMs * 2, BACKOFF_MS.first), BACKOFF_MS.last);
      this.#notBeforeMs = nowMs + this.#backoffMs;
    }
    return refused === undefined ? { waiting: left } : { waiting: left, failure: refused };
  }

  async #post(webhook: string, id: string, signal?: AbortSignal): Promise<string | undefined> {
    const body = JSON.stringify(await this.#store.json<Alarm>(`alarm/${id}`));
    const timeout = AbortSignal.timeout(REQUEST_MS);
    try {
      const response = await fetch(webhook, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': id },
        body,
        redirect: 'error',
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      });
      await response.body?.cancel();
      return response.ok ? undefined : `status ${response.status}`;
    } catch {
      signal?.throwIfAborted();
      return timeout.aborted ? `no answer in ${REQUEST_MS} ms` : 'no connection';
    }
  }
}

const acknowledgement = (id: string): string => `${id}.acknowledged`;

/** Says that somebody has looked at an alarm; while a monitor runs, too. @throws MONITOR_ALARM_UNKNOWN, REGISTRY_STORE_FAILED */
export async function acknowledge(folder: string, id: string, nowMs: number): Promise<void> {
  const alarms = join(folder, 'alarms');
  if (!(await diskFiles.list(alarms)).includes(`${id}.json`)) {
    throw MONITOR.reject('MONITOR_ALARM_UNKNOWN', `expected an alarm of ${quote(folder)}, got ${quote(id)}`);
  }
  await diskFiles.write(join(alarms, acknowledgement(id)), `${new Date(nowMs).toISOString()}\n`);
}
