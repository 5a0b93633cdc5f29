// SPDX-License-Identifier: Apache-2.0
// `waybill <verb>`: one file a verb; this file only joins them and turns failures into exit codes.

import { Command, CommanderError } from 'commander';
import { attestVerb } from './attest.ts';
import { buildVerb } from './build.ts';
import { deviceVerb } from './device.ts';
import { gateVerb } from './gate.ts';
import { initVerb } from './init.ts';
import { keyVerb } from './key.ts';
import { lockVerb } from './lock.ts';
import { productVerb } from './product.ts';
import { releaseVerb } from './release.ts';
import { serveVerb } from './serve.ts';
import { EXIT, printFailure } from './terminal.ts';
import { traceVerb } from './trace.ts';

/** Each verb's file adds its command; the order is that of the road, and of the help text. */
const VERBS: ((program: Command) => void)[] = [
  lockVerb,
  buildVerb,
  initVerb,
  serveVerb,
  attestVerb,
  productVerb,
  gateVerb,
  releaseVerb,
  deviceVerb,
  traceVerb,
  keyVerb,
];

/** The whole command line, for running and for checking what pages say about it. */
export function commandLine(version: string): Command {
  const program = new Command('waybill');
  program
    .description('Signed evidence for firmware, from source to install, checked whole on the device.')
    .version(version)
    .showHelpAfterError('Run with --help to see what is possible.')
    .exitOverride();
  for (const verb of VERBS) verb(program);
  // Subcommands inherit neither setting once they are made by `command()` before it.
  const strict = (command: Command): void => {
    command.exitOverride();
    command.commands.forEach(strict);
  };
  strict(program);
  return program;
}

/** Runs one command line and returns its exit code (0 done, 1 refused, 2 usage, 70 our bug, 75 try again). */
export async function main(argv: readonly string[], version: string): Promise<number> {
  const program = commandLine(version);
  try {
    await program.parseAsync([...argv]);
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT.done;
  } catch (failure) {
    if (failure instanceof CommanderError) return failure.exitCode === 0 ? EXIT.done : EXIT.usage;
    return printFailure(failure, argv.includes('--json'));
  }
}
