// SPDX-License-Identifier: Apache-2.0
// Local folders as inputs: listed, hashed, with the state of git around them.

import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkFolders } from '../../../builder/build-inputs.ts';
import { formatLock, parseLock } from '../../../builder/lock-file.ts';
import { ContentStore } from '../../../builder/store.ts';
import { code, layOut, lockPart, makeFolder, makeRepository, sha256 } from './workshop.ts';

const PART = 'kind: folder\nrole: source\npath: src';
const store = new ContentStore(makeFolder());

describe('a folder', () => {
  test('is listed with modes, sizes and digests, and laid out as it was', async () => {
    const base = makeFolder({ 'src/b.c': 'b', 'src/a/run': 'run' });
    chmodSync(join(base, 'src/a/run'), 0o700);
    symlinkSync('../b.c', join(base, 'src/a/link'));
    mkdirSync(join(base, 'src/empty'));
    const locked = await lockPart(PART, store, base);
    expect(locked).toMatchObject({
      kind: 'folder',
      path: 'src',
      files: [
        { path: 'a/link', mode: '120000', sizeBytes: 6, sha256: sha256('../b.c') },
        { path: 'a/run', mode: '100755', sizeBytes: 3, sha256: sha256('run') },
        { path: 'b.c', mode: '100644', sizeBytes: 1, sha256: sha256('b') },
        { path: 'empty', mode: '040000', sizeBytes: 0, sha256: sha256('') },
      ],
    });
    expect('git' in locked).toBe(false);
    expect(await layOut(PART, locked, { folder: base })).toEqual({
      'a/link': '→ ../b.c',
      'a/run': '755 run',
      'b.c': '644 b',
    });
    const lock = { inputsSha256: '00'.repeat(32), inputs: [locked] };
    expect(parseLock(formatLock(lock), 'waybill.lock')).toEqual(lock);
  });

  test('knows its commit, and whether it differs from it', async () => {
    const repository = makeRepository();
    const commit = repository.commit({ 'src/a.c': 'a', '.gitignore': '*.o\n' });
    expect(await lockPart(PART, store, repository.folder)).toMatchObject({ git: { commit, dirty: false } });
    writeFileSync(join(repository.folder, 'elsewhere'), '');
    expect(await lockPart(PART, store, repository.folder)).toMatchObject({ git: { dirty: false } });
    // An ignored file is in the folder and not in the commit.
    writeFileSync(join(repository.folder, 'src/a.o'), '');
    expect(await lockPart(PART, store, repository.folder)).toMatchObject({ git: { commit, dirty: true } });
    rmSync(join(repository.folder, 'src/a.o'));
    writeFileSync(join(repository.folder, 'src/a.c'), 'b');
    expect(await lockPart(PART, store, repository.folder)).toMatchObject({ git: { commit, dirty: true } });
  });

  test('that changed after it was locked is refused, file by file', async () => {
    const base = makeFolder({ 'src/kept': '1', 'src/changed': '2', 'src/gone': '3', 'src/mode': '4' });
    const locked = await lockPart(PART, store, base);
    await checkFolders([locked], base);
    writeFileSync(join(base, 'src/changed'), 'x');
    writeFileSync(join(base, 'src/new'), 'x');
    rmSync(join(base, 'src/gone'));
    chmodSync(join(base, 'src/mode'), 0o755);
    const failure = await checkFolders([locked], base).catch((cause: unknown) => cause);
    expect(failure).toMatchObject({ code: 'LOCK_OUTDATED' });
    for (const text of ['"changed" changed', '"new" is new', '"gone" is gone', '"mode" changed']) {
      expect((failure as Error).message).toContain(`folder part: ${text}`);
    }
    expect((failure as Error).message).not.toContain('kept');
    expect(await code(layOut(PART, locked, { folder: base }))).toMatch(/^FETCH_/);
  });

  test('that is gone comes from the archive', async () => {
    const base = makeFolder({ 'src/a': 'a' });
    const archive = ContentStore.archive(makeFolder());
    const locked = await lockPart(PART, store, base);
    await layOut(PART, locked, { folder: base, archive });
    rmSync(join(base, 'src'), { recursive: true });
    await checkFolders([locked], base);
    expect(await layOut(PART, locked, { folder: base, archive })).toEqual({ a: '644 a' });
    expect(await code(layOut(PART, locked, { folder: base }))).toBe('FETCH_GONE');
  });

  test('that is missing, has a socket in it, or a link that leaves it', async () => {
    const base = makeFolder();
    expect(await code(lockPart(PART, store, base))).toBe('INPUT_FOLDER_UNREADABLE');
    mkdirSync(join(base, 'src'));
    const server = createServer().listen(join(base, 'src/socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    expect(await code(lockPart(PART, store, base))).toBe('INPUT_FOLDER_UNREADABLE');
    await new Promise((resolve) => server.close(resolve));
    symlinkSync('/etc/passwd', join(base, 'src/link'));
    expect(await code(lockPart(PART, store, base))).toBe('INPUT_LINK_ESCAPES');
  });

  test('leaves out git’s own data and the lock', async () => {
    const repository = makeRepository();
    repository.commit({ 'a.c': 'a', 'waybill.lock': '{}' });
    const part = 'kind: folder\nrole: source\npath: .';
    const locked = await lockPart(part, store, repository.folder);
    expect(locked).toMatchObject({ files: [{ path: 'a.c' }], git: { dirty: false } });
  });
});
