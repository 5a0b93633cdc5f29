// SPDX-License-Identifier: Apache-2.0
// `build --audit` over inputs that are no packages: a folder, and an image as root file system. What is opened of them is named,
// sorted and pruned as files of packages are.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readBuildOutput } from '../../../attest/build-output.ts';
import { build } from '../../../builder/build.ts';
import { lockInputs } from '../../../builder/lock.ts';
import { formatLock } from '../../../builder/lock-file.ts';
import { ContentStore } from '../../../builder/store.ts';
import { ARCHITECTURE, type Archive, makeArchive, TOOLBOX } from '../archive.ts';
import { readYaml, stepYaml, yamlOver } from '../definitions.ts';
import { makeImage, serveImage } from './image-registry.ts';
import { makeFolder, type Server } from './workshop.ts';

const base = makeFolder({
  'src/lib/used.c': 'used',
  'src/lib/unused.c': 'unused',
  'src/run': '#!/bin/bash\necho from a script\n',
});
execFileSync('ln', ['-s', 'lib/used.c', join(base, 'src/link.c')]);
execFileSync('chmod', ['755', join(base, 'src/run')]);
let archive: Archive;
let registry: Server;
let digest: string;
beforeAll(async () => {
  archive = makeArchive([TOOLBOX, { name: 'extra', files: { 'opt/unused': 'x', 'opt/seen': 'y' } }]);
  const layers = ['toolbox', 'extra'].map((name) => {
    const file = join(archive.folder, `pool/${name}_1.0-1_${ARCHITECTURE}.deb`);
    return execFileSync('dpkg-deb', ['--fsys-tarfile', file], { maxBuffer: 1 << 28 });
  });
  const image = makeImage(layers);
  digest = image.manifest;
  registry = await serveImage(image);
});
afterAll(async () => {
  archive.close();
  await registry.close();
  rmSync(base, { recursive: true, force: true });
});

const FOLDER = '  local: { kind: folder, role: source, path: src }\n';
const ofPackages = (command: string) =>
  yamlOver(archive, stepYaml(command).replace('[tools]', '[local, tools]')).replace(
    'inputs:\n',
    `inputs:\n${FOLDER}`,
  );
const ofImage = (command: string) => `waybill: 1
product: thing
version: 1.2.3
sourceDateEpoch: 1700000000
inputs:
  base: { kind: oci, role: rootfs, image: ${registry.host}/team/image, digest: '${digest}' }
${FOLDER}steps:
${stepYaml(command).replace('[tools]', '[base, local]')}products:
  - image: make/image.bin
`;

interface Files {
  readonly name: string;
  readonly ran: string[];
  readonly read: string[];
  readonly unexplained: string[];
}

let outs = 0;
async function audited(text: string) {
  const out = join(base, `out-${++outs}`);
  const cache = join(base, 'cache');
  const definition = readYaml(text);
  const store = new ContentStore(cache);
  const lock = await lockInputs(definition, { folder: base, mirror: archive.url, store });
  const { audit } = await build({
    ...{ definition, lock, out, cache, folder: base, mirror: archive.url, replace: false, audit: true },
    definitionBytes: Buffer.from(text),
    lockBytes: formatLock(lock),
    builderId: 'https://waybill.example/builders/test',
    toolVersion: '0.0.0',
  });
  if (audit === undefined) throw new Error('the audit was asked for');
  const json = (name: string) => JSON.parse(readFileSync(join(out, name), 'utf8'));
  const inputs: Files[] = json('audit.json').inputs;
  const formula: { name: string; evidence?: { occurrences: { location: string }[] } }[] =
    json('sboms/image.bin.cdx.json').formulation[0].components;
  const named = (name: string) =>
    formula.find((one) => one.name === name)?.evidence?.occurrences.map(({ location }) => location) ?? [];
  return { audit, out, inputs, named, made: json('audit.json').made as string[] };
}

const COMMAND =
  'cat /inputs/local/link.c >image.bin; ls /inputs/local/lib >/dev/null; /inputs/local/run >>image.bin';

test('files of a folder are named by its name, and the others are gone when it is built again', async () => {
  const { audit, inputs, named } = await audited(ofPackages(COMMAND));
  expect(inputs).toEqual([
    { name: 'local', ran: ['run'], read: ['lib/used.c'], unexplained: ['lib/used.c'] },
  ]);
  expect(named('local')).toEqual(['local/lib/used.c', 'local/run']);
  expect(audit).toMatchObject({
    unexplained: [{ of: 'local', paths: ['lib/used.c'] }],
    prune: { passed: ['make'], failed: [] },
  });
  // Only what is opened stays: a listing tells.
  const listed = await audited(ofPackages('ls /inputs/local/lib >image.bin'));
  expect(listed.audit.prune).toMatchObject({ failed: ['make'], reasons: ['make/image.bin differs'] });
}, 120_000);

test('an image as root is an input whose files are named and pruned, too', async () => {
  const { audit, inputs, named, made, out } = await audited(
    ofImage(`${COMMAND}; cat /opt/seen /etc/passwd >/dev/null`),
  );
  const image = inputs.find(({ name }) => name === 'base');
  expect(image?.ran).toEqual(expect.arrayContaining([expect.stringMatching(/bin\/dash$/)]));
  expect(image).toMatchObject({ read: ['opt/seen'], unexplained: ['opt/seen'] });
  expect(named('base')).toContain('base/opt/seen');
  expect(made).toEqual(['etc/passwd']);
  expect(audit.prune).toMatchObject({ passed: ['make'], failed: [] });
  expect(audit.prune.removedCount).toBeGreaterThan(10);
  expect((await readBuildOutput(out)).statements).toHaveLength(4);
  // It is pruned in truth.
  const needs = await audited(ofImage('test -e /opt/unused && echo x >image.bin'));
  expect(needs.audit.prune.failed).toEqual(['make']);
}, 120_000);
