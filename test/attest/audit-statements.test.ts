// SPDX-License-Identifier: Apache-2.0
// The statements of `build --audit` in a build output: read, compared with the files, refused when they speak of something else.

import { expect, test } from 'vitest';
import { readBuildOutput } from '../../attest/build-output.ts';
import { type AttributeReport, buildAttributeReport, parseAttributeReport } from '../../core/intoto/scai.ts';
import { formatStatement, parseStatement, type UnsignedStatement } from '../../core/intoto/statement.ts';
import { buildTestResult, parseTestResult, type TestResult } from '../../core/intoto/test-result.ts';
import { BUILDER_ID, planBuild, removeBuild, sha256, writeBuild } from './build-folder.ts';

const AUDIT = '{"auditVersion":1}\n';
const image = { name: 'optiboot.bin', sha256: planBuild().reference.subjects[0]?.sha256 ?? '' };
const file = (name: string) => ({ name, sha256: sha256(planBuild().files.get(name) ?? '') });

const report: AttributeReport = {
  subjects: [image],
  attribute: 'WAYBILL_INPUTS_TRACED',
  conditions: { openedCount: 3, usedCount: 1, unexplainedCount: 1 },
  evidence: { name: 'audit.json', sha256: sha256(AUDIT), mediaType: 'application/json' },
  producerId: BUILDER_ID,
};
const result: TestResult = {
  subjects: [image],
  result: 'PASSED',
  configuration: [file('sboms/optiboot.bin.cdx.json'), file('waybill.lock'), file('waybill.yaml')],
  passedTests: ['prune-and-rebuild/compile'],
  failedTests: [],
};

async function read(
  changes: { report?: Partial<AttributeReport>; result?: Partial<TestResult>; twice?: true } = {},
) {
  const plan = planBuild();
  plan.files.set('audit.json', AUDIT);
  const audit = formatStatement(buildAttributeReport({ ...report, ...changes.report }));
  plan.files.set('statements/04-audit.scai.json', audit);
  const pruned = formatStatement(buildTestResult({ ...result, ...changes.result }));
  plan.files.set('statements/05-prune.test-result.json', pruned);
  if (changes.twice === true) plan.files.set('statements/06-audit.scai.json', audit);
  const folder = await writeBuild(plan);
  try {
    return await readBuildOutput(folder);
  } finally {
    await removeBuild(folder);
  }
}

test('they are statements of the build like the others', async () => {
  expect((await read()).statements.map(({ name }) => name.slice(3))).toEqual([
    'compile.provenance.json',
    'image.provenance.json',
    'optiboot.bin.sbom.json',
    'audit.scai.json',
    'prune.test-result.json',
  ]);
});

const foreign = { name: 'other.bin', sha256: sha256('other') };

test.each([
  ['about another image', { report: { subjects: [foreign] } }, 'ATTEST_AUDIT_CHANGED'],
  [
    'with another audit',
    { report: { evidence: { name: 'audit.json', sha256: sha256('x') } } },
    'ATTEST_AUDIT_CHANGED',
  ],
  ['with evidence that is not there', { report: { evidence: file('other') } }, 'ATTEST_AUDIT_CHANGED'],
  ['by another builder', { report: { producerId: 'https://other.example/' } }, 'ATTEST_STATEMENTS_DISAGREE'],
  ['of a test of another image', { result: { subjects: [foreign] } }, 'ATTEST_AUDIT_CHANGED'],
  [
    'of a test with another SBOM',
    { result: { configuration: [{ ...foreign, name: 'sboms/optiboot.bin.cdx.json' }] } },
    'ATTEST_AUDIT_CHANGED',
  ],
  ['twice', { twice: true as const }, 'ATTEST_STATEMENT_FILE_UNKNOWN'],
])('one %s is refused', async (_, changes, code) => {
  await expect(read(changes)).rejects.toMatchObject({ code });
});

const parsed = (statement: UnsignedStatement) => parseStatement(formatStatement(statement));

test('parsing is the inverse of building', () => {
  expect(parseAttributeReport(parsed(buildAttributeReport(report)))).toEqual(report);
  for (const one of [
    result,
    { ...result, result: 'FAILED' as const, failedTests: ['prune-and-rebuild/image'] },
  ])
    expect(parseTestResult(parsed(buildTestResult(one)))).toEqual(one);
});

test('what contradicts itself or is of another kind is malformed', () => {
  const scai = expect.objectContaining({ code: 'INTOTO_SCAI_MALFORMED' });
  const tests = expect.objectContaining({ code: 'INTOTO_TEST_RESULT_MALFORMED' });
  expect(() => parseAttributeReport(parsed(buildTestResult(result)))).toThrow(scai);
  const { predicate, ...rest } = buildAttributeReport(report);
  const [attribute] = (predicate as { attributes: [never] }).attributes;
  const twice = { ...(predicate as object), attributes: [attribute, attribute] };
  expect(() => parseAttributeReport(parsed({ ...rest, predicate: twice }))).toThrow(scai);
  expect(() => parseTestResult(parsed(buildAttributeReport(report)))).toThrow(tests);
  for (const change of [{ result: 'FAILED' as const }, { failedTests: ['x'] }, { passedTests: [] }])
    expect(() => parseTestResult(parsed(buildTestResult({ ...result, ...change })))).toThrow(tests);
});
