// SPDX-License-Identifier: Apache-2.0
// What must not stand in any file. Needles are put together here, so that this file does not contain them.

import { expect, test } from 'vitest';
import { readTree, type TreeFile } from './tree.ts';

interface TextRule {
  readonly name: string;
  readonly applies: (path: string) => boolean;
  /** Returns what is wrong, or undefined. */
  readonly fault: (file: TreeFile) => string | undefined;
  readonly good: readonly TreeFile[];
  readonly bad: readonly TreeFile[];
}

const isCode = (path: string) => /\.(ts|cjs|mjs|js)$/.test(path);
const any = () => true;
const made = (path: string, ...lines: string[]): TreeFile => ({ path, text: lines.join('\n') });
const spdx = ['//', 'SPDX-License-Identifier:', 'Apache-2.0'].join(' ');

/** A rule that finds a pattern and names the line. */
function without(pattern: RegExp): TextRule['fault'] {
  return ({ text }) => {
    const index = text.split('\n').findIndex((line) => pattern.test(line));
    return index < 0 ? undefined : `line ${index + 1}: ${text.split('\n')[index]?.trim().slice(0, 100)}`;
  };
}

const later = [['TO', 'DO'].join(''), ['FIX', 'ME'].join('')];
const hosts = [
  ['registry', 'npmjs', 'org'],
  ['npmjs', 'com'],
  ['deb', 'debian', 'org'],
  ['security', 'debian', 'org'],
  ['snapshot', 'debian', 'org'],
  ['pypi', 'org'],
  ['files', 'pythonhosted', 'org'],
  ['static', 'crates', 'io'],
  ['proxy', 'golang', 'org'],
  ['repo1', 'maven', 'org'],
].map((labels) => labels.join('.'));
const machine = [['', 'work', ''].join('/'), ['', 'root', ''].join('/')];
const escaped = (needles: readonly string[]) => needles.map((n) => n.replaceAll('.', '\\.')).join('|');

const RULES: readonly TextRule[] = [
  {
    name: 'code starts with its licence and says what it is',
    applies: isCode,
    fault: ({ text }) => {
      const [first = '', second = '', third = ''] = text.split('\n');
      const [licence, about] = first.startsWith('#!') ? [second, third] : [first, second];
      if (licence !== spdx) return 'expected the SPDX line at the head';
      return about.startsWith('// ') ? undefined : 'expected a comment that says what the file is';
    },
    good: [made('a.ts', spdx, '// What it is.'), made('a.js', '#!/usr/bin/env node', spdx, '// What it is.')],
    bad: [
      made('a.ts', '// What it is.'),
      made('a.ts', spdx, 'const a = 1;'),
      made('a.js', '#!/bin/x', 'a();'),
    ],
  },
  {
    name: 'nothing is put off in a comment',
    applies: any,
    fault: without(new RegExp(`\\b(${later.join('|')}|XX${'X'})\\b`)),
    good: [made('a.ts', '// Todos are a noun.')],
    bad: later.map((word) => made('a.ts', `// ${word}: later`)),
  },
  {
    name: 'no test is left out or alone; a test that cannot run says why by context.skip(reason)',
    applies: (path) => path.startsWith('test/') && isCode(path),
    fault: without(/\b(it|test|describe|suite)(\.\w+)*\.(only|skip|todo|skipIf|runIf|fails)\b|\.skip\(\s*\)/),
    good: [made('test/a.ts', "context.skip('no QEMU'); node.only('a');")],
    bad: [`test.${'skip'}('a')`, `describe.${'only'}('a')`, `c.${'skip'}()`].map((text) =>
      made('test/a.ts', text),
    ),
  },
  {
    name: 'no path of one machine',
    applies: any,
    fault: without(new RegExp(`(^|[^\\w.$}/-])(${machine.join('|')})`)),
    good: [made('a.md', 'a/root/b', './work/')],
    bad: machine.map((path) => made('a.md', `see ${path}x`)),
  },
  {
    name: 'no host of a package registry',
    applies: any,
    fault: without(new RegExp(`(^|[^\\w-])(${escaped(hosts)})`)),
    good: [made('a.md', 'debian.org')],
    bad: hosts.map((host) => made('a.md', `https://${host}/x`)),
  },
  {
    name: 'the lock file holds integrity but no address',
    applies: (path) => path === 'package-lock.json',
    fault: ({ text }) => {
      const packages = JSON.parse(text).packages as Record<string, { resolved?: string; integrity?: string }>;
      const rows = Object.entries(packages).filter(([place]) => place !== '');
      const bad = rows.find(([, row]) => row.resolved !== undefined || row.integrity === undefined);
      return bad === undefined ? undefined : `${bad[0]} has an address or no integrity`;
    },
    good: [made('package-lock.json', '{"packages":{"":{},"a":{"integrity":"x"}}}')],
    bad: [
      made('package-lock.json', '{"packages":{"a":{"integrity":"x","resolved":"y"}}}'),
      made('package-lock.json', '{"packages":{"a":{}}}'),
    ],
  },
  {
    name: 'nothing that editors, patches or merges leave behind',
    applies: any,
    fault: ({ path }) =>
      /\.(orig|rej|bak|swp|patch)$|~$/.test(path) ? 'expected a file of the project' : undefined,
    good: [made('a.ts', ''), made('origin.md', '')],
    bad: ['a.ts.orig', 'a.ts.rej', 'a.bak', '.a.swp', 'a.patch', 'a.ts~'].map((path) => made(path, '')),
  },
  {
    name: 'no code file is longer than 500 lines',
    applies: isCode,
    fault: ({ text }) => (text.split('\n').length > 501 ? `${text.split('\n').length - 1} lines` : undefined),
    good: [made('a.ts', ...Array(500).fill('a'), '')],
    bad: [made('a.ts', ...Array(501).fill('a'), '')],
  },
];

for (const rule of RULES) {
  test(`${rule.name}: the rule bites`, () => {
    for (const file of rule.good) expect(rule.fault(file), file.text.slice(0, 60)).toBeUndefined();
    for (const file of rule.bad) expect(rule.fault(file), file.text.slice(0, 60)).toBeDefined();
  });
}

const tree = readTree();

for (const rule of RULES) {
  test(rule.name, () => {
    const faults = tree
      .filter((file) => rule.applies(file.path))
      .map((file) => ({ path: file.path, fault: rule.fault(file) }))
      .filter(({ fault }) => fault !== undefined);
    expect(faults.map(({ path, fault }) => `${path}: ${fault}`)).toEqual([]);
  });
}
