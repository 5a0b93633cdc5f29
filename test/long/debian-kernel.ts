// SPDX-License-Identifier: Apache-2.0
// Debian's kernels for virtual machines, brought as any input of a build is: locked with the archive's signature, fetched by digest into the
// user's cache, unpacked. For an architecture that is not the host's, too.

import { globSync, mkdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import type { DebianInput } from '../../builder/definition.ts';
import { fetchPackages } from '../../builder/fetch.ts';
import { lockInputs } from '../../builder/lock.ts';
import { debianInputs } from '../../builder/lock-file.ts';
import { findMirror } from '../../builder/mirror.ts';
import { ContentStore, cacheFolder } from '../../builder/store.ts';
import { unpackPackage } from '../../builder/unpack.ts';
import { ARCHITECTURE } from '../builder/archive.ts';
import { readYaml } from '../builder/definitions.ts';

export interface Kernel {
  /** As Debian calls it. */
  readonly architecture: 'amd64' | 'arm64';
  /** As `uname -r` says it. */
  readonly release: string;
  /** What QEMU boots. */
  readonly image: string;
  /** Files of the wanted modules and of what they need, in the order in which they can be loaded. */
  modules(...names: readonly string[]): string[];
}

const definition = (architecture: Kernel['architecture'], name: string) =>
  readYaml(`waybill: 1
product: kernel
version: "1"
sourceDateEpoch: 0
inputs:
  kernel:
    kind: debian
    role: toolchain
    distribution: debian
    suite: bookworm
    components: [main]
    architecture: ${architecture}
    keyring: /usr/share/keyrings/debian-archive-keyring.gpg
    packages: [${name}]
steps:
  - name: nothing
    inputs: [kernel]
    command: "true"
    outputs: [{ path: nothing }]
products:
  - image: nothing/nothing
`);

/** The kernel that a package of Debian 12 depends on, such as `linux-image-amd64`, unpacked into a folder. */
export async function bringKernel(
  architecture: Kernel['architecture'],
  name: string,
  folder: string,
): Promise<Kernel> {
  const wanted = definition(architecture, name);
  // A mirror of Debian has all architectures, but apt's sources on this machine speak of its own.
  const [input] = wanted.inputs as readonly [DebianInput];
  const mirror = await findMirror(
    { ...input, architecture: ARCHITECTURE },
    { mirror: process.env.WAYBILL_MIRROR },
  );
  const [locked] = debianInputs(await lockInputs(wanted, { folder: '/', mirror }));
  const found = locked?.packages.find((entry) => /^linux-image-\d/.test(entry.name));
  if (found === undefined) throw new Error(`expected ${name} to depend on a kernel`);
  const store = new ContentStore(cacheFolder(process.env, homedir()));
  await fetchPackages(store, [found], { mirrorOf: async () => mirror });
  mkdirSync(folder, { recursive: true });
  await unpackPackage(store.path(found.sha256), folder, found.name);
  const release = found.name.replace('linux-image-', '');
  const files = globSync(join(folder, 'lib/modules', release, '**/*.ko'));
  const byName = new Map(files.map((file) => [moduleName(basename(file, '.ko')), file]));
  return {
    architecture,
    release,
    image: join(folder, 'boot', `vmlinuz-${release}`),
    modules: (...names) => {
      const ordered = new Set<string>();
      const add = (one: string): void => {
        const file = byName.get(moduleName(one));
        if (file === undefined) throw new Error(`expected module ${one} in ${found.name}`);
        if (ordered.has(file)) return;
        for (const needed of neededBy(file)) add(needed);
        ordered.add(file);
      };
      names.forEach(add);
      return [...ordered];
    },
  };
}

/** File names have either; the kernel takes them for the same. */
function moduleName(name: string): string {
  return name.replaceAll('-', '_');
}

/** The list that a module carries in its section `.modinfo`. */
function neededBy(file: string): string[] {
  const listed = /\0depends=([^\0]*)\0/.exec(readFileSync(file, 'latin1'))?.[1] ?? '';
  return listed.split(',').filter((name) => name !== '');
}
