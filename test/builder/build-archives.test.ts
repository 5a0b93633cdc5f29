// SPDX-License-Identifier: Apache-2.0
// Whole builds over archives and definitions of other shapes: several images, and an archive that is Ubuntu's.

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBuildOutput } from '../../attest/build-output.ts';
import { build } from '../../builder/build.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock } from '../../builder/lock-file.ts';
import { ContentStore } from '../../builder/store.ts';
import { parseStepProvenance } from '../../core/intoto/provenance.ts';
import { parseStatement } from '../../core/intoto/statement.ts';
import { ARCHITECTURE, type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { buildRequests } from './build-requests.ts';
import { readYaml, stepYaml, yamlOver } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-archives-'));
let archive: Archive;
beforeAll(() => {
  archive = makeArchive([TOOLBOX]);
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});
const request = buildRequests({ archive: () => archive, base, cache: join(base, 'cache') });
const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

test('an output that is missing is told with what is there', async () => {
  const missing = async (command: string) => build(await request(stepYaml(command)));
  await expect(missing('echo x >two.elf; mkdir out')).rejects.toMatchObject({
    code: 'STEP_OUTPUT_MISSING',
    message: expect.stringMatching(/got no such file; \/build holds "out", "two\.elf"$/),
  });
  await expect(missing('touch a b c d e f g h i')).rejects.toMatchObject({
    message: expect.stringMatching(/"h", 1 more$/),
  });
  await expect(missing('true')).rejects.toMatchObject({
    message: expect.stringMatching(/; \/build is empty$/),
  });
});

test('an output folder in a folder that is an input is refused before it changes that', async () => {
  mkdirSync(join(base, 'src'));
  writeFileSync(join(base, 'src/a'), 'a');
  const text = yamlOver(archive, stepYaml('echo x >image.bin')).replace(
    'steps:',
    '  src:\n    kind: folder\n    role: source\n    path: src\nsteps:',
  );
  const definition = readYaml(text);
  const store = new ContentStore(join(base, 'cache'));
  const lock = await lockInputs(definition, { folder: base, mirror: archive.url, store });
  const asked = { ...(await request(stepYaml('true'))), definition, lock, folder: base };
  for (const out of ['src/out', 'src/deep/out']) {
    await expect(build({ ...asked, out: join(base, out) })).rejects.toMatchObject({
      code: 'BUILD_FOLDER_INSIDE',
    });
  }
  expect(readdirSync(join(base, 'src'))).toEqual(['a']);
  // A folder beside it whose name only starts alike.
  await expect(build({ ...asked, out: join(base, 'src-out') })).resolves.toMatchObject({ product: 'thing' });
});

const TWO_FILES = stepYaml('echo one >image.bin; echo two >a.elf', '      - path: a.elf\n');

describe('a build', () => {
  test('of several images: each has an SBOM and a reference of its own', async () => {
    const asked = await request(TWO_FILES, { more: '  - image: make/a.elf\n' });
    const summary = await build(asked);
    expect(summary.images.map(({ file }) => file)).toEqual(['image.bin', 'a.elf']);
    expect(readdirSync(join(asked.out, 'products')).sort()).toEqual(['a.elf', 'image.bin']);
    expect(summary.statements.slice(1)).toEqual(['02-image.bin.sbom.json', '03-a.elf.sbom.json']);
    for (const { file, sha256: digest, sbom } of summary.images) {
      const bytes = readFileSync(join(asked.out, sbom.file));
      expect(sha256(bytes)).toBe(sbom.sha256);
      const { hashes, properties } = JSON.parse(bytes.toString()).metadata.component;
      expect(hashes[0]).toEqual({ alg: 'SHA-256', content: digest });
      expect(properties).toContainEqual({ name: 'waybill:image', value: file });
    }
    const output = await readBuildOutput(asked.out);
    expect([...output.sboms.keys()]).toEqual(['sboms/a.elf.cdx.json', 'sboms/image.bin.cdx.json']);
  });

  test('of two images with the same bytes is refused', async () => {
    const twice = stepYaml('echo x >image.bin; cp image.bin b.bin', '      - path: b.bin\n');
    const asked = await request(twice, { more: '  - image: make/b.bin\n' });
    await expect(build(asked)).rejects.toMatchObject({
      code: 'SBOM_IMAGES_EQUAL',
    });
  });
});

test('Ubuntu is an archive like Debian: packages packed with zstd, named as its own in statement and SBOM', async () => {
  const ubuntu = makeArchive([
    { name: 'source', files: { 'usr/src/a': 'a' }, depends: 'toolbox', packing: 'zstd' },
    TOOLBOX,
  ]);
  try {
    ubuntu.sign((release) => release.replace('Origin: Waybill-Test', 'Origin: Ubuntu'));
    const text = yamlOver(ubuntu, stepYaml('cat /usr/src/a >image.bin'), { packages: ['source'] }).replace(
      'distribution: waybill-test',
      'distribution: ubuntu',
    );
    const definition = readYaml(text);
    const lock = await lockInputs(definition, { folder: '/', mirror: ubuntu.url });
    const asked = await request(stepYaml('true'));
    await build({
      ...{ ...asked, definition, lock, definitionBytes: Buffer.from(text), lockBytes: formatLock(lock) },
      mirror: ubuntu.url,
    });
    const file = (name: string) => readFileSync(join(asked.out, name), 'utf8');
    expect(file('products/image.bin')).toBe('a');
    const url = `pkg:deb/ubuntu/source@1.0-1?arch=${ARCHITECTURE}`;
    expect(JSON.parse(file('sboms/image.bin.cdx.json')).formulation[0].components[0]).toMatchObject({
      purl: url,
      supplier: { name: 'ubuntu' },
    });
    const statement = parseStatement(Buffer.from(file('statements/01-make.provenance.json')));
    expect(parseStepProvenance(statement).resolvedDependencies[0]?.uri).toBe(url);
  } finally {
    ubuntu.close();
  }
});
