// SPDX-License-Identifier: Apache-2.0
// What bounds a step: memory, processes, CPUs, the size of a file and of all that it writes [docs/spec/build-type.md §Limits].

import { closeSync, constants, lstatSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { DocumentNode } from '../core/encoding/document.ts';
import { quote } from '../core/faults.ts';
import type { SandboxLimits } from '../core/intoto/provenance.ts';
import { BUILDER } from './faults.ts';
import { findTool, runTool } from './host-tool.ts';
import { stepUser } from './step-user.ts';

const MEBIBYTE = 1024 * 1024;

export interface StepLimits {
  /** The largest file that a process of the step can write. */
  readonly fileSizeBytesMax: number;
  /** Memory of the step as a whole under a control group, address space of each process otherwise. */
  readonly memorySizeBytesMax: number;
  /** Processes and threads at one time. */
  readonly processesMax: number;
  /** Disk space under /build. */
  readonly workSizeBytesMax: number;
  /** CPUs that the step counts, and can use. */
  readonly cpus: number;
}

/** What a step of a definition can ask for besides the size of its outputs. */
export type AskedLimits = Omit<StepLimits, 'fileSizeBytesMax'>;

/** In force where a definition says nothing. */
export const DEFAULT_LIMITS: StepLimits = {
  fileSizeBytesMax: 256 * MEBIBYTE,
  memorySizeBytesMax: 4096 * MEBIBYTE,
  processesMax: 512,
  workSizeBytesMax: 4096 * MEBIBYTE,
  cpus: 1,
};

/** Reads the limits of a step [docs/spec/build-definition.md §Limits]. */
export function parseLimits(step: DocumentNode): AskedLimits {
  const mebibytes = (name: string, preset: number) =>
    (step.optional(name)?.integer(1, 1024 * 1024) ?? preset / MEBIBYTE) * MEBIBYTE;
  return {
    memorySizeBytesMax: mebibytes('memoryMebibytes', DEFAULT_LIMITS.memorySizeBytesMax),
    workSizeBytesMax: mebibytes('workMebibytes', DEFAULT_LIMITS.workSizeBytesMax),
    processesMax: step.optional('processes')?.integer(1, 65536) ?? DEFAULT_LIMITS.processesMax,
    cpus: step.optional('cpus')?.integer(1, 1024) ?? DEFAULT_LIMITS.cpus,
  };
}

/** /tmp and /dev/shm are memory. */
export const TMP_SIZE_BYTES = 1024 * MEBIBYTE;
export const SHARED_MEMORY_SIZE_BYTES = 64 * MEBIBYTE;

/** bubblewrap's first process inside, which is not the step's. */
const FIRST_PROCESS = 1;
let started = 0;

/**
 * The words to put before a command so that it, and all that it starts, is bound; they drop from root to the user of steps. Under a
 * control group a process may reserve more address space than there is memory.
 * @throws SANDBOX_CPUS_MISSING, SANDBOX_TOOL_MISSING
 */
export async function limitingCommand(limits: StepLimits, boundBy: SandboxLimits): Promise<string[]> {
  const cpus = chooseCpus(limits.cpus);
  const [prlimit, taskset] = await Promise.all([findTool('prlimit'), findTool('taskset')]);
  return [
    ...(await dropCommand()),
    prlimit,
    `--fsize=${limits.fileSizeBytesMax}`,
    ...(boundBy === 'rlimits' ? [`--as=${limits.memorySizeBytesMax}`] : []),
    '--core=0',
    '--',
    ...[taskset, '--cpu-list', cpus.join(',')],
  ];
}

async function dropCommand(): Promise<string[]> {
  const user = stepUser();
  if (user === undefined) return [];
  return [await findTool('setpriv'), `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--'];
}

/** Some of the CPUs that we may use ourselves; the next step gets the next ones. @throws SANDBOX_CPUS_MISSING */
function chooseCpus(wanted: number): number[] {
  const allowed = allowedCpus();
  if (wanted > allowed.length) {
    throw BUILDER.unavailable(
      'SANDBOX_CPUS_MISSING',
      `expected ${wanted} CPUs for the step, got ${allowed.length} on this machine`,
    );
  }
  const from = (process.pid + started) % allowed.length;
  started += wanted;
  return Array.from({ length: wanted }, (_, i) => allowed[(from + i) % allowed.length] as number);
}

/** Another number of CPUs than this, if the machine has it: what depends on it then shows. */
export function otherCpuCount(cpus: number): number {
  if (cpus > 1) return 1;
  return Math.min(2, allowedCpus().length);
}

function allowedCpus(): number[] {
  const status = readFileSync('/proc/self/status', 'utf8');
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '0';
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number) as [number, number?];
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/**
 * Bounds the processes of a sandbox that is about to run its command. It has its own user namespace by now, and what the kernel counts
 * against a limit that is set now are the processes in there and no others of the same user [Linux user_namespaces(7)].
 * @throws SANDBOX_START_FAILED, SANDBOX_TOOL_MISSING
 */
export async function limitProcesses(firstProcess: number, processesMax: number): Promise<void> {
  const limit = `--nproc=${FIRST_PROCESS + processesMax}`;
  const words = [await findTool('prlimit'), `--pid=${firstProcess}`, limit];
  // As who owns the process: root may lack CAP_SYS_RESOURCE.
  const set = await runTool('sh', ['-c', 'exec "$@"', 'sh', ...(await dropCommand()), ...words]);
  if (set.exitCode !== 0) {
    throw BUILDER.unavailable(
      'SANDBOX_START_FAILED',
      `expected to bound the processes of the sandbox, got ${quote(set.stderr.trim())}`,
    );
  }
}

/** Watched at this distance, or at fifty times what a look costs if that is longer. */
export const LOOK_INTERVAL_MS = 500;

/** Looks at a folder's size again and again, and says once if it is over. Call the result to stop. */
export function watchSize(folder: string, sizeBytesMax: number, onOver: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const look = async () => {
    const startedMs = performance.now();
    const size = await diskUse(folder, sizeBytesMax);
    if (stopped) return;
    if (size > sizeBytesMax) onOver();
    else timer = setTimeout(look, Math.max(LOOK_INTERVAL_MS, 50 * (performance.now() - startedMs)));
  };
  timer = setTimeout(look, LOOK_INTERVAL_MS);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** What a file or folder without content takes up at least: file systems run out of these too. */
const ENTRY_SIZE_BYTES = 512;

/** A longer path is gone on from by a descriptor: folders may be nested deeper than a path can say. */
const PATH_LENGTH_MAX = 2048;

/** Disk space under a folder in bytes, counted no further than `enough`. */
export async function diskUse(folder: string, enough: number): Promise<number> {
  let size = 0;
  /** Folders to look into, and descriptors that nothing after them is reached by. */
  const waiting: (string | number)[] = [folder];
  try {
    while (size <= enough) {
      const next = waiting.pop();
      if (next === undefined) break;
      if (typeof next === 'number') {
        closeSync(next);
        continue;
      }
      // Without a pause inside a folder: to ask another thread about each file would take CPU time from the step.
      await setImmediate();
      const path = next.length > PATH_LENGTH_MAX ? shortened(next, waiting) : next;
      size += path === undefined ? Number.POSITIVE_INFINITY : lookInto(path, waiting);
    }
    return size;
  } finally {
    for (const left of waiting) if (typeof left === 'number') closeSync(left);
  }
}

/** Disk space of what is in a folder; the folders among it are to be looked into. */
function lookInto(path: string, waiting: (string | number)[]): number {
  let size = 0;
  for (const entry of orNone(() => readdirSync(path, { withFileTypes: true })) ?? []) {
    const inner = `${path}/${entry.name}`;
    const isFolder = entry.isDirectory();
    if (isFolder) waiting.push(inner);
    const stat = orNone(() => lstatSync(inner));
    // A file with several names is there once; a folder's are itself and those within it.
    if (stat !== undefined)
      size += Math.max(512 * stat.blocks, ENTRY_SIZE_BYTES) / (isFolder ? 1 : stat.nlink);
  }
  return size;
}

/** Another path of a folder, whose descriptor waits to be closed; undefined if there are no more of those: nobody's tools nest so deep. */
function shortened(path: string, waiting: (string | number)[]): string | undefined {
  try {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    waiting.push(descriptor);
    return `/proc/self/fd/${descriptor}`;
  } catch (cause) {
    return ['EMFILE', 'ENFILE'].includes((cause as NodeJS.ErrnoException).code ?? '') ? undefined : path;
  }
}

/** A step may remove what we are about to look at, or keep it from an ordinary user like itself. */
function orNone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
