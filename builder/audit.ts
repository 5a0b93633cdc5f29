// SPDX-License-Identifier: Apache-2.0
// What steps opened, file by file and package by package, against what is proved to be in use [docs/spec/audit.md].

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { utf8 } from '../core/encoding/utf8.ts';
import { parseElf, textAt } from './elf.ts';
import type { LockedPackage } from './lock-file.ts';
import { readRootFile, type StepRoot } from './root.ts';
import { resolveInRoot } from './root-path.ts';
import { type Opened, parseTrace } from './trace.ts';
import type { UsedFile } from './used-files.ts';

/** A step that was traced. */
export interface TracedStep {
  readonly name: string;
  readonly root: StepRoot;
  /** The log of its trace, on the host. */
  readonly trace: string;
}

/** A package of which files were opened. Paths in the package, without leading slash, sorted. */
export interface OpenedPackage {
  /** Programs that ran, libraries and interpreters that were loaded. */
  readonly ran: readonly string[];
  readonly read: readonly string[];
}

export interface Audit {
  readonly packages: ReadonlyMap<LockedPackage, OpenedPackage>;
  /** Files of inputs under /inputs. */
  readonly inputs: readonly string[];
  /** What shows through of the machine: files of /proc and /sys. */
  readonly machine: readonly string[];
  /** Files of the root that no package owns: those that Waybill makes. */
  readonly made: readonly string[];
}

/** What was opened and is neither a tool at work nor proved to be in use. */
export interface Unexplained {
  readonly package: LockedPackage;
  readonly paths: readonly string[];
}

/** Places of a step's own, and devices. */
const OWN = /^\/(?:build|materials|tmp|dev)(?:\/|$)|^[^/]/;
const MACHINE = /^\/(?:proc|sys)\//;
const ELF_LOADED = [2, 3];

/** Reads the traces of a build and finds the owner of everything that was opened. */
export async function readAudit(steps: readonly TracedStep[]): Promise<Audit> {
  const found = new Map<LockedPackage, { ran: Set<string>; read: Set<string> }>();
  const [inputs, machine, made] = [new Set<string>(), new Set<string>(), new Set<string>()];
  for (const { root, trace } of steps) {
    const opened = parseTrace((await readFile(trace)).toString('latin1'));
    for (const [path, ran] of await withInterpreters(root, opened)) {
      if (OWN.test(path)) continue;
      if (MACHINE.test(path)) machine.add(path.replace(/^\/proc\/\d+\//, '/proc/<pid>/'));
      else if (path.startsWith('/inputs/')) inputs.add(path);
      else {
        const plain = await resolveInRoot(root.folder, path);
        const owner = plain === undefined ? undefined : root.owners.get(plain);
        if (owner === undefined || plain === undefined) {
          // A folder that was opened to be listed is owned by nobody.
          if (plain !== undefined && (await readRootFile(root, plain)) !== undefined) made.add(plain);
          continue;
        }
        const known = found.get(owner) ?? { ran: new Set<string>(), read: new Set<string>() };
        found.set(owner, known);
        if (ran || (await isLoaded(root, plain))) known.ran.add(plain);
        else known.read.add(plain);
      }
    }
  }
  const packages = [...found].sort(([a], [b]) => (a.name < b.name ? -1 : 1));
  return {
    packages: new Map(
      packages.map(([owner, { ran, read }]) => [
        owner,
        { ran: sorted(ran), read: sorted(new Set([...read].filter((path) => !ran.has(path)))) },
      ]),
    ),
    inputs: sorted(inputs),
    machine: sorted(machine),
    made: sorted(made),
  };
}

const sorted = (paths: ReadonlySet<string>): string[] => [...paths].sort();

/** UPPER without LOWER: what was read of packages and is not proved to have been used for the image. */
export function findUnexplained(audit: Audit, used: readonly UsedFile[]): Unexplained[] {
  const proved = new Set(used.map(({ of, path }) => `${typeof of === 'string' ? of : of.sha256}/${path}`));
  return [...audit.packages].flatMap(([owner, { read }]) => {
    const paths = read.filter((path) => !proved.has(`${owner.sha256}/${path}`));
    return paths.length === 0 ? [] : [{ package: owner, paths }];
  });
}

/** The bytes of `audit.json`. */
export function formatAudit(audit: Audit, unexplained: readonly Unexplained[], tracer: string): Uint8Array {
  const name = ({ name: of, version, architecture }: LockedPackage) => ({ name: of, version, architecture });
  const document = {
    auditVersion: 1,
    tracer,
    packages: [...audit.packages].map(([owner, { ran, read }]) => ({
      ...name(owner),
      sha256: owner.sha256,
      ran,
      read,
      unexplained: unexplained.find(({ package: of }) => of === owner)?.paths ?? [],
    })),
    inputs: audit.inputs,
    made: audit.made,
    machine: audit.machine,
  };
  return utf8(`${JSON.stringify(document, null, 2)}\n`);
}

/** Every path that was opened, true if it ran; with what the kernel opens by itself to run it. */
async function withInterpreters(root: StepRoot, opened: Opened): Promise<Map<string, boolean>> {
  const paths = new Map([...opened.read].map((path) => [path, false]));
  const waiting = [...opened.ran];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (paths.get(path) === true) continue;
    paths.set(path, true);
    const plain = await resolveInRoot(root.folder, path);
    const bytes = plain === undefined ? undefined : await readRootFile(root, plain);
    const interpreter = bytes === undefined ? undefined : interpreterOf(bytes);
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
async function isLoaded(root: StepRoot, path: string): Promise<boolean> {
  const bytes = await readRootFile(root, path);
  if (bytes === undefined || bytes.length < 18 || bytes.readUInt32BE(0) !== 0x7f454c46) return false;
  return ELF_LOADED.includes(bytes[5] === 1 ? bytes.readUInt16LE(16) : bytes.readUInt16BE(16));
}

/** Where the trace of a step is kept while a build is under way. */
export function tracePath(work: string, step: string): string {
  return join(work, `${step}.strace`);
}
