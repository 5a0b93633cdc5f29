// SPDX-License-Identifier: Apache-2.0
// Tables of codes: one code, one meaning, one remedy; each is raised, asserted by a test, and on the page of errors.

import { expect, test } from 'vitest';
import type { FaultRow } from '../../core/faults.ts';
import {
  type CodedFault,
  exitCodeOf,
  formatErrorsPage,
  readFaultTables,
  updateErrorsPage,
} from '../../scripts/errors-page.ts';
import { ROOT, readTree, roomOf, SHIPPED, type TreeFile } from './tree.ts';

/** AREA_OBJECT_PROBLEM; a few codes of one object leave it out. */
const FORM = /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/;

/** What is wrong with the rows of the tables, whoever uses them. */
function rowFaults(faults: readonly CodedFault[]): string[] {
  const found: string[] = [];
  const tables = new Map<string, string>();
  for (const { code, row, table } of faults) {
    if (!FORM.test(code)) found.push(`${code}: expected the form AREA_OBJECT_PROBLEM`);
    const other = tables.get(code);
    if (other !== undefined) found.push(`${code}: in ${other} and in ${table}`);
    tables.set(code, table);
    for (const text of [row.meaning, row.remedy]) {
      if (!/^\S.*\.$/.test(text)) found.push(`${code}: expected a sentence, got ${JSON.stringify(text)}`);
    }
    if (row.meaning === row.remedy) found.push(`${code}: meaning and remedy are the same`);
    if (row.class === 'unavailable' && row.usage === true)
      found.push(`${code}: unavailable is never bad usage`);
  }
  return found;
}

/** What is wrong with the use of the codes: raised in shipped code, asserted in tests, and none unknown. */
function useFaults(faults: readonly CodedFault[], tree: readonly TreeFile[]): string[] {
  const shipped = tree.filter(
    (file) => /\.(ts|js)$/.test(file.path) && (SHIPPED as readonly string[]).includes(roomOf(file.path)),
  );
  const raising = shipped.filter((file) => !/faults\.ts$/.test(file.path)).map((file) => file.text);
  const asserting = tree
    .filter((file) => file.path.startsWith('test/') && !file.path.startsWith('test/tidy/'))
    .map((file) => file.text);
  const found: string[] = [];
  for (const { code, table } of faults) {
    const quoted = new RegExp(`['"\`]${code}['"\`]`);
    if (!raising.some((text) => quoted.test(text))) found.push(`${code} (${table}) is raised nowhere`);
    const word = new RegExp(`\\b${code}\\b`);
    if (!asserting.some((text) => word.test(text))) found.push(`${code} (${table}) is asserted by no test`);
  }
  return found;
}

const row: FaultRow = { class: 'rejection', meaning: 'It is bad.', remedy: 'Make it good.' };
const fault = (code: string, change: Partial<FaultRow> = {}, table = 'core/faults.ts'): CodedFault => ({
  code,
  row: { ...row, ...change },
  table,
});

test('the rule of tables bites', () => {
  expect(rowFaults([fault('A_B_C'), fault('A_B_D')])).toEqual([]);
  expect(rowFaults([fault('bad')])).toHaveLength(1);
  expect(rowFaults([fault('A_B_C'), fault('A_B_C', {}, 'cli/faults.ts')])).toEqual([
    'A_B_C: in core/faults.ts and in cli/faults.ts',
  ]);
  expect(rowFaults([fault('A_B_C', { meaning: 'no full stop' })])).toHaveLength(1);
  expect(rowFaults([fault('A_B_C', { remedy: 'It is bad.' })])).toHaveLength(1);
  expect(rowFaults([fault('A_B_C', { class: 'unavailable', usage: true })])).toHaveLength(1);
});

test('the rule of use bites', () => {
  const raised = { path: 'core/a.ts', text: "CORE.reject('A_B_C', 'x')" };
  const asserted = { path: 'test/core/a.test.ts', text: "code: 'A_B_C'" };
  expect(useFaults([fault('A_B_C')], [raised, asserted])).toEqual([]);
  expect(useFaults([fault('A_B_C')], [asserted])).toEqual(['A_B_C (core/faults.ts) is raised nowhere']);
  expect(useFaults([fault('A_B_C')], [raised])).toEqual(['A_B_C (core/faults.ts) is asserted by no test']);
  const table = { path: 'core/faults.ts', text: "'A_B_C'" };
  expect(useFaults([fault('A_B_C')], [table, asserted])).toHaveLength(1);
  const longer = { path: 'test/core/a.test.ts', text: 'A_B_C_D' };
  expect(useFaults([fault('A_B_C')], [raised, longer])).toHaveLength(1);
});

test('the page gives each code its exit code, and text no markup', () => {
  const usage = fault('A_B_C', { usage: true, meaning: 'Give `<x>`, not <y> | z.' });
  expect(formatErrorsPage([usage])).toContain(
    '| `A_B_C` | rejection | 2 | Give `<x>`, not &lt;y> \\| z. | Make it good. |',
  );
  expect(
    [row, { ...row, usage: true as const }, { ...row, class: 'unavailable' as const }].map(exitCodeOf),
  ).toEqual([1, 2, 75]);
});

const faults = await readFaultTables(ROOT);

test('tables are found, and their rows are sound', () => {
  expect(new Set(faults.map(({ table }) => table)).size).toBeGreaterThan(1);
  expect(rowFaults(faults)).toEqual([]);
});

test('each code is raised and asserted', () => {
  expect(useFaults(faults, readTree())).toEqual([]);
});

test('docs/errors.md is fresh; `npm run fix` writes it', async () => {
  expect(await updateErrorsPage(ROOT, 'check')).toBe(true);
});
