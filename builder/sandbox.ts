// SPDX-License-Identifier: Apache-2.0
// The sandbox of a step: bubblewrap around a root of locked packages [docs/spec/build-definition.md §What a step can see].

import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { release } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { quote } from '../core/faults.ts';
import type { StepSandbox } from '../core/intoto/provenance.ts';
import { type Conditions, changedEnvironment } from './conditions.ts';
import { BUILDER } from './faults.ts';
import { findTool, runTool, toolMissing } from './host-tool.ts';
import { traceOptions } from './trace.ts';

/** 0.8.0 is the first that can keep a step from making user namespaces of its own. */
const BUBBLEWRAP_MIN = [0, 8];
const TMP_SIZE_BYTES = 1024 * 1024 * 1024;
/** What is kept of a log, in memory and in the output folder. */
const LOG_SIZE_BYTES_MAX = 4 * 1024 * 1024;

// `--unshare-all` cannot be joined with `--disable-userns`, hence the list.
const NAMESPACES = [
  '--unshare-user',
  '--disable-userns',
  '--unshare-ipc',
  '--unshare-pid',
  '--unshare-net',
  '--unshare-uts',
  '--unshare-cgroup-try',
];

export interface SandboxRun {
  readonly root: string;
  /** Becomes /build, writable. */
  readonly work: string;
  /** Becomes /materials, read-only. */
  readonly materials: string;
  readonly command: readonly string[];
  readonly environment: readonly (readonly [string, string])[];
  readonly sourceDateEpoch: number;
  readonly timeoutMs: number;
  /** The largest file that a process of the step can write. */
  readonly fileSizeBytesMax: number;
  /** What is otherwise than always, for `waybill build --check`. */
  readonly conditions?: Conditions | undefined;
  /** Where to write what was opened, for `waybill build --audit`. */
  readonly trace?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onLog?: ((text: string) => void) | undefined;
}

export interface SandboxResult {
  /** Exit code of the command, 128 + signal number if a signal ended it; undefined if it ran out of time. */
  readonly exitCode: number | undefined;
  /** Standard output and error as they came, cut at 4 MiB. */
  readonly log: string;
}

/**
 * Whether a sandbox can be made here, tried before anything is fetched; returns what provenance says of it.
 * @throws SANDBOX_TOOL_MISSING, SANDBOX_NAMESPACES_DENIED
 */
export async function probeSandbox(signal?: AbortSignal): Promise<Omit<StepSandbox, 'sourceDateEpoch'>> {
  const version = (await runTool('bwrap', ['--version'], { signal })).stdout.toString('utf8').trim();
  const [major, minor] = (/(\d+)\.(\d+)/.exec(version)?.slice(1) ?? ['0', '0']).map(Number) as [
    number,
    number,
  ];
  const [wantMajor, wantMinor] = BUBBLEWRAP_MIN as [number, number];
  if (major < wantMajor || (major === wantMajor && minor < wantMinor)) {
    throw toolMissing('bwrap', `${quote(version)}, older than 0.8.0`);
  }
  const probe = await runTool(
    'bwrap',
    [...NAMESPACES, '--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev', 'true'],
    { signal },
  );
  if (probe.exitCode !== 0) {
    throw BUILDER.unavailable(
      'SANDBOX_NAMESPACES_DENIED',
      `expected bubblewrap to make a sandbox, got ${quote(probe.stderr.trim())}; ${await explainDenial()}`,
    );
  }
  return { hermetic: true, mechanism: version, kernel: release() };
}

/** What on this machine most likely says no, and what to do about it. */
async function explainDenial(): Promise<string> {
  const setting = async (path: string) =>
    (await readFile(`/proc/sys/${path}`, 'utf8').catch(() => '')).trim();
  if ((await setting('kernel/apparmor_restrict_unprivileged_userns')) === '1') {
    return (
      'AppArmor restricts user namespaces here (Ubuntu 23.10 and later): run ' +
      '`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give bwrap an AppArmor profile with `userns,`'
    );
  }
  if ((await setting('kernel/unprivileged_userns_clone')) === '0') {
    return 'this kernel keeps user namespaces from ordinary users: run `sudo sysctl -w kernel.unprivileged_userns_clone=1`';
  }
  if ((await setting('user/max_user_namespaces')) === '0') {
    return 'no user namespace is allowed here: raise it with `sudo sysctl -w user.max_user_namespaces=10000`';
  }
  return (
    'inside a container, start that with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined ' +
    '--security-opt systempaths=unconfined`, or build outside it'
  );
}

/** The options of bubblewrap for one run; status goes to file descriptor 3. */
function bubblewrapOptions(run: SandboxRun): string[] {
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
  ];
  const { user } = run.conditions ?? {};
  const id = String(user?.id ?? 1000);
  return [
    ...NAMESPACES,
    ...['--uid', id, '--gid', id, '--hostname', user?.hostName ?? 'waybill'],
    ...['--cap-drop', 'ALL', '--die-with-parent', '--new-session', '--clearenv'],
    ...environment.flatMap(([name, value]) => ['--setenv', name, value]),
    ...['--ro-bind', run.root, '/', '--dev', '/dev'],
    // Read-only: started by root, a step would own /proc/sys in the kernel's eyes, core_pattern and all, capability or not.
    ...['--proc', '/proc', '--remount-ro', '/proc'],
    ...['--size', String(TMP_SIZE_BYTES), '--tmpfs', '/tmp'],
    ...['--bind', run.work, '/build', '--ro-bind', run.materials, '/materials', '--chdir', '/build'],
    ...(user === undefined ? [] : ['--ro-bind', passwdOf(run, user), '/etc/passwd']),
    ...['--json-status-fd', '3'],
  ];
}

/**
 * Runs one command to its end and returns when every process of its sandbox is dead.
 * @throws SANDBOX_START_FAILED, SANDBOX_TOOL_MISSING; the signal's reason when aborted
 */
export async function runInSandbox(run: SandboxRun): Promise<SandboxResult> {
  run.signal?.throwIfAborted();
  const child = await startSandbox(run);
  const status = collectStatus(child.process);
  let timedOut = false;
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
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, run.timeoutMs);
  run.signal?.addEventListener('abort', kill, { once: true });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.process.on('error', reject);
      child.process.on('close', resolve);
    });
    await waitForDeath(status.childPid());
    const log = await child.log();
    run.signal?.throwIfAborted();
    if (timedOut) return { exitCode: undefined, log };
    if (status.exitCode() === undefined) throw startFailed(log, code, status.childPid() !== undefined);
    return { exitCode: status.exitCode(), log };
  } finally {
    clearTimeout(timer);
    run.signal?.removeEventListener('abort', kill);
  }
}

/**
 * Starts bubblewrap so that nothing of ours shows through it: its environment and command line can be read inside as
 * /proc/1/…, so the first is empty and the options go through a pipe; descriptors that we inherited are covered.
 */
async function startSandbox(run: SandboxRun) {
  const [bwrap, prlimit] = await Promise.all([findTool('bwrap'), findTool('prlimit')]);
  const around = [
    ...(run.conditions?.oneCpu === true ? [await findTool('taskset'), '--cpu-list', firstCpu()] : []),
    ...(run.trace === undefined ? [] : [await findTool('strace'), ...traceOptions(run.trace), '--']),
  ];
  const pipe = await openLogPipe(run);
  const uncovered = inheritedDescriptors();
  const cover = uncovered.length === 0 ? undefined : openSync('/dev/null', 'r');
  const stdio: StdioOptions = ['ignore', pipe.writeEnd, pipe.writeEnd, 'pipe', 'pipe'];
  for (const descriptor of uncovered) {
    while (stdio.length < descriptor) stdio.push('ignore');
    stdio[descriptor] = cover;
  }
  const limits = [`--fsize=${run.fileSizeBytesMax}`, '--core=0'];
  // umask 022: bubblewrap and the step inherit it. Node has one for the whole process, hence the shell's. A shell adds the folder
  // that it starts in to its environment, hence env.
  const umask = run.conditions?.umask ?? '022';
  const words = [...around, prlimit, ...limits, '--', bwrap];
  const wrap = ['-c', `umask ${umask} && exec env -i "$@"`, 'sh', ...words, '--args', '4'];
  // In a process group of its own: Ctrl-C at a terminal reaches us alone, and we end the sandbox in order.
  const child = spawn('/bin/sh', [...wrap, '--', ...run.command], { stdio, env: {}, detached: true });
  closeSync(pipe.writeEnd);
  if (cover !== undefined) closeSync(cover);
  const options = child.stdio[4] as Writable;
  // If bubblewrap ends before it has read them, its exit code tells.
  options.on('error', () => {});
  options.end(bubblewrapOptions(run).join('\0'));
  return { process: child, log: pipe.log };
}

/** A user of another name needs an entry, or whoever asks for his name fails. The file lies beside the work folder. */
function passwdOf(run: SandboxRun, user: NonNullable<Conditions['user']>): string {
  const path = `${run.work}.passwd`;
  writeFileSync(path, `${user.name}:x:${user.id}:${user.id}:${user.name}:/build:/bin/sh\n`);
  return path;
}

/** The first CPU that we may use ourselves. */
function firstCpu(): string {
  return /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
}

/** Descriptors above 4 that a process started by us would get from us because whoever started us left them open. */
function inheritedDescriptors(): number[] {
  const closedOnExec = 0o2000000;
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => {
      if (descriptor <= 4) return false;
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
  (child.stdio[3] as Readable).setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const member = (name: string): number | undefined => {
    const found = new RegExp(`"${name}": ([0-9]+)`).exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  return { childPid: () => member('child-pid'), exitCode: () => member('exit-code') };
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
