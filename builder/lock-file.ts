// SPDX-License-Identifier: Apache-2.0
// waybill.lock [docs/spec/lock.md]: every input by digest.

import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import { utf8 } from '../core/encoding/utf8.ts';
import { type BuildDefinition, inputsSha256 } from './definition.ts';
import { BUILDER } from './faults.ts';

export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Relative to the mirror. */
  readonly path: string;
}

export interface LockedInput {
  readonly name: string;
  readonly kind: 'debian';
  readonly suite: string;
  readonly inReleaseSha256: string;
  /** Fingerprints of the keys that validly signed, upper-case hex. */
  readonly signers: readonly string[];
  readonly packages: readonly LockedPackage[];
}

export interface Lock {
  readonly inputsSha256: string;
  readonly inputs: readonly LockedInput[];
}

/** Packages of one lock at most: no definition that a person wrote comes near. */
const SIZE_BYTES_MAX = 8 * 1024 * 1024;

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

/** Refuses a lock that was made from other inputs than the definition's. @throws LOCK_OUTDATED */
export function checkLock(definition: BuildDefinition, lock: Lock): void {
  const expected = inputsSha256(definition);
  if (lock.inputsSha256 !== expected) {
    throw BUILDER.reject(
      'LOCK_OUTDATED',
      `expected a lock of the inputs ${expected}, got one of ${lock.inputsSha256}`,
    );
  }
  for (const input of definition.inputs) {
    const locked = lock.inputs.find(({ name }) => name === input.name);
    const names = new Set(locked?.packages.map((entry) => entry.name));
    const missing = locked === undefined ? input.name : input.packages.find((name) => !names.has(name));
    if (missing !== undefined || locked?.suite !== input.suite) {
      throw BUILDER.reject(
        'LOCK_OUTDATED',
        `expected the lock to hold input ${input.name} whole, got it without ${missing ?? input.suite}`,
      );
    }
  }
}

function parseInput(node: DocumentNode): LockedInput {
  node.only('name', 'kind', 'suite', 'inReleaseSha256', 'signers', 'packages');
  const packages = node.field('packages').someElements().map(parsePackage);
  sorted(
    node.field('packages'),
    packages.map((entry) => `${entry.name} ${entry.architecture}`),
  );
  return {
    name: node.field('name').string(),
    kind: node.field('kind').word('debian'),
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
function sortInput(input: LockedInput): LockedInput {
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
  const { name, kind, suite, inReleaseSha256 } = input;
  return { name, kind, suite, inReleaseSha256, signers: [...input.signers].sort(), packages };
}
