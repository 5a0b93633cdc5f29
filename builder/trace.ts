// SPDX-License-Identifier: Apache-2.0
// What the processes of a step opened and ran, as strace saw it from outside the sandbox [docs/spec/audit.md §Trace]. Each call is
// caught by the kernel before it returns, so that nothing is missed under load; a filter keeps the others at full speed.

import { join } from 'node:path';

/** Calls that open or run a file by name. */
const CALLS = ['open', 'openat', 'openat2', 'creat', 'execve', 'execveat', 'open_by_handle_at', 'uselib'];

/** Options of strace that write a log to `path`: whole process tree, successful calls only, descriptors with their paths, the time of each. */
export function traceOptions(path: string): string[] {
  const trace = `?${CALLS.join(',?')}`;
  return [
    '-f',
    '--seccomp-bpf',
    '-q',
    '-ttt',
    '-y',
    '-z',
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

/** Programs that stand between us and the command of a step. */
const LIMITERS = /\/(?:env|prlimit|setpriv|taskset)$/;

/** Paths as the step saw them, absolute, links resolved by the kernel where it said so. */
export interface Opened {
  readonly read: ReadonlySet<string>;
  /** Given to execve. */
  readonly ran: ReadonlySet<string>;
}

/** A line of a log. */
export interface TracedCall {
  readonly pid: string;
  /** Seconds since 1970; 0 in a log without times. */
  readonly seconds: number;
  /** As strace writes it, Latin-1. */
  readonly text: string;
  /** The program, if this ran one: its path as it was given to execve. */
  readonly executed?: string;
}

/**
 * Reads a log, Latin-1. What the sandbox itself did before it ran the command is left out: that is the first program after
 * bubblewrap which is none of those that put limits on a process.
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
    const [, pid = '', seconds = '0'] = match;
    const text = joined(unfinished, pid, match[3] ?? '');
    const path =
      text === undefined ? undefined : /^execve(?:at)?\([^"]*"((?:[^"\\]|\\.)*)".*\) = 0$/.exec(text)?.[1];
    if (!inside) {
      outside.add(pid);
      if (path === undefined) continue;
      if (/\/bwrap$/.test(path)) wrapped = true;
      else if (wrapped && !LIMITERS.test(path)) {
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
  for (const { text, executed } of readTrace(log)) {
    const opened = openedBy(text);
    if (executed !== undefined) ran.add(executed);
    else if (opened !== undefined) read.add(opened);
  }
  return { read, ran };
}

/** The path of what a call opened. */
export function openedBy(text: string): string | undefined {
  const path = /^(?:open|creat)[a-z0-9_]*\(.* = \d+<((?:[^>\\]|\\.)*)>(?:\(deleted\))?$/.exec(text)?.[1];
  return path === undefined ? undefined : unescapeC(path);
}

/** A call that another process interrupted stands on two lines; undefined until both are there. */
function joined(unfinished: Map<string, string>, pid: string, text: string): string | undefined {
  const cut = text.indexOf(' <unfinished ...>');
  if (cut >= 0) {
    unfinished.set(pid, text.slice(0, cut));
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
