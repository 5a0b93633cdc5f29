// SPDX-License-Identifier: Apache-2.0
// Reading west manifests [west-manifests-1.5 §projects] and the blobs that a module of Zephyr names.
// Stricter than [west-manifests-1.5 §projects]: YAML aliases are refused.

import { parseDocument as parseYaml } from 'yaml';
import { DocumentNode } from '../../core/encoding/document.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { quote } from '../../core/faults.ts';
import { BUILDER } from '../faults.ts';
import { inside } from './locked.ts';

export interface Import {
  /** A file, or a folder of files. */
  readonly file: string;
  readonly allow: Selection;
  readonly block: Selection;
  readonly pathPrefix?: string;
}

/** Projects by name, or by patterns of their path. */
export interface Selection {
  readonly names: readonly string[];
  readonly paths: readonly string[];
}

const NONE: Selection = { names: [], paths: [] };

export interface Project {
  readonly name: string;
  readonly url: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  readonly path: string;
  readonly groups: readonly string[];
  readonly submodules: boolean;
  readonly imports?: readonly Import[];
  /** Of its own import: the project lies below it, as what it brings does. */
  readonly pathPrefix?: string;
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
    ...(imports === undefined ? {} : { imports: parseImports(imports), ...ownPrefix(imports) }),
  };
}

/** An import that is a map has one; lists have none, whatever is in them. */
function ownPrefix(imports: DocumentNode): Pick<Project, 'pathPrefix'> {
  if (typeof imports.value !== 'object' || Array.isArray(imports.value)) return {};
  const prefix = imports.optional('path-prefix');
  return prefix === undefined ? {} : { pathPrefix: inside(prefix) };
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
  if (node.value === true) return [{ file: 'west.yml', allow: NONE, block: NONE }];
  if (typeof node.value === 'string') return [{ file: inside(node), allow: NONE, block: NONE }];
  if (Array.isArray(node.value)) return node.elements().flatMap(parseImports);
  node.only('file', 'path-prefix', ...KINDS.flatMap((kind) => [`name-${kind}`, `path-${kind}`]));
  // The second of each is how west spelt it before 0.9.
  const list = (what: string, kinds: readonly string[]) => {
    const found = kinds.map((kind) => node.optional(`${what}-${kind}`)).find((one) => one !== undefined);
    if (found === undefined) return [];
    return Array.isArray(found.value) ? found.elements().map((one) => one.string()) : [found.string()];
  };
  const selection = (kinds: readonly string[]) => ({
    names: list('name', kinds),
    paths: list('path', kinds),
  });
  const file = node.optional('file');
  const prefix = node.optional('path-prefix');
  return [
    {
      file: file === undefined ? 'west.yml' : inside(file),
      allow: selection(KINDS.slice(0, 2)),
      block: selection(KINDS.slice(2)),
      ...(prefix === undefined ? {} : { pathPrefix: inside(prefix) }),
    },
  ];
}

const KINDS = ['allowlist', 'whitelist', 'blocklist', 'blacklist'];

/** Whether an import brings a project: what is allowed comes although it is blocked, and without a list of what is allowed, all that is not. */
export function isImported({ allow, block }: Import, project: Pick<Project, 'name' | 'path'>): boolean {
  const isIn = ({ names, paths }: Selection) =>
    names.includes(project.name) || paths.some((pattern) => matchesPath(project.path, pattern));
  if (isIn(allow)) return true;
  return allow.names.length + allow.paths.length === 0 && !isIn(block);
}

/** As Python's PurePath.match, which west uses: from the right, each segment by itself. */
function matchesPath(path: string, pattern: string): boolean {
  if (pattern.startsWith('/')) return false;
  const [segments, patterns] = [segmentsOf(path), segmentsOf(pattern)];
  if (patterns.length === 0 || patterns.length > segments.length) return false;
  return patterns.every((part, i) =>
    matchesSegment(segments[segments.length - patterns.length + i] ?? '', part),
  );
}

const segmentsOf = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');

/** `*` is any text, `?` a character, `[…]` one of some, `[!…]` none of them. In time that grows with the lengths alone. */
function matchesSegment(text: string, pattern: string): boolean {
  const tokens = pattern.match(/\[!?[^[\]]+\]|./gs) ?? [];
  let [at, token, star, resume] = [0, 0, -1, 0];
  while (at < text.length) {
    if (tokens[token] === '*') {
      [star, resume] = [token++, at];
    } else if (token < tokens.length && isCharacter(text[at] as string, tokens[token] as string)) {
      at++;
      token++;
    } else if (star >= 0) {
      // The last star takes one character more.
      [token, at] = [star + 1, ++resume];
    } else return false;
  }
  return tokens.slice(token).every((rest) => rest === '*');
}

function isCharacter(character: string, token: string): boolean {
  if (token.length === 1) return token === '?' || token === character;
  const isNot = token[1] === '!';
  const range = token.slice(isNot ? 2 : 1, -1);
  const isIn = [...range.matchAll(/(.)-(.)|(.)/gs)].some(([, from, to, one]) =>
    one === undefined ? character >= (from as string) && character <= (to as string) : one === character,
  );
  return isIn !== isNot;
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
