// SPDX-License-Identifier: Apache-2.0
// core and policy have no clock, no chance, no waiting and no host: the same bytes give the same answer everywhere. The
// compiler refuses most of a host already (`lib: ["ES2022"], types: []`); these are the names that it lets through.

import { expect, test } from 'vitest';
import {
  isTypeScript,
  lineOf,
  parseSyntax,
  readTree,
  roomOf,
  type SyntaxNode,
  type TreeFile,
  walk,
} from './tree.ts';

const NAMES = [
  'Date',
  'globalThis',
  'Buffer',
  'process',
  'Promise',
  'WeakRef',
  'FinalizationRegistry',
  'Intl',
];

function impurities(file: TreeFile): string[] {
  const found: string[] = [];
  const add = (node: SyntaxNode, what: string) =>
    found.push(`${file.path}:${lineOf(file.text, node.start)}: ${what}`);
  walk(parseSyntax(file), (node) => {
    if (node.async === true) add(node, 'async');
    if (node.type === 'AwaitExpression' || node.await === true) add(node, 'await');
    if (node.type === 'ImportExpression') add(node, 'import()');
    if (node.type === 'Identifier' && NAMES.includes(node.name as string)) add(node, node.name as string);
    if (
      node.type === 'MemberExpression' &&
      nameIn(node.object) === 'Math' &&
      nameIn(node.property) === 'random'
    ) {
      add(node, 'Math.random');
    }
    if (node.computed === true) return undefined;
    // `x.process` and `{ process: 1 }` name a member, not the host.
    return node.type === 'MemberExpression' ? ['property'] : ['key', 'imported'];
  });
  return found;
}

function nameIn(node: unknown): unknown {
  return (node as SyntaxNode | undefined)?.name;
}

const impure = (text: string) => impurities({ path: 'core/a.ts', text });

test('the rule of purity bites', () => {
  for (const [text, what] of [
    ['Date.now();', 'Date'],
    ['new Date(0);', 'Date'],
    ['Math.random();', 'Math.random'],
    ['async function f() {}', 'async'],
    ['const f = async () => 1;', 'async'],
    ['await f();', 'await'],
    ['async function f() { for await (const a of b) a; }', 'await'],
    ['globalThis.x;', 'globalThis'],
    ['Buffer.from("");', 'Buffer'],
    ['process.exit();', 'process'],
    ['import("./b.ts");', 'import()'],
    ['Promise.resolve();', 'Promise'],
  ] as const) {
    expect(impure(text).join(), text).toContain(`core/a.ts:1: ${what}`);
  }
  expect(impure('x.process; const y = { process: 1, Date: 2 }; Math.max(1); // Date.now()')).toEqual([]);
  expect(impure('interface A { Date: string } const s = "Buffer";')).toEqual([]);
});

test('core and policy are pure', () => {
  const pure = readTree().filter(
    (file) => isTypeScript(file) && ['core', 'policy'].includes(roomOf(file.path)),
  );
  expect(pure.length).toBeGreaterThan(0);
  expect(pure.flatMap(impurities)).toEqual([]);
});
