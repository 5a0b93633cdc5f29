// SPDX-License-Identifier: Apache-2.0
// Inputs as folders that a step sees at /inputs/<name>: made once under the cache from blobs in the store.

import { createReadStream } from 'node:fs';
import type { Json } from '../../core/encoding/strict-json.ts';
import { paced } from '../paced.ts';
import { openTree, type SealedTree } from '../sealed-tree.ts';
import type { ContentStore } from '../store.ts';
import type { FileInput, MountedInput } from './declared.ts';
import type { LockedFile, LockedMounted } from './locked.ts';
import { INPUT_TIME, TreeWriter } from './tree.ts';
import { decompress, unpackTar, unpackZip } from './unpack-archive.ts';

/** Raised when the same blobs would give another tree. */
const LAYOUT = 1;

export interface MountOptions {
  readonly cache: string;
  readonly store: ContentStore;
  /** Brings the blobs of the input into the store. */
  readonly fetch: () => Promise<void>;
  readonly onProgress?: (text: string) => void;
}

/**
 * Gives the tree of an input. A plain file lies in it under the last segment of its URL.
 * @throws INPUT_…, and what `fetch` throws
 */
export async function openInput(
  input: MountedInput,
  locked: LockedMounted,
  options: MountOptions,
): Promise<SealedTree<null>> {
  return openTree<null>({
    cache: options.cache,
    key: { layout: LAYOUT, ...keyOf(input, locked) },
    prepare: options.fetch,
    make: async (folder) => {
      const writer = new TreeWriter(folder, { what: `input ${input.name}` });
      options.onProgress?.(`unpacking input ${input.name}`);
      await fill(writer, input, locked, options);
      return null;
    },
    time: INPUT_TIME,
  });
}

/** What decides the content of the tree, and nothing else: two inputs of the same bytes share one. */
function keyOf(input: MountedInput, locked: LockedMounted): Record<string, Json> {
  if (locked.kind === 'file' && input.kind === 'file') {
    const { unpack = 'no', strip = 0 } = input;
    return { file: locked.sha256, unpack, strip, name: unpack === 'no' ? fileName(locked) : '' };
  }
  if (locked.kind === 'west') {
    const list = (parts: readonly { readonly path: string; readonly sha256: string }[]): Json =>
      parts.map(({ path, sha256 }) => [path, sha256]);
    return { west: list(locked.projects), blobs: list(locked.blobs) };
  }
  return { tree: (locked as { sha256: string }).sha256 };
}

async function fill(
  writer: TreeWriter,
  input: MountedInput,
  locked: LockedMounted,
  { store, onProgress }: MountOptions,
): Promise<void> {
  const what = `input ${locked.name}`;
  if (locked.kind === 'west') {
    const of = locked.projects.length;
    const unpacked = paced(({ count }) => onProgress?.(`unpacked ${count} of ${of} projects of ${what}`));
    for (const [i, project] of locked.projects.entries()) {
      await unpackTar(createReadStream(store.path(project.sha256)), writer, what, { below: project.path });
      unpacked({ count: i + 1, of });
    }
    for (const blob of locked.blobs) {
      await writer.file(blob.path, 0o644, createReadStream(store.path(blob.sha256)));
    }
  } else if (locked.kind === 'file' && input.kind === 'file') {
    await fillFile(writer, input, locked, store);
  } else if (locked.kind !== 'file') {
    await unpackTar(createReadStream(store.path(locked.sha256)), writer, what);
  }
}

async function fillFile(
  writer: TreeWriter,
  input: FileInput,
  locked: LockedFile,
  store: ContentStore,
): Promise<void> {
  const path = store.path(locked.sha256);
  const what = `input ${locked.name}`;
  const strip = input.strip ?? 0;
  if (input.unpack === 'zip') await unpackZip(path, writer, what, strip);
  else if (input.unpack === 'tar') await unpackTar(decompress(path, what), writer, what, { strip });
  else await writer.file(fileName(locked), 0o644, createReadStream(path));
}

/** The last segment of the URL, else `file`. */
function fileName({ url }: LockedFile): string {
  const last = new URL(url).pathname.split('/').at(-1) ?? '';
  return /^[A-Za-z0-9_+~@=,.-]{1,200}$/.test(last) && last !== '.' && last !== '..' ? last : 'file';
}
