// SPDX-License-Identifier: Apache-2.0
// `waybill fsck`: checks a data folder from its bytes and names the first bad place.

import type { Command } from 'commander';
import { type Finding, type FsckResult, fsck } from '../registry/fsck.ts';
import { fsckApart } from '../registry/fsck-apart.ts';
import { STORE } from '../registry/store-faults.ts';
import { interruptible } from './interrupt.ts';
import { readConfigFile } from './serve.ts';
import { printJson, printLine, printProgress } from './terminal.ts';

interface Options {
  readonly all?: true;
  readonly withoutHeads?: true;
  readonly json?: true;
}

const TELL_MS = 1000;

export function fsckVerb(program: Command): void {
  program
    .command('fsck')
    .summary('check the data folder of a registry')
    .description(
      'Recomputes both logs from their entries (every tile, root, checkpoint signature and identity), and compares heads, ' +
        'attestations, their index, blobs, TUF repository, root.json and trust/ with each other. Stops at the first bad place and exits with 1. ' +
        'Changes no data, though LevelDB writes some files of its own anew when it is opened; the registry must not be running.',
    )
    .argument('<folder>', 'data folder that `waybill init` made')
    .option('--all', 'go on after the first bad place')
    .option(
      '--without-heads',
      'leave out what the logs published last: for a copy whose registry went on, where `headFolder` is elsewhere',
    )
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill fsck registry')
    .action((folder: string, options: Options) => interruptible((signal) => run(folder, options, signal)));
}

async function run(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  const config = await readConfigFile(folder);
  const progress = progressTeller();
  const withoutHeads = options.withoutHeads === true;
  const check = fsck({
    dataFolder: folder,
    config,
    withoutHeads,
    signal,
    progress,
    checkDatabase: fsckApart,
  });
  const findings: Finding[] = [];
  let step: IteratorResult<Finding, FsckResult | undefined> = await check.next();
  while (step.done !== true) {
    const finding = step.value;
    findings.push(finding);
    if (options.json !== true) printLine(`bad: ${finding.at}: ${finding.problem}`);
    step = options.all === true ? await check.next() : await check.return(undefined as never);
  }
  const done = step.value;
  if (options.json === true)
    printJson({ ok: findings.length === 0, findings, ...(done === undefined ? {} : told(done)) });
  if (findings.length === 0) {
    if (options.json !== true && done !== undefined) printSound(folder, done);
    return;
  }
  const count = findings.length === 1 ? 'one bad place' : `${findings.length} bad places`;
  const more = options.all === true ? '' : ' and looked no further; --all names the rest';
  const damaged = STORE.reject('REGISTRY_FSCK_DAMAGED', `expected a sound data folder, got ${count}${more}`);
  if (options.json !== true) throw damaged;
  process.stderr.write(`waybill: ${damaged.code}: ${damaged.message}\n`);
  process.exitCode = 1;
}

function printSound(folder: string, done: FsckResult): void {
  const { isBegun, read } = told(done);
  printLine(`${folder} is sound`);
  if (!isBegun) printLine('  nothing was logged yet: `waybill serve` has not begun the logs of this folder');
  for (const [what, count] of Object.entries(read)) printLine(`  ${what}: ${count}`);
}

/** As JSON has it. */
function told({ isBegun, read }: FsckResult) {
  const counts = Object.entries(read).map(([what, count]) => [what, Number(count)]);
  return { isBegun, read: Object.fromEntries(counts) as Record<string, number> };
}

/** Says what is going on once a second at most. */
function progressTeller(): (what: string, count: bigint) => void {
  let toldMs = performance.now();
  return (what, count) => {
    if (performance.now() - toldMs < TELL_MS) return;
    toldMs = performance.now();
    printProgress(`${what}: ${count}`);
  };
}
