// SPDX-License-Identifier: Apache-2.0
// The witnesses of the signature log [docs/spec/log.md §Witnesses]: asked in parallel for every checkpoint that is the newest when the
// last round ends; what has the quorum of the log policy behind it is published, and waits for nobody else.

import { quote } from '../../core/faults.ts';
import { LIMITS } from '../../core/limits.ts';
import { parseCheckpoint, verifyCheckpoint } from '../../core/tlog/checkpoint.ts';
import { parseCosignature } from '../../core/tlog/cosignature.ts';
import type { LogPolicy } from '../../core/tlog/log-policy.ts';
import { sameBytes } from '../../core/tlog/merkle.ts';
import {
  ED25519_COSIGNATURE,
  formatNote,
  formatVerifierKey,
  type NoteSignature,
  parseNote,
} from '../../core/tlog/note.ts';
import { verifyWitnessedCheckpoint } from '../../core/tlog/proof.ts';
import { isQuorum } from '../../core/tlog/quorum.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { LOG } from '../log-faults.ts';
import { describeSkew } from './clock-skew.ts';
import type { PublishedCheckpoint } from './log-entry.ts';
import { behind } from './log-head.ts';
import type { TileLog } from './tile-log.ts';
import { type AskableWitness, fetchWitnessed, WitnessClient } from './witness-client.ts';

/** When witnesses are asked, and how long they are waited for. */
export interface CosigningTimes {
  /** How long a witness may take to answer; without a quorum a round waits for each. */
  readonly roundMs: number;
  /** How long a round waits for the others when it has the quorum. */
  readonly graceMs: number;
  /** Without a quorum, and without new entries, how soon the witnesses are asked again. */
  readonly retryMs: number;
  /** How soon they are asked again for newer cosignatures of the same checkpoint. */
  readonly refreshMs: number;
  /** How long a reader waits for a checkpoint that covers an entry. */
  readonly waitMs: number;
}

const DAY_MS = 86_400_000;
/** Lines of witnesses in a note; one is the log's own. */
const LINES_MAX = LIMITS.noteSignatureCount - 1;
const TIMES: CosigningTimes = {
  roundMs: 2000,
  graceMs: 250,
  retryMs: 1000,
  refreshMs: 600_000,
  waitMs: 5000,
};

/** Tells the operator that a witness, its clock or the quorum begins to fail, then once a day, and once that it does no more (no failure). */
export type WitnessReport = (what: { readonly from: string; readonly failure?: string }) => void;

/** What became of asking one witness. */
export interface WitnessRecord {
  readonly name: string;
  /** Rounds without its cosignature. */
  readonly failureCount: number;
  /** By the witness's clock, milliseconds since 1970; undefined: never since the start. */
  readonly cosignedAtMs?: number;
}

/** One checkpoint, and who has cosigned it so far. */
interface Round {
  readonly checkpoint: PublishedCheckpoint;
  readonly policy: LogPolicy;
  /** By the names of witnesses. */
  readonly lines: Map<string, NoteSignature>;
  /** What they said of the same checkpoint in the round before: it stands while they are late. */
  readonly earlier: ReadonlyMap<string, NoteSignature>;
  /** True if nobody is waited for any more; who answers now is late. */
  isOver: boolean;
}

export interface CosigningOptions {
  readonly tiles: TileLog;
  /** The log policy in force; undefined is as `quorum none`. */
  readonly policy: () => LogPolicy | undefined;
  readonly times?: CosigningTimes;
  /** Milliseconds since 1970; undefined: nobody looks at what the time is for witnesses. */
  readonly clock?: () => number;
}

export class Cosigning {
  readonly #tiles: TileLog;
  readonly #policy: () => LogPolicy | undefined;
  readonly #times: CosigningTimes;
  readonly #clients = new Map<string, WitnessClient>();
  readonly #clock: (() => number) | undefined;
  /** What was told of whom, and when. */
  readonly #failures = new Map<string, { readonly state: string; readonly atMs: number }>();
  readonly #records = new Map<string, WitnessRecord>();
  readonly #closing = new AbortController();
  #report: WitnessReport = () => undefined;
  /** What there was to tell before there was anybody to tell. */
  readonly #untold: Parameters<WitnessReport>[0][] = [];
  /** The last note that had a quorum, and the policy that was asked. */
  #newest: { readonly checkpoint: PublishedCheckpoint; readonly policy: LogPolicy } | undefined;
  #waiting: (() => void)[] = [];
  #running: Promise<void> | undefined;
  #again = false;
  /** The policy of the last round. */
  #asked: LogPolicy | undefined;
  /** The last round. */
  #round: Round | undefined;
  /** The last note is being kept; true when it is. */
  #keeping: Promise<boolean> | undefined;
  /** By key, until when a witness is asked: never twice at once, whatever it is called. */
  readonly #underWay = new Map<string, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  private constructor({ tiles, policy, times = TIMES, clock }: CosigningOptions) {
    this.#clock = clock;
    this.#times = times;
    this.#tiles = tiles;
    this.#policy = policy;
  }

  /**
   * Takes up what was cosigned before the last stop, and asks the witnesses whether that was all: what they cosigned, the log has
   * published. No cosignature is asked for before `start`. @throws LOG_STORE_BEHIND
   */
  static async open(options: CosigningOptions): Promise<Cosigning> {
    const cosigning = new Cosigning(options);
    const policy = options.policy();
    if (!options.tiles.isReadable) return cosigning;
    if (policy !== undefined && policy.quorum !== 'none') {
      await cosigning.#compareWitnessed(policy).catch((failure: unknown) => options.tiles.lose(failure));
    }
    const note = await options.tiles.cosignedNote();
    if (note !== undefined && policy !== undefined) cosigning.#accept(note, policy);
    return cosigning;
  }

  /** How each witness of the policy has answered since the start. */
  witnesses(): readonly WitnessRecord[] {
    const asked = this.#policy()?.witnesses ?? [];
    return asked.map(({ name }) => this.#records.get(name) ?? { name, failureCount: 0 });
  }

  /** Refuses to go on from less than a witness has seen; who does not answer proves nothing. @throws LOG_STORE_BEHIND */
  async #compareWitnessed(policy: LogPolicy): Promise<void> {
    const { origin } = this.#tiles;
    const signal = AbortSignal.timeout(this.#times.roundMs);
    const seen = policy.witnesses.map(async ({ name, url }) => {
      if (url === undefined) return undefined;
      try {
        const note = await fetchWitnessed({ url }, origin, signal);
        const keys = policy.logs.map(({ key }) => key).filter((key) => key.name === origin);
        return note === undefined
          ? undefined
          : { name, ...verifyCheckpoint(note, { origin, keys }, nodeCrypto) };
      } catch (cause) {
        const why = signal.aborted ? `no answer within ${this.#times.roundMs} ms` : describe(cause);
        this.#untold.push({ from: `witness ${quote(name)}`, failure: `what it saw is unknown: ${why}` });
        return undefined;
      }
    });
    for (const witnessed of await Promise.all(seen)) {
      if (witnessed === undefined) continue;
      const { name, size, rootHash } = witnessed;
      const own = await this.#tiles.checkpointNote(size);
      const isSame = own !== undefined && sameBytes(parseCheckpoint(parseNote(own).text).rootHash, rootHash);
      if (isSame) continue;
      const got = `${size > this.#tiles.checkpoint().size ? 'only' : 'another tree, of'} size ${this.#tiles.checkpoint().size}`;
      throw behind(`expected the tree of size ${size} that witness ${quote(name)} cosigned, got ${got}`);
    }
  }

  /** Begins to ask, if there is anything to cosign. */
  start(report: WitnessReport): void {
    if (!this.#tiles.isReadable) return;
    this.#report = report;
    for (const what of this.#untold.splice(0)) report(what);
    this.#tiles.watch(() => this.#poke());
    this.#poke();
  }

  /** Asks no more; what is under way is broken off. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    await this.#running;
    await Promise.all(this.#underWay.values());
    await this.#keeping;
    this.#wake();
  }

  /** The newest checkpoint to publish: with the quorum of the policy, or any under `quorum none`. @throws LOG_QUORUM_PENDING, LOG_SHARD_LOST */
  newest(): PublishedCheckpoint {
    this.#tiles.checkReadable();
    const policy = this.#policy();
    if (policy === undefined || policy.quorum === 'none') return this.#tiles.checkpoint();
    // A new policy may ask for more than the old one did.
    const newest = this.#newest;
    if (newest !== undefined && newest.policy !== policy) {
      this.#newest = undefined;
      this.#accept(newest.checkpoint.note, policy);
    }
    if (this.#asked !== policy) this.#poke();
    if (this.#newest === undefined) throw pending('expected a checkpoint with the quorum, got none yet');
    return this.#newest.checkpoint;
  }

  /** The newest checkpoint to publish that covers an entry of the log; waits for it a while. @throws LOG_QUORUM_PENDING */
  async covering(index: bigint): Promise<PublishedCheckpoint> {
    this.#tiles.checkReadable();
    const endMs = performance.now() + this.#times.waitMs;
    for (;;) {
      const newest = this.newestOrNone();
      if (newest !== undefined && newest.size > index) return newest;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0 || this.#closing.signal.aborted) {
        throw pending(`expected a checkpoint with the quorum that covers index ${index}, got none in time`);
      }
      await this.#roundEnd(leftMs);
    }
  }

  /** The note to give for a size: with cosignatures where they are at hand. */
  async noteOf(size: bigint): Promise<string | undefined> {
    const newest = this.newestOrNone();
    return newest?.size === size ? newest.note : this.#tiles.checkpointNote(size);
  }

  /** The same; undefined if there is none. */
  newestOrNone(): PublishedCheckpoint | undefined {
    try {
      return this.newest();
    } catch {
      return undefined;
    }
  }

  #poke(): void {
    if (this.#closing.signal.aborted || !this.#isAccepting()) return;
    this.#again = true;
    if (this.#running !== undefined) return;
    this.#running = this.#rounds().finally(() => {
      this.#running = undefined;
      // Whoever was woken by the last round may have asked for another.
      if (this.#again) this.#poke();
    });
  }

  /** A shard that lost entries has nothing more to show a witness, who would refuse it each time. */
  #isAccepting(): boolean {
    try {
      this.#tiles.checkAccepting();
      return true;
    } catch {
      return false;
    }
  }

  async #rounds(): Promise<void> {
    const { retryMs, refreshMs } = this.#times;
    let delayMs = refreshMs;
    while (this.#again && !this.#closing.signal.aborted) {
      this.#again = false;
      delayMs = (await this.#askAll()) ? refreshMs : retryMs;
      this.#wake();
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#poke(), delayMs);
    this.#timer.unref();
  }

  /** One round. True if the newest checkpoint needs no more. */
  async #askAll(): Promise<boolean> {
    const policy = this.#policy();
    this.#asked = policy;
    if (policy === undefined || policy.quorum === 'none') return true;
    const checkpoint = this.#tiles.checkpoint();
    const last = this.#round;
    const isSame = last?.policy === policy && last.checkpoint.note === checkpoint.note;
    const earlier = isSame ? last.lines : new Map<string, NoteSignature>();
    const round: Round = { checkpoint, policy, earlier, lines: new Map(), isOver: false };
    this.#round = round;
    await this.#enough(
      round,
      policy.witnesses.map((witness) => this.#gather(witness, round)),
    );
    round.isOver = true;
    const found = judge(noteOf(round), policy);
    const isNamed = policy.logs.some(({ key }) => key.name === this.#tiles.origin);
    const failure = isNamed ? undefined : 'the published log policy does not name this log';
    this.#tell('the quorum', 'failure' in found ? (failure ?? found.failure) : undefined);
    return 'checkpoint' in found && this.#publish(round);
  }

  /** Waits for all answers, or for the quorum and a little longer. */
  #enough(round: Round, answers: readonly Promise<void>[]): Promise<void> {
    return new Promise((resolve) => {
      let left = answers.length;
      let grace: NodeJS.Timeout | undefined;
      const end = (): void => {
        clearTimeout(grace);
        resolve();
      };
      for (const answer of answers) {
        void answer.then(() => {
          left--;
          if (left === 0) end();
          else if (grace === undefined && isQuorum(round.policy, round.lines.keys())) {
            // They were verified as they came.
            grace = setTimeout(end, this.#times.graceMs);
          }
        });
      }
      if (left === 0) end();
    });
  }

  /**
   * Asks one witness, once it has answered what it was asked before, and takes its line into the round, even when that is over: unless
   * another has begun, which asks by itself. Never rejects.
   */
  #gather(witness: LogPolicy['witnesses'][number], round: Round): Promise<void> {
    const isLast = (): boolean => round === this.#round && !this.#closing.signal.aborted;
    const id = formatVerifierKey(witness.key);
    const before = this.#underWay.get(id) ?? Promise.resolve();
    const answer = before.then(async () => {
      const line = isLast() ? await this.#ask(witness, round.checkpoint) : undefined;
      if (line === undefined || !isLast()) return;
      if (round.lines.size >= LINES_MAX) return;
      round.lines.set(witness.name, line);
      if (round.isOver) void this.#publish(round);
    });
    this.#underWay.set(id, answer);
    return answer;
  }

  /** Durable before anybody sees it, or the next start would show less. What fails here fails the log's own writes too. */
  async #publish(round: Round): Promise<boolean> {
    const { policy, checkpoint } = round;
    // In the order of arrival; what has no room is of nobody whom the quorum needs.
    const earlier = [...round.earlier].filter(([name]) => !round.lines.has(name));
    const lines = new Map([...round.lines, ...earlier].slice(0, LINES_MAX));
    const note = noteOf({ ...round, lines });
    this.#keeping = this.#tiles.keepCosignedNote(note).then(
      () => true,
      () => false,
    );
    const isKept = await this.#keeping;
    if (isKept && round === this.#round) this.#newest = { checkpoint: { ...checkpoint, note }, policy };
    return isKept;
  }

  async #ask(
    witness: LogPolicy['witnesses'][number],
    checkpoint: PublishedCheckpoint,
  ): Promise<NoteSignature | undefined> {
    const { name, key, url } = witness;
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(this.#times.roundMs)]);
    let failure: string | undefined;
    try {
      if (url === undefined || key.type !== ED25519_COSIGNATURE) {
        failure = 'expected an address and an Ed25519 key in the log policy';
      } else {
        const line = await this.#client({ ...witness, url }).cosign(checkpoint, signal);
        const cosignedAtMs = parseCosignature(line.signature).timestampS * 1000;
        this.#record(name, { cosignedAtMs });
        this.#tell(`the clock of witness ${quote(name)}`, this.#skewOf(cosignedAtMs));
        return line;
      }
    } catch (cause) {
      failure = signal.aborted ? `no answer within ${this.#times.roundMs} ms` : describe(cause);
    } finally {
      if (failure !== undefined)
        this.#record(name, { failureCount: (this.#records.get(name)?.failureCount ?? 0) + 1 });
      this.#tell(`witness ${quote(name)}`, failure);
    }
    return undefined;
  }

  #record(name: string, change: Partial<WitnessRecord>): void {
    this.#records.set(name, { ...(this.#records.get(name) ?? { name, failureCount: 0 }), ...change });
  }

  /** What is wrong with a time that a witness gave just now. Readers refuse what is later than their clock, or too old for them. */
  #skewOf(timeMs: number): string | undefined {
    const skewMs = this.#clock === undefined ? 0 : timeMs - this.#clock();
    return Math.abs(skewMs) <= LIMITS.clockSkewMs ? undefined : `it is ${describeSkew(skewMs)}`;
  }

  /** When it begins, each day that it lasts, and when it ends; not in every round. Figures and foreign words in a failure may change, it is the same failure. */
  #tell(from: string, failure: string | undefined): void {
    const told = this.#failures.get(from);
    if (this.#closing.signal.aborted || (failure === undefined && told === undefined)) return;
    const state = failure?.replace(/"(?:[^"\\]|\\.)*"|[0-9]+/g, '');
    const atMs = performance.now();
    if (told !== undefined && told.state === state && atMs - told.atMs < DAY_MS) return;
    this.#report(failure === undefined ? { from } : { from, failure });
    if (state === undefined) this.#failures.delete(from);
    else this.#failures.set(from, { state, atMs });
  }

  #client(witness: AskableWitness): WitnessClient {
    const id = `${formatVerifierKey(witness.key)} ${witness.url}`;
    const client = this.#clients.get(id) ?? new WitnessClient(witness, this.#tiles);
    this.#clients.set(id, client);
    return client;
  }

  /** Takes a note that is kept already as the newest if it is a checkpoint with the quorum behind it. */
  #accept(note: string, policy: LogPolicy): void {
    const found = judge(note, policy);
    if ('checkpoint' in found) this.#newest = { checkpoint: found.checkpoint, policy };
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when a round ends, or the time is over. */
  #roundEnd(timeMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeMs);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** The checkpoint of a round with the lines of who has cosigned it, in the policy's order. */
function noteOf({ checkpoint, policy, lines }: Round): string {
  const { text, signatures } = parseNote(checkpoint.note);
  const cosigned = policy.witnesses.map(({ name }) => lines.get(name)).filter((line) => line !== undefined);
  return formatNote({ text, signatures: [...signatures, ...cosigned] });
}

/** A checkpoint with the quorum behind it, judged as its readers will; else why it is none. */
function judge(
  note: string,
  policy: LogPolicy,
): { readonly checkpoint: PublishedCheckpoint } | { readonly failure: string } {
  try {
    const { size, rootHash } = verifyWitnessedCheckpoint(note, policy, nodeCrypto);
    return { checkpoint: { size, rootHash, note } };
  } catch (cause) {
    return { failure: (cause as Error).message };
  }
}

function pending(message: string): Error {
  return LOG.unavailable('LOG_QUORUM_PENDING', message);
}

function describe(cause: unknown): string {
  const { message, cause: inner } = cause as Error & { cause?: { code?: string } };
  return inner?.code === undefined ? message : `${message}: ${quote(inner.code)}`;
}
