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
  /** Time passes half as fast, where a step has a clock: a process that runs longer than a second sees another one. */
  readonly slowClock?: true;
  /** Where work folders and materials are: another kind of file system lists folders in another order. */
  readonly workFolder?: string;
  /** Where inputs that steps see under /inputs are unpacked, for the same reason. */
  readonly inputFolder?: string;
}

export const CONDITION_NAMES = [
  'slowClock',
  'user',
  'path',
  'timeZone',
  'locale',
  'umask',
  'otherCpus',
  'workFolder',
  'inputFolder',
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
  slowClock: 'how fast the clock goes',
  workFolder: 'the order in which folders are listed',
  inputFolder: 'the order in which inputs are listed',
};

/** What a build has that can be changed. */
export interface Changeable {
  readonly cache: string;
  /** Whether any step has a clock. */
  readonly hasClock: boolean;
  /** Of the inputs that steps see under /inputs, as they are packed in the lock; 0 if there are none. */
  readonly inputsSizeBytes: number;
}

/** A tmpfs lists files by when they were made, disks by hash. */
const OTHER_FILE_SYSTEM = '/dev/shm';
const TMPFS = 0x01021994;
/** What must be free in memory for the work folders of a build. */
const FREE_SIZE_BYTES_MIN = 512 * 1024 * 1024;
/** How much larger inputs may be than their archives. */
const UNPACKED_FACTOR_MAX = 16;

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

/** Everything changed that can be changed on this machine and makes a difference to this build. Folders are the caller's to remove. */
export async function changedConditions(build: Changeable): Promise<Conditions> {
  const other = await otherFileSystem(build);
  return {
    user: { name: 'checker', id: 1001, hostName: 'elsewhere' },
    // As long as /build: what differs stays where it is in a file, and can be named.
    path: '/tmp/b',
    // Understood by every C library without a list of zones.
    timeZone: 'CHK-11',
    locale: 'C.UTF-8',
    umask: '027',
    ...(availableParallelism() > 1 ? { otherCpus: true } : {}),
    ...(build.hasClock ? { slowClock: true } : {}),
    ...other,
  };
}

/** Conditions that cannot make a difference to this build, so that it is no loss if they are not changed. */
export function isIdle(name: ConditionName, { hasClock, inputsSizeBytes }: Changeable): boolean {
  return (name === 'slowClock' && !hasClock) || (name === 'inputFolder' && inputsSizeBytes === 0);
}

async function otherFileSystem({
  cache,
  inputsSizeBytes,
}: Changeable): Promise<Pick<Conditions, 'workFolder' | 'inputFolder'>> {
  try {
    await access(OTHER_FILE_SYSTEM, constants.W_OK);
    const [other, own] = await Promise.all([statfs(OTHER_FILE_SYSTEM), statfs(cache)]);
    const free = other.bavail * other.bsize;
    if (other.type !== TMPFS || own.type === TMPFS || free < FREE_SIZE_BYTES_MIN) return {};
    const make = () => mkdtemp(join(OTHER_FILE_SYSTEM, 'waybill-'));
    const fits = free - FREE_SIZE_BYTES_MIN >= inputsSizeBytes * UNPACKED_FACTOR_MAX;
    return {
      workFolder: await make(),
      ...(inputsSizeBytes > 0 && fits ? { inputFolder: await make() } : {}),
    };
  } catch {
    return {};
  }
}
