// SPDX-License-Identifier: Apache-2.0
// A build with `--audit`: traces read before the SBOM is made, the pruned build after it, and both results as unsigned statements
// [docs/spec/audit.md §Statements].

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { buildAttributeReport, INPUTS_TRACED } from '../core/intoto/scai.ts';
import { formatStatement } from '../core/intoto/statement.ts';
import { buildTestResult } from '../core/intoto/test-result.ts';
import type { Absent } from './absent.ts';
import { type Audit, findUnexplained, formatAudit, readAudit } from './audit.ts';
import type { FinishedRun } from './finished-run.ts';
import { runTool } from './host-tool.ts';
import { type ImageBill, sbomFile } from './output-folder.ts';
import { filesNamedBy, type PrunedBuild, pruneAndRebuild } from './prune.ts';
import { tracePath } from './trace.ts';
import { ownerKey } from './used-files.ts';

export interface AuditSummary {
  readonly file: string;
  readonly openedCount: number;
  readonly usedCount: number;
  readonly unexplainedCount: number;
  readonly absentCount: number;
  /** By package or other input: what was read and is not proved to be in use. */
  readonly unexplained: readonly { readonly of: string; readonly paths: readonly string[] }[];
  /** What steps looked for and did not find. */
  readonly absent: readonly Absent[];
  readonly prune: PrunedBuild;
}

export interface TracedBuild {
  readonly audit: Audit;
  /** Files that steps opened, by `ownerKey`. */
  readonly opened: ReadonlyMap<string, readonly string[]>;
}

const AUDIT_FILE = 'audit.json';

/** Reads what the steps opened. */
export async function readTraces(run: FinishedRun): Promise<TracedBuild> {
  const steps = [...run.done].map(([name, { root, mounted = [], work, elsewhere }]) => {
    return { name, root, mounted, work, trace: tracePath(run.work, name), elsewhere };
  });
  const audit = await readAudit(steps);
  const opened = [...audit.opened].map(
    ([of, { ran, read }]) => [ownerKey(of), [...ran, ...read].sort()] as const,
  );
  return { audit, opened: new Map(opened) };
}

/** Builds the pruned build and puts both results into words. Statements by name without number. */
export async function finishAudit(
  run: FinishedRun,
  { audit, opened }: TracedBuild,
  bills: readonly ImageBill[],
): Promise<{
  bytes: Uint8Array;
  summary: AuditSummary;
  statements: readonly (readonly [string, Uint8Array])[];
}> {
  const used = bills.flatMap(({ shipped }) => shipped?.used ?? []);
  const unexplained = findUnexplained(audit, used);
  const count = (lists: readonly (readonly string[])[]) => lists.reduce((sum, { length }) => sum + length, 0);
  const version = (await runTool('strace', ['--version'])).stdout.toString('utf8').split('\n')[0] ?? '';
  const bytes = formatAudit(audit, unexplained, version);
  run.request.onEvent?.({
    kind: 'progress',
    text: 'audit: building again with the files that the SBOM names',
  });
  const steps = [...run.done.values()].map(({ facts, root, mounted = [], result, again }) => ({
    step: facts.step,
    root,
    mounted,
    outputs: result.outputs,
    again,
  }));
  const named = filesNamedBy(bills.map(({ sbom }) => sbom));
  const prune = await pruneAndRebuild(steps, named, join(run.work, 'pruned'));
  const counts = {
    openedCount: count([...opened.values()]),
    usedCount: new Set(used.map(({ of, path }) => `${ownerKey(of)}/${path}`)).size,
    unexplainedCount: count(unexplained.map(({ paths }) => paths)),
    absentCount: audit.absent.length,
  };
  const subjects = bills.map(({ image: { file: name, sha256 } }) => ({ name, sha256 }));
  const file = (name: string, sha256: string) => ({ name, sha256 });
  const report = buildAttributeReport({
    subjects,
    attribute: INPUTS_TRACED,
    conditions: counts,
    evidence: { ...file(AUDIT_FILE, sha256(bytes)), mediaType: 'application/json' },
    producerId: run.identity.builderId,
  });
  const tests = (names: readonly string[]) => names.map((name) => `prune-and-rebuild/${name}`);
  const result = buildTestResult({
    subjects,
    result: prune.failed.length === 0 ? 'PASSED' : 'FAILED',
    configuration: [
      ...bills.map(({ image, sbom }) => file(sbomFile(image), sha256(sbom))),
      file('waybill.lock', run.identity.lockSha256),
      file('waybill.yaml', run.identity.definitionSha256),
    ],
    passedTests: tests(prune.passed),
    failedTests: tests(prune.failed),
  });
  const names = unexplained.map(({ of, paths }) => ({ of: typeof of === 'string' ? of : of.name, paths }));
  return {
    bytes,
    summary: { file: AUDIT_FILE, ...counts, unexplained: names, absent: audit.absent, prune },
    statements: [
      ['audit.scai', formatStatement(report)],
      ['prune.test-result', formatStatement(result)],
    ],
  };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
