// SPDX-License-Identifier: Apache-2.0
// The sandbox of a step: bubblewrap around a root of locked packages [docs/spec/build-definition.md §What a step can see].
// What bounds it is in control-group.ts and resource-limits.ts, the filter of its system calls in seccomp.ts, what it is told in
// fixed-answers.ts, what passes between us and bubblewrap in sandbox-pipes.ts.

import { type StdioOptions, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { quote } from '../core/faults.ts';
import type { SandboxLimits } from '../core/intoto/provenance.ts';
import { type Conditions, changedEnvironment } from './conditions.ts';
import { ControlGroup } from './control-group.ts';
import { BUILDER } from './faults.ts';
import { clockEnvironment, writeMachineFiles } from './fixed-answers.ts';
import { findTool } from './host-tool.ts';
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
import { collectStatus, inheritedDescriptors, openPipes, writeTo } from './sandbox-pipes.ts';
import { requireFilter, seccompProgram } from './seccomp.ts';
import { giveToStepUser, stageFolders } from './step-user.ts';
import { traceOptions } from './trace.ts';

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
  /** What bounds memory and processes; limits of each process if it is not said. */
  readonly boundBy?: SandboxLimits | undefined;
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
  readonly over?: 'time' | 'work' | 'memory' | undefined;
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

/**
 * `sh -e -c WATCHED sh umask command…`: leaves a watcher behind and becomes the command. Descriptor 7 ends when the builder does, however that
 * came, and then the watcher kills its process group. bubblewrap's `--die-with-parent` is not enough: until the sandbox's first process
 * asks for it, that process waits for ever, or goes on, if what started it is gone. The watcher is nobody's child, as a tracer waits for
 * all of its own. umask: bubblewrap and the step inherit it.
 */
const WATCHED = `
( (exec </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&-; read -r end <&7 || kill -s KILL 0) & )
exec 7>&-
umask "$1"
shift
exec "$@"`;

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
  const { user, path } = run.conditions ?? {};
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
    ...['--bind', places.work, '/build', '--ro-bind', places.materials, '/materials'],
    ...(path === undefined ? [] : ['--bind', places.work, path]),
    ...['--chdir', path ?? '/build'],
    ...(user === undefined ? [] : ['--ro-bind', `${places.machine}/${PASSWD}`, '/etc/passwd']),
    ...['--json-status-fd', '3', '--seccomp', '5', '--block-fd', '6'],
  ];
}

/** Where bubblewrap finds the folders of a run, and the words to start it with. A shell adds the folder it starts in to its environment, hence env. */
async function sandboxCommand(limits: StepLimits, group: ControlGroup | undefined, own: Places) {
  const boundBy = group === undefined ? 'rlimits' : 'cgroup';
  const [bwrap, limiting] = await Promise.all([findTool('bwrap'), limitingCommand(limits, boundBy)]);
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
    words: [...(group?.enteringCommand() ?? []), ...words, ...limiting, 'env', '-i', bwrap],
  };
}

/**
 * Runs one command to its end and returns when every process of its sandbox is dead.
 * @throws SANDBOX_START_FAILED, SANDBOX_TOOL_MISSING, SANDBOX_CPUS_MISSING, SANDBOX_FILTER_MISSING, SANDBOX_GROUP_FAILED,
 * SANDBOX_MEMORY_EXHAUSTED; the signal's reason when aborted
 */
export async function runInSandbox(run: SandboxRun): Promise<SandboxResult> {
  run.signal?.throwIfAborted();
  const limits = limitsOf(run);
  const machine = `${run.work}.machine`;
  const group = run.boundBy === 'cgroup' ? ControlGroup.make(limits) : undefined;
  try {
    return await runToEnd(run, limits, group, await startSandbox(run, limits, group, machine));
  } finally {
    await Promise.all([group?.remove(), removeTree(machine)]);
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

async function runToEnd(
  run: SandboxRun,
  limits: StepLimits,
  group: ControlGroup | undefined,
  child: StartedSandbox,
): Promise<SandboxResult> {
  const status = collectStatus(child.process);
  let over: SandboxResult['over'];
  const kill = () => {
    // Killing the sandbox's first process makes the kernel kill all others in it, whatever they did to detach. What is around it is
    // one process group: a tracer may stand between us and the rest.
    const [first, around] = [status.childPid(), child.process.pid];
    for (const target of [first, around === undefined ? undefined : -around]) {
      try {
        if (target !== undefined) process.kill(target, 'SIGKILL');
      } catch {
        // It ended in the same moment.
      }
    }
    group?.kill();
  };
  const killFor = (limit: 'time' | 'work') => {
    over ??= limit;
    kill();
  };
  const timer = setTimeout(() => killFor('time'), run.timeoutMs);
  const stopWatching = watchSize(run.work, limits.workSizeBytesMax, () => killFor('work'));
  // Whose memory it was is read at the end.
  const stopWatchingMemory = group?.watchMemory(kill);
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
    if (memoryOver(group)) over = 'memory';
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
    stopWatchingMemory?.();
    run.signal?.removeEventListener('abort', kill);
    child.end();
  }
}

/** Whether the step had too little memory, and its own limit was why. @throws SANDBOX_GROUP_FAILED, SANDBOX_MEMORY_EXHAUSTED */
function memoryOver(group: ControlGroup | undefined): boolean {
  group?.checkInForce();
  const out = group?.memoryRanOut();
  if (out !== 'machine') return out === 'step';
  throw BUILDER.unavailable(
    'SANDBOX_MEMORY_EXHAUSTED',
    "expected memory for the step, got a process killed by the kernel for want of it, within the step's own limit",
  );
}

/** Lets the command begin when there is a sandbox whose processes are bound. */
async function begin(
  status: ReturnType<typeof collectStatus>,
  child: StartedSandbox,
  limits: StepLimits,
): Promise<void> {
  const firstProcess = await status.started;
  // In a control group, too: a second bound, should the group be taken away while the step runs.
  if (firstProcess !== undefined) await limitProcesses(firstProcess, limits.processesMax);
  child.begin();
}

/**
 * Starts bubblewrap so that nothing of ours shows through it: its environment and command line can be read inside as
 * /proc/1/…, so the first is empty and the options go through a pipe; descriptors that we inherited are covered.
 */
async function startSandbox(
  run: SandboxRun,
  limits: StepLimits,
  group: ControlGroup | undefined,
  machine: string,
) {
  const filter = seccompProgram(requireFilter());
  mkdirSync(machine);
  const machineFiles = writeMachineFiles(machine, limits, run.sourceDateEpoch);
  if (run.conditions?.user !== undefined) writePasswd(machine, run.conditions.user);
  for (const folder of [run.work, run.materials, machine]) giveToStepUser(folder);
  const inputs = (run.inputs ?? []).map(({ folder }) => folder);
  const own = { root: run.root, work: run.work, materials: run.materials, machine, inputs };
  const { places, words } = await sandboxCommand(limits, group, own);
  const { ours, theirs } = await openPipes(run.work, run.onLog, run.signal);
  const uncovered = inheritedDescriptors();
  const cover = uncovered.length === 0 ? undefined : openSync('/dev/null', 'r');
  const { log, begin, life } = theirs;
  const stdio: StdioOptions = ['ignore', log, log, 'pipe', 'pipe', 'pipe', begin, life];
  for (const descriptor of uncovered) {
    while (stdio.length < descriptor) stdio.push('ignore');
    stdio[descriptor] = cover;
  }
  // Node has one for the whole process, hence the shell's.
  const umask = run.conditions?.umask ?? '022';
  const around = run.trace === undefined ? [] : [await findTool('strace'), ...traceOptions(run.trace), '--'];
  const wrap = ['-e', '-c', WATCHED, 'sh', umask, ...around, ...words, '--args', '4'];
  // In a process group of its own: Ctrl-C at a terminal reaches us alone, and we end the sandbox in order.
  const child = spawn('/bin/sh', [...wrap, '--', ...run.command], { stdio, env: {}, detached: true });
  for (const end of [log, life, ...(cover === undefined ? [] : [cover])]) closeSync(end);
  const options = bubblewrapOptions(run, places, machineFiles).join('\0');
  writeTo(child, 4, options);
  writeTo(child, 5, filter);
  return { process: child, ...ours };
}

/** A user of another name needs an entry, or whoever asks for his name fails. */
function writePasswd(machine: string, user: NonNullable<Conditions['user']>): void {
  const entry = `${user.name}:x:${user.id}:${user.id}:${user.name}:/build:/bin/sh\n`;
  writeFileSync(`${machine}/${PASSWD}`, entry);
}

function startFailed(log: string, code: number | null, started: boolean): Error {
  const said = log.trim().split('\n').at(-1) ?? '';
  const when = started ? 'in the sandbox' : 'before the sandbox was there';
  return BUILDER.unavailable(
    'SANDBOX_START_FAILED',
    `expected the command to run, got exit code ${code} from bubblewrap ${when}: ${quote(said)}`,
  );
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
