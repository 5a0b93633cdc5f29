// SPDX-License-Identifier: Apache-2.0
// Checks a database in a process of its own [docs/spec/fsck.md §The rest]: of some damage LevelDB makes an assertion that fails, and ends
// the process that reads.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quote, Rejection, Unavailable } from '../core/faults.ts';
import type { DatabaseCounts, Finding, FsckOptions } from './fsck.ts';
import type { Answer, Start } from './fsck-process.ts';
import { giveToOwner } from './store/owner.ts';
import { STORE } from './store-faults.ts';

/** How a process ends that is ended by what it reads. */
const BROKEN_OFF: readonly (NodeJS.Signals | null)[] = ['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE'];
const NOTHING: DatabaseCounts = { logEntries: 0n, ctEntries: 0n, attestations: 0n };

/** As `fsckDatabase`; that the process ends is a finding. @throws as `fsckDatabase` */
export async function* fsckApart(options: FsckOptions): AsyncGenerator<Finding, DatabaseCounts> {
  const { dataFolder, config, withoutHeads = false, signal, progress } = options;
  signal.throwIfAborted();
  const file = import.meta.url.endsWith('.ts') ? './fsck-process.ts' : './fsck-process.js';
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    execArgv: [],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    // An interrupt at the keyboard is for this process, which ends the other.
    detached: true,
  });
  const kill = () => child.kill('SIGKILL');
  signal.addEventListener('abort', kill);
  const checking = new CheckingProcess(child, progress);
  try {
    const { org, headFolder } = config;
    checking.send({ dataFolder, config: { org, headFolder }, withoutHeads });
    for (;;) {
      const answer = await checking.answer().catch((failure: unknown) => {
        signal.throwIfAborted();
        throw failure;
      });
      if (answer.kind === 'done') return answer.read;
      if (answer.kind === 'failed') throw failureOf(answer);
      yield answer.finding;
      if (answer.kind === 'broken-off') return NOTHING;
      checking.send('next');
    }
  } finally {
    signal.removeEventListener('abort', kill);
    kill();
    await checking.end();
    // LevelDB writes some of its files anew whenever it opens a database.
    await giveToOwner(join(dataFolder, 'state', 'db'));
  }
}

type BrokenOff = { readonly kind: 'broken-off'; readonly finding: Finding };

class CheckingProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<BrokenOff>;
  #said = '';
  #take: (answer: Answer) => void = () => undefined;

  constructor(child: ChildProcess, progress: FsckOptions['progress']) {
    this.#child = child;
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#said = `${this.#said}${chunk}`.slice(-4096);
    });
    child.on('message', (answer: Answer) => {
      if (answer.kind === 'progress') progress(answer.what, answer.count);
      else this.#take(answer);
    });
    this.#ended = once(child, 'close').then(([code, signal]) => this.#endedBy(code, signal));
    // Whoever waits for an answer hears of it.
    this.#ended.catch(() => undefined);
  }

  /** A process that has ended takes nothing, and `answer` says so. */
  send(message: Start | 'next'): void {
    this.#child.send(message, () => undefined);
  }

  /** Resolves when it has ended, however that was. */
  async end(): Promise<void> {
    await this.#ended.catch(() => undefined);
  }

  answer(): Promise<Exclude<Answer, { kind: 'progress' }> | BrokenOff> {
    const answered = new Promise<Exclude<Answer, { kind: 'progress' }>>((resolve) => {
      this.#take = (answer) => {
        if (answer.kind !== 'progress') resolve(answer);
      };
    });
    return Promise.race([answered, this.#ended]);
  }

  #endedBy(code: number | null, signal: NodeJS.Signals | null): BrokenOff {
    if (!BROKEN_OFF.includes(signal)) {
      const how = signal ?? `exit code ${code}`;
      throw STORE.unavailable('REGISTRY_STORE_FAILED', `the process that read the database ended: ${how}`);
    }
    const said = /Assertion `[^\n]*/.exec(this.#said)?.[0] ?? String(signal);
    const problem = `expected a database that can be read, got files on which LevelDB ends the process: ${quote(said)}`;
    return { kind: 'broken-off', finding: { at: 'state/db', problem } };
  }
}

function failureOf({ fault, message }: Extract<Answer, { kind: 'failed' }>): Error {
  if (fault === undefined) return new Error(message);
  const { code, row, at } = fault;
  const Fault = row.class === 'rejection' ? Rejection : Unavailable;
  return new Fault(code, row, message, at === undefined ? {} : { at });
}
