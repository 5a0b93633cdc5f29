// SPDX-License-Identifier: Apache-2.0
// Whose a step's processes are, in the host's eyes. Started by an ordinary user: that user's. Started by root: an uid's that nobody
// else has, because limits on processes do not bind root [Linux getrlimit(2) RLIMIT_NPROC] and root owns too much of /proc.

import { existsSync, lchownSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { findTool } from './host-tool.ts';

/** Between the ranges that Debian and systemd give out [Debian policy §9.2.2; systemd UIDS-GIDS]. */
const STEP_UID = 1_900_000_000;

/** The uid and gid to drop to, or undefined where the builder's own will do. */
export function stepUser(): number | undefined {
  if (process.getuid?.() !== 0) return undefined;
  // Root of a container may have few uids; the last of them are the least likely to be anybody's.
  const ranges = readFileSync('/proc/self/uid_map', 'utf8').trim().split('\n');
  const ends = ranges.map((range) => {
    const [first, , count] = range.trim().split(/\s+/).map(Number) as [number, number, number];
    return first + count;
  });
  return Math.min(STEP_UID, Math.max(...ends) - 36);
}

/** Gives a tree to the user of steps, so that a step sees the same owner whoever runs the builder. Follows no link. */
export function giveToStepUser(path: string): void {
  const user = stepUser();
  if (user !== undefined) giveTree(path, user);
}

function giveTree(path: string, user: number): void {
  lchownSync(path, user, user);
  if (!lstatSync(path).isDirectory()) return;
  for (const name of readdirSync(path)) giveTree(join(path, name), user);
}

/** Mounted over, for the sandbox alone, by the folders that it needs. */
const STAGES = ['/mnt', '/tmp', '/media', '/srv', '/opt'];

/** `sh SCRIPT stage source… -- command…`: a mount namespace of its own, in which each source is also at <stage>/<n>. */
const STAGE_SCRIPT = `
stage=$1 n=0
shift
"$mount" -t tmpfs -o mode=0755,size=1m tmpfs "$stage"
[ "$1" = -- ] || mkdir $places
while [ "$1" != -- ]; do
  n=$((n + 1))
  "$mount" --bind "$1" "$stage/$n"
  shift
done
shift
exec "$@"`;

/**
 * Folders of root may lie where the user of steps cannot go, as under /root: they are brought to a place where it can. Returns that
 * place of each, and the words to put before the command. An ordinary user's folders stay where they are.
 * No process of root's stays between us and the command: it could not be told to die with us [Linux prctl(2) PR_SET_PDEATHSIG].
 * @throws SANDBOX_TOOL_MISSING
 */
export async function stageFolders(
  folders: readonly string[],
): Promise<{ places: readonly string[]; words: string[] }> {
  if (stepUser() === undefined) return { places: folders, words: [] };
  const [unshare, mount] = await Promise.all([findTool('unshare'), findTool('mount')]);
  // A folder that is not there is for mount to report.
  const sources = await Promise.all(folders.map((folder) => realpath(folder).catch(() => folder)));
  const free = (stage: string) =>
    existsSync(stage) && !sources.some((path) => `${path}/`.startsWith(`${stage}/`));
  const stage = STAGES.find(free) ?? '/mnt';
  const places = sources.map((_, i) => `${stage}/${i + 1}`);
  const words = [unshare, '--mount', '--propagation', 'private', '--', '/bin/sh', '-e', '-c'];
  const script = `mount=${mount} places='${places.join(' ')}'${STAGE_SCRIPT}`;
  return {
    places,
    words: [...words, script, 'sh', stage, ...sources, '--'],
  };
}
