// SPDX-License-Identifier: Apache-2.0
// Writes docs/errors.md from every room's table of faults. `--check` writes nothing and fails if the page is stale.

import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { FaultRow } from '../core/faults.ts';

const PAGE = 'docs/errors.md';

/** One code with the table that it stands in. */
export interface CodedFault {
  readonly code: string;
  readonly row: FaultRow;
  /** Path of the table's file, relative to the root. */
  readonly table: string;
}

/** All codes of all `faults.ts` under `root` (a folder URL), by file and then as written. */
export async function readFaultTables(root: URL): Promise<CodedFault[]> {
  const files = globSync('*/**/*faults.ts', {
    cwd: root,
    exclude: (name) => ['node_modules', 'test', 'dist'].includes(name) || name.startsWith('.'),
  }).sort();
  const found: CodedFault[] = [];
  for (const table of files) {
    const exported: Record<string, unknown> = await import(new URL(table, root).href);
    for (const value of Object.values(exported)) {
      if (!isFaults(value)) continue;
      for (const [code, row] of Object.entries(value.table)) found.push({ code, row, table });
    }
  }
  return found;
}

function isFaults(value: unknown): value is { table: Record<string, FaultRow> } {
  return typeof value === 'object' && value !== null && 'table' in value && 'reject' in value;
}

/** The exit code that the command line gives for a fault. */
export function exitCodeOf(row: FaultRow): number {
  if (row.class === 'unavailable') return 75;
  return row.usage === true ? 2 : 1;
}

/** The page as Markdown. */
export function formatErrorsPage(faults: readonly CodedFault[]): string {
  const lines = [
    '# Errors',
    '',
    'Made from the tables of codes by `npm run fix`; do not edit it by hand.',
    '',
    'There are two classes, chosen by what the caller must do. A *rejection* says that the evidence or the input is bad:',
    'refuse, and do not retry. *Unavailable* says that something could not be obtained, so that nothing is known about it',
    'yet: retry later. Anything else is a bug of Waybill. Codes are stable within a major version; messages are not. A',
    'denial by policy is a result, not an error.',
    '',
    '## Exit codes',
    '',
    '| code | meaning |',
    '|---|---|',
    '| 0 | done |',
    '| 1 | refused or denied: do not retry |',
    '| 2 | the command line or a file that a user wrote is wrong |',
    '| 70 | a bug of Waybill: please report it |',
    '| 75 | could not be obtained: try again |',
    '',
    'The registry answers a rejection with a 4xx status and the unavailable with 503.',
  ];
  const rooms = [...new Set(faults.map((fault) => roomOf(fault)))].sort();
  for (const room of rooms) {
    lines.push(
      '',
      `## ${room}`,
      '',
      '| code | class | exit | meaning | what to do |',
      '|---|---|---|---|---|',
    );
    const rows = faults.filter((fault) => roomOf(fault) === room);
    for (const { code, row } of rows.sort((a, b) => (a.code < b.code ? -1 : 1))) {
      lines.push(
        `| \`${code}\` | ${row.class} | ${exitCodeOf(row)} | ${cell(row.meaning)} | ${cell(row.remedy)} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

function roomOf(fault: CodedFault): string {
  return fault.table.split('/')[0] ?? fault.table;
}

/** Text for a table cell: a bar or an angle bracket outside code would be read as Markdown or HTML. */
function cell(text: string): string {
  return text
    .split('`')
    .map((part, i) => (i % 2 === 1 ? part : part.replace(/</g, '&lt;')))
    .join('`')
    .replace(/\|/g, '\\|');
}

/** Writes the page under `root`, or only compares; returns whether it was up to date. */
export async function updateErrorsPage(root: URL, mode: 'write' | 'check'): Promise<boolean> {
  const page = formatErrorsPage(await readFaultTables(root));
  const file = new URL(PAGE, root);
  const fresh = readOrEmpty(file) === page;
  if (!fresh && mode === 'write') writeFileSync(file, page);
  return fresh;
}

function readOrEmpty(file: URL): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const check = process.argv.includes('--check');
  const fresh = await updateErrorsPage(new URL('..', import.meta.url), check ? 'check' : 'write');
  if (check && !fresh) {
    process.stderr.write(`${PAGE} is stale; run \`npm run fix\`.\n`);
    process.exitCode = 1;
  } else if (!fresh) process.stdout.write(`Wrote ${PAGE}.\n`);
}
