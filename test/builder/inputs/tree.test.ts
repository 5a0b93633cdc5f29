// SPDX-License-Identifier: Apache-2.0
// Trees: the canonical archive and its inverse, and the bounds of what is written.

import { Readable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CanonicalEntry, readTar, writeTar } from '../../../builder/inputs/tar.ts';
import { followInside, TreeWriter } from '../../../builder/inputs/tree.ts';
import { unpackTar } from '../../../builder/inputs/unpack-archive.ts';
import { code, makeFolder, sha256 } from './workshop.ts';

const entryOf = (path: string, text: string, sizeBytes = Buffer.byteLength(text)): CanonicalEntry => ({
  path,
  kind: 'file',
  executable: false,
  target: '',
  sizeBytes,
  content: async function* () {
    yield Buffer.from(text);
  },
});
async function pack(entries: readonly CanonicalEntry[]): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of writeTar(entries)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test('the archive of a tree does not depend on the order of its files', async () => {
  const [a, b, c] = [entryOf('a-b', '1'), entryOf('a/b', '2'), entryOf('ä', '3')];
  const bytes = await pack([a, b, c]);
  expect((await pack([c, b, a])).equals(bytes)).toBe(true);
  // Pinned: locks that people keep hold this digest.
  expect(sha256(bytes)).toBe('1845c43cfc7be2a56ace37b8dcd670eb126cdc74901b17cd3623079112420950');
});

test('what is written is what is read, whatever the names', async () => {
  const name = fc
    .string({ minLength: 1, maxLength: 120, unit: 'grapheme' })
    .map((text) => text.replace(/[/\0]|^\.+$/g, '_'));
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(name, fc.string()), { maxLength: 5, selector: ([path]) => path }),
      async (files) => {
        const bytes = await pack(files.map(([path, text]) => entryOf(path, text)));
        const read: [string, string][] = [];
        for await (const entry of readTar(Readable.from([bytes]), 'test')) {
          const parts: Uint8Array[] = [];
          for await (const part of entry.content) parts.push(part);
          read.push([entry.path, Buffer.concat(parts).toString()]);
        }
        expect(new Map(read)).toEqual(
          new Map(files.map(([path, text]) => [path, Buffer.from(text).toString()])),
        );
      },
    ),
    { numRuns: 30 },
  );
});

test('a file that changes its size while it is read', async () => {
  expect(await code(pack([entryOf('a', 'short', 9)]))).toBe('INPUT_FOLDER_CHANGING');
  expect(await code(pack([entryOf('a', 'longer', 3)]))).toBe('INPUT_FOLDER_CHANGING');
});

test('more files or bytes than the bounds', async () => {
  const bytes = await pack([entryOf('a', '12345'), entryOf('b', '12345')]);
  const unpack = (rules: object) =>
    unpackTar(Readable.from([bytes]), new TreeWriter(makeFolder(), { what: 'x', ...rules }), 'x');
  expect(await code(unpack({ entriesMax: 2, sizeBytesMax: 10 }))).toBe('none');
  expect(await code(unpack({ entriesMax: 1 }))).toBe('INPUT_ARCHIVE_TOO_LARGE');
  expect(await code(unpack({ sizeBytesMax: 9 }))).toBe('INPUT_ARCHIVE_TOO_LARGE');
});

test.each([
  ['a/b', 'a/b'],
  ['up/x', 'x'],
  ['a/../../x', undefined],
  ['abs/x', undefined],
  ['loop/x', undefined],
])('following %s inside a tree gives %s', (path, expected) => {
  const links: Readonly<Record<string, string>> = { up: 'a/..', abs: '/etc', loop: 'loop' };
  const lookUp = (at: string) => {
    const target = links[at];
    return target === undefined ? undefined : { kind: 'link' as const, target };
  };
  expect(followInside(path, lookUp, false)).toBe(expected);
});
