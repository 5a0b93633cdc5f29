// SPDX-License-Identifier: Apache-2.0
// `waybill lock`: pins every input of a definition by digest, or says whether the lock still fits.

import type { Command } from 'commander';
import { checkFolders } from '../builder/build-inputs.ts';
import { lockInputs, type LockOptions as Resolving, upgradeLock } from '../builder/lock.ts';
import {
  checkLock,
  debianInputs,
  formatLock,
  type Lock,
  type LockedInput,
  parseLock,
} from '../builder/lock-file.ts';
import { ContentStore } from '../builder/store.ts';
import { type DefinitionFile, mirrorOption, readDefinition, readLockFile } from './definition-file.ts';
import { writeOutput } from './files.ts';
import { interruptible } from './interrupt.ts';
import { printJson, printLine, printProgress } from './terminal.ts';
import { userCache } from './user-folders.ts';

interface LockOptions {
  readonly check?: true;
  readonly upgrade?: string;
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
        'installed or configured on this machine plays a part. Pins files, folders, commits, images and west projects by ' +
        'digest. Writes waybill.lock beside the definition.',
    )
    .argument('[file]', 'the definition', 'waybill.yaml')
    .option(
      '--check',
      'write nothing and fetch nothing; exit 1 and name the difference if the lock does not hold what the definition names',
    )
    .option(
      '--upgrade <input>',
      'resolve one input again, or one package of one (toolchain/gcc-avr), keep all else, print old → new',
    )
    .option(
      '--mirror <url>',
      "where to fetch from (http, https or file); default WAYBILL_MIRROR, else the host's apt sources",
    )
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExamples:\n  waybill lock examples/optiboot/waybill.yaml\n  waybill lock --upgrade toolchain/make',
    )
    .action(async (file: string, options: LockOptions) => {
      const opened = await readDefinition(file);
      if (options.check === true) await check(opened, options);
      else if (options.upgrade !== undefined) {
        const name = options.upgrade;
        await interruptible((signal) => upgrade(opened, name, options, signal));
      } else await interruptible((signal) => write(opened, options, signal));
    });
}

async function check(opened: DefinitionFile, options: LockOptions): Promise<void> {
  const lock = await readLock(opened);
  checkLock(opened.definition, lock);
  await checkFolders(lock.inputs, opened.folder);
  if (options.json === true) printJson(describe(opened, lock));
  else printLine(`${opened.lockPath} fits ${opened.path}: ${countAll(lock)}`);
}

async function readLock(opened: DefinitionFile): Promise<Lock> {
  return parseLock(await readLockFile(opened), opened.lockPath);
}

function resolving(opened: DefinitionFile, options: LockOptions, signal: AbortSignal): Resolving {
  return {
    folder: opened.folder,
    store: new ContentStore(userCache()),
    mirror: mirrorOption(options.mirror),
    onProgress: printProgress,
    signal,
  };
}

async function write(opened: DefinitionFile, options: LockOptions, signal: AbortSignal): Promise<void> {
  const lock = await lockInputs(opened.definition, resolving(opened, options, signal));
  signal.throwIfAborted();
  await writeOutput(opened.lockPath, formatLock(lock));
  if (options.json === true) {
    printJson(describe(opened, lock));
    return;
  }
  for (const input of lock.inputs) for (const line of showInput(input)) printLine(line);
  printLine(`wrote ${opened.lockPath}: ${countAll(lock)} in all`);
}

/** All else in the lock keeps its bytes. */
async function upgrade(
  opened: DefinitionFile,
  name: string,
  options: LockOptions,
  signal: AbortSignal,
): Promise<void> {
  const old = await readLock(opened);
  const { lock, changes } = await upgradeLock(
    opened.definition,
    old,
    name,
    resolving(opened, options, signal),
  );
  signal.throwIfAborted();
  await writeOutput(opened.lockPath, formatLock(lock));
  if (options.json === true) {
    printJson({ ...describe(opened, lock), changes });
    return;
  }
  for (const change of changes) printLine(change);
  printLine(changes.length === 0 ? `${name}: nothing newer` : `wrote ${opened.lockPath}`);
}

function showInput(input: LockedInput): string[] {
  switch (input.kind) {
    case 'debian':
      return [
        `${input.name}: ${input.packages.length} packages of ${input.suite}`,
        `  InRelease sha256:${input.inReleaseSha256}`,
        ...input.signers.map((signer) => `  signed by ${signer}`),
      ];
    case 'west':
      return [
        `${input.name}: ${input.projects.length} projects, ${input.blobs.length} blobs`,
        ...input.projects.map(({ project, commit }) => `  ${project} ${commit}`),
      ];
    case 'folder':
      return [
        `${input.name}: folder ${input.path}, ${input.files.length} files, sha256:${input.sha256}`,
        ...(input.git === undefined
          ? []
          : [`  commit ${input.git.commit}${input.git.dirty ? ', with changes' : ''}`]),
      ];
    default:
      return [`${input.name}: ${input.kind} sha256:${input.sha256}, ${input.sizeBytes} bytes`];
  }
}

/** Inputs may share packages: counted by digest. */
function countAll(lock: Lock): string {
  const others = lock.inputs.length - debianInputs(lock).length;
  const count = countPackages(lock);
  const packages = `${count} ${count === 1 ? 'package' : 'packages'}`;
  return others === 0 ? packages : `${packages}, ${others} other ${others === 1 ? 'input' : 'inputs'}`;
}

/** Packages by digest: inputs may share some. */
function countPackages(lock: Lock): number {
  return new Set(debianInputs(lock).flatMap(({ packages }) => packages.map(({ sha256 }) => sha256))).size;
}

function describe(opened: DefinitionFile, lock: Lock) {
  return {
    lock: opened.lockPath,
    inputsSha256: lock.inputsSha256,
    packageCount: countPackages(lock),
    inputs: lock.inputs.map((input) => {
      if (input.kind !== 'debian') return { name: input.name, kind: input.kind };
      const { name, kind, suite, inReleaseSha256, signers, packages } = input;
      return { name, kind, suite, inReleaseSha256, signers, packageCount: packages.length };
    }),
  };
}
