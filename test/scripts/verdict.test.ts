// SPDX-License-Identifier: Apache-2.0
// How results are counted for the last line of `npm test`.

import { expect, test } from 'vitest';
import type { TestModule } from 'vitest/node';
import { countTests } from '../../scripts/verdict.ts';

type Result = { state: 'passed' | 'failed' } | { state: 'skipped'; note?: string };

/** A module as vitest reports it, as far as counting looks. */
function module(
  results: readonly Result[],
  ok = results.every(({ state }) => state !== 'failed'),
): TestModule {
  const tests = results.map((result, i) => ({ fullName: `test ${i}`, result: () => result }));
  return {
    moduleId: '/a.test.ts',
    ok: () => ok,
    children: { allTests: () => tests },
  } as unknown as TestModule;
}

test('passed and failed tests are counted, over all files', () => {
  const files = [module([{ state: 'passed' }, { state: 'failed' }]), module([{ state: 'passed' }])];
  expect(countTests(files, 0)).toEqual({ passed: 2, failed: 1, skipped: [] });
});

test('a file that cannot be loaded and an error outside any test are failures', () => {
  expect(countTests([module([], false)], 0)).toMatchObject({ passed: 0, failed: 1 });
  expect(countTests([module([{ state: 'passed' }])], 2)).toMatchObject({ passed: 1, failed: 2 });
});

test('what is skipped is listed with its reason, unless its file failed', () => {
  const skipped = (note?: string): Result => ({ state: 'skipped', ...(note === undefined ? {} : { note }) });
  const { skipped: listed } = countTests([module([skipped('no QEMU'), skipped()])], 0);
  expect(listed.map((line) => line.split(': ')[1])).toEqual(['no QEMU', 'no reason given']);
  expect(countTests([module([skipped()], false)], 0)).toEqual({ passed: 0, failed: 1, skipped: [] });
});
