// SPDX-License-Identifier: Apache-2.0
// When a batch is written [docs/spec/log.md §Durability]: at once when nothing else goes on; under load when as many wait as
// the last batch carried (clients that wait for their reply are back by then), or after 50 ms.

/** Gathers items and hands them to `commit`, one batch at a time, in order. */
export class GroupCommit<T> {
  private waiting: T[] = [];
  private running: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private scheduled = false;
  private lastCount = 0;
  private lastEndMs = Number.NEGATIVE_INFINITY;
  private readonly commit: (batch: readonly T[]) => Promise<void>;
  private readonly limits: GroupLimits;
  /** Told of each batch once it has ended. */
  observe: (count: number, durationMs: number) => void = () => undefined;

  /** `commit` settles what it is given; it never rejects. */
  constructor(commit: (batch: readonly T[]) => Promise<void>, limits: GroupLimits) {
    this.commit = commit;
    this.limits = limits;
  }

  /** How many items wait. */
  get count(): number {
    return this.waiting.length;
  }

  push(item: T): void {
    this.waiting.push(item);
    this.consider();
  }

  /** Returns when nothing waits and nothing runs. */
  async drain(): Promise<void> {
    while (this.running !== undefined || this.waiting.length > 0) {
      if (this.running === undefined) this.start();
      await this.running;
    }
  }

  private consider(): void {
    if (this.running !== undefined || this.scheduled || this.waiting.length === 0) return;
    const leftMs = this.lastEndMs + this.limits.gatherMs - performance.now();
    if (leftMs <= 0 || this.waiting.length >= Math.min(this.lastCount, this.limits.batchCount)) {
      this.scheduled = true;
      // What arrives in the same turn of the event loop travels in the same batch.
      setImmediate(() => {
        this.scheduled = false;
        if (this.running === undefined && this.waiting.length > 0) this.start();
      });
    } else if (this.timer === undefined) {
      this.timer = setTimeout(() => {
        this.timer = undefined;
        this.consider();
      }, Math.ceil(leftMs));
    }
  }

  private start(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const batch = this.waiting.splice(0, this.limits.batchCount);
    const startMs = performance.now();
    this.running = this.commit(batch).then(() => {
      this.running = undefined;
      this.lastCount = batch.length;
      this.lastEndMs = performance.now();
      this.observe(batch.length, this.lastEndMs - startMs);
      this.consider();
    });
  }
}

export interface GroupLimits {
  /** Most items in one batch. */
  readonly batchCount: number;
  /** Longest that an item waits for company after the last batch ended. */
  readonly gatherMs: number;
}
