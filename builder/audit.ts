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
      if (OWN.test(path)) continue;
      if (MACHINE.test(path)) {
        machine.add(path.replace(/^\/proc\/\d+\//, '/proc/<pid>/'));
        continue;
      }
      const file = await findFile(step, path);
      if (file === undefined) continue;
      if (file.of === undefined) {
        made.add(file.path);
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

/** A file that a step saw, with whose it is; of nobody's is what Waybill made. */
interface SeenFile {
  readonly of: FileOwner | undefined;
  readonly path: string;
  readonly bytes: Buffer;
}

/** The file that a path of a step's sandbox leads to; undefined if it leads to none: folders are opened to be listed. */
async function findFile({ root, mounted }: TracedStep, path: string): Promise<SeenFile | undefined> {
  const [, top, input, ...rest] = path.split('/');
  if (top === 'inputs') {
    const tree = mounted.find(({ name }) => name === input);
    return tree === undefined ? undefined : readInside(tree.folder, rest.join('/'), tree.name);
  }
  const plain = await resolveInRoot(root.folder, path);
  if (plain === undefined) return undefined;
  const image = MADE_FILES.includes(plain) ? undefined : root.image;
  return readInside(root.folder, plain, root.owners.get(plain) ?? image);
}

async function readInside(
  folder: string,
  path: string,
  of: FileOwner | undefined,
): Promise<SeenFile | undefined> {
  const plain = await resolveInRoot(folder, path);
  if (plain === undefined || !(await lstat(join(folder, plain))).isFile()) return undefined;
  return { of, path: plain, bytes: await readFile(join(folder, plain)) };
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
