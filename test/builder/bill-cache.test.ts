// SPDX-License-Identifier: Apache-2.0
// SBOMs that were made before [docs/spec/step-cache.md §SBOMs]: used if nothing that they are made from changed, made again if anything
// did, and never believed when they are damaged. An SBOM that was put there by the test tells which of the two happened.

import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { billKey } from '../../builder/bill-cache.ts';
import { type BuildRequest, build } from '../../builder/build.ts';
import type { DoneStep, FinishedRun } from '../../builder/finished-run.ts';
import { type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { buildRequests } from './build-requests.ts';
import { readYaml, stepYaml, yamlOver } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-bills-'));
const cache = join(base, 'cache');
let archive: Archive;
beforeAll(() => {
  archive = makeArchive([TOOLBOX]);
});
beforeEach(() => {
  rmSync(join(cache, 'sboms'), { recursive: true, force: true });
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

const request = buildRequests({ archive: () => archive, base, cache });
const STEP = stepYaml('echo image >image.bin');
const kept = () => readdirSync(join(cache, 'sboms')).filter((name) => /^[0-9a-f]{64}$/.test(name));
const entry = () => join(cache, 'sboms', kept()[0] ?? '');

/** Builds, and gives the SBOM. */
async function make(change: Partial<BuildRequest> = {}, steps = STEP): Promise<string> {
  const asked = { ...(await request(steps)), ...change };
  await build(asked);
  return readFileSync(join(asked.out, 'sboms/image.bin.cdx.json'), 'utf8');
}

/** Puts another SBOM in the place of the kept one, as if it had been made. */
function plant(): void {
  const body = readFileSync(entry(), 'utf8')
    .slice(65)
    .replace(/"sbom":"(?:[^"\\]|\\.)*"/, '"sbom":"planted"');
  writeFileSync(entry(), `${createHash('sha256').update(body).digest('hex')}\n${body}`);
}

test('is used again where nothing changed, and only there', async () => {
  const first = await make();
  expect(await make()).toBe(first);
  plant();
  expect(await make()).toBe('planted');
  for (const change of [{ fresh: true }, { audit: true }, { conditions: {} }] as const)
    expect(await make(change)).toContain('"CycloneDX"');
  expect(await make({ toolVersion: '0.0.1' })).toContain('"version": "0.0.1"');
  expect(await make({}, stepYaml('echo other >image.bin'))).toContain('"CycloneDX"');
  expect(await make()).toBe('planted');
  const { definition } = await request(STEP);
  const components = [{ name: 'thing', paths: ['tools'], embedded: [], supplier: 'Somebody' }];
  expect(await make({ definition: { ...definition, components } })).toContain('"Somebody"');
});

test('is made again where the kept one is damaged, gone or cut', async () => {
  const first = await make();
  const edits: ((text: string) => string)[] = [
    (text) => text.replace('CycloneDX', 'CycloneDY'),
    (text) => text.slice(0, -1),
    () => '',
  ];
  for (const edit of edits) {
    writeFileSync(entry(), edit(readFileSync(entry(), 'utf8')));
    expect(await make()).toBe(first);
    plant();
    expect(await make()).toBe('planted');
    rmSync(entry());
    expect(await make()).toBe(first);
  }
});

test('names what ships out of the cache as well', async () => {
  await make();
  const body = readFileSync(entry(), 'utf8').slice(65).replace('"ships":[]', '"ships":["something"]');
  writeFileSync(entry(), `${createHash('sha256').update(body).digest('hex')}\n${body}`);
  expect((await build(await request(STEP))).images[0]?.ships).toEqual(['something']);
});

test('cannot be kept: the build goes on, and says so', async () => {
  writeFileSync(join(cache, 'sboms'), '');
  const lines: string[] = [];
  const onEvent: BuildRequest['onEvent'] = (event) => event.kind === 'progress' && lines.push(event.text);
  await make({ onEvent });
  expect(lines).toContainEqual(expect.stringMatching(/^SBOM not kept in the cache: /));
});

test('goes when nobody used it for 30 days', async () => {
  await make();
  const old = Date.now() / 1000 - 31 * 24 * 3600;
  for (const name of readdirSync(join(cache, 'sboms'))) utimesSync(join(cache, 'sboms', name), old, old);
  const [unused] = kept();
  await make({}, stepYaml('echo third >image.bin'));
  expect(kept()).not.toContain(unused);
  utimesSync(entry(), old, old);
  writeFileSync(join(cache, 'sboms/swept'), '');
  await make({}, stepYaml('echo third >image.bin'));
  // It was used, hence young again.
  expect(Date.now() - statSync(entry()).mtimeMs).toBeLessThan(60_000);
});

test('is of all that it is made from: every part is in the key', () => {
  const definition = readYaml(yamlOver(archive, STEP));
  const [product] = definition.products;
  if (product === undefined) throw new Error('a definition without a product');
  const output = { file: 'image.bin', sha256: 'a', sizeBytes: 1 };
  const comparison = { step: 'make', file: 'image.bin', package: 'p', path: 'x', sha256: 'a', sizeBytes: 1 };
  const done = {
    root: { key: 'a' },
    mounted: [{ name: 'i', folder: '/', key: 'a' }],
    result: { outputs: [output], workFiles: new Map([['main.o', 'a']]), log: '' },
    comparisons: [],
  };
  const run = (change: object = {}, more: object = {}) =>
    ({
      request: { definition, toolVersion: '1' },
      identity: { lockSha256: 'a' },
      done: new Map([['make', { ...done, ...change } as unknown as DoneStep]]),
      ...more,
    }) as unknown as FinishedRun;
  const result = (change: object) => ({ result: { ...done.result, ...change } });
  const runs = [
    run(),
    run({ root: { key: 'b' } }),
    run({ mounted: [{ name: 'i', folder: '/', key: 'b' }] }),
    run({ mounted: [{ name: 'j', folder: '/', key: 'a' }] }),
    run({ mounted: undefined }),
    run(result({ outputs: [{ ...output, sha256: 'b' }] })),
    run(result({ outputs: [{ ...output, file: 'other.bin' }] })),
    run(result({ workFiles: new Map([['main.o', 'b']]) })),
    run(result({ workFiles: new Map([['other.o', 'a']]) })),
    run({ comparisons: [comparison] }),
    run({}, { identity: { lockSha256: 'b' } }),
    run({}, { request: { definition, toolVersion: '2' } }),
    run({}, { request: { definition: { ...definition, version: '9' }, toolVersion: '1' } }),
    run({}, { done: new Map([['other', done]]) }),
  ];
  const keys = runs.map((one) => billKey(one, product));
  const other = { ...product, image: { step: 'make', file: 'other.bin' } };
  expect(new Set([...keys, billKey(run(), other)]).size).toBe(runs.length + 1);
  // Where a folder lies, and what was printed, is not in an SBOM.
  expect(billKey(run({ mounted: [{ name: 'i', folder: '/elsewhere', key: 'a' }] }), product)).toBe(keys[0]);
  expect(billKey(run(result({ log: 'other' })), product)).toBe(keys[0]);
});
