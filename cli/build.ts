// SPDX-License-Identifier: Apache-2.0
// `waybill build`: runs the steps of a definition in their sandboxes and writes outputs, SBOM and unsigned statements.

import { type Command, InvalidArgumentError } from 'commander';
import type { AuditSummary } from '../builder/audited-build.ts';
import type { BuildRequest } from '../builder/build.ts';
import type { CheckReport } from '../builder/check.ts';
import { parseLock } from '../builder/lock-file.ts';
import type { BuildSummary } from '../builder/output-folder.ts';
import { quote } from '../core/faults.ts';
import { showEvents } from './build-events.ts';
import { hostOption, mirrorOption, readDefinition, readLockFile } from './definition-file.ts';
import { interruptible } from './interrupt.ts';
import { EXIT, printJson, printLine, printProgress } from './terminal.ts';
import { userCache } from './user-folders.ts';

const LOCAL_BUILDER = 'https://waybill.example/builders/local';

/** The inputs of `build`, the same for the command and for the GitHub action. */
export interface BuildInputs {
  /** Path of waybill.yaml. */
  readonly file: string;
  readonly out: string;
  readonly force: boolean;
  readonly audit?: boolean | undefined;
  readonly builderId: string;
  readonly mirror?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly archive?: string | undefined;
  readonly registry?: string | undefined;
  /** Run every step, whatever ran before. */
  readonly fresh?: boolean | undefined;
  /** Steps at one time at most. */
  readonly jobs?: number | undefined;
  /** Version of Waybill. */
  readonly toolVersion: string;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Does the work of `waybill build`. @throws as `readDefinition`, `parseLock` and the builder's `build` */
export async function buildFile(inputs: BuildInputs): Promise<BuildSummary> {
  const request = await requestOf(inputs);
  // The machine is tried while the rest is loaded.
  const { probeSandbox } = await import('../builder/preflight.ts');
  const sandbox = probeSandbox(inputs.signal);
  sandbox.catch(() => {});
  const { build } = await import('../builder/build.ts');
  return build({ ...request, sandbox });
}

/** Does the work of `waybill build --check`. @throws as `buildFile` */
export async function checkFile(inputs: BuildInputs): Promise<CheckReport> {
  const request = await requestOf(inputs);
  const { checkBuild } = await import('../builder/check.ts');
  return checkBuild(request);
}

async function requestOf(inputs: BuildInputs): Promise<BuildRequest> {
  const opened = await readDefinition(inputs.file);
  const lockBytes = await readLockFile(opened);
  const lock = parseLock(lockBytes, opened.lockPath);
  return {
    definition: opened.definition,
    lock,
    definitionBytes: opened.bytes,
    lockBytes,
    out: inputs.out,
    replace: inputs.force,
    ...(inputs.audit === true ? { audit: true as const } : {}),
    cache: userCache(),
    builderId: inputs.builderId,
    toolVersion: inputs.toolVersion,
    folder: opened.folder,
    mirror: mirrorOption(inputs.mirror),
    snapshot: hostOption(inputs.snapshot, 'WAYBILL_SNAPSHOT'),
    archive: hostOption(inputs.archive, 'WAYBILL_ARCHIVE'),
    registry: inputs.registry,
    ...(inputs.fresh === true ? { fresh: true as const } : {}),
    jobs: inputs.jobs,
    signal: inputs.signal,
    onEvent: showEvents(inputs.progress),
  };
}

interface BuildOptions {
  readonly check?: true;
  readonly audit?: true;
  readonly out: string;
  readonly force?: true;
  readonly builderId: string;
  readonly mirror?: string;
  readonly snapshot?: string;
  readonly archive?: string;
  readonly registry?: string;
  readonly cache: boolean;
  readonly jobs?: number;
  readonly json?: true;
}

/** Registers the command. */
export function buildVerb(program: Command): void {
  program
    .command('build')
    .summary('build hermetically what waybill.yaml defines')
    .description(
      'Fetches what waybill.lock pins, by digest, and runs each step of waybill.yaml in a sandbox that shows it those packages ' +
        'and nothing else: no network, no host file, no inherited environment. Writes outputs, the image, a CycloneDX SBOM and ' +
        'one unsigned provenance statement a step.',
    )
    .argument('[file]', 'the definition', 'waybill.yaml')
    .requiredOption('--out <folder>', 'where to write; must not exist')
    .option('--force', 'replace an earlier build in that folder')
    .option('--builder-id <uri>', 'who builds, for the statements', checkBuilderId, LOCAL_BUILDER)
    .option(
      '--mirror <url>',
      "where to fetch from (http, https or file); default WAYBILL_MIRROR, else the host's apt sources",
    )
    .option(
      '--snapshot <url>',
      'archive base that keeps packages which the mirror has no more; default WAYBILL_SNAPSHOT',
    )
    .option(
      '--archive <folder>',
      'read every input from here first, and keep every one here, by digest; default WAYBILL_ARCHIVE',
    )
    .option('--registry <url>', 'registry that is asked by digest, before the place that an input came from')
    .option(
      '--check',
      'build twice under changed conditions; keep the build only if both gave the same bytes',
    )
    .option(
      '--audit',
      'trace what steps open, and build again with nothing but the files that the SBOM names',
    )
    .option('--no-cache', 'run every step, even one of which nothing changed since it last ran')
    .option('--jobs <number>', 'steps at one time at most; default: as many as there are CPUs', readJobs)
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExamples:\n  waybill build examples/optiboot/waybill.yaml --out out\n  waybill build --check --out out\n\n' +
        'Packages, unpacked roots and what steps left are kept under $XDG_CACHE_HOME/waybill (default ~/.cache/waybill).',
    )
    .action(async (file: string, options: BuildOptions) => {
      const { out, force, builderId, mirror, snapshot, archive, registry, jobs } = options;
      const toolVersion = program.version() ?? '';
      const inputs = {
        file,
        out,
        force: force === true,
        audit: options.audit === true,
        builderId,
        mirror,
        snapshot,
        archive,
        registry,
        fresh: !options.cache,
        jobs,
        toolVersion,
        progress: printProgress,
      };
      if (options.check === true) {
        const report = await interruptible((signal) => checkFile({ ...inputs, signal }));
        if (options.json === true) printJson(report);
        else await printCheck(report);
        if (!report.reproducible) process.exitCode = EXIT.refused;
        return;
      }
      const summary = await interruptible((signal) => buildFile({ ...inputs, signal }));
      if (options.json === true) printJson(summary);
      else print(summary);
    });
}

function readJobs(text: string): number {
  if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new InvalidArgumentError('expected a number from 1 on');
  return Number(text);
}

function checkBuilderId(text: string): string {
  if (!URL.canParse(text))
    throw new InvalidArgumentError('expected a URI such as https://ci.example/builder');
  return text;
}

async function printCheck(report: CheckReport): Promise<void> {
  const { describeDifference, FIXES } = await import('../builder/difference.ts');
  const { describeClockEscape } = await import('../builder/clock-escapes.ts');
  if (report.summary !== undefined) print(report.summary);
  for (const difference of report.differences) printLine(describeDifference(difference));
  for (const depends of report.depends ?? []) printLine(`depends on  ${depends}`);
  for (const found of report.escapes ?? []) printLine(`clock       ${describeClockEscape(found)}`);
  for (const cause of new Set(report.differences.map((difference) => difference.cause))) {
    printLine(`what to do  ${cause}: ${FIXES[cause]}`);
  }
  printLine(`changed     ${report.changed.join(', ')}`);
  if (report.unchanged.length > 0) printLine(`unchanged   ${report.unchanged.join(', ')}: not possible here`);
  const verdict = report.reproducible ? 'the same bytes twice' : 'not reproducible; nothing was kept';
  const { outputCount } = report;
  printLine(`check       ${outputCount} ${outputCount === 1 ? 'output' : 'outputs'}: ${verdict}`);
}

/** Paths of one package that are printed; `audit.json` has all. */
const SHOWN_PATHS_MAX = 5;

/** Names that were not found and are printed; `audit.json` has all. */
const SHOWN_ABSENT_MAX = 10;

/** Those first that an input would provide. */
function printAbsent(absent: AuditSummary['absent']): void {
  if (absent.length === 0) return;
  const names = `${absent.length} ${absent.length === 1 ? 'name' : 'names'}`;
  printLine(`  not found   ${names} that steps looked for and did not have`);
  const hinted = (has: boolean) => absent.filter(({ hint }) => (hint !== undefined) === has);
  for (const { step, name, hint } of [...hinted(true), ...hinted(false)].slice(0, SHOWN_ABSENT_MAX))
    printLine(`    ${step}: ${quote(name)}${hint === undefined ? '' : ` (${hint})`}`);
  if (absent.length > SHOWN_ABSENT_MAX)
    printLine(`    ${absent.length - SHOWN_ABSENT_MAX} more in audit.json`);
}

function printAudit(audit: AuditSummary): void {
  const { openedCount, usedCount, unexplainedCount, unexplained, absent, prune } = audit;
  printLine(
    `  audit       ${openedCount} files opened, ${usedCount} proved in use, ${unexplainedCount} read and unexplained`,
  );
  for (const { of: name, paths } of unexplained) {
    const more = paths.length > SHOWN_PATHS_MAX ? `, ${paths.length - SHOWN_PATHS_MAX} more` : '';
    printLine(`    ${name}: ${paths.slice(0, SHOWN_PATHS_MAX).join(', ')}${more}`);
  }
  printAbsent(absent);
  const { passed, failed, reasons, keptCount, removedCount } = prune;
  const verdict = failed.length === 0 ? 'the same outputs' : `not the same: ${reasons.join('; ')}`;
  printLine(
    `  pruned      ${keptCount} files kept, ${removedCount} removed; ${passed.length} of ${passed.length + failed.length} steps: ${verdict}`,
  );
}

function print(summary: BuildSummary): void {
  const { images, sandbox } = summary;
  const { packageCount: count, otherInputs } = summary;
  const given = [`${count} ${count === 1 ? 'package' : 'packages'}`, ...otherInputs];
  printLine(`${summary.product} ${summary.version}, built in ${(summary.durationMs / 1000).toFixed(1)} s`);
  printLine(
    `  sandbox     ${sandbox.mechanism}, kernel ${sandbox.kernel}; ${given.join(', ')}, nothing else`,
  );
  for (const output of summary.outputs) {
    printLine(
      `  output      ${output.step}/${output.file}, ${output.sizeBytes} bytes, sha256:${output.sha256}`,
    );
  }
  for (const found of summary.comparisons) {
    printLine(`  identical   ${found.step}/${found.file} is byte for byte ${found.path} of ${found.package}`);
  }
  for (const { file, sizeBytes, sha256, sbom, ships } of images) {
    printLine(`  image       products/${file}, ${sizeBytes} bytes, sha256:${sha256}`);
    const proved = ships.length === 0 ? 'nothing proved' : ships.join(', ');
    printLine(`  SBOM        ${sbom.file}, ${sbom.sizeBytes} bytes; ships: ${proved}`);
  }
  if (summary.audit !== undefined) printAudit(summary.audit);
  printLine(`  statements  ${summary.statements.join(', ')} (unsigned: next, \`waybill attest\`)`);
  printLine(`  written to  ${summary.out}`);
}
