// SPDX-License-Identifier: Apache-2.0
// Links that packages make with update-alternatives when they are installed [update-alternatives(1)]: /usr/bin/cc, /usr/bin/awk, the
// headers and libraries of a bare-metal C library. Maintainer scripts are not run; of `postinst`, commands that are written out in
// full are read and carried out here, the highest priority winning, the same on every machine.

import { lstat, mkdir, realpath, symlink } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { runTool } from './host-tool.ts';

/** `link` → /etc/alternatives/`name` → `path`, all absolute inside the root. */
export interface Alternative {
  readonly link: string;
  readonly name: string;
  readonly path: string;
}

export interface AlternativeGroup {
  readonly priority: number;
  /** The one that is installed, then its slaves. */
  readonly links: readonly [Alternative, ...Alternative[]];
}

const PLAIN_PATH = /^\/[A-Za-z0-9_.+@~:[/-]+$/;
const PLAIN_NAME = /^[A-Za-z0-9_.+@~:[-]+$/;

/** The groups that a `postinst` installs by commands without variables, quotes or substitutions. */
export function parseAlternatives(postinst: string): AlternativeGroup[] {
  const groups: AlternativeGroup[] = [];
  for (const line of postinst.replace(/\\\n/g, ' ').split('\n')) {
    const [, command] = /^\s*update-alternatives\s+(.*)$/.exec(line) ?? [];
    const group = command === undefined ? undefined : parseCommand(command);
    if (group !== undefined) groups.push(group);
  }
  return groups;
}

function parseCommand(command: string): AlternativeGroup | undefined {
  const words = command.split(/\s+/);
  const end = words.findIndex((word) => /^(?:#|;|&&|\|\||>)/.test(word));
  const rest = (end < 0 ? words : words.slice(0, end)).filter(
    (word) => word !== '' && word !== '--quiet' && word !== '--force',
  );
  if (rest.shift() !== '--install') return undefined;
  const master = take(rest);
  const priority = rest.shift() ?? '';
  if (master === undefined || !/^\d{1,9}$/.test(priority)) return undefined;
  const links: [Alternative, ...Alternative[]] = [master];
  while (rest.length > 0) {
    if (rest.shift() !== '--slave') return undefined;
    const slave = take(rest);
    if (slave === undefined) return undefined;
    links.push(slave);
  }
  return { priority: Number(priority), links };
}

function take(words: string[]): Alternative | undefined {
  const [link = '', name = '', path = ''] = words.splice(0, 3);
  const plain = PLAIN_PATH.test(link) && PLAIN_NAME.test(name) && PLAIN_PATH.test(path);
  const dotted = [...link.split('/'), ...path.split('/'), name].some((part) => part === '.' || part === '..');
  return plain && !dotted ? { link, name, path } : undefined;
}

/**
 * Makes the links of all packages in a root that they are unpacked in; returns the links made, by package, without leading slash. What
 * is there already stays, and what would lead to nothing is left out.
 * @throws SANDBOX_TOOL_MISSING
 */
export async function linkAlternatives(
  root: string,
  packages: readonly { readonly name: string; readonly file: string }[],
): Promise<Map<string, string[]>> {
  const best = new Map<string, { owner: string; group: AlternativeGroup }>();
  for (const { name: owner, file } of packages) {
    const postinst = await runTool('dpkg-deb', ['--info', file, 'postinst']);
    if (postinst.exitCode !== 0) continue;
    for (const group of parseAlternatives(postinst.stdout.toString('utf8'))) {
      const other = best.get(group.links[0].name);
      // Of equals the first package wins; they are sorted by name.
      if (other === undefined || group.priority > other.group.priority)
        best.set(group.links[0].name, { owner, group });
    }
  }
  const made = new Map<string, string[]>();
  for (const { owner, group } of best.values()) {
    for (const alternative of group.links) {
      const links = await link(root, alternative);
      made.set(owner, [...(made.get(owner) ?? []), ...links]);
    }
  }
  return made;
}

/** Relative links, which mean the same to a step and to a builder that looks at its root from outside. */
async function link(root: string, { link: from, name, path }: Alternative): Promise<string[]> {
  const top = await realpath(root);
  const inside = async (folder: string) => {
    const real = await realpath(join(top, folder)).catch(() => undefined);
    return real !== undefined && (real === top || real.startsWith(`${top}/`)) ? real : undefined;
  };
  if ((await inside('etc')) === undefined) await mkdir(join(top, 'etc')).catch(() => {});
  const etc = await inside('etc');
  const [folder, target] = await Promise.all([inside(dirname(from)), inside(path)]);
  if (etc === undefined || folder === undefined || target === undefined) return [];
  const [here, there] = [join(folder, basename(from)), join(etc, 'alternatives', name)];
  if (await exists(here)) return [];
  await mkdir(dirname(there), { recursive: true });
  // A package may have put something else in the place of the folder.
  if ((await inside('etc/alternatives')) !== dirname(there) || (await exists(there))) return [];
  await symlink(relative(dirname(there), target), there);
  await symlink(relative(folder, there), here);
  return [there, here].map((made) => relative(top, made));
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}
