// SPDX-License-Identifier: Apache-2.0
// West manifests: projects, imports, groups and blobs, resolved to commits of real repositories.

import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { LockedWest } from '../../../builder/inputs/locked.ts';
import { ContentStore } from '../../../builder/store.ts';
import { code, layOut, lockPart, makeFolder, makeRepository, sha256 } from './workshop.ts';

const store = new ContentStore(makeFolder());
const blobs = makeFolder({ 'radio.a': 'radio' });
const hal = makeRepository('hal');
const halCommit = hal.commit({
  'hal.c': 'hal',
  'zephyr/module.yml': `blobs:\n  - path: lib/radio.a\n    sha256: ${sha256('radio')}\n    type: lib\n    version: '1'\n    url: ${pathToFileURL(`${blobs}/radio.a`).href}\n`,
});
hal.git('tag', '--annotate', '--message=one', 'v1');
const rtos = makeRepository('rtos');
rtos.commit({
  'kernel.c': 'kernel',
  'west.yml': `manifest:
  projects:
    - { name: hal, url: ${hal.url}, revision: main, path: modules/hal }
    - { name: extra, url: ${hal.url}, revision: main, groups: [optional] }
    - { name: unwanted, url: file:///nonexistent, revision: main }
  group-filter: [-optional]
`,
});
const MANIFEST = `manifest:
  defaults: { remote: here, revision: main }
  remotes:
    - { name: here, url-base: ${pathToFileURL(dirname(rtos.folder)).href} }
  projects:
    - { name: rtos, import: { name-allowlist: [hal, extra], path-prefix: deps } }
`;
const local = (manifest: string) => makeFolder({ 'west.yml': manifest });
const PART = 'kind: west\nrole: source\nmanifest: west.yml\nblobs: [hal]';
const lock = async (base: string, part = PART) => (await lockPart(part, store, base)) as LockedWest;

describe('a west manifest', () => {
  test('beside the definition becomes commits of its active projects, with imports and blobs', async () => {
    const base = local(MANIFEST);
    const locked = await lock(base);
    expect(locked.manifestSha256).toBe(sha256(MANIFEST));
    expect(locked.projects.map(({ project, path, commit }) => [project, path, commit])).toEqual([
      ['hal', 'deps/modules/hal', halCommit],
      // It lies below the prefix of its own import, as with west.
      ['rtos', 'deps/rtos', rtos.git('rev-parse', 'HEAD')],
    ]);
    expect(locked.blobs).toMatchObject([{ project: 'hal', sha256: sha256('radio'), sizeBytes: 5 }]);
    expect(await layOut(PART, locked)).toMatchObject({
      'deps/rtos/kernel.c': '644 kernel',
      'deps/modules/hal/hal.c': '644 hal',
      'deps/modules/hal/zephyr/blobs/lib/radio.a': '644 radio',
    });
  });

  test('of a commit brings its own repository; a tag with a message is the commit that it names', async () => {
    const own = makeRepository('own');
    const commit = own.commit({
      'app.c': 'app',
      'west.yml': `manifest: { self: { path: app }, projects: [{ name: hal, url: '${hal.url}', revision: v1 }] }`,
    });
    const part = `kind: west\nrole: source\nmanifest: west.yml\nurl: ${own.url}\ncommit: ${commit}`;
    const locked = await lock('/', part);
    expect(locked.projects.map(({ project, path }) => [project, path])).toEqual([
      ['manifest', 'app'],
      ['hal', 'hal'],
    ]);
    expect(locked.projects.at(-1)?.commit).toBe(halCommit);
    expect(await layOut(part, locked)).toMatchObject({ 'app/app.c': '644 app', 'hal/hal.c': '644 hal' });
  });

  test.each<[string, string[]]>([
    ['name-allowlist: hal', ['hal']],
    ['name-whitelist: [hal]', ['hal']],
    ['name-blocklist: hal', ['extra', 'tool']],
    ['path-allowlist: modules/*', ['extra', 'hal']],
    ['path-allowlist: [hal, "to[a-o]l"]', ['hal', 'tool']],
    ['path-allowlist: ["modules", "/tool", "*/hal/*", "**/tool/x"]', []],
    ['path-blocklist: ["*x*r?"]', ['hal', 'tool']],
    ['path-blocklist: ["[!e]*"]', ['extra']],
    // What is allowed comes although it is blocked.
    ['path-blacklist: modules/*, name-allowlist: extra', ['extra']],
    ['name-allowlist: []', ['extra', 'hal', 'tool']],
  ])('imports by name and by path: %s', async (filters, expected) => {
    const list = makeRepository('list');
    const paths = ['modules/hal', 'modules/extra', 'tool'];
    const projects = paths.map(
      (path) => `{ name: ${path.split('/').at(-1)}, url: ${hal.url}, revision: main, path: ${path} }`,
    );
    list.commit({ 'west.yml': `manifest: { projects: [${projects.join(', ')}] }` });
    const base = local(
      `manifest: { projects: [{ name: list, url: '${list.url}', revision: main, import: { ${filters} } }] }`,
    );
    const locked = await lock(base, PART.replace('\nblobs: [hal]', ''));
    expect(
      locked.projects
        .map(({ project }) => project)
        .filter((name) => name !== 'list')
        .sort(),
    ).toEqual(expected);
  });

  test('beside the definition imports a folder of manifests, below a prefix', async () => {
    const project = (name: string) =>
      `manifest: { projects: [{ name: ${name}, url: '${hal.url}', revision: main }] }`;
    const base = makeFolder({
      'west.yml': 'manifest: { self: { import: { file: more, path-prefix: below } } }',
      'more/b.yml': project('b'),
      'more/a.yaml': project('a'),
      'more/notes.txt': 'none',
    });
    const locked = await lock(base, PART.replace('\nblobs: [hal]', ''));
    expect(locked.projects.map(({ path }) => path)).toEqual(['below/a', 'below/b']);
  });

  test.each([
    ['a circle', 'manifest: { self: { import: west.yml } }', 'INPUT_WEST_UNUSABLE'],
    ['an unknown remote', 'manifest: { projects: [{ name: a, remote: nowhere }] }', 'INPUT_WEST_UNUSABLE'],
    [
      'a path that leaves',
      `manifest: { projects: [{ name: a, url: '${hal.url}', path: ../a }] }`,
      'INPUT_WEST_UNUSABLE',
    ],
    ['an unknown member', 'manifest: { project: [] }', 'INPUT_WEST_UNUSABLE'],
    [
      'a location that starts a program',
      "manifest: { projects: [{ name: a, url: 'ext::id' }] }",
      'INPUT_WEST_UNUSABLE',
    ],
    [
      'an unknown revision',
      `manifest: { projects: [{ name: a, url: '${hal.url}', revision: v9 }] }`,
      'INPUT_GIT_UNUSABLE',
    ],
    ['no YAML', 'manifest: [', 'INPUT_WEST_UNUSABLE'],
  ])('with %s is refused', async (_what, manifest, expected) => {
    expect(await code(lock(local(manifest)))).toBe(expected);
  });

  test('that is missing, or whose blobs are another’s, is refused', async () => {
    expect(await code(lock(makeFolder()))).toBe('INPUT_WEST_UNUSABLE');
    expect(await code(lock(local(MANIFEST), PART.replace('[hal]', '[rtos]')))).toBe('INPUT_WEST_UNUSABLE');
  });
});
