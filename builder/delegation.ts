// SPDX-License-Identifier: Apache-2.0
// Where this process may make control groups for steps: what was delegated to it, and only there [docs/spec/build-type.md §Limits].
// Version 2 [Linux Documentation/admin-guide/cgroup-v2.rst], or the hierarchies of version 1 for memory and for processes.

import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';

/** Folders in which groups can be made. */
export interface Delegation {
  readonly version: 1 | 2;
  /** Groups in here bound memory. */
  readonly memory: string;
  /** Groups in here bound the number of processes; in version 2 the same folder. */
  readonly pids: string;
}

/** What a step is bound by. */
const CONTROLLERS = ['memory', 'pids'] as const;
type Controller = (typeof CONTROLLERS)[number];

/** What was delegated to this process, nearest first; undefined if nothing that bounds both memory and processes. */
export function findDelegation(): Delegation | undefined {
  const mounts = readMounts();
  const own = read('/proc/self/cgroup');
  return findUnified(mounts, own) ?? findLegacy(mounts, own);
}

interface CgroupMount {
  /** The group that is mounted. */
  readonly root: string;
  readonly folder: string;
  /** Of version 1, where each hierarchy has its own. */
  readonly controllers: readonly string[];
}

/** The mounted hierarchies of a version [Linux proc_pid_mountinfo(5)]. */
function readMounts(): Record<'cgroup' | 'cgroup2', CgroupMount[]> {
  const mounts = { cgroup: [] as CgroupMount[], cgroup2: [] as CgroupMount[] };
  for (const line of read('/proc/self/mountinfo').split('\n')) {
    const [fields = '', source = ''] = line.split(' - ');
    const [, , , root = '', folder = ''] = fields.split(' ').map(unescapeOctal);
    const [kind = '', , options = ''] = source.split(' ');
    if (kind === 'cgroup' || kind === 'cgroup2')
      mounts[kind].push({ root, folder, controllers: options.split(',') });
  }
  return mounts;
}

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)));

/** Where a mount shows a group, if it does. */
function shownAt({ root, folder }: CgroupMount, group: string): string | undefined {
  const above = root === '/' ? '' : root;
  const isBelow = group === root || group.startsWith(`${above}/`);
  // A group outside our namespace is named from its root: /../…
  if (!isBelow || group.split('/').includes('..')) return undefined;
  return `${folder}${group.slice(above.length)}`.replace(/\/$/, '');
}

/**
 * Version 2. A group that has processes cannot share memory out among groups within it, so a step's group stands beside the
 * builder's own, in the nearest group above it that was delegated; no process but a step's own is ever moved.
 */
function findUnified({ cgroup2 }: ReturnType<typeof readMounts>, ownGroups: string): Delegation | undefined {
  const group = /^0::(.*)$/m.exec(ownGroups)?.[1];
  for (const mount of group === undefined ? [] : cgroup2) {
    const own = shownAt(mount, group as string);
    for (const folder of own === undefined ? [] : upward(own, mount.folder)) {
      if (sharesOut(folder)) return { version: 2, memory: folder, pids: folder };
      // A step must not leave a bound that somebody set around its builder.
      const isBound = ['max', 'high'].some((end) => !['max', ''].includes(read(`${folder}/memory.${end}`)));
      if (isBound) break;
    }
  }
  return undefined;
}

/** A group and those above it, up to the systemd unit that it is in: what is above units is systemd's own. */
function upward(own: string, top: string): string[] {
  const names = own.slice(top.length).split('/').slice(1);
  const unit = names.findIndex((name) => /\.(?:service|scope)$/.test(name));
  const fewest = unit + 1;
  return Array.from({ length: names.length - fewest + 1 }, (_, i) =>
    [top, ...names.slice(0, names.length - i)].join('/'),
  );
}

/** Whether groups in a folder are bound, turning that on where it is off and may be turned on. */
function sharesOut(folder: string): boolean {
  if (!isWritable(folder)) return false;
  const shared = read(`${folder}/cgroup.subtree_control`).split(' ');
  if (CONTROLLERS.every((name) => shared.includes(name))) return true;
  try {
    writeFileSync(`${folder}/cgroup.subtree_control`, CONTROLLERS.map((name) => `+${name}`).join(' '));
    return true;
  } catch {
    // It has processes of its own, has no more than others share out to it, or is somebody else's.
    return false;
  }
}

/** Version 1: in the builder's own group of each hierarchy. */
function findLegacy({ cgroup }: ReturnType<typeof readMounts>, ownGroups: string): Delegation | undefined {
  const place = (controller: Controller): string | undefined => {
    const own = ownGroups.split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line)?.slice(1) ?? []);
    const group = own.find(([names = '']) => names.split(',').includes(controller))?.[1] ?? '';
    return cgroup
      .filter(({ controllers }) => controllers.includes(controller))
      .map((mount) => shownAt(mount, group))
      .find((folder) => folder !== undefined && isWritable(folder));
  };
  const [memory, pids] = CONTROLLERS.map(place);
  return memory === undefined || pids === undefined ? undefined : { version: 1, memory, pids };
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** A file's text, empty if it is not there: a group has the files of those controllers that are on. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
