// SPDX-License-Identifier: Apache-2.0
// Runs `waybill` as a user would, in a process of its own or, where many lines are tried, in this one.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { main } from '../../cli/main.ts';
import type { Outcome } from '../../examples/demo/command-line.ts';

const COMMAND = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs one command line in `cwd`, without input, its state and cache under `cwd` too. */
export function waybill(argv: readonly string[], cwd: string): Promise<Run> {
  const env = { ...process.env, XDG_STATE_HOME: `${cwd}/.state`, XDG_CACHE_HOME: `${cwd}/.cache` };
  const child = spawn(process.execPath, [COMMAND, ...argv], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      resolve({ code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() });
    });
  });
}

/** Every command of the tree that does something itself, with the words that name it. */
export function leaves(
  command: Command,
  words: readonly string[] = [],
): { words: readonly string[]; command: Command }[] {
  if (command.commands.length === 0) return [{ words, command }];
  return command.commands.flatMap((child) => leaves(child, [...words, child.name()]));
}

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs in this process, which is quicker than one for each of many lines. */
export async function say(argv: readonly string[]): Promise<Said> {
  const streams = [process.stdout, process.stderr];
  const writes = streams.map((stream) => stream.write);
  const said = ['', ''];
  streams.forEach((stream, i) => {
    stream.write = (text: string | Uint8Array) => {
      said[i] = `${said[i] ?? ''}${text}`;
      return true;
    };
  });
  // A verb that refuses may leave its exit code there, for the end of a process that this one is not.
  const { exitCode } = process;
  process.exitCode = undefined;
  try {
    const code = await main(['node', 'waybill', ...argv], '0.0.0');
    return { code, out: said[0] ?? '', err: said[1] ?? '' };
  } finally {
    process.exitCode = exitCode;
    streams.forEach((stream, i) => {
      stream.write = writes[i] as typeof stream.write;
    });
  }
}

/** The same with more environment, answered as a process is by the demo's command line. */
export async function runHere(argv: readonly string[], env: Record<string, string>): Promise<Outcome> {
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  try {
    const { code, out, err } = await say(argv);
    const json = argv.includes('--json') && out !== '' ? JSON.parse(out) : undefined;
    return { exitCode: code, stdout: out, stderr: err, json };
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
