// SPDX-License-Identifier: Apache-2.0
// What is around a step and must not show in its outputs, and how to change it, one thing at a time or all at once
// [docs/spec/build-check.md §What is changed].

import { access, constants, mkdtemp, statfs } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

/** What a sandbox does otherwise than always; an absent member is as always. */
export interface Conditions {
  readonly user?: { readonly name: string; readonly id: number; readonly hostName: string };
  /** Where the step finds its work folder, which it does not stop finding at /build. */
  readonly path?: string;
  readonly timeZone?: string;
  readonly locale?: string;
  /** Octal digits. */
  readonly umask?: string;
  readonly otherCpus?: true;
  /** Where work folders are: another kind of file system lists folders in another order. */
  readonly workFolder?: string;
}

export const CONDITION_NAMES = [
  'user',
  'path',
  'timeZone',
  'locale',
  'umask',
  'otherCpus',
  'workFolder',
] as const;
export type ConditionName = (typeof CONDITION_NAMES)[number];

/** In words, for people. */
export const CONDITION_TEXTS: Readonly<Record<ConditionName, string>> = {
  user: 'user name, user id and host name',
  path: 'the path of the work folder',
  timeZone: 'the time zone',
  locale: 'the locale',
  umask: 'the umask',
  otherCpus: 'the number of CPUs',
  workFolder: 'the order in which folders are listed',
};

/** A tmpfs lists the newest file first, disks by hash. */
const OTHER_FILE_SYSTEM = '/dev/shm';
const TMPFS = 0x01021994;
const FREE_SIZE_BYTES_MIN = 512 * 1024 * 1024;

/** The variables of a step's environment under other conditions. */
export function changedEnvironment({
  user,
  path,
  timeZone,
  locale,
}: Conditions): (readonly [string, string])[] {
  return [
    ...(user === undefined
      ? []
      : ([
          ['USER', user.name],
          ['LOGNAME', user.name],
        ] as const)),
    ...(path === undefined ? [] : ([['HOME', path]] as const)),
    ...(timeZone === undefined ? [] : ([['TZ', timeZone]] as const)),
    ...(locale === undefined ? [] : ([['LC_ALL', locale]] as const)),
  ];
}

/** Everything changed that can be changed on this machine. The work folder, if there is one, is the caller's to remove. */
export async function changedConditions(cache: string): Promise<Conditions> {
  const workFolder = await otherFileSystem(cache);
  return {
    user: { name: 'checker', id: 1001, hostName: 'elsewhere' },
    // As long as /build: what differs stays where it is in a file, and can be named.
    path: '/tmp/b',
    // Understood by every C library without a list of zones.
    timeZone: 'CHK-11',
    locale: 'C.UTF-8',
    umask: '027',
    ...(availableParallelism() > 1 ? { otherCpus: true } : {}),
    ...(workFolder === undefined ? {} : { workFolder }),
  };
}

async function otherFileSystem(cache: string): Promise<string | undefined> {
  try {
    await access(OTHER_FILE_SYSTEM, constants.W_OK);
    const [other, own] = await Promise.all([statfs(OTHER_FILE_SYSTEM), statfs(cache)]);
    const roomy = other.bavail * other.bsize >= FREE_SIZE_BYTES_MIN;
    if (other.type !== TMPFS || own.type === TMPFS || !roomy) return undefined;
    return await mkdtemp(join(OTHER_FILE_SYSTEM, 'waybill-'));
  } catch {
    return undefined;
  }
}
