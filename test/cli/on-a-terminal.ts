// SPDX-License-Identifier: Apache-2.0
// Types shell lines at a terminal, as a person who reads them from a page would: `waybill` is this checkout's, and whenever a
// command asks for a passphrase, it is given one.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../node_modules/.bin', import.meta.url));

export interface Typed {
  readonly code: number;
  /** What the terminal showed. */
  readonly shown: string;
  /** How often a passphrase was asked for. */
  readonly asked: number;
}

/** Stops at the first line that fails, as the person would. */
export async function typeOnTerminal(lines: string, cwd: string, passphrase: string): Promise<Typed> {
  const env = { ...process.env, PATH: `${BIN}:${process.env.PATH}`, LINES_TYPED: lines };
  // util-linux's script(1) gives the terminal; -e passes the exit code on.
  const child = spawn('script', ['-qec', 'bash -euc "$LINES_TYPED"', '/dev/null'], {
    ...{ cwd, env, stdio: ['pipe', 'pipe', 'inherit'] },
  });
  let shown = '';
  let asked = 0;
  child.stdout.on('data', (chunk) => {
    shown += chunk;
    const prompts = shown.match(/passphrase for [^\r\n]+: /g)?.length ?? 0;
    for (; asked < prompts; asked++) child.stdin.write(`${passphrase}\r`);
  });
  const [code] = await once(child, 'close');
  return { code: code as number, shown, asked };
}
