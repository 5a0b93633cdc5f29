// SPDX-License-Identifier: Apache-2.0
// What changed from one lock of an input to the next, for people: old → new, one line each.

import { compareFiles } from './inputs/folder.ts';
import type { LockedInput, LockedPackage } from './lock-file.ts';

/** The lines; none if nothing changed that a build could see. */
export function inputChanges(old: LockedInput | undefined, fresh: LockedInput): string[] {
  if (old === undefined) return [`${fresh.name}: new, ${fresh.kind}`];
  return changes(old, fresh).map((text) => `${fresh.name}: ${text}`);
}

function changes(old: LockedInput, fresh: LockedInput): string[] {
  if (old.kind === 'debian' && fresh.kind === 'debian') {
    const index = moved('InRelease', old.inReleaseSha256, fresh.inReleaseSha256);
    return [...index, ...packageChanges(old.packages, fresh.packages)];
  }
  if (old.kind === 'folder' && fresh.kind === 'folder') return compareFiles(old.files, fresh.files);
  if (old.kind === 'git' && fresh.kind === 'git')
    return [...moved('commit', old.commit, fresh.commit), ...moved('tree', old.sha256, fresh.sha256)];
  if (old.kind === 'west' && fresh.kind === 'west') {
    const commits = named(old.projects, fresh.projects, (one) => [one.project, one.commit]);
    return [...commits, ...named(old.blobs, fresh.blobs, (one) => [one.path, one.sha256])];
  }
  if (old.kind === 'file' && fresh.kind === 'file')
    return [...moved('url', old.url, fresh.url), ...moved('sha256', old.sha256, fresh.sha256)];
  if (old.kind === 'oci' && fresh.kind === 'oci')
    return [...moved('image', old.image, fresh.image), ...moved('manifest', old.sha256, fresh.sha256)];
  return moved('kind', old.kind, fresh.kind);
}

function packageChanges(old: readonly LockedPackage[], fresh: readonly LockedPackage[]): string[] {
  const versions = named(old, fresh, (entry) => [entry.name, entry.version]);
  // One version, two files: an archive should never do that.
  const digests = fresh.flatMap((entry) => {
    const before = old.find(({ name, version }) => name === entry.name && version === entry.version);
    return before === undefined ? [] : moved(`${entry.name} ${entry.version}`, before.sha256, entry.sha256);
  });
  return [...versions, ...digests];
}

function named<T>(old: readonly T[], fresh: readonly T[], pair: (one: T) => [string, string]): string[] {
  const [then, now] = [new Map(old.map(pair)), new Map(fresh.map(pair))];
  return [
    ...[...now].flatMap(([name, value]) => {
      const before = then.get(name);
      return before === undefined ? [`+ ${name} ${value}`] : moved(name, before, value);
    }),
    ...[...then].filter(([name]) => !now.has(name)).map(([name, value]) => `- ${name} ${value}`),
  ];
}

function moved(what: string, old: string, fresh: string): string[] {
  return old === fresh ? [] : [`${what} ${old} → ${fresh}`];
}
