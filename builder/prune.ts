// SPDX-License-Identifier: Apache-2.0
// Prune and rebuild [docs/spec/audit.md §Prune and rebuild]: the steps run again over root file systems and inputs that hold only the
// files that the SBOM names, in components or formulation; then the outputs are compared.

import { copyFile, lstat, mkdir, readdir, readlink, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { Rejection } from '../core/faults.ts';
import type { StepDefinition } from './definition.ts';
import type { MountedTree } from './input-files.ts';
import type { LockedPackage } from './lock-file.ts';
import type { TakenOutput } from './outputs.ts';
import { MADE_FILES, type StepRoot } from './root.ts';
import { resolveInRoot } from './root-path.ts';
import type { StepResult } from './step.ts';

export interface PrunableStep {
  readonly step: StepDefinition;
  readonly root: StepRoot;
  /** What it saw under /inputs. */
  readonly mounted: readonly MountedTree[];
  readonly outputs: readonly TakenOutput[];
  /** Runs the step again over another root and other inputs, in another folder. */
  readonly again: (changes: {
    readonly root: StepRoot;
    readonly inputs: readonly MountedTree[];
    readonly folder: string;
    readonly outputs: string;
  }) => Promise<StepResult>;
}

export interface PrunedBuild {
  /** Steps that gave the same outputs. */
  readonly passed: readonly string[];
  readonly failed: readonly string[];
  /** Why a step did not end well, or which outputs differ. */
  readonly reasons: readonly string[];
  readonly keptCount: number;
  readonly removedCount: number;
}

/** Paths in a package, by its digest; `<input>/<path>` of all other inputs under `''`. */
export type NamedFiles = ReadonlyMap<string, ReadonlySet<string>>;

/** The files that SBOMs name as occurrences, of what ships and of what built it. */
export function filesNamedBy(sboms: readonly Uint8Array[]): NamedFiles {
  const documents = sboms.map((sbom) => JSON.parse(Buffer.from(sbom).toString('utf8')) as SbomDocument);
  const named = new Map<string, Set<string>>();
  for (const component of documents.flatMap(({ components = [], formulation = [] }) => [
    ...components,
    ...formulation.flatMap((formula) => formula.components ?? []),
  ])) {
    const key = packageOf(component) ?? '';
    const paths = named.get(key) ?? new Set<string>();
    for (const { location } of component.evidence?.occurrences ?? []) paths.add(location);
    named.set(key, paths);
  }
  return named;
}

/** The digest of the package that a component is; undefined if it is none. */
function packageOf({ purl = '', hashes }: SbomComponent): string | undefined {
  if (!purl.startsWith('pkg:deb/')) return undefined;
  return hashes?.find(({ alg }) => alg === 'SHA-256')?.content;
}

interface SbomComponent {
  readonly purl?: string;
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly evidence?: { readonly occurrences?: readonly { readonly location: string }[] };
}

interface SbomDocument {
  readonly components?: readonly SbomComponent[];
  readonly formulation?: readonly { readonly components?: readonly SbomComponent[] }[];
}

/** Runs every step again over pruned roots and inputs, below `folder`. A step that fails is a result, not a fault. */
export async function pruneAndRebuild(
  steps: readonly PrunableStep[],
  named: NamedFiles,
  folder: string,
): Promise<PrunedBuild> {
  const trees = new Map<string, PrunedTree>();
  /** Each tree once, however many steps see it. */
  const pruned = async (from: string, keep: (path: string) => boolean): Promise<PrunedTree> => {
    const known = trees.get(from) ?? (await pruneTree(from, join(folder, `tree-${trees.size}`), keep));
    trees.set(from, known);
    return known;
  };
  const [passed, failed, reasons]: [string[], string[], string[]] = [[], [], []];
  for (const { step, root, mounted, outputs, again } of steps) {
    const tree = await pruned(root.folder, (path) => isNamed(root, named, path));
    const inputs = [];
    for (const { name, folder: from } of mounted) {
      const input = await pruned(from, (path) => named.get('')?.has(`${name}/${path}`) === true);
      inputs.push({ name, folder: input.folder });
    }
    const owners = new Map([...root.owners].filter(([path]) => tree.kept.has(path)));
    try {
      const result = await again({
        root: { ...root, folder: tree.folder, owners },
        inputs,
        folder: join(folder, step.name),
        outputs: join(folder, 'outputs'),
      });
      const differing = result.outputs.filter(
        ({ file, sha256 }) => outputs.find((of) => of.file === file)?.sha256 !== sha256,
      );
      if (differing.length === 0) passed.push(step.name);
      else failed.push(step.name);
      reasons.push(...differing.map(({ file }) => `${step.name}/${file} differs`));
    } catch (failure) {
      if (!(failure instanceof Rejection)) throw failure;
      failed.push(step.name);
      reasons.push(failure.message);
      // What comes after has no materials.
      const rest = steps.slice(steps.findIndex((other) => other.step === step) + 1);
      failed.push(...rest.map((other) => other.step.name));
      break;
    }
  }
  const all = [...trees.values()];
  return {
    ...{ passed, failed, reasons },
    keptCount: all.reduce((sum, { kept }) => sum + kept.size, 0),
    removedCount: all.reduce((sum, tree) => sum + tree.removedCount, 0),
  };
}

/** What Waybill made is always there; the rest, if the SBOM names it. */
function isNamed(root: StepRoot, named: NamedFiles, path: string): boolean {
  if (MADE_FILES.includes(path)) return true;
  const owner: LockedPackage | undefined = root.owners.get(path);
  if (owner !== undefined) return named.get(owner.sha256)?.has(path) === true;
  return root.image === undefined || named.get('')?.has(`${root.image}/${path}`) === true;
}

interface PrunedTree {
  readonly folder: string;
  /** Files and links. */
  readonly kept: ReadonlySet<string>;
  readonly removedCount: number;
}

/** A copy of a tree with all its folders, the files that are kept, and the links that lead to something that is there. */
async function pruneTree(from: string, to: string, keep: (path: string) => boolean): Promise<PrunedTree> {
  const [kept, links, folders] = [new Set<string>(), [] as string[], [] as string[]];
  let count = 0;
  const walk = async (path: string): Promise<void> => {
    await mkdir(join(to, path), { recursive: true });
    for (const entry of await readdir(join(from, path), { withFileTypes: true })) {
      const below = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) await walk(below);
      else {
        count++;
        if (entry.isSymbolicLink()) links.push(below);
        else if (keep(below)) {
          await copyFile(join(from, below), join(to, below));
          await copyTime(join(from, below), join(to, below));
          kept.add(below);
        }
      }
    }
    folders.push(path);
  };
  await walk('');
  for (const link of links) {
    const target = await resolveInRoot(from, link);
    const there = target === undefined ? undefined : await lstat(join(to, target)).catch(() => undefined);
    if (there === undefined) continue;
    await symlink(await readlink(join(from, link)), join(to, link));
    kept.add(link);
  }
  // At the end: a folder's time changes with what is put into it.
  for (const path of folders) await copyTime(join(from, path), join(to, path));
  return { folder: to, kept, removedCount: count - kept.size };
}

async function copyTime(from: string, to: string): Promise<void> {
  const { mtimeMs } = await lstat(from);
  await utimes(to, mtimeMs / 1000, mtimeMs / 1000);
}
