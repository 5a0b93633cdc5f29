// SPDX-License-Identifier: Apache-2.0
// Product, gate, release and withdrawal against a real registry.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Updater } from 'tuf-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { renew, withdraw } from '../../cli/release.ts';
import { openTrust } from '../../cli/trust.ts';
import { buildStepProvenance } from '../../core/intoto/provenance.ts';
import { buildSbomReference } from '../../core/intoto/reference.ts';
import { parsePack } from '../../core/release/pack.ts';
import { parseReleaseIndex, type ReleaseIndex } from '../../core/release/release-index.ts';
import { Registry } from '../../release/registry.ts';
import { House, sha256 } from './house.ts';

let house: House;
beforeAll(async () => {
  house = await House.open();
});
afterAll(() => house.close());

const trust = () => openTrust({ registryUrl: house.url, rootPath: house.root });

async function index(): Promise<ReleaseIndex> {
  const { client } = await trust();
  await client.delegatedRole('releases-optiboot');
  return parseReleaseIndex(await client.goods('optiboot', 'packs/optiboot/releases.json', 1_000_000));
}

test('without the product nobody can release, and the gate says what the registry says', async () => {
  const build = await house.build('8.0.0');
  await house.attestBuild(build);
  await expect(house.release(build)).rejects.toMatchObject({ code: 'RELEASE_PRODUCT_UNKNOWN' });
  await expect(house.product('update')).rejects.toMatchObject({ code: 'RELEASE_PRODUCT_UNKNOWN' });
});

test('a product is added once; before its first release stock clients still work', async () => {
  const added = await house.product('add');
  expect(added).toMatchObject({ targetsVersion: 2, releases: { threshold: 1 } });
  await expect(house.product('add')).rejects.toMatchObject({ code: 'RELEASE_PRODUCT_EXISTS' });
  const { client } = await trust();
  expect(client.trustMaterialNames()).toContain('device-policy/optiboot.json');
  await expect(client.delegatedRole('releases-optiboot')).resolves.toBeUndefined();
  expect(await stockTarget('device-policy/optiboot.json')).toContain('"hardwareIds":["atmega328p"]');
});

/** A target as a stock client gets it. */
async function stockTarget(name: string): Promise<string> {
  const metadataDir = await mkdtemp(house.path('stock-'));
  await mkdir(join(metadataDir, 'targets'));
  await writeFile(join(metadataDir, 'root.json'), await readFile(house.root));
  const updater = new Updater({
    metadataDir,
    metadataBaseUrl: `${house.url}/tuf`,
    targetDir: join(metadataDir, 'targets'),
    targetBaseUrl: `${house.url}/tuf/targets`,
  });
  const info = await updater.getTargetInfo(name);
  if (info === undefined) throw new Error('target not found');
  const bytes = await readFile(
    await updater.downloadTarget(info, join(metadataDir, 'targets', 'found')),
    'utf8',
  );
  await rm(metadataDir, { recursive: true });
  return bytes;
}

test('without a gate, nothing is released', async () => {
  const build = await house.build('8.0.0');
  await expect(house.release(build)).rejects.toMatchObject({
    code: 'RELEASE_SUMMARY_MISSING',
    message: expect.stringContaining('found no summary'),
  });
});

test('a gated build is released: image, SBOM and pack in the delegation, each bundle proved', async () => {
  const build = await house.build('8.0.0');
  const { decision, summary } = await house.gate(build, { out: house.path('out') });
  expect(decision).toMatchObject({ result: 'PASSED' });
  const name = `vsa-${summary?.sha256.slice(0, 16)}.sigstore.json`;
  expect(await readdir(house.path('out'))).toEqual([name]);
  expect(sha256(await readFile(house.path('out', name)))).toBe(summary?.sha256);
  const result = await house.release(build);
  expect(result).toMatchObject({
    action: 'released',
    roleVersion: 1,
    bundleCount: 4,
    summarySha256: summary?.sha256,
  });
  expect((await index()).releases).toMatchObject([{ version: '8.0.0', hardwareIds: ['atmega328p'] }]);
  const pack = parsePack(Buffer.from(await stockTarget('packs/optiboot/optiboot-8.0.0.waybill')));
  expect(pack.bundles.map(({ bundle }) => sha256(bundle)).sort()).toEqual(
    [...decision.bundles, summary?.sha256].sort(),
  );
  expect(pack.bodies).toMatchObject([
    { name: 'packs/optiboot/optiboot-8.0.0.cdx.json', sha256: sha256(build.sbom) },
  ]);
  expect(await stockTarget('images/optiboot/optiboot-8.0.0.bin')).toBe('image of 8.0.0');
});

test('the same version again is denied by the gate and refused by release', async () => {
  const build = await house.build('8.0.0');
  const { decision, summary } = await house.gate(build);
  expect(decision.result).toBe('DENIED');
  expect(decision.rules.filter(({ verdict }) => verdict === 'fail')).toMatchObject([
    { id: 'version-higher', code: 'POLICY_VERSION_NOT_HIGHER' },
  ]);
  expect(summary).toBeUndefined();
  await expect(house.release(build)).rejects.toMatchObject({ code: 'RELEASE_VERSION_NOT_HIGHER' });
  // Said before any evidence is asked for: this version has none.
  await expect(house.release(await house.build('7.9.9'))).rejects.toMatchObject({
    code: 'RELEASE_VERSION_NOT_HIGHER',
  });
});

test('a denied build leaves no summary in the registry', async () => {
  const build = await house.build('8.0.1');
  await house.attest(buildStepProvenance(build.compile));
  await house.attest(buildStepProvenance(build.image));
  await house.attest(buildSbomReference(build.reference));
  const { decision } = await house.gate(build);
  expect(decision.rules.find(({ id }) => id === 'sbom-bound')).toMatchObject({
    code: 'POLICY_SBOM_WITHHELD',
  });
  expect(await new Registry(house.url).bundlesAbout(build.imageSha256)).toHaveLength(2);
  await expect(house.release(build)).rejects.toMatchObject({ code: 'RELEASE_SUMMARY_MISSING' });
});

test('a build by a workflow that the policy does not name is denied', async () => {
  const build = await house.build('8.0.2');
  const claims = { job_workflow_ref: 'example/firmware/.github/workflows/other.yml@refs/heads/main' };
  await house.attest(buildStepProvenance(build.compile), claims);
  await house.attest(buildStepProvenance(build.image), claims);
  await house.attest(buildSbomReference(build.reference), claims);
  const { decision } = await house.gate(build);
  expect(decision.rules.find(({ id }) => id === 'builder-trusted')).toMatchObject({
    code: 'CHAIN_BUILDER_NOT_TRUSTED',
  });
});

test('another image under the summary of this one is refused', async () => {
  const build = await house.build('8.1.0');
  await house.attestBuild(build);
  await house.gate(build);
  await writeFile(house.path('flipped.bin'), 'image of 8.1.1');
  await expect(house.release(build, { image: house.path('flipped.bin') })).rejects.toMatchObject({
    code: 'RELEASE_SUMMARY_MISSING',
  });
});

test('the summary of one version does not release another', async () => {
  const build = await house.build('8.1.0');
  await expect(house.release({ ...build, version: '8.2.0' })).rejects.toMatchObject({
    code: 'RELEASE_SUMMARY_MISSING',
    message: expect.stringContaining('another product or version'),
  });
});

test('a summary under a policy that devices do not accept does not release', async () => {
  const build = await house.build('8.1.5');
  await house.attestBuild(build);
  const lax = await readFile(house.path('policy.yaml'), 'utf8');
  await writeFile(house.path('lax.yaml'), lax.replace('rules: all', 'rules: [version-higher]'));
  expect((await house.gate(build, { policy: house.path('lax.yaml') })).decision.result).toBe('PASSED');
  await expect(house.release(build)).rejects.toMatchObject({
    code: 'RELEASE_SUMMARY_MISSING',
    message: expect.stringContaining('which the device policy does not name'),
  });
});

test('hardware that the device policy does not name is refused', async () => {
  const build = await house.build('8.1.0');
  for (const hardwareIds of [['z80'], []]) {
    await expect(house.release(build, { hardwareIds })).rejects.toMatchObject({
      code: 'RELEASE_HARDWARE_UNKNOWN',
    });
  }
});

test('keys that are not delegated sign nothing', async () => {
  const build = await house.build('8.1.0');
  const keys = [house.path('offline', 'targets-1.pem')];
  await expect(house.release(build, { keys })).rejects.toMatchObject({ code: 'RELEASE_KEY_NOT_DELEGATED' });
  await expect(house.product('update', { offlineFolder: house.path('out') })).rejects.toMatchObject({
    code: 'RELEASE_KEY_NOT_DELEGATED',
  });
});

test('a second release keeps the first; a withdrawal turns it into a denial for good', async () => {
  const build = await house.build('8.1.0');
  expect(await house.release(build)).toMatchObject({ roleVersion: 2 });
  expect((await index()).releases.map(({ version }) => version)).toEqual(['8.0.0', '8.1.0']);
  const order = { ...house.desk, imageSha256: build.imageSha256, reason: 'bricks revision B' };
  expect(await withdraw(order)).toMatchObject({ action: 'withdrawn', version: '8.1.0', roleVersion: 3 });
  expect(await index()).toMatchObject({
    releases: [{ version: '8.0.0' }],
    denials: [{ version: '8.1.0', imageSha256: build.imageSha256, reason: 'bricks revision B' }],
  });
  await expect(stockTarget('images/optiboot/optiboot-8.1.0.bin')).rejects.toThrow('target not found');
  expect(await withdraw(order)).toMatchObject({ action: 'unchanged', roleVersion: 3 });
  await expect(house.release(build)).rejects.toMatchObject({ code: 'RELEASE_VERSION_NOT_HIGHER' });
  await expect(withdraw({ ...order, imageSha256: sha256('unknown') })).rejects.toMatchObject({
    code: 'RELEASE_UNKNOWN',
  });
});

test('the role is renewed unchanged, and an update of the product keeps what it is not given', async () => {
  const before = await index();
  expect(await renew(house.desk)).toMatchObject({ action: 'renewed', roleVersion: 4 });
  expect(await index()).toEqual(before);
  const changed = await house.product('update', { releasesKeys: undefined });
  expect(changed).toMatchObject({ targetsVersion: 3, releases: { threshold: 1 } });
  expect(await index()).toEqual(before);
});
