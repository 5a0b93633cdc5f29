// SPDX-License-Identifier: Apache-2.0
// What tests of inputs work with: a cache, definitions over one root, repositories made on the spot, a loopback server.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll } from 'vitest';
import { type BlobOptions, fetchBlobs } from '../../../builder/fetch.ts';
import { wantedBlobs } from '../../../builder/inputs/blobs.ts';
import type { MountedInput } from '../../../builder/inputs/declared.ts';
import type { LockedMounted } from '../../../builder/inputs/locked.ts';
import { openInput } from '../../../builder/inputs/mount.ts';
import { lockInputs } from '../../../builder/lock.ts';
import type { LockedInput } from '../../../builder/lock-file.ts';
import { ContentStore } from '../../../builder/store.ts';
import { readYaml } from '../definitions.ts';

export const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

export const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (failure: { code?: string; message: string }) => failure.code ?? failure.message,
  );

const folders: string[] = [];
// Of each test file that uses them.
afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A temporary folder with files by path; it goes when the test file has ended. */
export function makeFolder(files: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-inputs-'));
  folders.push(folder);
  putFiles(folder, files);
  return folder;
}

export function putFiles(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}

/** A definition with one input named `part` (its YAML lines) beside a root that is never resolved here. */
export function definitionWith(part: string) {
  const lines = part.trim().split('\n');
  // An image is a root of its own.
  const used = part.startsWith('kind: oci') ? '[part]' : '[part, zroot]';
  return readYaml(`waybill: 1
product: thing
version: 1.2.3
sourceDateEpoch: 1700000000
inputs:
  part:
${lines.map((line) => `    ${line.trimEnd()}`).join('\n')}
  zroot: { kind: debian, role: toolchain, distribution: d, suite: s, components: [main], architecture: amd64, keyring: k, packages: [toolbox] }
steps:
  - name: make
    inputs: ${used}
    command: 'true'
    outputs: [{ path: image.bin }]
products:
  - image: make/image.bin
`);
}

/** Locks the input `part` alone. */
export async function lockPart(part: string, store: ContentStore, folder = '/'): Promise<LockedInput> {
  const definition = definitionWith(part);
  const only = { ...definition, inputs: definition.inputs.filter(({ name }) => name === 'part') };
  const [locked] = (await lockInputs(only, { folder, store })).inputs;
  if (locked === undefined) throw new Error('nothing locked');
  return locked;
}

/** Lays out the input `part` from a cache of its own and returns its files, modes and text by path. */
export async function layOut(
  part: string,
  locked: LockedInput,
  options: BlobOptions & { readonly cache?: string; readonly folder?: string } = {},
): Promise<Record<string, string>> {
  const cache = options.cache ?? makeFolder();
  const input = definitionWith(part).inputs.find(({ name }) => name === 'part') as MountedInput;
  const store = new ContentStore(cache);
  const mounted = locked as LockedMounted;
  const fetch = async () => {
    await fetchBlobs(store, wantedBlobs(mounted, options.folder ?? '/'), options);
  };
  return readTree((await openInput(input, mounted, { cache, store, fetch })).folder);
}

/** `mode text` of each file and `→ target` of each link, by path. */
export function readTree(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    // Node follows links to folders here.
    if (realpathSync(entry.parentPath) !== entry.parentPath) continue;
    const name = path.slice(folder.length + 1);
    if (entry.isSymbolicLink())
      found[name] = `→ ${execFileSync('readlink', [path], { encoding: 'utf8' }).trim()}`;
    else if (entry.isFile())
      found[name] = `${(lstatSync(path).mode & 0o777).toString(8)} ${readFileSync(path, 'utf8')}`;
  }
  return found;
}

export interface Repository {
  readonly folder: string;
  readonly url: string;
  git(...args: string[]): string;
  /** Puts files in, commits everything and returns the commit. */
  commit(files?: Readonly<Record<string, string>>): string;
}

/** A git repository with a work tree, reached by file URL. */
export function makeRepository(name = 'repository'): Repository {
  const folder = join(makeFolder(), name);
  mkdirSync(folder);
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', folder, '-c', 'protocol.file.allow=always', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_AUTHOR_NAME: 'Test',
        GIT_AUTHOR_EMAIL: 'test@waybill.example',
        GIT_COMMITTER_NAME: 'Test',
        GIT_COMMITTER_EMAIL: 'test@waybill.example',
      },
    }).trim();
  git('init', '--quiet', '--initial-branch=main');
  return {
    folder,
    url: pathToFileURL(folder).href,
    git,
    commit(files = {}) {
      putFiles(folder, files);
      git('add', '--all', '--force');
      git('commit', '--quiet', '--allow-empty', '--message=change');
      return git('rev-parse', 'HEAD');
    },
  };
}

export interface Server {
  readonly url: string;
  readonly host: string;
  readonly requested: string[];
  close(): Promise<void>;
}

/** An HTTP server on loopback. */
export async function serve(
  answer: (path: string, response: ServerResponse, request: IncomingMessage) => void,
): Promise<Server> {
  const requested: string[] = [];
  const server = createServer((request, response) => {
    requested.push(request.url ?? '');
    answer(request.url ?? '', response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as { port: number }).port}`;
  return {
    url: `http://${host}/`,
    host,
    requested,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
