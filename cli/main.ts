// SPDX-License-Identifier: Apache-2.0
// `waybill <verb>`: one file a verb; this file only joins them and turns failures into exit codes.

import { Command, CommanderError } from 'commander';
import { showClientCertificate } from './client-certificate.ts';
import { EXIT, printFailure } from './terminal.ts';

type Verb = (program: Command) => void;

/**
 * Each verb's file adds its command; the order is that of the road, and of the help text. A file is loaded only if its verb is
 * asked for: a device that updates does not load a server.
 */
const VERBS: Readonly<Record<string, () => Promise<Verb>>> = {
  lock: async () => (await import('./lock.ts')).lockVerb,
  build: async () => (await import('./build.ts')).buildVerb,
  sbom: async () => (await import('./sbom.ts')).sbomVerb,
  init: async () => (await import('./init.ts')).initVerb,
  serve: async () => (await import('./serve.ts')).serveVerb,
  rotate: async () => (await import('./rotate.ts')).rotateVerb,
  signer: async () => (await import('./signer.ts')).signerVerb,
  fsck: async () => (await import('./fsck.ts')).fsckVerb,
  witness: async () => (await import('./witness.ts')).witnessVerb,
  monitor: async () => (await import('./monitor.ts')).monitorVerb,
  attest: async () => (await import('./attest.ts')).attestVerb,
  rebuild: async () => (await import('./rebuild.ts')).rebuildVerb,
  product: async () => (await import('./product.ts')).productVerb,
  gate: async () => (await import('./gate.ts')).gateVerb,
  release: async () => (await import('./release.ts')).releaseVerb,
  verify: async () => (await import('./verify.ts')).verifyVerb,
  device: async () => (await import('./device.ts')).deviceVerb,
  trace: async () => (await import('./trace.ts')).traceVerb,
  key: async () => (await import('./key.ts')).keyVerb,
  tuf: async () => (await import('./tuf.ts')).tufVerb,
};

/** The command line with one verb, or with all of them, for help and for checking what pages say about it. */
export async function commandLine(version: string, verb?: string): Promise<Command> {
  const program = new Command('waybill');
  program
    .description('Signed evidence for firmware, from source to install, checked whole on the device.')
    .version(version)
    .showHelpAfterError('Run with --help to see what is possible.')
    // Narrow columns are wrapped too: unwrapped ones are no lines at all.
    .configureHelp({ minWidthToWrap: 20 })
    // As all faults begin, whoever finds them.
    .configureOutput({ outputError: (text, write) => write(text.replace(/^(?:error: )?/, 'waybill: ')) })
    .exitOverride();
  const chosen = verb !== undefined && Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
  for (const load of chosen === undefined ? Object.values(VERBS) : [chosen]) (await load())(program);
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
  for (const stream of [process.stdout, process.stderr]) {
    if (!stream.listeners('error').includes(ignoreClosedPipe)) stream.on('error', ignoreClosedPipe);
  }
  try {
    const program = await commandLine(version, argv[2]);
    program.hook('preAction', () => showClientCertificate(process.env));
    await program.parseAsync([...argv]);
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT.done;
  } catch (failure) {
    if (failure instanceof CommanderError) return failure.exitCode === 0 ? EXIT.done : EXIT.usage;
    return printFailure(failure, argv.includes('--json'));
  }
}

/** A reader that has seen enough (`| head`) is no reason to stop in the middle of the work. */
function ignoreClosedPipe(failure: NodeJS.ErrnoException): void {
  if (failure.code !== 'EPIPE') throw failure;
}
