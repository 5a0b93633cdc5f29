// SPDX-License-Identifier: Apache-2.0
// Every parser of core, and what else reads DER of strangers, takes its own inputs, and answers bent ones with a value or a Rejection, never with another exception. What once found a
// fault stays in corpus.json. `test:long` bends a hundred times as many.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { isTypeScript, readTree } from '../tidy/tree.ts';
import { tryInput, tryParser } from './bend.ts';
import { PARSERS, type Parser } from './parsers.ts';

const CORPUS: readonly { readonly parser: string; readonly input: string }[] = JSON.parse(
  readFileSync(new URL('corpus.json', import.meta.url), 'utf8'),
);

test('every function of core that parses or decodes is here', () => {
  const named = readTree()
    .filter((file) => isTypeScript(file) && file.path.startsWith('core/'))
    .flatMap(({ text }) => [...text.matchAll(/^export (?:function|const) ((?:parse|\w*[dD]ecode)\w*)/gm)])
    .map(([, name]) => name as string);
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter((name) => !Object.hasOwn(PARSERS, name))).toEqual([]);
});

describe.each(Object.keys(PARSERS))('%s', (name) => {
  const parser = PARSERS[name] as Parser;

  test('takes a sound input', () => {
    const taken = parser.seeds.filter((seed) => {
      try {
        const value = parser.parse(seed);
        return value !== undefined && !(value as { problem?: unknown }).problem;
      } catch {
        return false;
      }
    });
    expect(taken.length).toBeGreaterThan(0);
  });

  test('answers bent ones', () => {
    tryParser(name, 1, 300);
    for (const { input } of CORPUS.filter((one) => one.parser === name)) {
      tryInput(name, parser, new Uint8Array(Buffer.from(input, 'base64')));
    }
  });
});
