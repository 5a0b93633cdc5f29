// SPDX-License-Identifier: Apache-2.0
// Runs `waybill …` as a user would: a process of its own, arguments, exit code, standard output.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));

/** What one command did. */
export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The document that `--json` printed; undefined if there is none. */
  readonly json: unknown;
}

/** Runs commands with one environment; hears of every command and its progress. */
export class CommandLine {
  private readonly env: Record<string, string>;
  private readonly onCommand: (line: string) => void;

  constructor(env: Record<string, string>, onCommand: (line: string) => void = () => {}) {
    this.env = env;
    this.onCommand = onCommand;
  }

  /** Runs a command to its end, whatever its exit code. */
  async run(
    args: readonly string[],
    options: { env?: Record<string, string>; cwd?: string } = {},
  ): Promise<Outcome> {
    this.onCommand(`waybill ${args.map(quoteArgument).join(' ')}`);
    const child = this.start(args, options);
    let [stdout, stderr] = ['', ''];
    child.stdout?.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr?.on('data', (chunk) => {
      stderr += chunk;
    });
    const exitCode = await new Promise<number>((resolve) =>
      child.on('close', (code) => resolve(code ?? 128)),
    );
    return { exitCode, stdout, stderr, json: parseOrUndefined(stdout) };
  }

  /** Runs a command that must succeed. */
  async must(
    args: readonly string[],
    options: { env?: Record<string, string>; cwd?: string } = {},
  ): Promise<Outcome> {
    const outcome = await this.run(args, options);
    if (outcome.exitCode !== 0) {
      throw new Error(
        `waybill ${args.join(' ')} ended with ${outcome.exitCode}:\n${outcome.stderr}${outcome.stdout}`,
      );
    }
    return outcome;
  }

  /** Starts a command that stays, such as `serve`. */
  start(args: readonly string[], options: { env?: Record<string, string>; cwd?: string } = {}): ChildProcess {
    return spawn(process.execPath, [BIN, ...args], {
      env: { ...this.env, ...options.env },
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}

/**
 * The code of what a command refused, from `--json` or from the text; `none` if it refused nothing. A gate's denial is a result:
 * its code is that of the first rule that failed.
 */
export function codeOf(outcome: Outcome): string {
  const json = outcome.json as CommandResult | undefined;
  const denied = json?.decision?.rules.find(({ verdict }) => verdict === 'fail');
  const said = /^waybill: ([A-Z][A-Z0-9_]+):/m.exec(outcome.stderr)?.[1];
  return json?.error?.code ?? json?.code ?? denied?.code ?? said ?? 'none';
}

interface CommandResult {
  readonly code?: string;
  readonly error?: { readonly code?: string };
  readonly decision?: { readonly rules: readonly { readonly verdict: string; readonly code?: string }[] };
}

function quoteArgument(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
