// SPDX-License-Identifier: Apache-2.0
// tar archives [POSIX.1-2017 §pax]: read as they are found (ustar, pax, GNU long names), written in one canonical form.

import { quote } from '../../core/faults.ts';
import { BUILDER } from '../faults.ts';
import { ByteReader } from './byte-reader.ts';

const BLOCK = 512;
/** A header's extension holds names and times; more than this is an attack. */
const EXTENSION_SIZE_BYTES_MAX = 1024 * 1024;

export interface TarEntry {
  /** As it stands in the archive. */
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link' | 'hardlink' | 'device';
  readonly mode: number;
  readonly sizeBytes: number;
  /** Of a link or a hard link. */
  readonly target: string;
  /** The bytes of a file; to be read before the next entry is asked for, else they are skipped. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** The entries of an archive in their order. What follows its end is read, too, so that all of a packed one is checked. @throws INPUT_ARCHIVE_MALFORMED */
export async function* readTar(chunks: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<TarEntry> {
  const reader = new ByteReader(chunks);
  let extended: Record<string, string> = {};
  try {
    for (;;) {
      const header = await reader.exactly(BLOCK);
      // The end is two blocks of zeros; archives that merely stop are seen, too, and no digest was wrong.
      if (header.length === 0 || header.every((byte) => byte === 0)) {
        while ((await reader.some(1 << 20)) !== undefined);
        return;
      }
      checkHeader(header, what);
      const type = String.fromCharCode(header[156] as number);
      const sizeBytes = sizeOf(header, extended, what);
      if ('xgLK'.includes(type)) {
        const text = await readExtension(reader, sizeBytes, what);
        if (type === 'x') extended = { ...extended, ...parsePax(text, what) };
        else if (type === 'L') extended = { ...extended, path: untilNul(text) };
        else if (type === 'K') extended = { ...extended, linkpath: untilNul(text) };
        continue;
      }
      const body = new Body(reader, sizeBytes, what);
      yield describe(header, type, extended, body);
      extended = {};
      await body.skip();
    }
  } finally {
    await reader.close();
  }
}

/** The content of one entry, padded to whole blocks. */
class Body {
  readonly sizeBytes: number;
  readonly #reader: ByteReader;
  readonly #what: string;
  #left: number;

  constructor(reader: ByteReader, sizeBytes: number, what: string) {
    this.sizeBytes = sizeBytes;
    this.#reader = reader;
    this.#what = what;
    this.#left = sizeBytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    while (this.#left > 0) {
      const part = await this.#reader.some(this.#left);
      if (part === undefined) throw malformed(this.#what, 'one that ends inside a file');
      this.#left -= part.length;
      yield part;
    }
  }

  async skip(): Promise<void> {
    for await (const _ of this) {
      // Passed over.
    }
    await this.#reader.exactly((BLOCK - (this.sizeBytes % BLOCK)) % BLOCK);
  }
}

function describe(
  header: Buffer,
  type: string,
  extended: Readonly<Record<string, string>>,
  body: Body,
): TarEntry {
  const ustar = header.subarray(257, 262).toString('latin1') === 'ustar';
  const prefix = ustar && header[262] === 0 ? text(header, 345, 155) : '';
  const plain = text(header, 0, 100);
  const path = extended.path ?? (prefix === '' ? plain : `${prefix}/${plain}`);
  const kinds: Readonly<Record<string, TarEntry['kind']>> = {
    '0': 'file',
    '\0': 'file',
    '7': 'file',
    '1': 'hardlink',
    '2': 'link',
    '5': 'folder',
  };
  const kind = kinds[type] ?? 'device';
  return {
    path,
    // Old archives mark a folder by the slash at its end.
    kind: kind === 'file' && path.endsWith('/') ? 'folder' : kind,
    mode: octal(header, 100, 8) ?? 0,
    sizeBytes: body.sizeBytes,
    target: extended.linkpath ?? text(header, 157, 100),
    content: body,
  };
}

function checkHeader(header: Buffer, what: string): void {
  if (header.length < BLOCK) throw malformed(what, 'one that ends inside a header');
  let sum = 8 * 0x20;
  for (const [i, byte] of header.entries()) if (i < 148 || i >= 156) sum += byte;
  if (octal(header, 148, 8) !== sum) throw malformed(what, 'a header with a wrong checksum');
}

function sizeOf(header: Buffer, extended: Readonly<Record<string, string>>, what: string): number {
  const large = (header[124] as number) & 0x80;
  const found =
    extended.size !== undefined
      ? Number(extended.size)
      : large !== 0
        ? Number(header.readBigUInt64BE(128))
        : octal(header, 124, 12);
  if (found === undefined || !Number.isSafeInteger(found) || found < 0)
    throw malformed(what, 'a size that is none');
  // Links and folders have no body, whatever their header says.
  return '1256'.includes(String.fromCharCode(header[156] as number)) ? 0 : found;
}

async function readExtension(reader: ByteReader, sizeBytes: number, what: string): Promise<Buffer> {
  if (sizeBytes > EXTENSION_SIZE_BYTES_MAX) throw malformed(what, 'an extension that is too large');
  const bytes = await reader.exactly(sizeBytes);
  await reader.exactly((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
  if (bytes.length < sizeBytes) throw malformed(what, 'one that ends inside an extension');
  return bytes;
}

/** Records `LENGTH KEY=VALUE\n`. */
function parsePax(bytes: Buffer, what: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (let at = 0; at < bytes.length; ) {
    const digits = /^([0-9]{1,7}) /.exec(bytes.subarray(at, at + 8).toString('latin1'))?.[1] ?? '';
    const end = at + Number(digits);
    const record = bytes.subarray(at + digits.length + 1, end - 1).toString('utf8');
    const equals = record.indexOf('=');
    if (digits === '' || end > bytes.length || end <= at || equals < 1)
      throw malformed(what, 'a malformed extension');
    found[record.slice(0, equals)] = record.slice(equals + 1);
    at = end;
  }
  return found;
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.subarray(0, end < 0 ? bytes.length : end).toString('utf8');
}

function text(header: Buffer, at: number, length: number): string {
  return untilNul(header.subarray(at, at + length));
}

function octal(header: Buffer, at: number, length: number): number | undefined {
  const digits = text(header, at, length).trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || '0', 8) : undefined;
}

/** The fault of an archive that is none, or holds what must not be in one. */
export function malformed(what: string, got: string) {
  return BUILDER.reject('INPUT_ARCHIVE_MALFORMED', `expected an archive in ${quote(what)}, got ${got}`);
}

export interface CanonicalEntry {
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link';
  readonly executable: boolean;
  /** Of a link. */
  readonly target: string;
  readonly sizeBytes: number;
  readonly content: () => AsyncIterable<Uint8Array>;
}

/**
 * The canonical archive of a tree [docs/spec/lock.md §Trees]: sorted by the bytes of the path, no owner, no time, modes 644 and
 * 755 alone. One tree has one archive, whose SHA-256 is the digest of the tree.
 */
export async function* writeTar(entries: readonly CanonicalEntry[]): AsyncGenerator<Uint8Array> {
  const sorted = [...entries].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  for (const entry of sorted) {
    const path = entry.kind === 'folder' ? `${entry.path}/` : entry.path;
    const records = [
      ...(entry.kind === 'link' && Buffer.byteLength(entry.target) > 100
        ? [paxRecord('linkpath', entry.target)]
        : []),
      ...(Buffer.byteLength(path) > 100 ? [paxRecord('path', path)] : []),
      ...(entry.sizeBytes > 0o77777777777 ? [paxRecord('size', String(entry.sizeBytes))] : []),
    ];
    if (records.length > 0) {
      const body = Buffer.concat(records);
      yield headerOf('pax', 'x', 0o644, body.length, '');
      yield padded(body);
    }
    const type = entry.kind === 'link' ? '2' : entry.kind === 'folder' ? '5' : '0';
    const mode = entry.kind === 'link' ? 0o777 : entry.kind === 'folder' || entry.executable ? 0o755 : 0o644;
    const sizeBytes = entry.kind === 'file' ? entry.sizeBytes : 0;
    yield headerOf(path, type, mode, sizeBytes, entry.kind === 'link' ? entry.target : '');
    if (entry.kind !== 'file') continue;
    let written = 0;
    for await (const chunk of entry.content()) {
      written += chunk.length;
      yield chunk;
    }
    if (written !== entry.sizeBytes) {
      throw BUILDER.unavailable(
        'INPUT_FOLDER_CHANGING',
        `expected ${entry.sizeBytes} bytes of ${quote(entry.path)}, got ${written}`,
      );
    }
    yield Buffer.alloc((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
  }
  yield Buffer.alloc(2 * BLOCK);
}

function headerOf(path: string, type: string, mode: number, sizeBytes: number, target: string): Buffer {
  const header = Buffer.alloc(BLOCK);
  // What is too long stands whole in the extension before; the cut name is never read.
  Buffer.from(path).copy(header, 0, 0, 100);
  header.write(`${mode.toString(8).padStart(7, '0')}\0`, 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${Math.min(sizeBytes, 0o77777777777).toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write(type, 156);
  Buffer.from(target).copy(header, 157, 0, 100);
  header.write('ustar\x0000', 257);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)]);
}

/** The length counts itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  while (String(length).length + Buffer.byteLength(rest) !== length)
    length = String(length).length + Buffer.byteLength(rest);
  return Buffer.from(`${length}${rest}`);
}
