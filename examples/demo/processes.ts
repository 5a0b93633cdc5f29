// SPDX-License-Identifier: Apache-2.0
// Processes that stay: started, waited for, ended.

import type { ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import type { CommandLine } from './command-line.ts';

/** A free port of the loopback interface. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

type Env = Record<string, string>;

/** Starts `waybill serve` and waits until it answers. */
export function serve(
  cli: CommandLine,
  dataFolder: string,
  url: string,
  env: Env = {},
): Promise<ChildProcess> {
  return startServer(cli, ['serve', dataFolder], url, env);
}

/** Starts `waybill witness serve` and waits until it answers. */
export function serveWitness(cli: CommandLine, folder: string, url: string): Promise<ChildProcess> {
  return startServer(cli, ['witness', 'serve', folder, '--port', new URL(url).port], url, {});
}

async function startServer(
  cli: CommandLine,
  args: readonly string[],
  url: string,
  env: Env,
): Promise<ChildProcess> {
  const what = `waybill ${args.join(' ')}`;
  const server = cli.start(args, { env });
  let said = '';
  server.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  // Its log is read to the end, or the pipe would fill and stop it.
  server.stdout?.resume();
  for (let i = 0; i < 400; i++) {
    if (server.exitCode !== null) throw new Error(`${what} ended with ${server.exitCode}:\n${said}`);
    const answers = await fetch(`${url}/healthz`).then(
      (response) => response.ok,
      () => false,
    );
    if (answers) return server;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await stop(server);
  throw new Error(`${what} did not answer at ${url} within 20 s:\n${said}`);
}

/** Ends a process that this demo started, and waits for it. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}
