// SPDX-License-Identifier: Apache-2.0
// Files that a step cannot see, or not where it looks: those of inputs and steps that it does not list, as hints.

import { printable } from '../core/faults.ts';
import type { StepDefinition } from './definition.ts';
import { listFiles, type MountedTree } from './input-files.ts';
import type { LockedPackage } from './lock-file.ts';
import type { StepRoot } from './root.ts';

/** Files of one origin, by the path at which a step would see them. */
export interface Elsewhere {
  readonly paths: Iterable<string>;
  /** How the step would have one of them. */
  readonly hint: (path: string) => string;
}

/** Files of an input that is mounted. They are listed when somebody asks. */
export function filesOfTree({ name, folder }: MountedTree, isListed: boolean): Elsewhere {
  const known = { paths: undefined as string[] | undefined };
  return {
    get paths() {
      known.paths ??= listFiles(folder).map((path) => `/inputs/${name}/${path}`);
      return known.paths;
    },
    hint: (path) => `the input ${name} has ${printable(path)}${isListed ? '' : addTo('inputs', name)}`,
  };
}

/** Files of the packages of an input, in a root of another step. */
export function filesOfPackages(
  name: string,
  packages: readonly LockedPackage[],
  { owners }: Pick<StepRoot, 'owners'>,
): Elsewhere {
  const digests = new Set(packages.map(({ sha256 }) => sha256));
  const ours = [...owners].filter(([, { sha256 }]) => digests.has(sha256));
  return {
    paths: ours.map(([path]) => `/${path}`),
    hint: (path) =>
      `the package ${owners.get(path.slice(1))?.name} of the input ${name} has ${printable(path)}${addTo('inputs', name)}`,
  };
}

/** Outputs of other steps that are no materials of this one. */
export function outputsOfOthers(
  steps: readonly StepDefinition[],
  { name, materials }: StepDefinition,
): Elsewhere {
  const given = new Set(materials.map(({ step, file }) => `/materials/${step}/${file}`));
  const others = steps.filter((step) => step.name !== name);
  const paths = others.flatMap((step) => step.outputs.map(({ file }) => `/materials/${step.name}/${file}`));
  return {
    paths: paths.filter((path) => !given.has(path)),
    hint: (path) => {
      const [, , step, file] = path.split('/');
      return `the step ${step} makes it${addTo('materials', `${step}/${file}`)}`;
    },
  };
}

const addTo = (member: 'inputs' | 'materials', name: string): string =>
  `: add ${name} to the ${member} of the step`;
