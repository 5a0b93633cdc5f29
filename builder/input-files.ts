// SPDX-License-Identifier: Apache-2.0
// From a path that a compiler or linker saw in a sandbox to the file of an input: by its place in the root or under /inputs, by
// content for a copy in /build, through the steps that handed it on.

import { createHash } from 'node:crypto';
import { lstatSync, readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { followBelow, isFileBelow, readBelow } from './confined-path.ts';
import type { LockedPackage } from './lock-file.ts';
import { MADE_FILES, readRootFile, type StepRoot } from './root.ts';
import { resolveInRoot } from './root-path.ts';

/** An input that a step sees as a folder under /inputs. */
export interface MountedTree {
  readonly name: string;
  /** On the host. */
  readonly folder: string;
}

/** A step that ran, as evidence. */
export interface EvidenceStep {
  readonly name: string;
  readonly root: StepRoot;
  /** Digest of each file that it left in its work folder, by path relative to /build. */
  readonly workFiles: ReadonlyMap<string, string>;
  /** Path relative to /build of each output, by file name. */
  readonly outputs: ReadonlyMap<string, string>;
  readonly mounted: readonly MountedTree[];
  /** Names of the inputs that each package came with. */
  readonly inputsOf: ReadonlyMap<LockedPackage, readonly string[]>;
  /** Packages of role `source`, whose files a step may have copied. */
  readonly sourcePackages: ReadonlySet<string>;
}

/** A file of an input, of one package where the input is made of packages. */
export interface InputFile {
  readonly inputs: readonly string[];
  /** In the input or package, without leading slash. */
  readonly path: string;
  readonly package?: LockedPackage;
  /** Reads it; undefined if it is not to be read. */
  readonly read: () => Promise<Buffer | undefined>;
}

/** Where a step's file came from: the step that made it, and its path relative to /build there. */
export interface WorkFile {
  readonly step: string;
  readonly path: string;
}

export class InputFiles {
  readonly #steps: readonly EvidenceStep[];
  readonly #found = new Map<string, Promise<InputFile | undefined>>();
  #byDigest: Promise<ReadonlyMap<string, InputFile>> | undefined;
  #origins: ReadonlyMap<string, WorkFile> | undefined;

  /** `steps` in the order in which they ran. */
  constructor(steps: readonly EvidenceStep[]) {
    this.#steps = steps;
  }

  /** The input's file that a path in a step's sandbox is, or is a copy of. */
  find(step: string, path: string): Promise<InputFile | undefined> {
    // Every section of every object asks for the same headers.
    const key = `${step}\0${path}`;
    const found = this.#found.get(key) ?? this.#find(step, path);
    this.#found.set(key, found);
    return found;
  }

  async #find(step: string, path: string): Promise<InputFile | undefined> {
    const known = this.#steps.find(({ name }) => name === step);
    if (known === undefined) return undefined;
    const made = this.workFile(step, path);
    if (made !== undefined) {
      const digest = this.#digestOf(made);
      return digest === undefined ? undefined : (await this.#indexed()).get(digest);
    }
    return (await mountedFile(known, path)) ?? (await rootFile(known, path));
  }

  /** The file that a path of the definition names: `<input>/<path>`. */
  async findDeclared(declared: string): Promise<InputFile | undefined> {
    const [name = '', ...rest] = declared.split('/');
    const path = rest.join('/');
    for (const step of this.#steps) {
      const mounted = await mountedFile(step, `/inputs/${declared}`);
      if (mounted !== undefined) return mounted;
      if (step.root.image === name) return imageFile(step, name, path);
      const owner = step.root.owners.get(path);
      if (owner !== undefined && step.inputsOf.get(owner)?.includes(name) === true) {
        return fileOfPackage(step, owner, path);
      }
    }
    return undefined;
  }

  /** The work file that a path names: one of /build, or the output of an earlier step under /materials. */
  workFile(step: string, path: string): WorkFile | undefined {
    const [, top, ...rest] = posix.resolve('/build', path).split('/');
    if (top === 'build') return { step, path: rest.join('/') };
    const [from, file] = rest;
    if (top !== 'materials' || from === undefined || file === undefined) return undefined;
    const output = this.#steps.find(({ name }) => name === from)?.outputs.get(file);
    return output === undefined ? undefined : { step: from, path: output };
  }

  /** The first step that had this very file, copied or not: who made an object knows where its sources were. */
  origin(file: WorkFile): WorkFile {
    const digest = this.#digestOf(file);
    this.#origins ??= indexOrigins(this.#steps);
    // The file's own step comes after the one that is found, or is it: then the path asked for is as good as another.
    const origin = digest === undefined ? undefined : this.#origins.get(digest);
    return origin === undefined || origin.step === file.step ? file : origin;
  }

  #digestOf({ step, path }: WorkFile): string | undefined {
    return this.#steps.find(({ name }) => name === step)?.workFiles.get(path);
  }

  /** Files of source packages and of mounted inputs by content; the first of equals. */
  #indexed(): Promise<ReadonlyMap<string, InputFile>> {
    this.#byDigest ??= this.#index();
    return this.#byDigest;
  }

  async #index(): Promise<ReadonlyMap<string, InputFile>> {
    const index = new Map<string, InputFile>();
    let count = 0;
    const add = async (file: InputFile) => {
      // Files are read without a pause; who wants to stop the build is heard here.
      if (++count % 500 === 0) await setImmediate();
      const bytes = await file.read();
      if (bytes === undefined) return;
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      if (!index.has(sha256)) index.set(sha256, file);
    };
    const seen = new Set<string>();
    for (const step of this.#steps) {
      for (const tree of step.mounted) {
        if (seen.has(tree.folder)) continue;
        seen.add(tree.folder);
        for (const path of listFiles(tree.folder)) await add(fileOfTree(tree, path));
      }
      if (seen.has(step.root.folder)) continue;
      seen.add(step.root.folder);
      for (const [path, owner] of step.root.owners) {
        if (step.sourcePackages.has(owner.name)) await add(fileOfPackage(step, owner, path));
      }
    }
    return index;
  }
}

/** The first step, and its first path, of each content. */
function indexOrigins(steps: readonly EvidenceStep[]): Map<string, WorkFile> {
  const origins = new Map<string, WorkFile>();
  for (const { name, workFiles } of steps) {
    for (const [path, sha256] of workFiles) {
      if (!origins.has(sha256)) origins.set(sha256, { step: name, path });
    }
  }
  return origins;
}

/** Regular files below a folder, sorted. */
export function listFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => lstatSync(join(folder, path)).isFile())
    .sort();
}

function fileOfTree(tree: MountedTree, path: string): InputFile {
  return { inputs: [tree.name], path, read: async () => readBelow(tree.folder, path) };
}

function fileOfPackage(step: EvidenceStep, owner: LockedPackage, path: string): InputFile {
  const inputs = step.inputsOf.get(owner) ?? [];
  return { inputs, path, package: owner, read: () => readRootFile(step.root, path) };
}

async function mountedFile(step: EvidenceStep, path: string): Promise<InputFile | undefined> {
  const [, top, name, ...rest] = posix.normalize(path).split('/');
  const tree = top === 'inputs' ? step.mounted.find((found) => found.name === name) : undefined;
  if (tree === undefined) return undefined;
  const file = fileOfTree(tree, rest.join('/'));
  return isFileBelow(tree.folder, file.path) ? file : undefined;
}

/** A file of the image that is the root; where links lead to it, by the path without them. */
async function imageFile(step: EvidenceStep, image: string, path: string): Promise<InputFile | undefined> {
  const real = await resolveInRoot(step.root.folder, path);
  if (real === undefined || MADE_FILES.includes(real)) return undefined;
  const read = () => readRootFile(step.root, real);
  return (await read()) === undefined ? undefined : { inputs: [image], path: real, read };
}

/** Whose an absolute path of the root is; with a merged /usr both spellings are one file, and links are followed. */
async function rootFile(step: EvidenceStep, path: string): Promise<InputFile | undefined> {
  if (!path.startsWith('/')) return undefined;
  if (step.root.image !== undefined) return imageFile(step, step.root.image, path);
  const owned = (plain: string) => {
    for (const spelling of [plain, `usr/${plain}`, plain.replace(/^usr\//, '')]) {
      const owner = step.root.owners.get(spelling);
      if (owner !== undefined) return fileOfPackage(step, owner, spelling);
    }
    return undefined;
  };
  const plain = posix.normalize(path).slice(1);
  const direct = owned(plain);
  if (direct !== undefined) return direct;
  const real = followBelow(step.root.folder, plain);
  return real === undefined ? undefined : owned(real);
}
