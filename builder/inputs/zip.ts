// SPDX-License-Identifier: Apache-2.0
// zip archives [APPNOTE-6.3.10 §4.3]: the central directory says what is inside; each file is checked against its CRC-32.

import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { crc32, createInflateRaw } from 'node:zlib';
import { quote } from '../../core/faults.ts';
import { malformed } from './tar.ts';

export interface ZipEntry {
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link';
  readonly mode: number;
  readonly sizeBytes: number;
  readonly content: AsyncIterable<Uint8Array>;
}

const END = 0x06054b50;
const END_SIZE_BYTES = 22;
const COMMENT_SIZE_BYTES_MAX = 0xffff;
const DIRECTORY_SIZE_BYTES_MAX = 256 * 1024 * 1024;

/** The entries of a zip file on disk. @throws INPUT_ARCHIVE_MALFORMED */
export async function* readZip(path: string, what: string): AsyncGenerator<ZipEntry> {
  const file = await open(path);
  try {
    const directory = await readDirectory(file, what);
    for (let at = 0; at < directory.length; ) {
      const entry = readHeader(directory, at, what);
      at = entry.next;
      if (/[\\\0]/.test(entry.path)) throw malformed(what, `the name ${quote(entry.path)}`);
      const type = entry.unixMode & 0o170000;
      const folder = entry.path.endsWith('/');
      if (![0, 0o100000, 0o040000, 0o120000].includes(type))
        throw malformed(what, `a device ${quote(entry.path)}`);
      yield {
        path: entry.path,
        kind: folder ? 'folder' : type === 0o120000 ? 'link' : 'file',
        mode: entry.unixMode === 0 ? 0o644 : entry.unixMode & 0o777,
        sizeBytes: entry.sizeBytes,
        content: readContent(path, file, entry, what),
      };
    }
  } finally {
    await file.close();
  }
}

async function readDirectory(file: FileHandle, what: string): Promise<Buffer> {
  const { size } = await file.stat();
  const tailSize = Math.min(size, END_SIZE_BYTES + COMMENT_SIZE_BYTES_MAX);
  const tail = await read(file, size - tailSize, tailSize, what);
  let at = tail.length - END_SIZE_BYTES;
  while (at >= 0 && tail.readUInt32LE(at) !== END) at--;
  if (at < 0) throw malformed(what, 'a zip file without an end');
  const sizeBytes = tail.readUInt32LE(at + 12);
  const offset = tail.readUInt32LE(at + 16);
  if (offset === 0xffffffff || sizeBytes > DIRECTORY_SIZE_BYTES_MAX)
    throw malformed(what, 'a zip file over 4 GiB');
  return read(file, offset, sizeBytes, what);
}

interface Header {
  readonly path: string;
  readonly unixMode: number;
  readonly method: number;
  readonly crc: number;
  readonly packedSizeBytes: number;
  readonly sizeBytes: number;
  readonly offset: number;
  readonly next: number;
}

function readHeader(directory: Buffer, at: number, what: string): Header {
  if (at + 46 > directory.length || directory.readUInt32LE(at) !== 0x02014b50)
    throw malformed(what, 'a malformed zip directory');
  const [nameSize, extraSize, commentSize] = [28, 30, 32].map((o) => directory.readUInt16LE(at + o)) as [
    number,
    number,
    number,
  ];
  const next = at + 46 + nameSize + extraSize + commentSize;
  const method = directory.readUInt16LE(at + 10);
  if (next > directory.length) throw malformed(what, 'a malformed zip directory');
  if ((directory.readUInt16LE(at + 8) & 1) !== 0) throw malformed(what, 'an encrypted file');
  if (method !== 0 && method !== 8) throw malformed(what, `compression method ${method}`);
  const madeByUnix = directory[at + 5] === 3;
  return {
    path: directory.subarray(at + 46, at + 46 + nameSize).toString('utf8'),
    unixMode: madeByUnix ? directory.readUInt32LE(at + 38) >>> 16 : 0,
    method,
    crc: directory.readUInt32LE(at + 16),
    packedSizeBytes: directory.readUInt32LE(at + 20),
    sizeBytes: directory.readUInt32LE(at + 24),
    offset: directory.readUInt32LE(at + 42),
    next,
  };
}

async function* readContent(
  path: string,
  file: FileHandle,
  entry: Header,
  what: string,
): AsyncGenerator<Uint8Array> {
  if (entry.sizeBytes === 0) return;
  const local = await read(file, entry.offset, 30, what);
  if (local.readUInt32LE(0) !== 0x04034b50) throw malformed(what, 'a directory that points nowhere');
  const start = entry.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  const packed = createReadStream(path, { start, end: start + entry.packedSizeBytes - 1 });
  const plain: Readable = entry.method === 0 ? packed : Readable.from(inflated(packed, what));
  let crc = 0;
  let sizeBytes = 0;
  for await (const chunk of plain as AsyncIterable<Buffer>) {
    crc = crc32(chunk, crc);
    sizeBytes += chunk.length;
    if (sizeBytes > entry.sizeBytes) break;
    yield chunk;
  }
  if (sizeBytes !== entry.sizeBytes || crc !== entry.crc)
    throw malformed(what, `other bytes in ${quote(entry.path)}`);
}

async function* inflated(packed: Readable, what: string): AsyncGenerator<Buffer> {
  const inflate = createInflateRaw();
  packed.on('error', (cause) => inflate.destroy(cause));
  try {
    for await (const chunk of packed.pipe(inflate)) yield chunk as Buffer;
  } catch (cause) {
    if (String((cause as NodeJS.ErrnoException).code).startsWith('Z_'))
      throw malformed(what, 'compressed data that is none');
    throw cause;
  }
}

async function read(file: FileHandle, at: number, sizeBytes: number, what: string): Promise<Buffer> {
  const buffer = Buffer.alloc(sizeBytes);
  const { bytesRead } = await file.read(buffer, 0, sizeBytes, at);
  if (bytesRead < sizeBytes) throw malformed(what, 'one that ends too early');
  return buffer;
}
