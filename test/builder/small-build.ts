// SPDX-License-Identifier: Apache-2.0
// A tiny definition, locked over a small archive, for tests that build it over and over: packages, a folder, two steps. And what must hold of a cache
// and of output folders whatever happened to the builds before.

import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { type BuildRequest, build } from '../../builder/build.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock } from '../../builder/lock-file.ts';
import { ContentStore } from '../../builder/store.ts';
import { ARCHITECTURE, makeArchive, TOOLBOX } from './archive.ts';
import { readYaml } from './definitions.ts';

export interface SmallBuild {
  /** Holds waybill.yaml and waybill.lock; `outs/` is for output folders. */
  readonly folder: string;
  /** `file:` URL. */
  readonly mirror: string;
  /** What every build of it must give, as `readOutput` lists it. */
  readonly expected: readonly string[];
  /** A request that leaves out nothing but the cache and the output folder. */
  readonly request: Omit<BuildRequest, 'out' | 'cache'>;
  close(): void;
}

const BUILDER_ID = 'https://waybill.example/builders/test';
/** As the command line says it: it is in the SBOM. */
const VERSION: string = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
).version;

/** Makes the definition, locks it, and builds it once, undisturbed. */
export async function makeSmallBuild(): Promise<SmallBuild> {
  const archive = makeArchive([
    TOOLBOX,
    { name: 'more', files: { 'usr/src/more': 'more\n'.repeat(100_000) } },
  ]);
  const folder = mkdtempSync(join(tmpdir(), 'waybill-small-'));
  mkdirSync(join(folder, 'outs'));
  mkdirSync(join(folder, 'sources'));
  for (let i = 0; i < 20; i++) writeFileSync(join(folder, 'sources', `${i}.c`), `${i}\n`.repeat(1000));
  const text = `waybill: 1
product: thing
version: 1.2.3
sourceDateEpoch: 1700000000
inputs:
  tools:
    kind: debian
    role: toolchain
    distribution: waybill-test
    suite: test
    components: [main]
    architecture: ${ARCHITECTURE}
    keyring: ${archive.keyring}
    packages: [toolbox, more]
  sources: { kind: folder, role: source, path: sources }
steps:
  - name: join
    inputs: [tools, sources]
    command: cat /inputs/sources/*.c /usr/src/more >joined
    outputs: [{ path: joined }]
  - name: image
    inputs: [tools]
    materials: [join/joined]
    command: sort -u /materials/join/joined /bin/cat >image.bin
    outputs: [{ path: image.bin }]
products:
  - image: image/image.bin
`;
  const definition = readYaml(text);
  const apart = join(folder, 'cache-apart');
  const lock = await lockInputs(definition, { folder, mirror: archive.url, store: new ContentStore(apart) });
  const lockBytes = formatLock(lock);
  writeFileSync(join(folder, 'waybill.yaml'), text);
  writeFileSync(join(folder, 'waybill.lock'), lockBytes);
  const request = {
    ...{ definition, lock, lockBytes, folder, definitionBytes: Buffer.from(text), mirror: archive.url },
    ...{ replace: false, builderId: BUILDER_ID, toolVersion: VERSION },
  };
  const out = join(folder, 'out-apart');
  await build({ ...request, cache: apart, out });
  const close = () => {
    archive.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { folder, mirror: archive.url, expected: readOutput(out), request, close };
}

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** What is wrong with a cache: files that are not what they are called, and trees that some build found damaged. */
export function faultsOfCache(cache: string): string[] {
  const files = globSync('{store,steps}/sha256/[0-9a-f][0-9a-f]/*', { cwd: cache });
  const damaged = globSync('roots/*-old', { cwd: cache });
  const entries = globSync('{steps,sboms}/*', { cwd: cache }).filter((path) => basename(path).length === 64);
  return [
    ...files.filter((path) => sha256(join(cache, path)) !== basename(path)),
    ...entries.filter((path) => !isWhole(readFileSync(join(cache, path), 'utf8'))),
    ...damaged,
  ];
}

/** An entry of a step, or an SBOM, starts with its own digest [docs/spec/step-cache.md §Entry]. */
function isWhole(entry: string): boolean {
  return createHash('sha256').update(entry.slice(65)).digest('hex') === entry.slice(0, 64);
}

/** Every file of an output folder with its digest, but for those that name the very run. */
export function readOutput(out: string): string[] {
  return globSync('**', { cwd: out, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(out, join(entry.parentPath, entry.name)))
    .map((path) => (/^statements\/|^build\.json$/.test(path) ? path : `${path} ${sha256(join(out, path))}`))
    .sort();
}

/** What is wrong with an output folder: one that is there is whole. */
export function faultsOfOutput(out: string, expected: SmallBuild['expected']): string[] {
  if (!existsSync(out)) return [];
  const found = readOutput(out);
  return [
    ...expected.filter((line) => !found.includes(line)).map((line) => `no ${line}`),
    ...found.filter((line) => !expected.includes(line)),
  ];
}

/** What a failed build left where nothing should be: beside its output folder and under the cache. */
export function leftoversOf(folder: string, cache: string): string[] {
  return [
    ...globSync('.*.new{,.old}', { cwd: folder }),
    ...globSync('{work/*,roots/new-*,store/sha256/new-*,steps/new-*,steps/sha256/new-*,sboms/new-*}', {
      cwd: cache,
    }),
  ];
}
