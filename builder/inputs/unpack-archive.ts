// SPDX-License-Identifier: Apache-2.0
// An archive from a file into a tree: what packed it is seen from its first bytes, what it holds is checked entry by entry.

import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { quote } from '../../core/faults.ts';
import { findTool, toolEnvironment } from '../host-tool.ts';
import { malformed, readTar } from './tar.ts';
import type { TreeWriter } from './tree.ts';
import { readZip } from './zip.ts';

/** The bytes of a file, decompressed if gzip, zstd, xz or bzip2 packed it. @throws INPUT_ARCHIVE_MALFORMED, SANDBOX_TOOL_MISSING */
export async function* decompress(path: string, what: string): AsyncGenerator<Uint8Array> {
  const file = await open(path);
  const { buffer } = await file.read(Buffer.alloc(6), 0, 6, 0);
  await file.close();
  const mark = buffer.toString('hex');
  if (mark.startsWith('1f8b')) yield* through(path, createGunzip(), what);
  else if (mark.startsWith('28b52ffd')) yield* through(path, createZstdDecompress(), what);
  else if (mark.startsWith('fd377a585a00')) yield* throughTool(path, 'xz', what);
  else if (mark.startsWith('425a68')) yield* throughTool(path, 'bzip2', what);
  else yield* createReadStream(path, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>;
}

async function* through(
  path: string,
  packer: ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>,
  what: string,
): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  file.on('error', (cause) => packer.destroy(cause));
  try {
    for await (const chunk of file.pipe(packer)) yield chunk as Buffer;
  } catch (cause) {
    if (/^(?:Z|ZSTD|ERR_ZSTD|ERR_ZLIB)_/.test(String((cause as NodeJS.ErrnoException).code))) {
      throw malformed(what, 'compressed data that is none');
    }
    throw cause;
  } finally {
    file.destroy();
  }
}

async function* throughTool(path: string, tool: 'xz' | 'bzip2', what: string): AsyncGenerator<Uint8Array> {
  const child = spawn(await findTool(tool), ['-dc', '--', path], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: toolEnvironment(),
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    if ((await ended) !== 0) throw malformed(what, `data that ${tool} cannot read`);
  } finally {
    child.kill('SIGKILL');
  }
}

/** Unpacks a tar archive, without its first `strip` folders, into the folder `below`. @throws INPUT_… */
export async function unpackTar(
  chunks: AsyncIterable<Uint8Array>,
  tree: TreeWriter,
  what: string,
  options: { readonly strip?: number; readonly below?: string } = {},
): Promise<void> {
  const { strip = 0, below } = options;
  const place = (path: string): string | undefined => {
    const rest = stripped(path, strip);
    // An absolute path stays one, to be refused.
    return rest === undefined || below === undefined || rest.startsWith('/') ? rest : `${below}/${rest}`;
  };
  for await (const entry of readTar(chunks, what)) {
    const path = place(entry.path);
    if (path === undefined) continue;
    if (entry.kind === 'file') await tree.file(path, entry.mode, entry.content);
    else if (entry.kind === 'folder') await tree.makeFolder(path, entry.mode);
    else if (entry.kind === 'link') await tree.link(path, entry.target);
    else if (entry.kind === 'hardlink') await tree.hardlink(path, entry.mode, place(entry.target) ?? '');
    else throw malformed(what, `a device or something unknown, ${quote(entry.path)}`);
  }
  tree.finish();
}

/** Unpacks a zip archive without its first `strip` folders. @throws INPUT_… */
export async function unpackZip(file: string, tree: TreeWriter, what: string, strip: number): Promise<void> {
  for await (const entry of readZip(file, what)) {
    const path = stripped(entry.path, strip);
    if (path === undefined) continue;
    if (entry.kind === 'folder') await tree.makeFolder(path, 0o755);
    else if (entry.kind === 'link') {
      if (entry.sizeBytes > 4096) throw malformed(what, `a link of ${entry.sizeBytes} bytes`);
      const parts: Uint8Array[] = [];
      for await (const part of entry.content) parts.push(part);
      await tree.link(path, Buffer.concat(parts).toString('utf8'));
    } else await tree.file(path, entry.mode, entry.content);
  }
  tree.finish();
}

/** Without its first folders; undefined if nothing is left. What would leave the tree is left for the tree to refuse. */
function stripped(path: string, strip: number): string | undefined {
  if (strip === 0 || path.startsWith('/') || path.split('/').includes('..')) return path;
  const rest = path
    .split('/')
    .filter((name) => name !== '' && name !== '.')
    .slice(strip)
    .join('/');
  return rest === '' ? undefined : path.endsWith('/') ? `${rest}/` : rest;
}
