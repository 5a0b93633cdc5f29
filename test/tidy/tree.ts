// SPDX-License-Identifier: Apache-2.0
// The repository's files as a clone would have them, and TypeScript as the parser sees it.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseAst } from 'vitest/node';

export const ROOT = new URL('../../', import.meta.url);

/** A file by its path relative to the root, with `/`. */
export interface TreeFile {
  readonly path: string;
  readonly text: string;
}

/** Rooms that ship, in the order of the road. */
export const SHIPPED = [
  'core',
  'policy',
  'peers',
  'builder',
  'attest',
  'registry',
  'release',
  'device',
  'cli',
  'actions',
] as const;

/** Every file of the work tree that git tracks or would add, vectors and build results left out. */
export function readTree(): TreeFile[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return [...new Set(listed.split('\0'))]
    .filter(
      (path) => path !== '' && !path.startsWith('test/vectors/') && !/^actions\/[^/]+\/dist\//.test(path),
    )
    .filter((path) => existsSync(new URL(path, ROOT)))
    .sort()
    .map((path) => ({ path, text: readFileSync(fileURLToPath(new URL(path, ROOT)), 'utf8') }));
}

/** First segment of a path: the room. */
export function roomOf(path: string): string {
  return path.split('/')[0] ?? path;
}

export function isTypeScript(file: TreeFile): boolean {
  return file.path.endsWith('.ts');
}

/** A node of the syntax tree, as far as the rules look at it. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly [member: string]: unknown;
}

/** Parses a TypeScript file. */
export function parseSyntax(file: TreeFile): SyntaxNode {
  return parseAst(file.text, { lang: 'ts' }, file.path) as unknown as SyntaxNode;
}

/** Visits a node and everything under it; `visit` returns names of members to leave out. */
export function walk(node: SyntaxNode, visit: (node: SyntaxNode) => readonly string[] | undefined): void {
  const leaveOut = visit(node) ?? [];
  for (const [member, value] of Object.entries(node)) {
    if (leaveOut.includes(member)) continue;
    for (const child of Array.isArray(value) ? value : [value]) {
      if (typeof child === 'object' && child !== null && typeof child.type === 'string') walk(child, visit);
    }
  }
}

/** What a file imports or exports from elsewhere. */
export interface Import {
  readonly specifier: string;
  readonly names: readonly string[];
  readonly typeOnly: boolean;
}

/** By text: several rules ask for the same, and parsing is most of their time. */
const importsKnown = new Map<string, readonly Import[]>();

/** All imports of a file: static, re-exports, `import()` and `import type`. */
export function importsOf(file: TreeFile): readonly Import[] {
  const found = importsKnown.get(file.text) ?? findImports(file);
  importsKnown.set(file.text, found);
  return found;
}

function findImports(file: TreeFile): Import[] {
  const found: Import[] = [];
  walk(parseSyntax(file), (node) => {
    const source = node.source as SyntaxNode | null | undefined;
    const specifier = source?.value;
    if (typeof specifier === 'string') {
      const names = ((node.specifiers ?? []) as SyntaxNode[]).map((s) => nameOf(s.imported ?? s.local));
      found.push({ specifier, names, typeOnly: node.importKind === 'type' || node.exportKind === 'type' });
    }
    const argument = (node.argument as SyntaxNode | undefined)?.literal as SyntaxNode | undefined;
    if (node.type === 'TSImportType' && typeof argument?.value === 'string') {
      found.push({ specifier: argument.value, names: [], typeOnly: true });
    }
    return undefined;
  });
  return found;
}

function nameOf(node: unknown): string {
  const { name, value } = (node ?? {}) as { name?: string; value?: string };
  return name ?? value ?? '*';
}

/** Name of the package of a bare specifier: `@a/b/c.js` is of `@a/b`. */
export function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** Line number of an offset, from 1. */
export function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

/** The comment at the head of a file: its first lines up to the first that is not a comment. */
export function headOf(text: string): string {
  const lines = text.split('\n');
  const end = lines.findIndex((line) => !/^(#!|\/\/|\/?\*)/.test(line.trimStart()));
  return lines.slice(0, end < 0 ? lines.length : end).join('\n');
}
