// SPDX-License-Identifier: Apache-2.0
// Turns [docs/spec/log.md §Turns]: while many requests are under way, a connection that was answered is not read again before those that
// were answered earlier. What its client sends meanwhile stays with the system, which stops the client where that is much; read at once,
// thousands of requests would be held here, taken apart, for seconds.

import type { Socket } from 'node:net';

/** Most requests under way before connections wait; four batches of a log. */
const UNDER_WAY_MAX = 1024;

export class Turns {
  readonly #most: number;
  #underWayCount = 0;
  /** Those that are not read, in the order of their turns. */
  readonly #waiting = new Set<Socket>();
  #isCalling = false;

  constructor(most: number = UNDER_WAY_MAX) {
    this.#most = most;
  }

  /** How many connections wait for their turn. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** How many requests are under way. */
  get underWayCount(): number {
    return this.#underWayCount;
  }

  /** What `work` gives or throws; its request is under way until then. Nobody outside may be able to make it last. */
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
    const isFree = this.#underWayCount < this.#most && this.#waiting.size === 0;
    if (isFree || socket.destroyed) return;
    socket.pause();
    this.#waiting.add(socket);
    this.#callNext();
  }

  /** Those called may have nothing to say: the next are called once what these had sent was read. */
  #callNext(): void {
    if (this.#isCalling || this.#waiting.size === 0 || this.#underWayCount >= this.#most) return;
    this.#isCalling = true;
    setImmediate(() => {
      this.#isCalling = false;
      let freeCount = this.#most - this.#underWayCount;
      for (const socket of this.#waiting) {
        if (freeCount-- <= 0) break;
        this.#waiting.delete(socket);
        socket.resume();
      }
      this.#callNext();
    });
  }
}
