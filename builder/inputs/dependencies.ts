// SPDX-License-Identifier: Apache-2.0
// Inputs as resolved dependencies of a statement [docs/spec/build-type.md §Inputs of other kinds]: each blob by package URL,
// digest and role.

import { PackageURL } from 'packageurl-js';
import type { ResourceDescriptor } from '../../core/intoto/statement.ts';
import type { MountedInput, OciInput } from './declared.ts';
import type { LockedCommit, LockedMounted, LockedOci } from './locked.ts';

/** What a step was given by one input. */
export function dependenciesOf(
  input: MountedInput | OciInput,
  locked: LockedMounted | LockedOci,
): ResourceDescriptor[] {
  const { role, name } = input;
  switch (locked.kind) {
    case 'file':
      return [describe(lastOf(locked.url), locked.sha256, role, name, { download_url: locked.url })];
    case 'folder':
      return [describe(name, locked.sha256, role, name, {}, folderState(locked.git))];
    case 'git':
      return describeCommit(locked, role, name);
    case 'west':
      return [
        ...locked.projects.flatMap((project) => describeCommit(project, role, name)),
        ...locked.blobs.map(({ url, sha256 }) =>
          describe(lastOf(url), sha256, 'blob', name, { download_url: url }),
        ),
      ];
    case 'oci':
      return describeImage(locked, name);
  }
}

function folderState(git: { readonly commit: string; readonly dirty: boolean } | undefined) {
  return git === undefined ? {} : { commit: git.commit, dirty: String(git.dirty) };
}

function describe(
  component: string,
  sha256: string,
  role: string,
  input: string,
  qualifiers: Readonly<Record<string, string>>,
  more: Readonly<Record<string, string>> = {},
): ResourceDescriptor {
  const all = { checksum: `sha256:${sha256}`, ...qualifiers };
  const uri = new PackageURL('generic', undefined, component, undefined, all, undefined).toString();
  return { uri, sha256, annotations: { role, input, ...more } };
}

/** A commit with its submodules is one tree: the digest is the tree's, the package URL names the commit. */
function describeCommit(locked: LockedCommit, role: string, input: string): ResourceDescriptor[] {
  const { url, commit, sha256 } = locked;
  const qualifiers = { checksum: `sha256:${sha256}`, vcs_url: `git+${url}@${commit}` };
  const component = lastOf(url).replace(/\.git$/, '');
  const uri = new PackageURL('generic', undefined, component, commit, qualifiers, undefined).toString();
  return [{ uri, sha256, annotations: { role, input, commit } }];
}

/** The manifest names configuration and layers by digest; they are listed all the same, as each is fetched by itself. */
function describeImage(locked: LockedOci, input: string): ResourceDescriptor[] {
  const { image, sha256 } = locked;
  const component = lastOf(image);
  const uri = new PackageURL(
    'oci',
    undefined,
    component,
    `sha256:${sha256}`,
    { repository_url: image },
    undefined,
  ).toString();
  const parts = [...(locked.index === undefined ? [] : [locked.index]), locked.config, ...locked.layers];
  return [
    { uri, sha256, annotations: { role: 'rootfs', input } },
    ...parts.map((part) => describe(component, part.sha256, 'rootfs', input, {})),
  ];
}

/** The last segment of a location. */
function lastOf(location: string): string {
  const path = location.includes('://') ? new URL(location).pathname : location;
  return decodeURIComponent(path.replace(/\/+$/, '').split('/').at(-1) ?? '') || 'file';
}
