// SPDX-License-Identifier: Apache-2.0
// Relative links of Markdown pages lead to files and headings that are there.

import { posix } from 'node:path';
import { expect, test } from 'vitest';
import { anchorOf, headingsOf, linksOf, shellLinesOf } from './markdown.ts';
import { readTree, type TreeFile } from './tree.ts';

/** What is wrong with the links of a tree. */
function linkFaults(tree: readonly TreeFile[]): string[] {
  const files = new Map(tree.map((file) => [file.path, file.text]));
  const folders = new Set([...files.keys()].flatMap(foldersOf));
  const faults: string[] = [];
  for (const [path, text] of files) {
    if (!path.endsWith('.md')) continue;
    for (const link of linksOf(text)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [target = '', anchor] = link.split('#');
      const place =
        target === '' ? path : posix.normalize(posix.join(posix.dirname(path), target)).replace(/\/$/, '');
      const page = files.get(place);
      if (page === undefined && !folders.has(place)) faults.push(`${path}: ${link} leads nowhere`);
      else if (anchor !== undefined && !headingsOf(page ?? '').some((h) => anchorOf(h) === anchor)) {
        faults.push(`${path}: ${link} names no heading`);
      }
    }
  }
  return faults;
}

function foldersOf(path: string): string[] {
  const segments = path.split('/');
  return segments.slice(1).map((_, i) => segments.slice(0, i + 1).join('/'));
}

test('the rule of links bites', () => {
  const page = (text: string): TreeFile[] => [
    { path: 'docs/a.md', text },
    { path: 'docs/b.md', text: '# The `b` of it\n' },
    { path: 'core/c.ts', text: '' },
  ];
  expect(linkFaults(page('[b](b.md#the-b-of-it) [c](../core/) [d](https://x.example) `[e](f.md)`'))).toEqual(
    [],
  );
  expect(linkFaults(page('```\n[e](f.md)\n```\n'))).toEqual([]);
  expect(linkFaults(page('[b](c.md)'))).toEqual(['docs/a.md: c.md leads nowhere']);
  expect(linkFaults(page('[b](b.md#other)'))).toEqual(['docs/a.md: b.md#other names no heading']);
  expect(linkFaults(page('[b](#other)'))).toHaveLength(1);
});

test('shell lines are what a reader would type', () => {
  expect(
    shellLinesOf('```sh\n# why\nnpm \\\n  test\n```\n```json\n{}\n```\n```console\n$ ls\n```\n'),
  ).toEqual(['npm test', 'ls']);
});

test('every link leads somewhere', () => {
  expect(linkFaults(readTree())).toEqual([]);
});
