// SPDX-License-Identifier: Apache-2.0
// A local folder as a tree: listed, hashed, with the state of the git work tree around it.

import { createHash } from 'node:crypto';
import { createReadStream, lstatSync } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { quote } from '../../core/faults.ts';
import { BUILDER } from '../faults.ts';
import { runTool } from '../host-tool.ts';
import { type ContentStore, hashFile } from '../store.ts';
import type { FolderInput } from './declared.ts';
import { GIT_ENVIRONMENT, GIT_SETTINGS } from './git.ts';
import type { ListedFile, LockedFolder } from './locked.ts';
import { type CanonicalEntry, writeTar } from './tar.ts';
import { checkLinks } from './tree.ts';

/** git's own data, and the lock, which cannot hold its own digest. */
const LEFT_OUT = ['.git', 'waybill.lock'];

interface ReadFolder {
  readonly entries: readonly CanonicalEntry[];
  readonly files: readonly ListedFile[];
}

/** Lists a folder, hashes it and takes it into the store. @throws INPUT_FOLDER_UNREADABLE, INPUT_FOLDER_CHANGING, INPUT_LINK_ESCAPES */
export async function lockFolder(
  input: FolderInput,
  base: string,
  store: ContentStore,
): Promise<LockedFolder> {
  const folder = resolve(base, input.path);
  const { entries, files } = await readFolder(folder, input.name);
  const pinned = await store.add(`folder ${input.name}`, writeTar(entries));
  const git = await readGitState(folder);
  return {
    name: input.name,
    kind: 'folder',
    path: input.path,
    ...pinned,
    ...(git === undefined ? {} : { git }),
    files,
  };
}

/**
 * What differs between a folder and its lock, a few words each; undefined if the folder is not there, which is no difference: its
 * archive may be.
 */
export async function folderDifferences(
  locked: LockedFolder,
  base: string,
): Promise<readonly string[] | undefined> {
  const folder = resolve(base, locked.path);
  if ((await lstat(folder).catch(() => undefined)) === undefined) return undefined;
  const { files } = await readFolder(folder, locked.name);
  return compareFiles(locked.files, files);
}

/** What came, went or changed from one list of files to another. */
export function compareFiles(then: readonly ListedFile[], now: readonly ListedFile[]): string[] {
  const [old, fresh] = [then, now].map((files) => new Map(files.map((file) => [file.path, file])));
  return [
    ...now.flatMap((file) => {
      const before = old?.get(file.path);
      if (before === undefined) return [`${quote(file.path)} is new`];
      const same = before.sha256 === file.sha256 && before.mode === file.mode;
      return same ? [] : [`${quote(file.path)} changed`];
    }),
    ...then.filter(({ path }) => fresh?.has(path) !== true).map(({ path }) => `${quote(path)} is gone`),
  ];
}

/** The bytes of a folder's archive, which the lock's digest is of. */
export async function* packFolder(folder: string, name: string): AsyncGenerator<Uint8Array> {
  yield* writeTar((await readFolder(folder, name)).entries);
}

async function readFolder(folder: string, name: string): Promise<ReadFolder> {
  const entries: CanonicalEntry[] = [];
  const files: ListedFile[] = [];
  const visit = async (below: string): Promise<void> => {
    const found = (await list(join(folder, below), name)).filter((entry) => !LEFT_OUT.includes(entry));
    if (found.length === 0 && below !== '') {
      entries.push(entryOf(below, 'folder', false, '', 0, folder));
      files.push({ path: below, mode: '040000', sizeBytes: 0, sha256: sha256('') });
    }
    // Small files are read without a pause; who wants to stop is heard here.
    await setImmediate();
    for (const entry of found) {
      const path = below === '' ? entry : `${below}/${entry}`;
      const stat = lstatSync(join(folder, path));
      if (stat.isDirectory()) await visit(path);
      else if (stat.isSymbolicLink()) {
        const target = await readlink(join(folder, path));
        entries.push(entryOf(path, 'link', false, target, 0, folder));
        files.push({ path, mode: '120000', sizeBytes: Buffer.byteLength(target), sha256: sha256(target) });
      } else if (stat.isFile()) {
        const executable = (stat.mode & 0o100) !== 0;
        entries.push(entryOf(path, 'file', executable, '', stat.size, folder));
        files.push({
          path,
          mode: executable ? '100755' : '100644',
          sizeBytes: stat.size,
          sha256: await hashFile(join(folder, path)),
        });
      } else {
        throw BUILDER.reject(
          'INPUT_FOLDER_UNREADABLE',
          `expected files, folders and links in input ${name}, got ${quote(path)}`,
        );
      }
    }
  };
  await visit('');
  checkLinks(new Map(entries.map(({ path, kind, target }) => [path, { kind, target }])), `folder ${name}`);
  return {
    entries,
    files: files.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path))),
  };
}

async function list(folder: string, name: string): Promise<string[]> {
  try {
    const names = await readdir(folder, { encoding: 'buffer' });
    return names.map((bytes) => {
      const text = bytes.toString('utf8');
      if (!Buffer.from(text).equals(bytes)) throw new Error('a name that is no UTF-8');
      return text;
    });
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
    throw BUILDER.reject(
      'INPUT_FOLDER_UNREADABLE',
      `expected the folder of input ${name}, got ${reason} at ${quote(folder)}`,
      { cause },
    );
  }
}

function entryOf(
  path: string,
  kind: CanonicalEntry['kind'],
  executable: boolean,
  target: string,
  sizeBytes: number,
  folder: string,
): CanonicalEntry {
  return {
    path,
    kind,
    executable,
    target,
    sizeBytes,
    content: () => createReadStream(join(folder, path)) as AsyncIterable<Buffer>,
  };
}

/** The commit checked out around a folder, and whether the folder has anything that the commit has not, ignored files included. */
async function readGitState(folder: string): Promise<LockedFolder['git']> {
  const git = (...args: string[]) =>
    runTool('git', [...GIT_SETTINGS, '-C', folder, ...args], { environment: { ...GIT_ENVIRONMENT } });
  const head = await git('rev-parse', '--verify', '--quiet', 'HEAD^{commit}').catch(() => undefined);
  const commit = head?.exitCode === 0 ? head.stdout.toString('utf8').trim() : '';
  if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(commit)) return undefined;
  const left = LEFT_OUT.map((name) => `:(exclude)${name}`);
  const status = await git(
    'status',
    '--porcelain',
    '--ignored',
    '--untracked-files=all',
    '--',
    '.',
    ...left.slice(1),
  );
  return { commit, dirty: status.exitCode !== 0 || status.stdout.length > 0 };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
