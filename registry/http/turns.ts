// SPDX-License-Identifier: Apache-2.0
// Turns [docs/spec/log.md §Turns]: while many requests are under way, a connection that was answered is not read again before those that
// were answered earlier. What its client sends meanwhile stays with the system, which stops the client where that is much; read at once,
// thousands of requests would be held here, taken apart, for seconds.

import type { Socket } from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';

/** Most requests under way before connections wait; four batches of a log. */
const UNDER_WAY_MAX = 1024;
/** Longer than a turn takes with the connections that one client may have; whoever holds the turns holds up the others no longer. */
const WAIT_MS_MAX = 10_000;

export class Turns {
  readonly #most: number;
  readonly #longestMs: number;
  #underWayCount = 0;
  #isCalling = false;
  #hasEnded = false;
  #timer: NodeJS.Timeout | undefined;
  /** Answered once: those who come for one request are gone soon, which shows only while they are read. */
  readonly #known = new WeakSet<Socket>();
  /** Those that are not read, in the order of their turns, and since when, ms of the process. */
  readonly #waiting = new Map<Socket, number>();

  constructor(most: number = UNDER_WAY_MAX, longestMs: number = WAIT_MS_MAX) {
    this.#most = most;
    this.#longestMs = longestMs;
  }

  /** How many connections wait for their turn. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** How many requests are under way. */
  get underWayCount(): number {
    return this.#underWayCount;
  }

  /** What `work` gives or throws; its request is under way until then. */
  async count<T>(work: Promise<T>): Promise<T> {
    this.#underWayCount++;
    try {
      return await work;
    } finally {
      this.#underWayCount--;
      this.#callNext();
    }
  }

  /** To be told of each connection whose request was answered. */
  answered(socket: Socket): void {
    if (!this.#known.has(socket)) {
      this.#known.add(socket);
      socket.once('close', () => this.#waiting.delete(socket));
      return;
    }
    const isFree = this.#underWayCount < this.#most && this.#waiting.size === 0;
    const isEnding = socket.destroyed || socket.writableEnded;
    if (isFree || isEnding || this.#hasEnded || this.#waiting.has(socket)) return;
    socket.pause();
    this.#waiting.set(socket, performance.now());
    this.#timer ??= this.#overdueIn(this.#longestMs);
  }

  /** Nobody waits from now on; resolves once what those who waited had sent was read. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    for (const socket of this.#waiting.keys()) this.#call(socket);
    // They are read in the next round of the event loop, which may not be this one.
    await nextRound();
    await nextRound();
  }

  #call(socket: Socket): void {
    this.#waiting.delete(socket);
    socket.resume();
  }

  /** Those called may have nothing to say: the next are called once what these had sent was read. */
  #callNext(): void {
    if (this.#isCalling || this.#waiting.size === 0 || this.#underWayCount >= this.#most) return;
    this.#isCalling = true;
    setImmediate(() => {
      this.#isCalling = false;
      let freeCount = this.#most - this.#underWayCount;
      for (const socket of this.#waiting.keys()) {
        if (freeCount-- <= 0) break;
        this.#call(socket);
      }
      this.#callNext();
    });
  }

  #overdueIn(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#callOverdue(), ms).unref();
  }

  #callOverdue(): void {
    this.#timer = undefined;
    const nowMs = performance.now();
    for (const [socket, sinceMs] of this.#waiting) {
      const leftMs = sinceMs + this.#longestMs - nowMs;
      if (leftMs > 0) {
        this.#timer = this.#overdueIn(leftMs);
        return;
      }
      this.#call(socket);
    }
  }
}
