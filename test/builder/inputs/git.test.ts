// SPDX-License-Identifier: Apache-2.0
// Commits as inputs, from real repositories.

import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ContentStore } from '../../../builder/store.ts';
import { code, definitionWith, layOut, lockPart, makeFolder, makeRepository } from './workshop.ts';

const store = new ContentStore(makeFolder());
const partOf = (url: string, commit: string, more = '') =>
  `kind: git\nrole: source\nurl: ${url}\ncommit: ${commit}\n${more}`;

describe('a commit', () => {
  const inner = makeRepository('inner');
  const innerCommit = inner.commit({ 'inner.c': 'inner' });
  const middle = makeRepository('middle');
  middle.git('submodule', '--quiet', 'add', inner.url, 'deps/inner');
  const middleCommit = middle.commit({ 'middle.c': 'middle' });
  const outer = makeRepository('outer');
  outer.git('submodule', '--quiet', 'add', middle.url, 'middle');
  // What would change or hide bytes on a checkout or in `git archive`.
  const first = outer.commit({
    'a.c': 'a\n$Id$\n',
    'hidden.c': 'hidden',
    '.gitattributes': 'a.c text eol=crlf ident\nhidden.c export-ignore\n',
  });
  const second = outer.commit({ 'a.c': 'changed' });

  test('is its tree with submodules of submodules, byte for byte, whatever attributes say', async () => {
    const part = partOf(outer.url, first);
    const locked = await lockPart(part, store);
    expect(locked).toMatchObject({
      kind: 'git',
      commit: first,
      submodules: [
        { path: 'middle', url: middle.url, commit: middleCommit },
        { path: 'middle/deps/inner', url: inner.url, commit: innerCommit },
      ],
    });
    const files = await layOut(part, locked);
    expect(files).toMatchObject({
      'a.c': '644 a\n$Id$\n',
      'hidden.c': '644 hidden',
      'middle/middle.c': '644 middle',
      'middle/deps/inner/inner.c': '644 inner',
    });
    expect(Object.keys(files).filter((path) => path.includes('.git/'))).toEqual([]);
  });

  test('has one digest however often it is locked, another commit another', async () => {
    const [one, two, other] = await Promise.all([
      lockPart(partOf(outer.url, first), store),
      lockPart(partOf(outer.url, first), new ContentStore(makeFolder())),
      lockPart(partOf(outer.url, second), store),
    ]);
    expect(one).toEqual(two);
    expect((other as { sha256: string }).sha256).not.toBe((one as { sha256: string }).sha256);
  });

  test('can do without submodules', async () => {
    const part = partOf(outer.url, first, 'submodules: false');
    const locked = await lockPart(part, store);
    expect(locked).toMatchObject({ submodules: [] });
    expect(Object.keys(await layOut(part, locked))).toEqual([
      '.gitattributes',
      '.gitmodules',
      'a.c',
      'hidden.c',
    ]);
  });

  test('that does not exist, and a repository that does not', async () => {
    expect(await code(lockPart(partOf(outer.url, 'ab'.repeat(20)), store))).toBe('INPUT_GIT_UNUSABLE');
    expect(await code(lockPart(partOf('file:///nonexistent/r', first), store))).toBe('FETCH_UNREACHABLE');
  });

  test('whose tree is not the one locked', async () => {
    const part = partOf(outer.url, first);
    const locked = { ...(await lockPart(part, store)), sha256: '00'.repeat(32) };
    expect(await code(layOut(part, locked as never))).toBe('FETCH_DIGEST_MISMATCH');
  });

  test('with a submodule that no .gitmodules places', async () => {
    const lost = makeRepository('lost');
    lost.commit({ a: 'a' });
    lost.git('update-index', '--add', '--cacheinfo', `160000,${innerCommit},gone`);
    lost.git('commit', '--quiet', '--message=lost');
    const commit = lost.git('rev-parse', 'HEAD');
    expect(await code(lockPart(partOf(lost.url, commit), store))).toBe('INPUT_GIT_UNUSABLE');
  });

  test('with a submodule that would start a program', async () => {
    const mark = join(makeFolder(), 'mark');
    const evil = makeRepository('evil');
    evil.commit({ '.gitmodules': `[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% ${mark}\n` });
    evil.git('update-index', '--add', '--cacheinfo', `160000,${innerCommit},x`);
    evil.git('commit', '--quiet', '--message=evil');
    const commit = evil.git('rev-parse', 'HEAD');
    expect(await code(lockPart(partOf(evil.url, commit), store))).toBe('INPUT_GIT_UNUSABLE');
    expect(() => writeFileSync(mark, '', { flag: 'wx' })).not.toThrow();
  });

  test('with a link that leaves it', async () => {
    const linked = makeRepository('linked');
    symlinkSync('../../etc/passwd', join(linked.folder, 'link'));
    expect(await code(lockPart(partOf(linked.url, linked.commit()), store))).toBe('INPUT_LINK_ESCAPES');
  });
});

test.each([
  'ext::sh -c id',
  'git://host/r',
  'http://host/r',
  '-oProxyCommand=id',
  'ssh://-oProxyCommand=id/r',
  'https://user:secret@host/r',
  'https://token@host/r',
  '/local/path',
  'host:path',
])('a location that is none: %s', (url) => {
  expect(() => definitionWith(partOf(JSON.stringify(url), 'ab'.repeat(20)))).toThrow(
    expect.objectContaining({ code: 'DEFINITION_MALFORMED' }),
  );
});
