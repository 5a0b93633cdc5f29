// SPDX-License-Identifier: Apache-2.0
// What steps looked for and did not find, whether they minded or not, with the input that would provide it [docs/spec/audit.md §Absent].

import { posix } from 'node:path';
import type { Elsewhere } from './elsewhere.ts';
import { hintAt } from './missing-input.ts';
import type { StepRoot } from './root.ts';

/** A name that a step looked for in one place or many. */
export interface Absent {
  readonly step: string;
  /** The path, or what is the same in all of them if there are many. */
  readonly name: string;
  /** Sorted. */
  readonly paths: readonly string[];
  readonly hint?: string;
}

/**
 * What programs look for by habit and do without: settings and locales of the C library and folders for other processors of its
 * loader; settings, folders and other linkers of GCC's driver; the version control of old that make knows.
 */
const ROUTINE: readonly RegExp[] = [
  /^\/etc\/(?:ld\.so\.(?:preload|cache|nohwcap)|nsswitch\.conf|localtime|selinux\/config|gai\.conf|host\.conf|resolv\.conf)$/,
  /^\/usr\/(?:lib|share)\/(?:locale|zoneinfo|locale-langpack)(?:\/|$)/,
  /^\/(?:usr\/)?lib(?:\d+)?\/(?:[^/]+\/)?(?:glibc-hwcaps|tls|haswell|avx512_1|atomics|x86_64|aarch64)(?:\/|$)/,
  /^\/usr\/lib\/.*\/(?:specs|sys-include)$/,
  /^\/usr\/lib\/([^/]+)\/lib\/\1\/\d/,
  /\/(?:(?:[\w-]+-)?g(?:nm|strip|ld)|collect-ld|real-ld|RCS|SCCS)$/,
];

/** What one step did not find, by name. */
export function findAbsent(
  step: string,
  paths: Iterable<string>,
  root: Pick<StepRoot, 'owners'>,
  elsewhere: readonly Elsewhere[],
): Absent[] {
  const searches = new Map<string, string[]>();
  for (const path of [...paths].sort()) {
    if (ROUTINE.some((routine) => routine.test(path))) continue;
    const name = posix.basename(path);
    searches.set(name, [...(searches.get(name) ?? []), path]);
  }
  return [...searches.values()].map((places) => {
    const name = commonEnd(places);
    const hint = hintAt(name, root, elsewhere);
    return { step, name, paths: places, ...(hint === undefined ? {} : { hint }) };
  });
}

/** The segments that all paths end with; a path if there is one alone, and it is no program's. */
function commonEnd(paths: readonly string[]): string {
  const [first = '', ...others] = paths;
  if (others.length === 0) return first;
  const segments = first.split('/');
  let count = 1;
  while (others.every((path) => path.endsWith(`/${segments.slice(-count - 1).join('/')}`))) count++;
  return segments.slice(-count).join('/');
}
