// SPDX-License-Identifier: Apache-2.0
// Programs of the host that the builder runs: found, bounded, cancellable; a missing one is named with its Debian package.

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';

const PACKAGE_OF = {
  'apt-cache': 'apt',
  'apt-get': 'apt',
  bwrap: 'bubblewrap',
  bzip2: 'bzip2',
  chmod: 'coreutils',
  'dpkg-deb': 'dpkg',
  git: 'git',
  gpgv: 'gpgv',
  mkfifo: 'coreutils',
  mount: 'mount',
  prlimit: 'util-linux',
  setpriv: 'util-linux',
  sh: 'dash',
  strace: 'strace',
  taskset: 'util-linux',
  unshare: 'util-linux',
  rm: 'coreutils',
  tar: 'tar',
  xz: 'xz-utils',
} as const;

export type HostTool = keyof typeof PACKAGE_OF;

export interface ToolResult {
  /** 128 + signal number if a signal ended it, as a shell says. */
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface ToolOptions {
  readonly signal?: AbortSignal | undefined;
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Standard output kept at most; more is an error of the tool. */
  readonly stdoutSizeBytesMax?: number;
}

/** The fault for a tool that is not there. */
export function toolMissing(tool: HostTool, found = 'none'): Error {
  return BUILDER.unavailable(
    'SANDBOX_TOOL_MISSING',
    `expected the program ${tool} of the Debian package ${PACKAGE_OF[tool]}, got ${found}; ` +
      `install it: sudo apt-get install ${PACKAGE_OF[tool]}`,
  );
}

/** The absolute path of a tool, as PATH gives it. @throws SANDBOX_TOOL_MISSING */
export async function findTool(tool: HostTool): Promise<string> {
  for (const folder of (toolEnvironment().PATH ?? '').split(':')) {
    const path = join(folder, tool);
    if (folder.startsWith('/') && canRun(path)) return path;
  }
  throw toolMissing(tool);
}

/** Asked without a pause: who starts a program should not wait for whatever else is going on. */
function canRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What a tool of the host gets of our environment: where programs are, and how to reach the network. */
export function toolEnvironment(): Record<string, string> {
  const kept: Record<string, string> = { LC_ALL: 'C', PATH: '/usr/bin:/bin:/usr/sbin:/sbin' };
  for (const name of ['PATH', 'HOME', 'TMPDIR', 'http_proxy', 'https_proxy', 'no_proxy']) {
    const value = process.env[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}

/** Runs a tool to its end. A failure of the tool is a result, not a fault. @throws SANDBOX_TOOL_MISSING */
export async function runTool(
  tool: HostTool,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<ToolResult> {
  options.signal?.throwIfAborted();
  const child = spawn(tool, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...toolEnvironment(), ...options.environment },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const kill = () => child.kill('SIGKILL');
  options.signal?.addEventListener('abort', kill, { once: true });
  const stdout: Buffer[] = [];
  let stdoutSize = 0;
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdoutSize += chunk.length;
    if (stdoutSize > (options.stdoutSizeBytesMax ?? 64 * 1024 * 1024)) kill();
    else stdout.push(chunk);
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr = (stderr + chunk).slice(-64 * 1024);
  });
  try {
    const exitCode = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) => resolve(code ?? 128 + 9));
    });
    options.signal?.throwIfAborted();
    return { exitCode, stdout: Buffer.concat(stdout), stderr };
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'EACCES') throw toolMissing(tool, quote(code));
    throw cause;
  } finally {
    options.signal?.removeEventListener('abort', kill);
  }
}
