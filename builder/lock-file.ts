// SPDX-License-Identifier: Apache-2.0
// waybill.lock [docs/spec/lock.md]: every input by digest.

import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import { utf8 } from '../core/encoding/utf8.ts';
import { quote } from '../core/faults.ts';
import { type BuildDefinition, describeInput, type InputDefinition, inputsSha256 } from './definition.ts';
import { BUILDER } from './faults.ts';
import { type LockedMounted, type LockedOci, parseLockedOther } from './inputs/locked.ts';

export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Relative to the mirror. */
  readonly path: string;
}

export interface LockedDebian {
  readonly name: string;
  readonly kind: 'debian';
  readonly suite: string;
  readonly inReleaseSha256: string;
  /** Fingerprints of the keys that validly signed, upper-case hex. */
  readonly signers: readonly string[];
  readonly packages: readonly LockedPackage[];
}

/** One input. `definition` is what waybill.yaml said of it; locks of the first version of Waybill have none. */
export type LockedInput = (LockedDebian | LockedMounted | LockedOci) & {
  readonly definition?: Readonly<Record<string, Json>>;
};

export interface Lock {
  readonly inputsSha256: string;
  readonly inputs: readonly LockedInput[];
}

/** The inputs of a lock that are Debian packages. */
export function debianInputs(lock: Lock): LockedDebian[] {
  return lock.inputs.filter((input) => input.kind === 'debian');
}

/** Of a lock at most: no definition that a person wrote comes near, but folders are listed file by file. */
const SIZE_BYTES_MAX = 32 * 1024 * 1024;

/** Parses a lock; `path` names it in messages. @throws LOCK_MALFORMED */
export function parseLock(bytes: Uint8Array, path: string): Lock {
  const root = parseDocument(
    bytes,
    { refuse: (message, at) => BUILDER.reject('LOCK_MALFORMED', message, { at: `${path}: ${at}` }) },
    SIZE_BYTES_MAX,
  );
  root.only('lockVersion', 'inputsSha256', 'inputs');
  root.field('lockVersion').integer(1, 1);
  const inputs = root.field('inputs').someElements().map(parseInput);
  sorted(
    root.field('inputs'),
    inputs.map((input) => input.name),
  );
  return { inputsSha256: root.field('inputsSha256').sha256(), inputs };
}

/** The bytes of a lock; the same lock has the same bytes. */
export function formatLock(lock: Lock): Uint8Array {
  const inputs = [...lock.inputs].sort((a, b) => order(a.name, b.name)).map(sortInput);
  return utf8(`${JSON.stringify({ lockVersion: 1, inputsSha256: lock.inputsSha256, inputs }, null, 2)}\n`);
}

/** Refuses a lock that was made from other inputs than the definition's, and names the difference. @throws LOCK_OUTDATED */
export function checkLock(definition: BuildDefinition, lock: Lock): void {
  const found = lockDifferences(definition, lock);
  const expected = inputsSha256(definition);
  if (found.length === 0 && lock.inputsSha256 === expected) return;
  // A lock that does not repeat the definition cannot say more.
  const digests = `the inputs have digest ${expected}, locked is ${lock.inputsSha256}`;
  throw outdated(found.length === 0 ? [digests] : found);
}

/** As `checkLock`, of some inputs alone: their digest as a whole is not compared. @throws LOCK_OUTDATED */
export function checkInputs(definition: BuildDefinition, lock: Lock): void {
  const found = lockDifferences(definition, lock);
  if (found.length > 0) throw outdated(found);
}

/** The fault of a lock that differs. */
export function outdated(found: readonly string[]) {
  return BUILDER.reject(
    'LOCK_OUTDATED',
    `expected waybill.lock to hold the inputs of waybill.yaml, got a difference: ${shown(found)}`,
  );
}

/** The inputs of a definition, as far as a lock can say whether it holds them. One sentence a difference. */
function lockDifferences(definition: BuildDefinition, lock: Lock): string[] {
  const names = definition.inputs.map(({ name }) => name);
  const gone = lock.inputs.filter(({ name }) => !names.includes(name));
  return [
    ...definition.inputs.flatMap((input) => {
      const locked = lock.inputs.find(({ name }) => name === input.name);
      if (locked === undefined) return [`input ${input.name} is not locked`];
      return inputDifferences(input, locked).map((text) => `input ${input.name}: ${text}`);
    }),
    ...gone.map(({ name }) => `input ${name} is locked but not defined`),
  ];
}

/** A message has an end, folders may not. */
function shown(found: readonly string[]): string {
  const more = found.length > 10 ? `; and ${found.length - 10} more` : '';
  return `${found.slice(0, 10).join('; ')}${more}`;
}

function inputDifferences(input: InputDefinition, locked: LockedInput): string[] {
  const now = describeInput(input);
  const then = locked.definition ?? now;
  const members = [...new Set([...Object.keys(now), ...Object.keys(then)])];
  const changed = members.flatMap((member) => memberDifference(member, then[member], now[member]));
  return changed.length > 0 ? changed : contentDifferences(input, locked);
}

/** Lists by what came and went, other members by old and new. */
function memberDifference(member: string, then: Json | undefined, now: Json | undefined): string[] {
  if (JSON.stringify(then) === JSON.stringify(now)) return [];
  if (!Array.isArray(then) || !Array.isArray(now)) {
    const say = (value: Json | undefined) => (value === undefined ? 'nothing' : quote(String(value)));
    return [`${member} is ${say(now)}, locked is ${say(then)}`];
  }
  const [old, fresh] = [new Set(then.map(String)), new Set(now.map(String))];
  return [
    ...[...fresh].filter((name) => !old.has(name)).map((name) => `${member} gained ${name}`),
    ...[...old].filter((name) => !fresh.has(name)).map((name) => `${member} lost ${name}`),
  ];
}

/** What the definition says and the locked content must say again, so that a lock cannot be bent by its repetition. */
function contentDifferences(input: InputDefinition, locked: LockedInput): string[] {
  const differ = (member: string, expected: string, got: string): string[] =>
    expected === got ? [] : [`${member} is ${quote(expected)}, locked is ${quote(got)}`];
  if (input.kind === 'debian' && locked.kind === 'debian') {
    const names = new Set(locked.packages.map((entry) => entry.name));
    const missing = input.packages.filter((name) => !names.has(name));
    return [
      ...differ('suite', input.suite, locked.suite),
      ...missing.map((name) => `package ${name} is not locked`),
    ];
  }
  if (input.kind === 'file' && locked.kind === 'file') {
    return [...differ('url', input.url, locked.url), ...differ('sha256', input.sha256, locked.sha256)];
  }
  if (input.kind === 'folder' && locked.kind === 'folder') return differ('path', input.path, locked.path);
  if (input.kind === 'git' && locked.kind === 'git') {
    return [...differ('url', input.url, locked.url), ...differ('commit', input.commit, locked.commit)];
  }
  if (input.kind === 'oci' && locked.kind === 'oci') {
    const pinned = `sha256:${(locked.index ?? locked).sha256}`;
    return [...differ('image', input.image, locked.image), ...differ('digest', input.digest, pinned)];
  }
  return differ('kind', input.kind, locked.kind);
}

function parseInput(node: DocumentNode): LockedInput {
  const definition = node.optional('definition');
  // Its members are compared with the definition's, never used.
  const repeated =
    definition === undefined
      ? {}
      : { definition: Object.fromEntries(definition.members().map(([name, value]) => [name, value.value])) };
  if (node.field('kind').value !== 'debian') return { ...parseLockedOther(node), ...repeated };
  node.only('name', 'kind', 'definition', 'suite', 'inReleaseSha256', 'signers', 'packages');
  const packages = node.field('packages').someElements().map(parsePackage);
  sorted(
    node.field('packages'),
    packages.map((entry) => `${entry.name} ${entry.architecture}`),
  );
  return {
    name: node.field('name').string(),
    kind: 'debian',
    ...repeated,
    suite: node.field('suite').string(),
    inReleaseSha256: node.field('inReleaseSha256').sha256(),
    signers: node
      .field('signers')
      .someElements()
      .map((signer) => signer.matching(/^(?:[0-9A-F]{40}|[0-9A-F]{64})$/, 'a key fingerprint')),
    packages,
  };
}

function parsePackage(node: DocumentNode): LockedPackage {
  node.only('name', 'version', 'architecture', 'sha256', 'sizeBytes', 'path');
  return {
    name: node.field('name').matching(/^[a-z0-9][a-z0-9+.-]+$/, 'a package name'),
    version: node.field('version').matching(/^[A-Za-z0-9.+~:-]+$/, 'a package version'),
    architecture: node.field('architecture').matching(/^[a-z0-9][a-z0-9-]*$/, 'an architecture'),
    sha256: node.field('sha256').sha256(),
    sizeBytes: node.field('sizeBytes').integer(1, 4 * 1024 * 1024 * 1024),
    path: node
      .field('path')
      .matching(
        /^(?:[A-Za-z0-9_][A-Za-z0-9_+~.-]*\/)*[A-Za-z0-9_][A-Za-z0-9_+~.-]*\.deb$/,
        'a relative pool path',
      ),
  };
}

function sorted(node: DocumentNode, names: readonly string[]): void {
  for (let i = 1; i < names.length; i++) {
    if (order(names[i - 1] as string, names[i] as string) >= 0) {
      throw node.wrong('expected entries sorted by name, each once');
    }
  }
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** In the order of a lock. */
export function sortPackages(packages: readonly LockedPackage[]): LockedPackage[] {
  const key = ({ name, architecture }: LockedPackage) => `${name} ${architecture}`;
  return [...packages].sort((a, b) => order(key(a), key(b)));
}

/** Members in the order of the specification, whatever order the values were made in. */
function sortInput(input: LockedInput): Json {
  const { name, kind, definition } = input;
  const head = { name, kind, ...(definition === undefined ? {} : { definition: sortMembers(definition) }) };
  if (input.kind !== 'debian') {
    const { name: _name, kind: _kind, definition: _definition, ...content } = input;
    return { ...head, ...content } as unknown as Json;
  }
  const packages = sortPackages(input.packages).map(
    ({ name, version, architecture, sha256, sizeBytes, path }) => ({
      name,
      version,
      architecture,
      sha256,
      sizeBytes,
      path,
    }),
  );
  const { suite, inReleaseSha256 } = input;
  return { ...head, suite, inReleaseSha256, signers: [...input.signers].sort(), packages };
}

function sortMembers(members: Readonly<Record<string, Json>>): Record<string, Json> {
  return Object.fromEntries(Object.entries(members).sort(([a], [b]) => order(a, b)));
}
