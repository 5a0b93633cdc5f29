// SPDX-License-Identifier: Apache-2.0
// The sandbox of a step: bubblewrap around a root of locked packages [docs/spec/build-definition.md §What a step can see].
// What bounds it is in resource-limits.ts, the filter of its system calls in seccomp.ts, what it is told in fixed-answers.ts.

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { quote } from '../core/faults.ts';
import { type Conditions, changedEnvironment } from './conditions.ts';
import { BUILDER } from './faults.ts';
import { clockEnvironment, writeMachineFiles } from './fixed-answers.ts';
import { findTool, runTool } from './host-tool.ts';
import { removeTree } from './remove-tree.ts';
import {
  DEFAULT_LIMITS,
  diskUse,
  limitingCommand,
  limitProcesses,
  otherCpuCount,
  SHARED_MEMORY_SIZE_BYTES,
  type StepLimits,
  TMP_SIZE_BYTES,
  watchSize,
} from './resource-limits.ts';
import { requireFilter, seccompProgram } from './seccomp.ts';
import { giveToStepUser, stageFolders } from './step-user.ts';
import { traceOptions } from './trace.ts';

/** What is kept of a log, in memory and in the output folder. */
const LOG_SIZE_BYTES_MAX = 4 * 1024 * 1024;

// `--unshare-all` cannot be joined with `--disable-userns`, hence the list.
export const NAMESPACES = [
  '--unshare-user',
  '--disable-userns',
  '--unshare-ipc',
  '--unshare-pid',
  '--unshare-net',
  '--unshare-uts',
  '--unshare-cgroup-try',
];

/** Limits that are not named are those of `DEFAULT_LIMITS`. */
export interface SandboxRun extends Partial<StepLimits> {
  readonly root: string;
  /** Becomes /build, writable. */
  readonly work: string;
  /** Becomes /materials, read-only. */
  readonly materials: string;
  /** Become /inputs/<name>, read-only. */
  readonly inputs?: readonly { readonly name: string; readonly folder: string }[];
  readonly command: readonly string[];
  readonly environment: readonly (readonly [string, string])[];
  readonly sourceDateEpoch: number;
  readonly timeoutMs: number;
  /** What is otherwise than always, for `waybill build --check`. */
  readonly conditions?: Conditions | undefined;
  /** Where to write what was opened, for `waybill build --audit`. */
  readonly trace?: string | undefined;
  /** Path, inside, of the library that says what time it is; without one it is the host's time. */
  readonly clock?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onLog?: ((text: string) => void) | undefined;
}

export interface SandboxResult {
  /** Exit code of the command, 128 + signal number if a signal ended it; undefined if it was killed for going over a limit. */
  readonly exitCode: number | undefined;
  /** The limit that it was killed for. */
  readonly over?: 'time' | 'work' | undefined;
  /** Standard output and error as they came, cut at 4 MiB. */
  readonly log: string;
}

/** Beside the files that go over those of /proc. */
const PASSWD = 'etc-passwd';

/** Where the folders of a run are when bubblewrap looks for them. */
interface Places {
  readonly root: string;
  readonly work: string;
  readonly materials: string;
  /** Files to put over those of /proc, in a folder of their own. */
  readonly machine: string;
  /** In the order of the run's `inputs`. */
  readonly inputs: readonly string[];
}

/** A root has one empty folder for all inputs; the mount points in it are made in memory. */
function mountInputs(inputs: NonNullable<SandboxRun['inputs']>, places: readonly string[]): string[] {
  if (inputs.length === 0) return [];
  const binds = inputs.flatMap(({ name }, i) => ['--ro-bind', places[i] as string, `/inputs/${name}`]);
  return ['--tmpfs', '/inputs', ...binds, '--remount-ro', '/inputs'];
}

/** The options of bubblewrap for one run; status goes to descriptor 3, the filter comes from 5, leave to begin from 6. */
function bubblewrapOptions(run: SandboxRun, places: Places, machineFiles: readonly string[]): string[] {
  const environment: (readonly [string, string])[] = [
    ...run.environment,
    ['PATH', '/usr/bin:/bin:/usr/sbin:/sbin'],
    ['HOME', '/build'],
    ['USER', 'build'],
    ['LOGNAME', 'build'],
    ['LC_ALL', 'C'],
    ['TZ', 'UTC'],
    ['TMPDIR', '/tmp'],
    ['SOURCE_DATE_EPOCH', String(run.sourceDateEpoch)],
    ...changedEnvironment(run.conditions ?? {}),
    ...(run.clock === undefined
      ? []
      : clockEnvironment(run.clock, run.sourceDateEpoch, run.conditions?.slowClock === true)),
  ];
  const { user } = run.conditions ?? {};
  const id = String(user?.id ?? 1000);
  return [
    ...NAMESPACES,
    ...['--uid', id, '--gid', id, '--hostname', user?.hostName ?? 'waybill'],
    ...['--cap-drop', 'ALL', '--die-with-parent', '--new-session', '--clearenv'],
    ...environment.flatMap(([name, value]) => ['--setenv', name, value]),
    ...['--ro-bind', places.root, '/'],
    // All that can be written is of a known size: /dev is memory as /tmp is.
    ...['--dev', '/dev', '--size', String(SHARED_MEMORY_SIZE_BYTES), '--tmpfs', '/dev/shm'],
    ...['--remount-ro', '/dev'],
    ...['--proc', '/proc'],
    ...machineFiles.flatMap((name) => ['--ro-bind', `${places.machine}/${name}`, `/proc/${name}`]),
    // Read-only: what /proc/sys and its like let an owner of the process change is no step's business.
    ...['--remount-ro', '/proc'],
    ...['--size', String(TMP_SIZE_BYTES), '--tmpfs', '/tmp'],
    ...mountInputs(run.inputs ?? [], places.inputs),
    ...['--bind', places.work, '/build', '--ro-bind', places.materials, '/materials', '--chdir', '/build'],
    ...(user === undefined ? [] : ['--ro-bind', `${places.machine}/${PASSWD}`, '/etc/passwd']),
    ...['--json-status-fd', '3', '--seccomp', '5', '--block-fd', '6'],
  ];
}

/** Where bubblewrap finds the folders of a run, and the words to start it with. A shell adds the folder it starts in to its environment, hence env. */
async function sandboxCommand(limits: StepLimits, own: Places) {
  const [bwrap, limiting] = await Promise.all([findTool('bwrap'), limitingCommand(limits)]);
  const { places, words } = await stageFolders([
    own.root,
    own.work,
    own.materials,
    own.machine,
    ...own.inputs,
  ]);
  const [root, work, materials, machine, ...inputs] = places as [string, string, string, string, ...string[]];
  return {
    places: { root, work, materials, machine, inputs },
    words: [...words, ...limiting, 'env', '-i', bwrap],
  };
}

/**
 * Runs one command to its end and returns when every process of its sandbox is dead.
 * @throws SANDBOX_START_FAILED, SANDBOX_TOOL_MISSING, SANDBOX_CPUS_MISSING, SANDBOX_FILTER_MISSING; the signal's reason when aborted
 */
export async function runInSandbox(run: SandboxRun): Promise<SandboxResult> {
  run.signal?.throwIfAborted();
  const limits = limitsOf(run);
  const machine = `${run.work}.machine`;
  try {
    return await runToEnd(run, limits, await startSandbox(run, limits, machine));
  } finally {
    await removeTree(machine);
  }
}

function limitsOf(run: SandboxRun): StepLimits {
  const cpus = run.cpus ?? DEFAULT_LIMITS.cpus;
  return {
    fileSizeBytesMax: run.fileSizeBytesMax ?? DEFAULT_LIMITS.fileSizeBytesMax,
    memorySizeBytesMax: run.memorySizeBytesMax ?? DEFAULT_LIMITS.memorySizeBytesMax,
    processesMax: run.processesMax ?? DEFAULT_LIMITS.processesMax,
    workSizeBytesMax: run.workSizeBytesMax ?? DEFAULT_LIMITS.workSizeBytesMax,
    cpus: run.conditions?.otherCpus === true ? otherCpuCount(cpus) : cpus,
  };
}

type StartedSandbox = Awaited<ReturnType<typeof startSandbox>>;

async function runToEnd(run: SandboxRun, limits: StepLimits, child: StartedSandbox): Promise<SandboxResult> {
  const status = collectStatus(child.process);
  let over: SandboxResult['over'];
  const kill = () => {
    // Killing the sandbox's first process makes the kernel kill all others in it, whatever they did to detach.
    for (const pid of [status.childPid(), child.process.pid]) {
      try {
        if (pid !== undefined) process.kill(pid, 'SIGKILL');
      } catch {
        // It ended in the same moment.
      }
    }
  };
  const killFor = (limit: 'time' | 'work') => {
    over ??= limit;
    kill();
  };
  const timer = setTimeout(() => killFor('time'), run.timeoutMs);
  const stopWatching = watchSize(run.work, limits.workSizeBytesMax, () => killFor('work'));
  run.signal?.addEventListener('abort', kill, { once: true });
  const begun = begin(status, child, limits).catch((failure: unknown) => {
    kill();
    throw failure;
  });
  // Awaited after the end.
  begun.catch(() => {});
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.process.on('error', reject);
      child.process.on('close', resolve);
    });
    await waitForDeath(status.childPid());
    const log = await child.log();
    run.signal?.throwIfAborted();
    // What came after the last look counts too.
    if (over === undefined && (await diskUse(run.work, limits.workSizeBytesMax)) > limits.workSizeBytesMax)
      over = 'work';
    if (over !== undefined) return { exitCode: undefined, over, log };
    await begun;
    if (status.exitCode() === undefined) throw startFailed(log, code, status.childPid() !== undefined);
    return { exitCode: status.exitCode(), log };
  } finally {
    clearTimeout(timer);
    stopWatching();
    run.signal?.removeEventListener('abort', kill);
  }
}

/** Lets the command begin when there is a sandbox whose processes are bound. */
async function begin(
  status: ReturnType<typeof collectStatus>,
  child: StartedSandbox,
  limits: StepLimits,
): Promise<void> {
  const firstProcess = await status.started;
  if (firstProcess !== undefined) await limitProcesses(firstProcess, limits.processesMax);
  child.begin();
}

/**
 * Starts bubblewrap so that nothing of ours shows through it: its environment and command line can be read inside as
 * /proc/1/…, so the first is empty and the options go through a pipe; descriptors that we inherited are covered.
 */
async function startSandbox(run: SandboxRun, limits: StepLimits, machine: string) {
  const filter = seccompProgram(requireFilter());
  mkdirSync(machine);
  const machineFiles = writeMachineFiles(machine, limits, run.sourceDateEpoch);
  if (run.conditions?.user !== undefined) writePasswd(machine, run.conditions.user);
  for (const folder of [run.work, run.materials, machine]) giveToStepUser(folder);
  const inputs = (run.inputs ?? []).map(({ folder }) => folder);
  const own = { root: run.root, work: run.work, materials: run.materials, machine, inputs };
  const { places, words } = await sandboxCommand(limits, own);
  const pipe = await openLogPipe(run);
  const uncovered = inheritedDescriptors();
  const cover = uncovered.length === 0 ? undefined : openSync('/dev/null', 'r');
  const stdio: StdioOptions = ['ignore', pipe.writeEnd, pipe.writeEnd, 'pipe', 'pipe', 'pipe', 'pipe'];
  for (const descriptor of uncovered) {
    while (stdio.length < descriptor) stdio.push('ignore');
    stdio[descriptor] = cover;
  }
  // umask: bubblewrap and the step inherit it. Node has one for the whole process, hence the shell's.
  const umask = run.conditions?.umask ?? '022';
  const around = run.trace === undefined ? [] : [await findTool('strace'), ...traceOptions(run.trace), '--'];
  const wrap = ['-c', `umask ${umask} && exec "$@"`, 'sh', ...around, ...words, '--args', '4'];
  // In a process group of its own: Ctrl-C at a terminal reaches us alone, and we end the sandbox in order.
  const child = spawn('/bin/sh', [...wrap, '--', ...run.command], { stdio, env: {}, detached: true });
  closeSync(pipe.writeEnd);
  if (cover !== undefined) closeSync(cover);
  const options = bubblewrapOptions(run, places, machineFiles).join('\0');
  writeTo(child, 4, options);
  writeTo(child, 5, filter);
  return { process: child, log: pipe.log, begin: () => writeTo(child, 6, 'x') };
}

/** A user of another name needs an entry, or whoever asks for his name fails. */
function writePasswd(machine: string, user: NonNullable<Conditions['user']>): void {
  const entry = `${user.name}:x:${user.id}:${user.id}:${user.name}:/build:/bin/sh\n`;
  writeFileSync(`${machine}/${PASSWD}`, entry);
}

function writeTo(child: ChildProcess, descriptor: number, content: string | Buffer): void {
  // The type of `stdio` ends at 4.
  const into = (child.stdio as readonly unknown[])[descriptor] as Writable;
  // If bubblewrap ends before it has read it, its exit code tells.
  into.on('error', () => {});
  into.end(content);
}

/** Descriptors above 6 that a process started by us would get from us because whoever started us left them open. */
function inheritedDescriptors(): number[] {
  const closedOnExec = 0o2000000;
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => {
      if (descriptor <= 6) return false;
      try {
        const info = readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8');
        const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8);
        return (flags & closedOnExec) === 0;
      } catch {
        // The descriptor that listed the folder itself.
        return false;
      }
    });
}

/**
 * One pipe for both streams of a log, so that lines keep their order. A named pipe, removed at once: Node's own are sockets, and
 * a step that opens /dev/stdout again could not.
 */
async function openLogPipe(run: SandboxRun) {
  const path = `${run.work}.log`;
  const made = await runTool('mkfifo', [path], { signal: run.signal });
  if (made.exitCode !== 0) {
    throw BUILDER.unavailable(
      'SANDBOX_START_FAILED',
      `expected a pipe for the log, got ${quote(made.stderr)}`,
    );
  }
  // A step opens /dev/stdout again as itself.
  giveToStepUser(path);
  const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeEnd = openSync(path, constants.O_WRONLY);
  unlinkSync(path);
  const reader = new Socket({ fd: readEnd, readable: true, writable: false });
  let log = '';
  reader.setEncoding('utf8').on('data', (text: string) => {
    run.onLog?.(text);
    // The end of a log says why it failed; what is cut is cut at the start.
    log = (log + text).slice(-LOG_SIZE_BYTES_MAX);
  });
  const ended = new Promise<void>((resolve) => {
    reader.on('close', () => resolve());
    reader.on('error', () => resolve());
  });
  return { writeEnd, log: () => ended.then(() => log) };
}

function startFailed(log: string, code: number | null, started: boolean): Error {
  const said = log.trim().split('\n').at(-1) ?? '';
  const when = started ? 'in the sandbox' : 'before the sandbox was there';
  return BUILDER.unavailable(
    'SANDBOX_START_FAILED',
    `expected the command to run, got exit code ${code} from bubblewrap ${when}: ${quote(said)}`,
  );
}

/** bubblewrap writes one JSON object a line: first `child-pid`, at the end `exit-code`. */
function collectStatus(child: ChildProcess) {
  let text = '';
  const stream = (child.stdio[3] as Readable).setEncoding('utf8');
  const member = (name: string): number | undefined => {
    const found = new RegExp(`"${name}": ([0-9]+)`).exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const started = new Promise<number | undefined>((resolve) => {
    stream.on('data', (chunk: string) => {
      text += chunk;
      if (member('child-pid') !== undefined) resolve(member('child-pid'));
    });
    stream.on('close', () => resolve(undefined));
  });
  return { started, childPid: () => member('child-pid'), exitCode: () => member('exit-code') };
}

/**
 * Waits until the sandbox's first process is dead. bubblewrap reports the command's end before processes that the command left
 * behind are killed; the kernel lets a namespace's first process die only after all others in it.
 */
async function waitForDeath(pid: number | undefined): Promise<void> {
  if (pid === undefined) return;
  for (let waitedMs = 0; waitedMs < 10_000; waitedMs += 5) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
    // The state follows the name, which stands in parentheses; a zombie is dead and only not buried.
    if (stat === undefined || /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw BUILDER.unavailable('SANDBOX_START_FAILED', 'expected the sandbox to end, got one that does not die');
}
