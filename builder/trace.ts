// SPDX-License-Identifier: Apache-2.0
// What the processes of a step opened, ran and did not find, as strace saw it from outside the sandbox [docs/spec/audit.md §Trace]. Each call is
// caught by the kernel before it returns, so that nothing is missed under load; a filter keeps the others at full speed.

import { join, posix } from 'node:path';
import { RelativeRuns } from './relative-runs.ts';

/** Calls that open or run a file by name. */
const CALLS = ['open', 'openat', 'openat2', 'creat', 'execve', 'execveat', 'open_by_handle_at', 'uselib'];
/** Calls that look for a file: shells look for programs with them, make for its rules' files. */
const LOOKS = ['stat', 'newfstatat', 'statx', 'access', 'faccessat', 'faccessat2'];
/** Calls after which a process is in another folder. */
const MOVES = ['chdir', 'fchdir'];

/** Options of strace that write a log to `path`: whole process tree, successful and failed calls, descriptors with their paths, the time of each. */
export function traceOptions(path: string): string[] {
  const trace = `?${[...CALLS, ...LOOKS, ...MOVES].join(',?')}`;
  return [
    '-f',
    '--seccomp-bpf',
    '-q',
    '-ttt',
    '-y',
    '-s',
    '0',
    '-e',
    `trace=${trace}`,
    '-e',
    'signal=none',
    '-o',
    path,
  ];
}

/** Paths as the step saw them, absolute, links resolved by the kernel where it said so. */
export interface Opened {
  readonly read: ReadonlySet<string>;
  /** Given to execve; with links, and `..` after them, as they were given. */
  readonly ran: ReadonlySet<string>;
  /** Looked for and not there, and no file of that name was found elsewhere; the step's own places are left out. */
  readonly absent: ReadonlySet<string>;
  /** Given to execve, which found no file, or not the program that runs it. */
  readonly notRun: ReadonlySet<string>;
}

/** A call that names a file, which may be relative to a folder: its name, the folder, the file. */
const NAMED = /^([a-z0-9_]+)\((?:(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>(?:\(deleted\))?, )?"((?:[^"\\]|\\.)*)"/;
const SUCCEEDED = / = \d+(?:<(?:[^>\\]|\\.)*>(?:\(deleted\))?)?$/;
const FAILED = / = -1 (?:ENOENT|ENOTDIR) \([^"]*\)$/;
const EXECUTED =
  /^execve(?:at)?\((?:(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>(?:\(deleted\))?, )?"((?:[^"\\]|\\.)*)".*\) += 0$/;
/** Where a step may well look for what it has not made yet, and what the kernel makes. */
const NO_INPUT = /^\/(?:build|tmp|proc|dev|sys)(?:\/|$)/;

/** Names that stand for one another: GCC asks for a precompiled form of a header first, a linker for both forms of a library. */
function standIns(name: string): string[] {
  return [name, name.replace(/\.gch$/, ''), name.replace(/\.so$/, '.a'), name.replace(/\.a$/, '.so')];
}

/** Look-ups of a step. A search tries the same name in many folders: that it was found in one settles all of them. */
class LookUps {
  readonly #found = new Set<string>();
  readonly #absent = new Set<string>();
  readonly #notRun = new Set<string>();

  add(line: string): void {
    const [, call = '', folder, name] = NAMED.exec(line) ?? [];
    if (name === undefined || name === '' || MOVES.includes(call)) return;
    if (SUCCEEDED.test(line)) this.#found.add(posix.basename(name));
    else if (FAILED.test(line) && (folder !== undefined || name.startsWith('/'))) {
      const path = posix.resolve(folder ?? '/', name);
      this.#absent.add(path);
      if (call.startsWith('execve')) this.#notRun.add(path);
    }
  }

  result(): Pick<Opened, 'absent' | 'notRun'> {
    const missed = [...this.#absent].filter((path) => {
      return !NO_INPUT.test(path) && !standIns(posix.basename(path)).some((name) => this.#found.has(name));
    });
    const plain = (paths: Iterable<string>) => new Set([...paths].map(unescapeC));
    return { absent: plain(missed), notRun: plain(this.#notRun) };
  }
}

/** A line of a log. */
export interface TracedCall {
  readonly pid: string;
  /** Seconds since 1970; 0 in a log without times. */
  readonly seconds: number;
  /** As strace writes it, Latin-1. */
  readonly text: string;
  /** The program, if this ran one: its path as it was given to execve, which may be relative to the folder of the process. */
  readonly executed?: string;
}

/**
 * Reads a log, Latin-1. What the sandbox itself did before it ran the command is left out: that is the first program after
 * bubblewrap, which those that put limits on a process come before.
 */
export function* readTrace(log: string): Generator<TracedCall> {
  /** Processes of the sandbox itself: they are there before the command is. */
  const outside = new Set<string>();
  let wrapped = false;
  let inside = false;
  const unfinished = new Map<string, string>();
  for (const raw of log.split('\n')) {
    const match = /^(\d+)\s+(?:(\d+\.\d+) )?(.*)$/.exec(raw);
    if (match === null) continue;
    const [, number = '', seconds = '0', said = ''] = match;
    // A thread that runs a program takes over the number of its process, whose end that is not.
    const [, ran, taken] = /^(execve.*) <pid changed to (\d+) \.\.\.>$/.exec(said) ?? [];
    if (said.startsWith('+++ superseded by execve')) continue;
    const pid = taken ?? number;
    const text = joined(unfinished, pid, ran === undefined ? said : `${ran}) = 0`);
    const path = text === undefined ? undefined : executedBy(text);
    if (!inside) {
      outside.add(pid);
      if (path === undefined) continue;
      if (/\/bwrap$/.test(path)) wrapped = true;
      else if (wrapped) {
        inside = true;
        outside.delete(pid);
      }
    }
    if (text === undefined || outside.has(pid)) continue;
    yield {
      pid,
      seconds: Number(seconds),
      text,
      ...(path === undefined ? {} : { executed: unescapeC(path) }),
    };
  }
}

/** What was opened and what ran, by a log. */
export function parseTrace(log: string): Opened {
  const read = new Set<string>();
  const ran = new Set<string>();
  const lookUps = new LookUps();
  const relative = new RelativeRuns();
  for (const { pid, text, executed } of readTrace(log)) {
    lookUps.add(text);
    const opened = openedBy(text);
    if (executed?.startsWith('/') === true) ran.add(executed);
    else if (opened !== undefined) read.add(opened);
    relative.add(pid, text, executed?.startsWith('/') === false ? executedBy(text) : undefined);
  }
  for (const path of relative.result()) ran.add(unescapeC(path));
  return { read, ran, ...lookUps.result() };
}

/** What an execve ran, as strace writes it; of an execveat the folder is known, which is the program itself if no name is given. */
function executedBy(text: string): string | undefined {
  const [, folder, name] = EXECUTED.exec(text) ?? [];
  if (name === undefined || folder === undefined || name.startsWith('/')) return name;
  return name === '' ? folder : `${folder}/${name}`;
}

/** The path of what a call opened. */
export function openedBy(text: string): string | undefined {
  const path = /^(?:open|creat)[a-z0-9_]*\(.* = \d+<((?:[^>\\]|\\.)*)>(?:\(deleted\))?$/.exec(text)?.[1];
  return path === undefined ? undefined : unescapeC(path);
}

const UNFINISHED = ' <unfinished ...>';

/** A call that another process interrupted stands on two lines; undefined until both are there. */
function joined(unfinished: Map<string, string>, pid: string, text: string): string | undefined {
  // At the end alone: a step may have a file of such a name.
  if (text.endsWith(UNFINISHED)) {
    unfinished.set(pid, text.slice(0, -UNFINISHED.length));
    return undefined;
  }
  const resumed = /^<\.\.\. \S+ resumed>(.*)$/.exec(text)?.[1];
  if (resumed === undefined) return text;
  const start = unfinished.get(pid) ?? '';
  unfinished.delete(pid);
  return `${start}${resumed}`;
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', v: '\v', f: '\f' };

/** strace writes bytes as C does: `\n`, `\"`, octal for the rest. */
function unescapeC(text: string): string {
  const bytes = text.replace(/\\(x[0-9a-f]{2}|[0-7]{1,3}|.)/g, (_, code: string) => {
    if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8));
    if (/^x./.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    return ESCAPES[code] ?? code;
  });
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Where the trace of a step is kept while a build is under way. */
export function tracePath(work: string, step: string): string {
  return join(work, `${step}.strace`);
}
