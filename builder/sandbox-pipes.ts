// SPDX-License-Identifier: Apache-2.0
// What passes between us and bubblewrap: the log, its status, what it reads from us, and the descriptors that it must not have.

import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import { runTool } from './host-tool.ts';
import { giveToStepUser } from './step-user.ts';

/** What is kept of a log, in memory and in the output folder. */
const LOG_SIZE_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Named pipes, removed at once; Node's own are sockets. `log`, one for both streams, so that lines keep their order: a step that opens
 * /dev/stdout again could not if it were a socket. `begin`, which gives leave to begin: bubblewrap gets both ends, so that our death
 * is no leave. `life`, which ends when we do. @throws SANDBOX_START_FAILED, SANDBOX_TOOL_MISSING
 */
export async function openPipes(
  work: string,
  onLog: ((text: string) => void) | undefined,
  signal: AbortSignal | undefined,
) {
  const paths = [`${work}.log`, `${work}.begin`, `${work}.life`] as const;
  const made = await runTool('mkfifo', paths, { signal });
  if (made.exitCode !== 0) {
    throw BUILDER.unavailable(
      'SANDBOX_START_FAILED',
      `expected pipes to the sandbox, got ${quote(made.stderr.trim())}`,
    );
  }
  const [logPath, beginPath, lifePath] = paths;
  // A step opens /dev/stdout again as itself.
  giveToStepUser(logPath);
  const reader = openSync(logPath, constants.O_RDONLY | constants.O_NONBLOCK);
  const log = openSync(logPath, constants.O_WRONLY);
  const begin = openSync(beginPath, constants.O_RDWR);
  // To open the writing end alone would wait for a reader.
  const alive = openSync(lifePath, constants.O_RDWR);
  const life = openSync(lifePath, constants.O_RDONLY);
  for (const path of paths) unlinkSync(path);
  const text = readLog(reader, onLog);
  let ended = false;
  return {
    /** Descriptors for the sandbox; `log` and `life` are to be closed here when it has them. */
    theirs: { log, begin, life },
    ours: {
      /** All that was said, when there is nobody left to say more. */
      log: () => text,
      begin: () => {
        if (!ended) writeSync(begin, 'x');
      },
      /** To be called once, when the sandbox has ended. */
      end: () => {
        ended = true;
        closeSync(begin);
        closeSync(alive);
      },
    },
  };
}

function readLog(descriptor: number, onLog: ((text: string) => void) | undefined): Promise<string> {
  const reader = new Socket({ fd: descriptor, readable: true, writable: false });
  let log = '';
  reader.setEncoding('utf8').on('data', (text: string) => {
    onLog?.(text);
    // The end of a log says why it failed; what is cut is cut at the start.
    log = (log + text).slice(-LOG_SIZE_BYTES_MAX);
  });
  return new Promise((resolve) => {
    reader.on('close', () => resolve(log));
    reader.on('error', () => resolve(log));
  });
}

/** bubblewrap writes one JSON object a line: first `child-pid`, at the end `exit-code`. */
export function collectStatus(child: ChildProcess) {
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

/** Writes to a descriptor of a process, and closes it. */
export function writeTo(child: ChildProcess, descriptor: number, content: string | Buffer): void {
  // The type of `stdio` ends at 4.
  const into = (child.stdio as readonly unknown[])[descriptor] as Writable;
  // If bubblewrap ends before it has read it, its exit code tells.
  into.on('error', () => {});
  into.end(content);
}

/** Descriptors above 7 that a process started by us would get from us because whoever started us left them open. */
export function inheritedDescriptors(): number[] {
  const closedOnExec = 0o2000000;
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((descriptor) => {
      if (descriptor <= 7) return false;
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
