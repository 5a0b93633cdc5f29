// SPDX-License-Identifier: Apache-2.0
// What a disk may hold after a power cut at any moment of a real run. The run's own file operations are recorded by strace, LevelDB's among
// them, and played back up to the cut; what no sync had reached yet is dropped, torn, blanked or reordered.
//
// The disk that is pretended: a sync of a file makes its bytes durable, and its name and all names changed before (one journal, in order, as
// ext4, XFS and Btrfs have it). Bytes without a sync may be there or not, each write for itself; a file may have its length without them.

import { execFileSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** How the disk treats what was not synced. */
export const TREATMENTS = ['kept', 'dropped', 'torn', 'blank', 'later survives'] as const;
export type Treatment = (typeof TREATMENTS)[number];

type Operation =
  | { readonly kind: 'make' | 'clear'; readonly file: number; readonly path: string }
  | {
      readonly kind: 'write';
      readonly file: number;
      readonly offset: number;
      readonly bytes: Buffer;
      readonly synced: boolean;
    }
  | { readonly kind: 'sync'; readonly file: number }
  | { readonly kind: 'folder sync' }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'said'; readonly text: string };

/** Runs a script under strace and returns what it did below `folder`, in order, with what it printed in between. */
export async function recordRun(
  script: string,
  folder: string,
  ...args: readonly string[]
): Promise<readonly Operation[]> {
  const trace = join(dirname(folder), 'trace');
  const calls =
    'openat,open,close,write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate';
  const strace = ['-f', '--seccomp-bpf', '-xx', '-s', '16777216', '-e', `trace=${calls}`, '-o', trace];
  execFileSync('strace', [...strace, process.execPath, script, folder, ...args], { maxBuffer: 1 << 28 });
  return readTrace(await readFile(trace, 'latin1'), folder);
}

function readTrace(trace: string, folder: string): readonly Operation[] {
  const reader = new TraceReader(folder);
  const begun = new Map<string, string>();
  for (const line of trace.split('\n')) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    if (rest.endsWith('<unfinished ...>')) {
      const call = rest.slice(0, -'<unfinished ...>'.length).trimEnd();
      begun.set(thread, call);
      // The number is free again before the call has ended, and another thread may get it.
      if (call.startsWith('close(')) reader.read(`${call}) = 0`);
    } else if (resumed === null) reader.read(rest);
    else if (begun.get(thread)?.startsWith('close(') === false)
      reader.read(`${begun.get(thread)}${resumed[1]}`);
  }
  return reader.operations;
}

const decode = (text: string) => Buffer.from(text.replaceAll('\\x', ''), 'hex');

class TraceReader {
  readonly operations: Operation[] = [];
  readonly #folder: string;
  /** Where open files are written next. */
  readonly #open = new Map<
    number,
    { readonly file: number; at: number; readonly synced: boolean } | 'folder'
  >();
  readonly #files = new Map<string, number>();
  #made = 0;

  constructor(folder: string) {
    this.#folder = `${folder}/`;
  }

  /** One finished call. */
  read(call: string): void {
    const [, name = '', args = '', result = '-1'] = /^(\w+)\((.*)\) += (-?\d+)/.exec(call) ?? [];
    if (result === '-1') return;
    const strings = [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, text = '']) => decode(text));
    const fd = Number(/^\d+/.exec(args)?.[0] ?? -1);
    const [path, to] = strings.map((text) => text.toString());
    if (name === 'openat' || name === 'open') this.#opened(path ?? '', args, Number(result));
    else if (name === 'close') this.#open.delete(fd);
    else if (name === 'write' && fd === 1) this.operations.push({ kind: 'said', text: String(strings[0]) });
    else if (name === 'write' || name === 'pwrite64') this.#written(fd, strings[0], args, Number(result));
    else if (name === 'fsync' || name === 'fdatasync') {
      const open = this.#open.get(fd);
      if (open === 'folder') this.operations.push({ kind: 'folder sync' });
      else if (open !== undefined) this.operations.push({ kind: 'sync', file: open.file });
    } else if (path?.startsWith(this.#folder) === true) {
      if (name.startsWith('unlink')) this.operations.push({ kind: 'remove', path });
      else if (name.startsWith('rename') && to !== undefined) this.#renamed(path, to);
      else throw new Error(`a call that the disk does not know: ${name}`);
    } else if (this.#open.has(fd)) throw new Error(`a call that the disk does not know: ${name}`);
  }

  #opened(path: string, args: string, fd: number): void {
    if (!path.startsWith(this.#folder)) return;
    if (!/O_WRONLY|O_RDWR/.test(args)) {
      if (!this.#files.has(path)) this.#open.set(fd, 'folder');
      return;
    }
    let file = this.#files.get(path);
    if (file === undefined) {
      file = this.#made++;
      this.#files.set(path, file);
      this.operations.push({ kind: 'make', file, path });
    } else if (args.includes('O_TRUNC')) this.operations.push({ kind: 'clear', file, path });
    this.#open.set(fd, { file, at: 0, synced: args.includes('O_DSYNC') });
  }

  #written(fd: number, bytes: Buffer | undefined, args: string, count: number): void {
    const open = this.#open.get(fd);
    if (open === undefined || open === 'folder' || bytes === undefined) return;
    const place = /", \d+, (\d+)$/.exec(args)?.[1];
    const offset = place === undefined ? open.at : Number(place);
    if (place === undefined) open.at += count;
    this.operations.push({
      kind: 'write',
      file: open.file,
      offset,
      bytes: bytes.subarray(0, count),
      synced: open.synced,
    });
  }

  #renamed(path: string, to: string): void {
    this.operations.push({ kind: 'rename', path, to });
    rename(this.#files, path, to);
  }
}

/** Gives a file another name, or all files of a folder. */
function rename(names: Map<string, number>, path: string, to: string): void {
  for (const [name, file] of [...names]) {
    if (name !== path && !name.startsWith(`${path}/`)) continue;
    names.delete(name);
    names.set(`${to}${name.slice(path.length)}`, file);
  }
}

interface Write {
  readonly offset: number;
  readonly bytes: Buffer;
  isDurable: boolean;
}

/** What the disk holds if the power goes after the first `cut` operations: names and bytes of files. */
export function diskAfter(
  operations: readonly Operation[],
  cut: number,
  treatment: Treatment,
): ReadonlyMap<string, Buffer> {
  const files = new Map<number, Write[]>();
  let names = new Map<string, number>();
  let durableNames = new Map<string, number>();
  for (const operation of operations.slice(0, cut)) {
    if (operation.kind === 'make') names.set(operation.path, operation.file);
    if (operation.kind === 'make' || operation.kind === 'clear') files.set(operation.file, []);
    if (operation.kind === 'write') {
      const { offset, bytes, synced } = operation;
      files.get(operation.file)?.push({ offset, bytes, isDurable: synced });
    }
    if (operation.kind === 'remove') names.delete(operation.path);
    if (operation.kind === 'rename') rename(names, operation.path, operation.to);
    if (operation.kind === 'sync' || operation.kind === 'folder sync') durableNames = new Map(names);
    if (operation.kind === 'sync')
      for (const write of files.get(operation.file) ?? []) write.isDurable = true;
  }
  if (treatment === 'dropped') names = durableNames;
  return new Map([...names].map(([path, file]) => [path, bytesOf(files.get(file) ?? [], treatment)]));
}

function bytesOf(writes: readonly Write[], treatment: Treatment): Buffer {
  const loose = writes.filter(({ isDurable }) => !isDurable);
  const kept = (write: Write): Buffer => {
    if (write.isDurable || treatment === 'kept') return write.bytes;
    if (treatment === 'blank') return Buffer.alloc(write.bytes.length);
    if (treatment === 'torn')
      return write === loose.at(-1) ? write.bytes.subarray(0, write.bytes.length >> 1) : write.bytes;
    // Of what was not synced the first write is lost, and those after it are not.
    if (treatment === 'later survives')
      return write === loose[0] ? Buffer.alloc(write.bytes.length) : write.bytes;
    return Buffer.alloc(0);
  };
  const parts = writes.map((write) => ({ offset: write.offset, bytes: kept(write) }));
  const end = Math.max(
    0,
    ...parts.filter(({ bytes }) => bytes.length > 0).map(({ offset, bytes }) => offset + bytes.length),
  );
  const out = Buffer.alloc(end);
  for (const { offset, bytes } of parts) bytes.copy(out, offset);
  return out;
}

/** Lays the files into another folder in place of the one they were recorded in. */
export async function layDisk(files: ReadonlyMap<string, Buffer>, from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const [path, bytes] of files) {
    const target = join(to, path.slice(from.length));
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, bytes);
  }
}

/** What was printed before the cut, a line each. */
export function saidBefore(operations: readonly Operation[], cut: number): readonly string[] {
  const said = operations.slice(0, cut).map((operation) => (operation.kind === 'said' ? operation.text : ''));
  return said.join('').split('\n').slice(0, -1);
}
