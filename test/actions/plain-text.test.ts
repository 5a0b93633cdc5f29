// SPDX-License-Identifier: Apache-2.0
// What the log of a step may say without being obeyed.

import { expect, test } from 'vitest';
import { plainText } from '../../actions/build/plain-text.ts';

/** The runner's two ways to find a command in a line (actions/runner 079cdb1, ActionCommand.cs: TryParseV2, TryParse). */
function isCommand(line: string): boolean {
  return line.trimStart().startsWith('::') || line.includes('##[');
}

test.each([
  '::set-output name=image-digest::sha256:00',
  '  \t::stop-commands::never',
  '  | ##[set-output name=image-digest]sha256:00',
  'fine\n::add-mask::a\nfine ##[add-mask]a ##[debug]b',
  ':::error::x',
  '###[error]x',
])('%j is no command', (text) => {
  expect(text.split('\n').some(isCommand)).toBe(true);
  expect(plainText(text).split('\n').some(isCommand)).toBe(false);
});

test('other text stays as it is', () => {
  const text = 'std::string a;\n# [1]\n  at: file.c:1:2\n## heading';
  expect(plainText(text)).toBe(text);
});
