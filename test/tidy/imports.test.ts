// SPDX-License-Identifier: Apache-2.0
// Who may import whom: the table of docs/architecture.md, and which package each room may use.

import { posix } from 'node:path';
import { expect, test } from 'vitest';
import {
  type Import,
  importsOf,
  isTypeScript,
  packageOf,
  parseSyntax,
  readTree,
  roomOf,
  SHIPPED,
  type TreeFile,
} from './tree.ts';

const BELOW_CLI = ['core', 'policy', 'peers', 'builder', 'attest', 'registry', 'release', 'device'];

/** Row may import column, besides itself. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  core: [],
  policy: ['core'],
  peers: ['core'],
  builder: ['core'],
  attest: ['core'],
  registry: ['core', 'policy', 'peers'],
  release: ['core', 'peers'],
  device: ['core', 'policy'],
  cli: BELOW_CLI,
  actions: [...BELOW_CLI, 'cli'],
  // The rest is not shipped; it may look at everything but the tests.
  examples: [...SHIPPED],
  bench: [...SHIPPED, 'examples', 'scripts'],
  scripts: [...SHIPPED],
  test: [...SHIPPED, 'examples', 'bench', 'scripts'],
};

/** Named exceptions, each with its reason and its end. */
const EXCEPTIONS = [
  {
    from: 'device/node-host.ts',
    to: 'peers/node-crypto.ts',
    why: "the outside for Node gives the agent Node's cryptography; the agent itself runs on core alone",
    until: 'the outside for Node leaves the room of the agent',
  },
];

/** Packages that a room may import besides `node:`; `node:` is closed to core and policy. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  core: ['@noble/hashes'],
  policy: [],
  peers: ['@sigstore/bundle', '@sigstore/protobuf-specs', '@sigstore/verify'],
  builder: [
    '@cyclonedx/cyclonedx-library',
    'ajv',
    'ajv-formats',
    'ajv-formats-draft2019',
    'packageurl-js',
    'yaml',
  ],
  attest: ['@sigstore/bundle', '@sigstore/protobuf-specs', '@sigstore/sign', 'jose'],
  registry: [
    '@fastify/rate-limit',
    '@fastify/type-provider-typebox',
    '@sigstore/protobuf-specs',
    '@tufjs/models',
    'fastify',
    'jose',
    'level',
    'packageurl-js',
    'pino',
    'prom-client',
    'typebox',
  ],
  release: ['@tufjs/models'],
  device: [],
  cli: ['commander', 'pino', 'undici', 'yaml'],
  actions: ['@actions/core', 'octokit'],
};

const PURE = ['core', 'policy'];

/** What is wrong with the imports of one file. */
function importFaults(path: string, imports: readonly Import[]): string[] {
  const room = roomOf(path);
  const faults: string[] = [];
  for (const { specifier } of imports) {
    if (specifier.startsWith('.')) {
      const target = posix.join(posix.dirname(path), specifier);
      const to = roomOf(target);
      const known = to === room || (ROOMS[room] ?? []).includes(to);
      const excepted = EXCEPTIONS.some((exception) => exception.from === path && exception.to === target);
      if (!known && !excepted && target.includes('/')) faults.push(`${path}: ${room} may not import ${to}`);
      if (!/\.(ts|cjs|js|json)$/.test(specifier)) faults.push(`${path}: ${specifier} has no extension`);
    } else if (specifier.startsWith('node:')) {
      if (PURE.includes(room)) faults.push(`${path}: ${room} may not import ${specifier}`);
    } else if (PACKAGES[room] !== undefined && !PACKAGES[room].includes(packageOf(specifier))) {
      faults.push(`${path}: ${room} may not import the package ${packageOf(specifier)}`);
    }
  }
  return faults;
}

/** A file that only passes on what others export hides who uses what. */
function isBarrel(file: TreeFile): boolean {
  if (/(^|\/)index\.ts$/.test(file.path)) return true;
  const body = parseSyntax(file).body as { type: string; source?: unknown }[];
  if (body.some((statement) => statement.type === 'ExportAllDeclaration')) return true;
  return (
    body.length > 0 &&
    body.every((statement) => statement.type === 'ExportNamedDeclaration' && statement.source)
  );
}

/** What makes a verified result. */
const BRANDS = ['asVerifiedBundle', 'asVerifiedSignature'];

/** Only the verifier may make verified results; tests of what takes them may, too. */
function brandFaults(path: string, imports: readonly Import[]): string[] {
  if (/^(core\/verify|test)\//.test(path)) return [];
  return imports
    .flatMap((one) => one.names)
    .filter((name) => BRANDS.includes(name))
    .map((name) => `${path}: only core/verify/ may import ${name}`);
}

const made = (path: string, text: string): TreeFile => ({ path, text });
const faultsIn = (path: string, text: string) => importFaults(path, importsOf(made(path, text)));

test('the rule of rooms bites', () => {
  expect(faultsIn('policy/a.ts', "import { b } from '../core/b.ts';")).toEqual([]);
  expect(faultsIn('policy/a.ts', "import { b } from '../registry/b.ts';")).toEqual([
    'policy/a.ts: policy may not import registry',
  ]);
  expect(faultsIn('core/x/a.ts', "export * from '../../policy/b.ts';")).toHaveLength(1);
  expect(faultsIn('core/a.ts', "import type { B } from '../peers/b.ts';")).toHaveLength(1);
  expect(faultsIn('core/a.ts', "let a: import('../peers/b.ts').B;")).toHaveLength(1);
  expect(faultsIn('attest/a.ts', "await import('../builder/b.ts');")).toHaveLength(1);
  expect(faultsIn('cli/a.ts', "import '../test/b.ts';")).toHaveLength(1);
  expect(faultsIn('device/a.ts', "import '../peers/node-crypto.ts';")).toHaveLength(1);
  expect(faultsIn('device/node-host.ts', "import '../peers/node-crypto.ts';")).toEqual([]);
  expect(faultsIn('device/node-host.ts', "import '../peers/b.ts';")).toHaveLength(1);
  expect(faultsIn('device/a.ts', "import '../registry/b.ts';")).toHaveLength(1);
  expect(faultsIn('cli/a.ts', "import './b';")).toEqual(['cli/a.ts: ./b has no extension']);
});

test('the rule of packages bites', () => {
  expect(faultsIn('core/a.ts', "import { sha256 } from '@noble/hashes/sha2.js';")).toEqual([]);
  expect(faultsIn('core/a.ts', "import 'node:fs';")).toEqual(['core/a.ts: core may not import node:fs']);
  expect(faultsIn('device/a.ts', "import 'node:fs';")).toEqual([]);
  expect(faultsIn('device/a.ts', "import 'tuf-js';")).toEqual([
    'device/a.ts: device may not import the package tuf-js',
  ]);
  expect(faultsIn('test/a.ts', "import 'tuf-js';")).toEqual([]);
});

test('the rule against barrels bites', () => {
  expect(isBarrel(made('core/a.ts', "export { b } from './b.ts';"))).toBe(true);
  expect(isBarrel(made('core/a.ts', "import './c.ts'; export * from './b.ts';"))).toBe(true);
  expect(isBarrel(made('core/index.ts', 'export const a = 1;'))).toBe(true);
  expect(isBarrel(made('core/a.ts', 'export const a = 1;'))).toBe(false);
  expect(isBarrel(made('core/a.ts', "export { b } from './b.ts'; export const a = 1;"))).toBe(false);
});

test('the rule about who verifies bites', () => {
  const text = "import { asVerifiedBundle } from '../core/verify/verified.ts';";
  expect(brandFaults('core/verify/a.ts', importsOf(made('core/verify/a.ts', text)))).toEqual([]);
  expect(brandFaults('peers/a.ts', importsOf(made('peers/a.ts', text)))).toHaveLength(1);
  expect(brandFaults('cli/a.ts', importsOf(made('cli/a.ts', text)))).toHaveLength(1);
});

const sources = readTree().filter(isTypeScript);

test('every folder with code has its row in the table', () => {
  const rooms = sources.map((file) => file.path).filter((path) => path.includes('/'));
  expect([...new Set(rooms.map(roomOf))].filter((room) => ROOMS[room] === undefined)).toEqual([]);
});

test('rooms import only what the table allows', () => {
  expect(sources.flatMap((file) => importFaults(file.path, importsOf(file)))).toEqual([]);
});

test('each exception is still needed', () => {
  for (const { from, to } of EXCEPTIONS) {
    const users = sources.filter(
      (file) =>
        file.path === from &&
        importsOf(file).some(({ specifier }) => posix.join(posix.dirname(file.path), specifier) === to),
    );
    expect(users.length, `${from} no longer imports ${to}: take the exception out`).toBeGreaterThan(0);
  }
});

test('no file is a barrel', () => {
  expect(sources.filter(isBarrel).map((file) => file.path)).toEqual([]);
});

test('only verifiers make verified results', () => {
  expect(sources.flatMap((file) => brandFaults(file.path, importsOf(file)))).toEqual([]);
});
