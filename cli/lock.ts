// SPDX-License-Identifier: Apache-2.0
// `waybill lock`: pins every input of a definition by digest, or says whether the lock still fits.

import type { Command } from 'commander';
import { lockInputs } from '../builder/lock.ts';
import { checkLock, formatLock, type Lock, parseLock } from '../builder/lock-file.ts';
import { type DefinitionFile, mirrorOption, readDefinition } from './definition-file.ts';
import { readInput, writeOutput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { printJson, printLine, printProgress } from './terminal.ts';

interface LockOptions {
  readonly check?: true;
  readonly mirror?: string;
  readonly json?: true;
}

/** Registers the command. */
export function lockVerb(program: Command): void {
  program
    .command('lock')
    .summary('pin every input of waybill.yaml by digest')
    .description(
      'Resolves the packages that waybill.yaml names, with all they depend on, in a private apt folder: nothing that is ' +
        'installed or configured on this machine plays a part. Writes waybill.lock beside the definition.',
    )
    .argument('[file]', 'the definition', 'waybill.yaml')
    .option(
      '--check',
      'write nothing; exit 1 if the lock was made from other inputs than the definition names',
    )
    .option(
      '--mirror <url>',
      "where to fetch from (http, https or file); default WAYBILL_MIRROR, else the host's apt sources",
    )
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill lock examples/optiboot/waybill.yaml')
    .action(async (file: string, options: LockOptions) => {
      const opened = await readDefinition(file);
      if (options.check === true) await check(opened, options);
      else await interruptible((signal) => write(opened, options, signal));
    });
}

async function check(opened: DefinitionFile, options: LockOptions): Promise<void> {
  const lock = parseLock(await readInput(opened.lockPath), opened.lockPath);
  checkLock(opened.definition, lock);
  if (options.json === true) printJson(describe(opened, lock));
  else printLine(`${opened.lockPath} fits ${opened.path}: ${countPackages(lock)} packages`);
}

async function write(opened: DefinitionFile, options: LockOptions, signal: AbortSignal): Promise<void> {
  const lock = await lockInputs(opened.definition, {
    folder: opened.folder,
    mirror: mirrorOption(options.mirror),
    onProgress: printProgress,
    signal,
  });
  signal.throwIfAborted();
  await writeOutput(opened.lockPath, formatLock(lock));
  if (options.json === true) {
    printJson(describe(opened, lock));
    return;
  }
  for (const input of lock.inputs) {
    printLine(`${input.name}: ${input.packages.length} packages of ${input.suite}`);
    printLine(`  InRelease sha256:${input.inReleaseSha256}`);
    for (const signer of input.signers) printLine(`  signed by ${signer}`);
  }
  printLine(`wrote ${opened.lockPath}: ${countPackages(lock)} packages in all`);
}

/** Packages by digest: inputs may share some. */
function countPackages(lock: Lock): number {
  return new Set(lock.inputs.flatMap(({ packages }) => packages.map(({ sha256 }) => sha256))).size;
}

function describe(opened: DefinitionFile, lock: Lock) {
  return {
    lock: opened.lockPath,
    inputsSha256: lock.inputsSha256,
    packageCount: countPackages(lock),
    inputs: lock.inputs.map(({ name, suite, inReleaseSha256, signers, packages }) => ({
      name,
      suite,
      inReleaseSha256,
      signers,
      packageCount: packages.length,
    })),
  };
}
