// SPDX-License-Identifier: Apache-2.0
// Runs a command in a network namespace that has a loopback device and no route, and says whom it and its children tried to reach.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';

/** Calls that name whom to reach. */
const CALLS = ['connect', 'sendto', 'sendmsg', 'sendmmsg'];

/** Runs its arguments, and then says what the kernel counted in this namespace. The trace cannot see what goes through io_uring; the kernel does. */
const COUNTED = `counts=$1; shift; "$@"; code=$?; cat /proc/net/snmp > "$counts" || exit 97; cat /proc/net/snmp6 >> "$counts" 2> /dev/null; exit $code`;

export interface CutOff {
  readonly exitCode: number;
  readonly text: string;
  /** Whom the loopback device led to, and everybody else: addresses with ports, and paths of sockets that answered. */
  readonly within: readonly string[];
  readonly outside: readonly string[];
  /** Packets that the kernel was asked to send and had no route for. */
  readonly unroutedCount: number;
}

/** How long a command may take before it is ended. */
const TIMEOUT_MS = 240_000;

/** Runs to its end; `trace` is the name of a file to write to, and of another with `.counts` behind it. Nothing that was started stays. */
export async function runCutOff(command: readonly string[], trace: string): Promise<CutOff> {
  // Without /run no daemon of this machine can be asked to reach somebody on behalf of the command.
  const alone = ['--dev-bind', '/', '/', '--tmpfs', '/run', '--unshare-net', '--die-with-parent'];
  const calls = ['-f', '--seccomp-bpf', '-qq', '-e', `trace=${CALLS}`, '-e', 'signal=none', '-o', trace];
  const counted = ['sh', '-c', COUNTED, 'sh', `${trace}.counts`, ...command];
  const child = spawn('bwrap', [...alone, '--', 'strace', ...calls, ...counted], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, to be ended as one.
    detached: true,
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      text += chunk;
    });
  }
  const timer = setTimeout(() => endGroup(child), TIMEOUT_MS);
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 128));
  }).finally(() => {
    clearTimeout(timer);
    endGroup(child);
  });
  const unroutedCount = readUnrouted(await readFile(`${trace}.counts`, 'utf8'));
  return { exitCode, text, ...readTrace(await readFile(trace, 'utf8')), unroutedCount };
}

/** Ends what is left of the group that this child leads. */
function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing is left.
  }
}

/** The counters of IPv4, in a line under a line of their names, and of IPv6 where there is any, in a line each. */
function readUnrouted(counts: string): number {
  const [, names = '', values = ''] = /^Ip: (.*)\nIp: (.*)$/m.exec(counts) ?? [];
  const four = Number(values.split(' ')[names.split(' ').indexOf('OutNoRoutes')]);
  const six = Number(/^Ip6OutNoRoutes\s+(\d+)$/m.exec(counts)?.[1] ?? 0);
  if (Number.isNaN(four)) throw new Error(`expected the kernel's counters, got ${counts.slice(0, 200)}`);
  return four + six;
}

/** Whom the lines of a trace name. */
export function readTrace(trace: string): Pick<CutOff, 'within' | 'outside'> {
  const [within, outside] = [new Set<string>(), new Set<string>()];
  for (const line of trace.split('\n')) {
    for (const [whole, family, rest = ''] of line.matchAll(/\{sa_family=(AF_\w+)(?:, ([^}]*))?\}/g)) {
      const address = /"([^"]*)"/.exec(rest)?.[1] ?? whole;
      // Netlink ends in the kernel; no family undoes an earlier call.
      if (family === 'AF_NETLINK' || family === 'AF_UNSPEC') continue;
      if (family === 'AF_UNIX') {
        if (!/ = -1 E/.test(line)) outside.add(address);
      } else {
        const port = Number(/htons\((\d+)\)/.exec(rest)?.[1]);
        const isLoopback = /^(127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/.test(address);
        // A name server on this machine asks others.
        (isLoopback && port !== 53 ? within : outside).add(`${address} ${port}`);
      }
    }
  }
  return { within: [...within], outside: [...outside] };
}
