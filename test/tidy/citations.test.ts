// SPDX-License-Identifier: Apache-2.0
// Citations: each names a document of docs/specs.md with its version, or a page of docs/ with a heading that is there.

import { expect, test } from 'vitest';
import { headingsOf } from './markdown.ts';
import { headOf, isTypeScript, lineOf, readTree, roomOf, type TreeFile } from './tree.ts';

const SPECS = 'docs/specs.md';

/** Files of core that are no part of a specification [docs/architecture.md §Admission to core]. */
const ADMITTED = /^core\/(limits|faults|crypto)\.ts$|^core\/verify\//;

interface Citation {
  readonly key: string;
  readonly section: string | undefined;
  readonly offset: number;
}

/** `[KEY §section]`, `[KEY §a, §b]`, `[KEY]` of a known key, `[docs/page.md §Heading]`. */
function citationsOf(text: string, keys: ReadonlySet<string>): Citation[] {
  const found: Citation[] = [];
  for (const match of text.matchAll(/\[([A-Za-z][\w.+/-]*)(?: §([^\][]+))?\]/g)) {
    const [, key = '', sections] = match;
    if (sections === undefined && !keys.has(key)) continue;
    for (const section of sections?.split(', §') ?? [undefined])
      found.push({ key, section, offset: match.index });
  }
  return found;
}

/** Keys of the table in docs/specs.md; a row is `| key | document | version | address | read |`. */
function specKeys(page: string): { keys: Set<string>; faults: string[] } {
  const keys = new Set<string>();
  const faults: string[] = [];
  for (const line of page.split('\n')) {
    const cells = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    const key = /^`(.+)`$/.exec(cells[0] ?? '')?.[1];
    if (key === undefined) continue;
    if (keys.has(key)) faults.push(`${key} is listed twice`);
    keys.add(key);
    const [, title = '', version = '', address = '', read = ''] = cells;
    const complete =
      title !== '' && version !== '' && /https:\/\/\S+/.test(address) && /^\d{4}-\d\d-\d\d$/.test(read);
    if (!complete) faults.push(`${key}: expected document, version, address and the date it was read`);
  }
  return { keys, faults };
}

/** What is wrong with the citations of a tree. */
function citationFaults(tree: readonly TreeFile[]): string[] {
  const pages = new Map(tree.filter((f) => f.path.endsWith('.md')).map((f) => [f.path, f.text]));
  const { keys, faults } = specKeys(pages.get(SPECS) ?? '');
  const used = new Set<string>();
  for (const file of tree) {
    if (!isTypeScript(file) || file.path.startsWith('test/tidy/')) continue;
    const citations = citationsOf(file.text, keys);
    for (const { key, section, offset } of citations) {
      const where = `${file.path}:${lineOf(file.text, offset)}`;
      const page = pages.get(key);
      if (key.startsWith('docs/')) {
        if (page === undefined) faults.push(`${where}: ${key} does not exist`);
        else if (section !== undefined && !headingsOf(page).includes(section)) {
          faults.push(`${where}: ${key} has no heading "${section}"`);
        }
      } else if (!keys.has(key)) faults.push(`${where}: ${key} is not in ${SPECS}`);
      used.add(key);
    }
    if (roomOf(file.path) === 'core' && !ADMITTED.test(file.path)) {
      const cited =
        citationsOf(headOf(file.text), keys).length > 0 || /\[docs\/[\w./-]+\]/.test(headOf(file.text));
      if (!cited) faults.push(`${file.path}: the head of a file of core cites what it implements`);
    }
  }
  for (const key of keys) if (!used.has(key)) faults.push(`${SPECS}: ${key} is cited nowhere`);
  return faults;
}

const specs = (...rows: string[]): TreeFile => ({ path: SPECS, text: rows.join('\n') });
const good = specs('| `X-1` | The X | 1.0 | <https://x.example> | 2026-01-31 |');
const code = (text: string, path = 'core/a.ts'): TreeFile => ({ path, text });

test('the rule of citations bites', () => {
  expect(citationFaults([good, code('// [X-1 §2]')])).toEqual([]);
  expect(citationFaults([good, code('// [X-1]')])).toEqual([]);
  expect(citationFaults([good, code('// [X-1 §2, §3] [Y §1]')])).toEqual([
    'core/a.ts:1: Y is not in docs/specs.md',
  ]);
  expect(citationFaults([good, code('// a list[X] §2', 'cli/a.ts')])).toEqual([
    'docs/specs.md: X-1 is cited nowhere',
  ]);
  expect(citationFaults([good, code('// nothing'), code('[X-1 §1]', 'cli/a.ts')])).toEqual([
    'core/a.ts: the head of a file of core cites what it implements',
  ]);
  expect(citationFaults([good, code('const a = "[X-1 §1]";')])).toHaveLength(1);
  expect(citationFaults([good, code('// [X-1 §1]', 'core/limits.ts')])).toEqual([]);
});

test('the rule of our own pages bites', () => {
  const page: TreeFile = { path: 'docs/spec/a.md', text: '# A\n\n## Two words\n' };
  const cites = (text: string) => citationFaults([page, code(text)]);
  expect(cites('// [docs/spec/a.md §Two words]')).toEqual([]);
  expect(cites('// [docs/spec/a.md]')).toEqual([]);
  expect(cites('// [docs/spec/a.md §Three]')).toEqual(['core/a.ts:1: docs/spec/a.md has no heading "Three"']);
  expect(cites('// [docs/spec/b.md §Two words]')).toEqual(['core/a.ts:1: docs/spec/b.md does not exist']);
});

test('the rule of the list bites', () => {
  expect(specKeys('| `X` | | 1 | <https://x.example> | 2026-01-31 |').faults).toHaveLength(1);
  expect(specKeys('| `X` | a | 1 | x | 2026-01-31 |').faults).toHaveLength(1);
  expect(specKeys('| `X` | a | 1 | <https://x.example> | soon |').faults).toHaveLength(1);
  const row = '| `X` | a | 1 | <https://x.example> | 2026-01-31 |';
  expect(specKeys(`${row}\n${row}`).faults).toEqual(['X is listed twice']);
});

test('every citation leads somewhere, and every listed document is cited', () => {
  expect(citationFaults(readTree())).toEqual([]);
});
