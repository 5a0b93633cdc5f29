// SPDX-License-Identifier: Apache-2.0
// Prune and rebuild [docs/spec/audit.md §Prune and rebuild]: the steps run again over root file systems that hold only the files that the SBOM
// names, in components or formulation; then the outputs are compared.

import { copyFile, lstat, mkdir, readdir, readlink, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { Rejection } from '../core/faults.ts';
import type { StepDefinition } from './definition.ts';
import type { TakenOutput } from './outputs.ts';
import type { StepRoot } from './root.ts';
import { resolveInRoot } from './root-path.ts';
import type { StepResult } from './step.ts';

export interface PrunableStep {
  readonly step: StepDefinition;
  readonly root: StepRoot;
  readonly outputs: readonly TakenOutput[];
  /** Runs the step again over another root, in another folder. */
  readonly again: (changes: {
    readonly root: StepRoot;
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

/** Package (by digest) and path in it. */
export type NamedFiles = ReadonlyMap<string, ReadonlySet<string>>;

/** The files of packages that an SBOM names as occurrences, of what ships and of what built it. */
export function filesNamedBy(sbom: Uint8Array): NamedFiles {
  const document = JSON.parse(Buffer.from(sbom).toString('utf8')) as SbomDocument;
  const named = new Map<string, Set<string>>();
  const formulas = document.formulation ?? [];
  for (const component of [
    ...(document.components ?? []),
    ...formulas.flatMap(({ components = [] }) => components),
  ]) {
    const sha256 = component.hashes?.find(({ alg }) => alg === 'SHA-256')?.content ?? '';
    const paths = named.get(sha256) ?? new Set<string>();
    for (const { location } of component.evidence?.occurrences ?? []) paths.add(location);
    named.set(sha256, paths);
  }
  return named;
}

interface SbomComponent {
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly evidence?: { readonly occurrences?: readonly { readonly location: string }[] };
}

interface SbomDocument {
  readonly components?: readonly SbomComponent[];
  readonly formulation?: readonly { readonly components?: readonly SbomComponent[] }[];
}

/** Runs every step again over pruned roots, below `folder`. A step that fails is a result, not a fault. */
export async function pruneAndRebuild(
  steps: readonly PrunableStep[],
  named: NamedFiles,
  folder: string,
): Promise<PrunedBuild> {
  const roots = new Map<string, StepRoot>();
  const [passed, failed, reasons]: [string[], string[], string[]] = [[], [], []];
  let [keptCount, removedCount] = [0, 0];
  for (const { step, root, outputs, again } of steps) {
    let pruned = roots.get(root.folder);
    if (pruned === undefined) {
      const made = await pruneRoot(root, named, join(folder, `root-${roots.size}`));
      pruned = made.root;
      keptCount += made.root.owners.size;
      removedCount += root.owners.size - made.root.owners.size;
      roots.set(root.folder, pruned);
    }
    try {
      const result = await again({
        root: pruned,
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
  return { passed, failed, reasons, keptCount, removedCount };
}

/** A copy of a root with all its folders, the named files, what Waybill made, and the links that lead to something that is kept. */
async function pruneRoot(root: StepRoot, named: NamedFiles, to: string): Promise<{ root: StepRoot }> {
  const links: string[] = [];
  const owners = new Map<string, NonNullable<ReturnType<StepRoot['owners']['get']>>>();
  const walk = async (path: string): Promise<void> => {
    await mkdir(join(to, path), { recursive: true });
    for (const entry of await readdir(join(root.folder, path), { withFileTypes: true })) {
      const below = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) await walk(below);
      else if (entry.isSymbolicLink()) links.push(below);
      else {
        const owner = root.owners.get(below);
        if (owner !== undefined && named.get(owner.sha256)?.has(below) !== true) continue;
        if (owner !== undefined) owners.set(below, owner);
        const { mtimeMs } = await lstat(join(root.folder, below));
        await copyFile(join(root.folder, below), join(to, below));
        await utimes(join(to, below), mtimeMs / 1000, mtimeMs / 1000);
      }
    }
    await utimes(join(to, path), 0, 0);
  };
  await walk('');
  for (const link of links) {
    const target = await resolveInRoot(root.folder, link);
    const kept = target === undefined ? undefined : await lstat(join(to, target)).catch(() => undefined);
    if (kept === undefined) continue;
    await symlink(await readlink(join(root.folder, link)), join(to, link));
    const owner = root.owners.get(link);
    if (owner !== undefined) owners.set(link, owner);
  }
  return { root: { ...root, folder: to, owners } };
}
