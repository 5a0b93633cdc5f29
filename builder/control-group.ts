// SPDX-License-Identifier: Apache-2.0
// The control group of a step: what bounds memory and processes of the step as a whole [docs/spec/build-type.md §Limits]. Its files in
// version 2 [Linux Documentation/admin-guide/cgroup-v2.rst] and in version 1 [the same, cgroup-v1/memory.rst and pids.rst].

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { quote, Unavailable } from '../core/faults.ts';
import type { SandboxLimits } from '../core/intoto/provenance.ts';
import { type Delegation, findDelegation } from './delegation.ts';
import { BUILDER } from './faults.ts';
import { runTool } from './host-tool.ts';
import { isDead, processMark } from './process-mark.ts';
import { DEFAULT_LIMITS, LOOK_INTERVAL_MS, type StepLimits } from './resource-limits.ts';

type Bounds = Pick<StepLimits, 'memorySizeBytesMax' | 'processesMax'>;

/** bubblewrap outside and its first process inside, which are not the step's. */
const OWN_PROCESSES = 2;

/** The kernel counts memory in batches of pages: nearer than this to the bound is at the bound. */
const NEAR_BYTES = 4 * 1024 * 1024;

/** Longer than the kernel takes to bury what was killed. */
const DEATH_MS = 10_000;

/** `sh -e -c ENTER sh folder… -- command…`: becomes the command, in the groups. Writing 0 moves the writer. */
const ENTER = `
while [ "$1" != -- ]; do
  echo 0 >"$1/cgroup.procs"
  shift
done
shift
exec "$@"`;

/** A control group; in version 1, one in each of two hierarchies. */
export class ControlGroup {
  readonly #version: Delegation['version'];
  readonly #memory: string;
  readonly #pids: string;
  /** What the kernel said of each bound when it was set, by file. */
  #inForce: ReadonlyMap<string, string> = new Map();

  private constructor(delegation: Delegation, name: string) {
    this.#version = delegation.version;
    this.#memory = join(delegation.memory, name);
    this.#pids = join(delegation.pids, name);
  }

  get #folders(): readonly string[] {
    return [...new Set([this.#memory, this.#pids])];
  }

  /** Makes a group with the bounds of a step. @throws SANDBOX_GROUP_FAILED */
  static make(bounds: Bounds): ControlGroup {
    const delegation = findDelegation();
    if (delegation === undefined) throw groupFailed('a place for a control group', 'none');
    const group = new ControlGroup(delegation, `${PREFIX}${processMark()}`);
    try {
      for (const folder of group.#folders) mkdirSync(folder);
      group.#setBounds(bounds);
      return group;
    } catch (cause) {
      group.#removeFolders();
      throw groupFailed('to make a control group', quote((cause as Error).message), cause);
    }
  }

  #setBounds({ memorySizeBytesMax, processesMax }: Bounds): void {
    const memory = String(memorySizeBytesMax);
    const wanted: readonly [path: string, value: string][] =
      this.#version === 2
        ? [
            [join(this.#memory, 'memory.max'), memory],
            [join(this.#memory, 'memory.swap.max'), '0'],
          ]
        : [
            [join(this.#memory, 'memory.limit_in_bytes'), memory],
            // Memory and swap together, hence after the one above.
            [join(this.#memory, 'memory.memsw.limit_in_bytes'), memory],
            [join(this.#memory, 'memory.swappiness'), '0'],
          ];
    // A kernel that has no swap, or does not count it, lacks the files for it.
    const settings = wanted.filter(([path], i) => i === 0 || existsSync(path));
    settings.push([join(this.#pids, 'pids.max'), String(OWN_PROCESSES + processesMax)]);
    for (const [path, value] of settings) writeFileSync(path, value);
    this.#inForce = new Map(settings.map(([path]) => [path, readFileSync(path, 'utf8')]));
  }

  /** The words to put before a command so that it, and all that it starts, is in the group from its beginning. */
  enteringCommand(): string[] {
    return ['/bin/sh', '-e', '-c', ENTER, 'sh', ...this.#folders, '--'];
  }

  /**
   * Whether the kernel killed a process of the group for want of memory: because the step had no more, or because the machine or a
   * group around the builder had none. @throws SANDBOX_GROUP_FAILED
   */
  memoryRanOut(): 'step' | 'machine' | undefined {
    if (this.#version === 2) {
      if (this.#count('memory.events', 'oom_kill ') === 0) return undefined;
      return this.#count('memory.events', 'oom ') > 0 ? 'step' : 'machine';
    }
    if (this.#count('memory.oom_control', 'oom_kill ') === 0) return undefined;
    // Version 1 has no such count: memory.failcnt would do, but later kernels keep it at 0 (Linux 6.18).
    const peak = this.#count('memory.max_usage_in_bytes');
    return peak + NEAR_BYTES >= this.#count('memory.limit_in_bytes') ? 'step' : 'machine';
  }

  #count(file: string, key = ''): number {
    const text = readIfThere(join(this.#memory, file));
    const found = new RegExp(`^${key}([0-9]+)$`, 'm').exec(text)?.[1];
    if (found === undefined) throw groupFailed(`a number in ${file} of a control group`, quote(text));
    return Number(found);
  }

  /** Looks again and again, and says once if memory ran out, or if that cannot be seen. Call the result to stop. */
  watchMemory(onOut: () => void): () => void {
    const timer = setInterval(() => {
      try {
        if (this.memoryRanOut() === undefined) return;
      } catch {
        // Whoever reads it after the end will say so.
      }
      clearInterval(timer);
      onOut();
    }, LOOK_INTERVAL_MS);
    return () => clearInterval(timer);
  }

  /** Who manages the groups around ours could take its bounds away. @throws SANDBOX_GROUP_FAILED */
  checkInForce(): void {
    for (const [path, value] of this.#inForce) {
      const now = readIfThere(path);
      if (now === value) continue;
      const what = `${basename(path)} of a step's control group`;
      throw groupFailed(`${what} to stay ${quote(value.trim())}`, quote(now.trim()));
    }
  }

  /** Kills every process in the group. */
  kill(): void {
    try {
      // In version 2, since Linux 5.14.
      writeFileSync(join(this.#memory, 'cgroup.kill'), '1');
    } catch {
      for (const folder of this.#folders) killEach(readIfThere(join(folder, 'cgroup.procs')));
    }
  }

  /** Kills what is in the group, and removes it when all is dead. @throws SANDBOX_GROUP_FAILED */
  async remove(): Promise<void> {
    for (let waitedMs = 0; ; waitedMs += 5) {
      try {
        return this.#removeFolders();
      } catch (cause) {
        if (waitedMs >= DEATH_MS)
          throw groupFailed('to remove a control group', quote((cause as Error).message), cause);
      }
      this.kill();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #removeFolders(): void {
    for (const folder of this.#folders) if (existsSync(folder)) rmdirSync(folder);
  }

  /** Removes the groups of builders that were killed, from where this one would make its own. */
  static async sweep(): Promise<void> {
    const delegation = findDelegation();
    if (delegation === undefined) return;
    const names = [delegation.memory, delegation.pids].flatMap((folder) => readdirSync(folder));
    for (const name of new Set(names.filter(isLeftover))) {
      // What cannot be removed is in nobody's way.
      await new ControlGroup(delegation, name).remove().catch(() => undefined);
    }
  }
}

function killEach(processes: string): void {
  for (const line of processes.trim().split('\n')) {
    try {
      // 0 would stand for one that we cannot see.
      if (Number(line) > 0) process.kill(Number(line), 'SIGKILL');
    } catch {
      // It ended in the same moment.
    }
  }
}

const PREFIX = 'waybill-';

/** Whether a name is that of a group whose builder is dead. */
function isLeftover(name: string): boolean {
  return name.startsWith(PREFIX) && isDead(name.slice(PREFIX.length)) === true;
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/**
 * What can bound the steps of a build here: tried with a group of its own, which is gone again afterwards.
 * @throws SANDBOX_TOOL_MISSING; the signal's reason
 */
export async function probeLimits(signal?: AbortSignal): Promise<SandboxLimits> {
  try {
    const group = ControlGroup.make(DEFAULT_LIMITS);
    try {
      const words = [...group.enteringCommand(), 'true'];
      const entered = await runTool('sh', ['-c', 'exec "$@"', 'sh', ...words], { signal });
      group.checkInForce();
      return entered.exitCode === 0 ? 'cgroup' : 'rlimits';
    } finally {
      await group.remove();
    }
  } catch (failure) {
    if (failure instanceof Unavailable && failure.code === 'SANDBOX_GROUP_FAILED') return 'rlimits';
    throw failure;
  }
}

function groupFailed(expected: string, got: string, cause?: unknown): Error {
  return BUILDER.unavailable('SANDBOX_GROUP_FAILED', `expected ${expected}, got ${got}`, { cause });
}
