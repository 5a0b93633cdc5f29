// SPDX-License-Identifier: Apache-2.0
// From a path that a compiler or linker saw in a sandbox to the file of an input: by its place in the root or under /inputs, by
// content for a copy in /build, out of an archive or not, through the steps that handed it on.

import { createHash } from 'node:crypto';
import { lstatSync, readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type ArchiveMember, isArchive, listMembers, readMember } from './archive-members.ts';
import { followBelow, isFileBelow, readBelow } from './confined-path.ts';
import { taggedLicence } from './licence.ts';
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

/** A file of an input, of one package where the input is made of packages; or a file in an archive that such a file is. */
export interface InputFile {
  readonly inputs: readonly string[];
  /** In the input or package, without leading slash; of the archive, if it is in one. */
  readonly path: string;
  /** In the archive. */
  readonly member?: string;
  readonly package?: LockedPackage;
  /** Reads it; undefined if it is not to be read. */
  readonly read: () => Promise<Buffer | undefined>;
  /** Undefined if it is not to be read. */
  readonly describe: () => Promise<FileFacts | undefined>;
}

/** What a file says of itself. */
export interface FileFacts {
  readonly sha256: string;
  /** Its own SPDX tag. */
  readonly licence?: string;
}

/** As `components:` names a file, of each input that it came with: `<input>/<path>`, an archive being a folder. */
export function declaredNames(file: InputFile): string[] {
  const path = file.member === undefined ? file.path : `${file.path}/${file.member}`;
  return file.inputs.map((input) => `${input}/${path}`);
}

/** Where a step's file came from: the step that made it, and its path relative to /build there. */
export interface WorkFile {
  readonly step: string;
  readonly path: string;
}

export class InputFiles {
  readonly #steps: readonly EvidenceStep[];
  readonly #found = new Map<string, Promise<InputFile | undefined>>();
  #plain: Promise<Digests> | undefined;
  #members: Promise<readonly InputFile[]> | undefined;
  #packed: Promise<Digests> | undefined;
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
      return digest === undefined ? undefined : this.#findCopied(digest);
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
    return (await this.#listMembers()).find((file) => declaredNames(file).includes(declared));
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

  /** The file of a source package or of a mounted input with this content, else the file in an archive among those; the first of equals. */
  async #findCopied(digest: string): Promise<InputFile | undefined> {
    this.#plain ??= indexFiles(this.#candidates());
    const plain = (await this.#plain).get(digest);
    if (plain !== undefined) return plain;
    this.#packed ??= this.#listMembers().then(indexFiles);
    return (await this.#packed).get(digest);
  }

  /** What is in archives: looked into only when something is found nowhere else, for they may be large. */
  #listMembers(): Promise<readonly InputFile[]> {
    this.#members ??= membersOf(this.#candidates());
    return this.#members;
  }

  /** The files that a step may have copied, each once. */
  *#candidates(): Generator<HostFile> {
    const seen = new Set<string>();
    for (const step of this.#steps) {
      for (const tree of step.mounted) {
        if (seen.has(tree.folder)) continue;
        seen.add(tree.folder);
        for (const path of listFiles(tree.folder)) yield fileOfTree(tree, path);
      }
      if (seen.has(step.root.folder)) continue;
      seen.add(step.root.folder);
      for (const [path, owner] of step.root.owners) {
        if (step.sourcePackages.has(owner.name)) yield fileOfPackage(step, owner, path);
      }
    }
  }
}

/** An input's file that is a file on the host. */
interface HostFile extends InputFile {
  /** Its absolute path; undefined if it is not to be read. */
  readonly locate: () => Promise<string | undefined>;
}

type Digests = ReadonlyMap<string, InputFile>;

async function indexFiles(files: Iterable<InputFile>): Promise<Digests> {
  const index = new Map<string, InputFile>();
  let count = 0;
  for (const file of files) {
    // Files are read without a pause; who wants to stop the build is heard here.
    if (++count % 500 === 0) await setImmediate();
    const facts = await file.describe();
    if (facts !== undefined && !index.has(facts.sha256)) index.set(facts.sha256, file);
  }
  return index;
}

async function membersOf(files: Iterable<HostFile>): Promise<InputFile[]> {
  const members: InputFile[] = [];
  for (const file of files) {
    const host = isArchive(file.path) ? await file.locate() : undefined;
    if (host === undefined) continue;
    for (const member of await listMembers(host)) members.push(memberOf(file, host, member));
  }
  return members;
}

function memberOf(archive: InputFile, host: string, { path, ...facts }: ArchiveMember): InputFile {
  return {
    inputs: archive.inputs,
    path: archive.path,
    member: path,
    ...(archive.package === undefined ? {} : { package: archive.package }),
    read: () => readMember(host, path),
    describe: async () => facts,
  };
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

function fileOfTree(tree: MountedTree, path: string): HostFile {
  return { inputs: [tree.name], path, ...onHost(tree.folder, path) };
}

function fileOfPackage(step: EvidenceStep, owner: LockedPackage, path: string): HostFile {
  return {
    inputs: step.inputsOf.get(owner) ?? [],
    path,
    package: owner,
    ...onHost(step.root.folder, path),
  };
}

function onHost(folder: string, path: string): Pick<HostFile, 'locate' | 'read' | 'describe'> {
  const read = async () => readBelow(folder, path);
  return {
    locate: async () => {
      const real = followBelow(folder, path);
      return real === undefined ? undefined : join(folder, real);
    },
    read,
    describe: async () => describe(await read()),
  };
}

/** Digest and licence of a file's bytes. */
function describe(bytes: Uint8Array | undefined): FileFacts | undefined {
  if (bytes === undefined) return undefined;
  const licence = taggedLicence(bytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { sha256, ...(licence === undefined ? {} : { licence }) };
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
  if ((await read()) === undefined) return undefined;
  return { inputs: [image], path: real, read, describe: async () => describe(await read()) };
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
