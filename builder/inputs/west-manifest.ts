// SPDX-License-Identifier: Apache-2.0
// Reading west manifests [west-manifests-1.5 §projects] and the blobs that a module of Zephyr names.
// Stricter than [west-manifests-1.5 §projects]: lists of paths in imports, and YAML aliases, are refused.

import { parseDocument as parseYaml } from 'yaml';
import { DocumentNode } from '../../core/encoding/document.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { quote } from '../../core/faults.ts';
import { BUILDER } from '../faults.ts';
import { inside } from './locked.ts';

export interface Import {
  /** A file, or a folder of files. */
  readonly file: string;
  readonly allow?: readonly string[];
  readonly block: readonly string[];
  readonly pathPrefix?: string;
}

export interface Project {
  readonly name: string;
  readonly url: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  readonly path: string;
  readonly groups: readonly string[];
  readonly submodules: boolean;
  readonly imports?: readonly Import[];
}

export interface Manifest {
  readonly projects: readonly Project[];
  readonly selfPath?: string;
  readonly selfImports: readonly Import[];
  readonly groupFilter: readonly string[];
}

/** The fault of a manifest; `where` names it. */
export function westUnusable(where: string, said: string, at?: string) {
  return BUILDER.reject('INPUT_WEST_UNUSABLE', `west manifest ${where}: ${said}`, { at });
}

/** Reads a manifest. @throws INPUT_WEST_UNUSABLE */
export function parseManifest(bytes: Uint8Array, where: string): Manifest {
  const root = openYaml(bytes, where).field('manifest');
  root.only('version', 'defaults', 'remotes', 'projects', 'self', 'group-filter');
  const defaults = root.optional('defaults')?.only('remote', 'revision');
  const remotes = new Map<string, string>();
  for (const remote of root.optional('remotes')?.elements() ?? []) {
    const base = remote.only('name', 'url-base').field('url-base').string();
    remotes.set(remote.field('name').string(), base.replace(/\/+$/, ''));
  }
  const fallback = {
    remote: defaults?.optional('remote')?.string(),
    // west's own default.
    revision: defaults?.optional('revision')?.string() ?? 'master',
  };
  const self = root.optional('self');
  const own = self?.optional('import');
  const selfPath = self?.optional('path');
  return {
    projects: (root.optional('projects')?.elements() ?? []).map((node) =>
      parseProject(node, remotes, fallback),
    ),
    ...(selfPath === undefined ? {} : { selfPath: inside(selfPath) }),
    selfImports: own === undefined ? [] : parseImports(own),
    groupFilter: (root.optional('group-filter')?.elements() ?? []).map((word) =>
      word.matching(/^[+-][^\s,:]+$/, 'a group such as -optional'),
    ),
  };
}

function parseProject(
  node: DocumentNode,
  remotes: ReadonlyMap<string, string>,
  fallback: { readonly remote: string | undefined; readonly revision: string },
): Project {
  node.only(
    ...['name', 'remote', 'url', 'repo-path', 'revision', 'path', 'submodules', 'import', 'groups'],
    ...['clone-depth', 'west-commands', 'userdata', 'description'],
  );
  const name = node.field('name').matching(/^[^\s/\\-][^\s/\\]*$/, 'the name of a project');
  const path = node.optional('path');
  const imports = node.optional('import');
  const submodules = node.optional('submodules');
  const revision = node.optional('revision');
  return {
    name,
    url: node.optional('url')?.string() ?? urlOf(node, name, remotes, fallback.remote),
    revision:
      revision === undefined
        ? fallback.revision
        : revision.matching(/^[^-\s~^:?*[\\][^\s~^:?*[\\]*$/, 'a branch, a tag or a commit'),
    path: path === undefined ? name : inside(path),
    groups: (node.optional('groups')?.elements() ?? []).map((group) => group.string()),
    submodules: submodules !== undefined && submodules.value !== false,
    ...(imports === undefined ? {} : { imports: parseImports(imports) }),
  };
}

function urlOf(
  node: DocumentNode,
  name: string,
  remotes: ReadonlyMap<string, string>,
  fallback: string | undefined,
): string {
  const remote = node.optional('remote')?.string() ?? fallback;
  const base = remotes.get(remote ?? '');
  if (base === undefined) throw node.wrong(`expected a url or a known remote of ${quote(name)}, got neither`);
  return `${base}/${node.optional('repo-path')?.string() ?? name}`;
}

/** `true`, a file or folder, a list of them, or one with filters. */
function parseImports(node: DocumentNode): Import[] {
  if (node.value === false) return [];
  if (node.value === true) return [{ file: 'west.yml', block: [] }];
  if (typeof node.value === 'string') return [{ file: inside(node), block: [] }];
  if (Array.isArray(node.value)) return node.elements().flatMap(parseImports);
  node.only('file', 'name-allowlist', 'name-blocklist', 'path-prefix');
  const names = (member: string) => {
    const list = node.optional(member);
    if (list === undefined) return undefined;
    return Array.isArray(list.value) ? list.elements().map((name) => name.string()) : [list.string()];
  };
  const file = node.optional('file');
  const prefix = node.optional('path-prefix');
  const allow = names('name-allowlist');
  return [
    {
      file: file === undefined ? 'west.yml' : inside(file),
      ...(allow === undefined ? {} : { allow }),
      block: names('name-blocklist') ?? [],
      ...(prefix === undefined ? {} : { pathPrefix: inside(prefix) }),
    },
  ];
}

/** The blobs of a module. @throws INPUT_WEST_UNUSABLE */
export function parseModuleBlobs(
  bytes: Uint8Array,
  where: string,
): { readonly path: string; readonly sha256: string; readonly url: string }[] {
  const blobs = openYaml(bytes, where).optional('blobs')?.elements() ?? [];
  return blobs.map((blob) => ({
    path: inside(blob.field('path')),
    sha256: blob.field('sha256').sha256(),
    url: blob.field('url').string(),
  }));
}

function openYaml(bytes: Uint8Array, where: string): DocumentNode {
  const refuse = (message: string, at: string) => westUnusable(where, message, at);
  const document = parseYaml(Buffer.from(bytes).toString('utf8'), { uniqueKeys: true, prettyErrors: false });
  const problem = document.errors[0];
  if (problem !== undefined) throw refuse(`expected YAML, got ${quote(problem.message)}`, '');
  try {
    return new DocumentNode(document.toJS({ maxAliasCount: 0 }) as Json, { refuse });
  } catch (cause) {
    throw refuse(`expected YAML without aliases, got ${quote((cause as Error).message)}`, '');
  }
}
