// SPDX-License-Identifier: Apache-2.0
// `waybill fsck`: checks a data folder from its bytes and names the first bad place.

import type { Command } from 'commander';
import { type Finding, fsck } from '../registry/fsck.ts';
import { STORE } from '../registry/store-faults.ts';
import { interruptible } from './interrupt.ts';
import { readConfigFile } from './serve.ts';
import { printJson, printLine, printProgress } from './terminal.ts';

interface Options {
  readonly all?: true;
  readonly json?: true;
}

const TELL_MS = 1000;

export function fsckVerb(program: Command): void {
  program
    .command('fsck')
    .summary('check the data folder of a registry')
    .description(
      'Recomputes both logs from their entries (every tile, root, checkpoint signature and identity), and compares heads, ' +
        'attestations, their index, blobs and TUF repository with each other. Stops at the first bad place and exits with 1. ' +
        'Changes nothing; the registry must not be running.',
    )
    .argument('<folder>', 'data folder that `waybill init` made')
    .option('--all', 'go on after the first bad place')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill fsck registry')
    .action((folder: string, options: Options) => interruptible((signal) => run(folder, options, signal)));
}

async function run(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  const config = await readConfigFile(folder);
  const check = fsck({ dataFolder: folder, config, signal, progress: progressTeller() });
  const findings: Finding[] = [];
  let step = await check.next();
  while (step.done !== true) {
    const finding = step.value;
    findings.push(finding);
    if (options.json !== true) printLine(`bad: ${finding.at}: ${finding.problem}`);
    step = options.all === true ? await check.next() : await check.return(undefined as never);
  }
  const read = step.value === undefined ? undefined : asNumbers(step.value);
  const [first] = findings;
  if (options.json === true)
    printJson({ ok: first === undefined, findings, ...(read === undefined ? {} : { read }) });
  if (first === undefined) {
    if (options.json !== true) {
      printLine(`${folder} is sound`);
      for (const [what, count] of Object.entries(read ?? {})) printLine(`  ${what}: ${count}`);
    }
    return;
  }
  const damaged = STORE.reject('REGISTRY_FSCK_DAMAGED', `expected a sound data folder: ${first.problem}`, {
    at: first.at,
  });
  if (options.json !== true) throw damaged;
  process.stderr.write(`waybill: ${damaged.code}: ${damaged.message}\n`);
  process.exitCode = 1;
}

function asNumbers(counts: object): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([what, count]) => [what, Number(count)]));
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
