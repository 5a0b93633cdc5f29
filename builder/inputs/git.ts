// SPDX-License-Identifier: Apache-2.0
// Commits as trees. git fetches objects into a bare repository of our own and lists them; nothing is ever checked out, so no
// hook, no filter, no attribute and no setting of the repository or of the host runs or changes a byte.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { quote } from '../../core/faults.ts';
import { BUILDER } from '../faults.ts';
import { runTool, type ToolResult, toolEnvironment } from '../host-tool.ts';
import { removeTree } from '../remove-tree.ts';
import { ByteReader } from './byte-reader.ts';
import { refuseLocation } from './declared.ts';
import type { LockedSubmodule } from './locked.ts';
import { type CanonicalEntry, writeTar } from './tar.ts';
import { checkLinks, cleanPath } from './tree.ts';

/** Submodules of submodules of …: nobody nests deeper. */
const DEPTH_MAX = 8;
const PROTOCOLS = ['https:', 'ssh:', 'file:'];

interface TreeFile {
  readonly path: string;
  readonly mode: string;
  readonly object: string;
  readonly sizeBytes: number;
}

/** A bare repository in a temporary folder. Close it to remove it. */
export class GitObjects {
  readonly folder: string;
  readonly signal: AbortSignal | undefined;

  private constructor(folder: string, signal: AbortSignal | undefined) {
    this.folder = folder;
    this.signal = signal;
  }

  /** `commit` tells the kind of digest that the repository has. @throws SANDBOX_TOOL_MISSING */
  static async open(commit: string, signal?: AbortSignal): Promise<GitObjects> {
    const folder = await mkdtemp(join(tmpdir(), 'waybill-git-'));
    const objects = new GitObjects(folder, signal);
    try {
      const format = commit.length === 64 ? 'sha256' : 'sha1';
      await objects.#git(['init', '--quiet', '--bare', '--template=', `--object-format=${format}`, folder]);
      return objects;
    } catch (failure) {
      await objects.close();
      throw failure;
    }
  }

  async close(): Promise<void> {
    await removeTree(this.folder);
  }

  /** Brings a commit in. @throws FETCH_UNREACHABLE, INPUT_GIT_UNUSABLE */
  async fetch(url: string, commit: string): Promise<void> {
    const refused = refuseLocation(url, PROTOCOLS);
    if (refused !== undefined) throw unusable(url, refused);
    if (await this.#has(commit)) return;
    const options = ['fetch', '--quiet', '--no-tags', '--no-recurse-submodules', '--no-write-fetch-head'];
    await this.#git([...options, '--depth=1', '--', url, commit]);
    if (await this.#has(commit)) return;
    // Old servers give what a name leads to and nothing else.
    const all = await this.#git([...options, '--', url, '+refs/*:refs/fetched/*']);
    if (all.exitCode !== 0) {
      const said = all.stderr.trim().split('\n').at(-1) ?? '';
      throw BUILDER.unavailable(
        'FETCH_UNREACHABLE',
        `expected the repository ${quote(url)}, got ${quote(said)}`,
      );
    }
    if (!(await this.#has(commit))) throw unusable(url, `expected commit ${commit} in it, got none`);
  }

  /** The commit that a branch, a tag or a commit id stands for. @throws FETCH_UNREACHABLE, INPUT_GIT_UNUSABLE */
  async resolve(url: string, revision: string): Promise<string> {
    if (/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(revision)) return revision;
    const refused = refuseLocation(url, PROTOCOLS);
    if (refused !== undefined) throw unusable(url, refused);
    const listed = await this.#git(['ls-remote', '--quiet', '--', url]);
    if (listed.exitCode !== 0) {
      throw BUILDER.unavailable(
        'FETCH_UNREACHABLE',
        `expected the repository ${quote(url)}, got ${quote(listed.stderr.trim())}`,
      );
    }
    const refs = new Map<string, string>();
    for (const line of listed.stdout.toString('utf8').split('\n')) {
      const [object = '', ref = ''] = line.split('\t');
      refs.set(ref, object);
    }
    // A tag with a message is an object of its own; `^{}` is what it points to.
    const names = [`refs/tags/${revision}^{}`, `refs/tags/${revision}`, `refs/heads/${revision}`, revision];
    const found = names.flatMap((name) => refs.get(name) ?? []).at(0);
    if (found === undefined) throw unusable(url, `expected revision ${quote(revision)} in it, got none`);
    return found;
  }

  /** One file of a commit; undefined if there is none. */
  async read(commit: string, path: string): Promise<Buffer | undefined> {
    const shown = await this.#git(['cat-file', 'blob', `${commit}:${path}`]);
    return shown.exitCode === 0 ? shown.stdout : undefined;
  }

  /** The paths of the files directly in a folder of a commit. */
  async list(commit: string, folder: string): Promise<string[]> {
    const listed = await this.#git(['ls-tree', '-z', '--name-only', '--full-tree', `${commit}:${folder}`]);
    if (listed.exitCode !== 0) return [];
    const names = listed.stdout.toString('utf8').split('\0');
    return names.filter((name) => name !== '').map((name) => `${folder}/${name}`);
  }

  /**
   * The canonical archive of a commit's tree with its submodules, all fetched here. `submodules` is filled on the way to the first byte.
   * @throws FETCH_UNREACHABLE, INPUT_GIT_UNUSABLE, INPUT_LINK_ESCAPES, INPUT_PATH_ESCAPES
   */
  async archive(
    url: string,
    commit: string,
    recurse: boolean,
  ): Promise<{ readonly submodules: LockedSubmodule[]; readonly chunks: AsyncIterable<Uint8Array> }> {
    const submodules: LockedSubmodule[] = [];
    await this.fetch(url, commit);
    const files = await this.#tree(url, commit, '', recurse ? submodules : undefined, 0);
    return { submodules, chunks: await this.#pack(files, url) };
  }

  async #tree(
    url: string,
    commit: string,
    below: string,
    submodules: LockedSubmodule[] | undefined,
    depth: number,
  ): Promise<TreeFile[]> {
    const listed = await this.#git(['ls-tree', '-r', '-z', '-l', '--full-tree', commit]);
    if (listed.exitCode !== 0) throw unusable(url, `expected commit ${commit}, got ${quote(listed.stderr)}`);
    const files: TreeFile[] = [];
    const modules: { path: string; commit: string }[] = [];
    for (const line of listed.stdout.toString('utf8').split('\0')) {
      const match = /^([0-7]{6}) (blob|commit) ([0-9a-f]+) +([0-9]+|-)\t([\s\S]+)$/.exec(line);
      if (match === null) continue;
      const [, mode = '', type, object = '', size, path = ''] = match;
      if (cleanPath(path) !== path) throw unusable(url, `expected plain paths, got ${quote(path)}`);
      if (type === 'blob') files.push({ path: `${below}${path}`, mode, object, sizeBytes: Number(size) });
      else modules.push({ path, commit: object });
    }
    if (submodules === undefined || modules.length === 0) return files;
    if (depth >= DEPTH_MAX)
      throw unusable(url, `expected at most ${DEPTH_MAX} levels of submodules, got more`);
    const urls = await this.#moduleUrls(url, commit);
    for (const module of modules) {
      const from = urls.get(module.path);
      if (from === undefined)
        throw unusable(url, `expected .gitmodules to say where ${quote(module.path)} is, got nothing`);
      const path = `${below}${module.path}`;
      submodules.push({ path, url: from, commit: module.commit });
      await this.fetch(from, module.commit);
      files.push(...(await this.#tree(from, module.commit, `${path}/`, submodules, depth + 1)));
    }
    submodules.sort((a, b) => (a.path < b.path ? -1 : 1));
    return files;
  }

  /** Where .gitmodules of a commit says that submodules are, by path. */
  async #moduleUrls(parent: string, commit: string): Promise<Map<string, string>> {
    const listed = await this.#git(['config', '--blob', `${commit}:.gitmodules`, '--null', '--list']);
    const sections = new Map<string, { path?: string; url?: string }>();
    for (const line of listed.stdout.toString('utf8').split('\0')) {
      const match = /^submodule\.([\s\S]+)\.(path|url)\n([\s\S]*)$/.exec(line);
      if (match === null) continue;
      const [, name = '', member = '', value = ''] = match;
      sections.set(name, { ...sections.get(name), [member]: value });
    }
    const urls = new Map<string, string>();
    for (const { path, url } of sections.values()) {
      if (path === undefined || url === undefined) continue;
      // Relative to the repository itself, as git has it: `../other` is beside it.
      const relative = url.startsWith('./') || url.startsWith('../');
      urls.set(path, relative ? new URL(url, `${parent.replace(/\/+$/, '')}/`).href : url);
    }
    return urls;
  }

  /** Content comes in the order of the archive from one git process. */
  async #pack(files: readonly TreeFile[], what: string): Promise<AsyncIterable<Uint8Array>> {
    const links = files.filter(({ mode }) => mode === '120000');
    const targets = new Map<string, string>();
    for (const link of links) {
      const target = await this.#git(['cat-file', 'blob', link.object]);
      targets.set(link.path, target.stdout.toString('utf8'));
    }
    const placed = new Map(
      files.map(({ path, mode }) => [
        path,
        { kind: mode === '120000' ? 'link' : 'file', target: targets.get(path) ?? '' },
      ]),
    );
    checkLinks(placed, what);
    const sorted = [...files].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
    return this.#stream(sorted, targets);
  }

  async *#stream(
    sorted: readonly TreeFile[],
    targets: ReadonlyMap<string, string>,
  ): AsyncGenerator<Uint8Array> {
    const child = this.#start(['cat-file', '--batch', '--buffer']);
    const ended = new Promise((resolve) => child.on('close', resolve));
    // Held from the start: Node throws away what nobody reads when a process ends.
    const held = (child.stdout as Readable).pipe(new PassThrough({ highWaterMark: 1 << 20 }));
    const reader = new ByteReader(held);
    const regular = sorted.filter(({ mode }) => mode !== '120000');
    // A broken pipe shows as content that ends too early.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(regular.map(({ object }) => `${object}\n`).join(''));
    const entries = sorted.map(
      (file): CanonicalEntry => ({
        path: file.path,
        kind: file.mode === '120000' ? 'link' : 'file',
        executable: file.mode === '100755',
        target: targets.get(file.path) ?? '',
        sizeBytes: file.sizeBytes,
        content: () => readObject(reader, file),
      }),
    );
    try {
      yield* writeTar(entries);
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  }

  #git(args: readonly string[]): Promise<ToolResult> {
    const run = args[0] === 'init' ? args : ['--git-dir', this.folder, ...args];
    return runTool('git', [...GIT_SETTINGS, ...run], {
      signal: this.signal,
      environment: GIT_ENVIRONMENT,
      stdoutSizeBytesMax: 256 * 1024 * 1024,
    });
  }

  #start(args: readonly string[]): ChildProcess {
    return spawn('git', [...GIT_SETTINGS, '--git-dir', this.folder, ...args], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...toolEnvironment(), ...GIT_ENVIRONMENT },
    });
  }

  async #has(commit: string): Promise<boolean> {
    return (await this.#git(['cat-file', '-e', `${commit}^{commit}`])).exitCode === 0;
  }
}

/** No setting of the host or of a repository, no program that a URL could start, no question at a terminal. */
export const GIT_ENVIRONMENT: Readonly<Record<string, string>> = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_ALLOW_PROTOCOL: 'https:ssh:file',
  GIT_TERMINAL_PROMPT: '0',
  GIT_ASKPASS: '/bin/true',
  GIT_SSH_COMMAND: 'ssh -oBatchMode=yes',
  GIT_NO_REPLACE_OBJECTS: '1',
  ...(process.env.SSH_AUTH_SOCK === undefined ? {} : { SSH_AUTH_SOCK: process.env.SSH_AUTH_SOCK }),
};

export const GIT_SETTINGS = [
  ...['-c', 'core.hooksPath=/dev/null', '-c', 'credential.helper=', '-c', 'gc.auto=0'],
  ...['-c', 'maintenance.auto=false', '-c', 'core.fsmonitor=false', '-c', 'core.quotePath=false'],
];

async function* readObject(reader: ByteReader, file: TreeFile): AsyncGenerator<Uint8Array> {
  const head = await reader.line(200);
  if (head !== `${file.object} blob ${file.sizeBytes}`)
    throw unusable(file.path, `expected its content, got ${quote(head ?? 'nothing')}`);
  let left = file.sizeBytes;
  while (left > 0) {
    const part = await reader.some(left);
    if (part === undefined) return;
    left -= part.length;
    yield part;
  }
  await reader.exactly(1);
}

function unusable(url: string, said: string) {
  return BUILDER.reject('INPUT_GIT_UNUSABLE', `${quote(url)}: ${said}`);
}
