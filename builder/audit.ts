// SPDX-License-Identifier: Apache-2.0
// What steps opened, file by file and input by input, against what is proved to be in use, and what they did not find
// [docs/spec/audit.md].

import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { utf8 } from '../core/encoding/utf8.ts';
import { type Absent, findAbsent } from './absent.ts';
import { parseElf, textAt } from './elf.ts';
import type { Elsewhere } from './elsewhere.ts';
import type { MountedTree } from './input-files.ts';
import { MADE_FILES, type StepRoot } from './root.ts';
import { resolveInRoot } from './root-path.ts';
import { type Opened, parseTrace } from './trace.ts';
import { type FileOwner, ownerKey, type UsedFile } from './used-files.ts';

/** A step that was traced. */
export interface TracedStep {
  readonly name: string;
  readonly root: StepRoot;
  /** What it saw under /inputs. */
  readonly mounted: readonly MountedTree[];
  /** What it left in /build, on the host. */
  readonly work: string;
  /** The log of its trace, on the host. */
  readonly trace: string;
  /** Files that it may have wanted and did not see. */
  readonly elsewhere: () => Promise<readonly Elsewhere[]>;
}

/** A package, or an input that is made of none, of which files were opened. Paths in there, without leading slash, sorted. */
export interface OpenedFiles {
  /** Programs that ran, libraries and interpreters that were loaded. */
  readonly ran: readonly string[];
  readonly read: readonly string[];
}

export interface Audit {
  /** By whose they are: packages by name, then other inputs by name. */
  readonly opened: ReadonlyMap<FileOwner, OpenedFiles>;
  /** What shows through of the machine: files of /proc and /sys. */
  readonly machine: readonly string[];
  /** Files of the root that no package owns: those that Waybill makes. */
  readonly made: readonly string[];
  /** In the steps' order. */
  readonly absent: readonly Absent[];
}

/** What was opened and is neither a tool at work nor proved to be in use. */
export interface Unexplained {
  readonly of: FileOwner;
  readonly paths: readonly string[];
}

/** Places of a step's own, and devices. */
const OWN = /^\/(?:build|materials|tmp|dev)(?:\/|$)|^[^/]/;
/** What is larger is no program of anybody's. */
const PROGRAM_SIZE_BYTES_MAX = 256 * 1024 * 1024;
const NO_BYTES = Buffer.alloc(0);
const MACHINE = /^\/(?:proc|sys)\//;
const ELF_LOADED = [2, 3];

/** Reads the traces of a build and finds the owner of everything that was opened. */
export async function readAudit(steps: readonly TracedStep[]): Promise<Audit> {
  const found = new Map<string, { of: FileOwner; ran: Set<string>; read: Set<string> }>();
  const [machine, made] = [new Set<string>(), new Set<string>()];
  const absent: Absent[] = [];
  for (const step of steps) {
    const opened = parseTrace((await readFile(step.trace)).toString('latin1'));
    absent.push(...(await absentIn(step, opened)));
    for (const [path, ran] of await withInterpreters(step, opened)) {
      // What ran may lie behind a link of the step's own.
      if (OWN.test(path) && !ran) continue;
      if (MACHINE.test(path)) {
        machine.add(path.replace(/^\/proc\/\d+\//, '/proc/<pid>/'));
        continue;
      }
      const file = await findFile(step, path);
      if (file === undefined) continue;
      if (file.of === undefined) {
        if (!file.path.startsWith('build/')) made.add(file.path);
        continue;
      }
      const key = ownerKey(file.of);
      const known = found.get(key) ?? { of: file.of, ran: new Set<string>(), read: new Set<string>() };
      found.set(key, known);
      known[ran || isLoaded(file.bytes) ? 'ran' : 'read'].add(file.path);
    }
  }
  // Packages come first.
  const rank = (of: FileOwner) => (typeof of === 'string' ? `1${of}` : `0${of.name}`);
  const owners = [...found.values()].sort((a, b) => (rank(a.of) < rank(b.of) ? -1 : 1));
  return {
    opened: new Map(
      owners.map(({ of, ran, read }) => [
        of,
        { ran: sorted(ran), read: sorted(new Set([...read].filter((path) => !ran.has(path)))) },
      ]),
    ),
    machine: sorted(machine),
    made: sorted(made),
    absent,
  };
}

/** What a step did not find, the interpreters of programs that it could not run among it. */
async function absentIn(step: TracedStep, { absent, notRun }: Opened): Promise<Absent[]> {
  const wanted = new Set(absent);
  for (const path of notRun) {
    const file = await findFile(step, path);
    if (file === undefined) continue;
    // The program is there: what it wants to be run with is not.
    wanted.delete(path);
    const interpreter = interpreterOf(file.bytes);
    if (interpreter !== undefined && (await findFile(step, interpreter)) === undefined)
      wanted.add(interpreter);
  }
  const elsewhere = wanted.size === 0 ? [] : await step.elsewhere();
  return findAbsent(step.name, wanted, step.root, elsewhere);
}

const sorted = (paths: ReadonlySet<string>): string[] => [...paths].sort();

/** UPPER without LOWER: what was read of packages and other inputs and is not proved to have been used for an image. */
export function findUnexplained(audit: Audit, used: readonly UsedFile[]): Unexplained[] {
  const proved = new Set(used.map(({ of, path }) => `${ownerKey(of)}/${path}`));
  return [...audit.opened].flatMap(([of, { read }]) => {
    const paths = read.filter((path) => !proved.has(`${ownerKey(of)}/${path}`));
    return paths.length === 0 ? [] : [{ of, paths }];
  });
}

/** The bytes of `audit.json`. */
export function formatAudit(audit: Audit, unexplained: readonly Unexplained[], tracer: string): Uint8Array {
  const packages: object[] = [];
  const inputs: object[] = [];
  for (const [of, { ran, read }] of audit.opened) {
    const files = { ran, read, unexplained: unexplained.find((one) => one.of === of)?.paths ?? [] };
    if (typeof of === 'string') inputs.push({ name: of, ...files });
    else {
      const { name, version, architecture, sha256 } = of;
      packages.push({ name, version, architecture, sha256, ...files });
    }
  }
  const { made, machine, absent } = audit;
  return utf8(
    `${JSON.stringify({ auditVersion: 1, tracer, packages, inputs, made, machine, absent }, null, 2)}\n`,
  );
}

/** A file that a step saw, with whose it is; of nobody's is what the step, under `build/`, or Waybill made. */
interface SeenFile {
  readonly of: FileOwner | undefined;
  readonly path: string;
  readonly bytes: Buffer;
}

/** The file that a path of a step's sandbox leads to; undefined if it leads to none: folders are opened to be listed. */
async function findFile(step: TracedStep, path: string): Promise<SeenFile | undefined> {
  const plain = await resolveInRoot((inside) => placeOf(step, inside).at, path);
  if (plain === undefined) return undefined;
  const { at, of, path: inside } = placeOf(step, plain);
  const found = await lstat(at).catch(() => undefined);
  if (found?.isFile() !== true) return undefined;
  const bytes = found.size > PROGRAM_SIZE_BYTES_MAX ? NO_BYTES : await readFile(at).catch(() => NO_BYTES);
  return { of, path: inside, bytes };
}

/** Where a path without links is on the host, whose it is, and its path in that. */
function placeOf(
  { root, mounted, work }: TracedStep,
  plain: string,
): Pick<SeenFile, 'of' | 'path'> & { readonly at: string } {
  const [top, input, ...rest] = plain.split('/');
  if (top === 'build') return { at: join(work, plain.slice(top.length)), of: undefined, path: plain };
  const tree = top === 'inputs' ? mounted.find(({ name }) => name === input) : undefined;
  if (tree !== undefined) return { at: join(tree.folder, ...rest), of: tree.name, path: rest.join('/') };
  const of = MADE_FILES.includes(plain) ? undefined : (root.owners.get(plain) ?? root.image);
  return { at: join(root.folder, plain), of, path: plain };
}

/** Every path that was opened, true if it ran; with what the kernel opens by itself to run it. */
async function withInterpreters(step: TracedStep, opened: Opened): Promise<Map<string, boolean>> {
  const paths = new Map([...opened.read].map((path) => [path, false]));
  const waiting = [...opened.ran];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (paths.get(path) === true) continue;
    paths.set(path, true);
    const file = await findFile(step, path);
    const interpreter = file === undefined ? undefined : interpreterOf(file.bytes);
    if (interpreter !== undefined) waiting.push(interpreter);
  }
  return paths;
}

/** The program that the kernel runs a program with: of a script's first line, of an ELF file's `.interp`. */
function interpreterOf(bytes: Buffer): string | undefined {
  if (bytes.subarray(0, 2).toString() === '#!') {
    return /^#!\s*(\S+)/.exec(bytes.subarray(0, 256).toString('latin1'))?.[1];
  }
  try {
    const section = parseElf(bytes).sections.find(({ name }) => name === '.interp');
    return section === undefined ? undefined : textAt(section.bytes, 0);
  } catch {
    // Neither: the kernel would not have run it, or it needs nobody.
    return undefined;
  }
}

/** An ELF program or shared library is code of a tool; an object or archive may become part of the image. */
function isLoaded(bytes: Buffer): boolean {
  if (bytes.length < 18 || bytes.readUInt32BE(0) !== 0x7f454c46) return false;
  return ELF_LOADED.includes(bytes[5] === 1 ? bytes.readUInt16LE(16) : bytes.readUInt16BE(16));
}
