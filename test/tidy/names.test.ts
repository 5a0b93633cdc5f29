// SPDX-License-Identifier: Apache-2.0
// Names of files and folders say what is inside; these say nothing.

import { expect, test } from 'vitest';
import { readTree } from './tree.ts';

const EMPTY_WORDS = /^(utils?|helpers?|common|shared|misc|lib|types|constants|manager)$/i;

/** The first word of a path that is banned. */
function bannedWord(path: string): string | undefined {
  return path
    .split('/')
    .flatMap((segment) => segment.split(/[-_.]/))
    .find((word) => EMPTY_WORDS.test(word));
}

test('the rule of names bites', () => {
  expect(bannedWord('core/utils.ts')).toBe('utils');
  expect(bannedWord('core/string-helpers.ts')).toBe('helpers');
  expect(bannedWord('registry/lib/a.ts')).toBe('lib');
  expect(bannedWord('core/types/a.ts')).toBe('types');
  expect(bannedWord('core/library.ts')).toBeUndefined();
});

test('no file or folder has a banned name', () => {
  const paths = readTree().map((file) => file.path);
  expect(paths.filter((path) => bannedWord(path) !== undefined)).toEqual([]);
});

test('code files are named in kebab case', () => {
  const code = readTree().filter((file) => /\.(ts|cjs|js)$/.test(file.path));
  expect(
    code
      .map((file) => file.path)
      .filter((path) => !/^[a-z0-9]+([-.][a-z0-9]+)*$/.test(path.split('/').at(-1) ?? '')),
  ).toEqual([]);
});
