// SPDX-License-Identifier: Apache-2.0
// docs/rotation.md: the sections about offline, online and release managers' keys, command by command, on a registry that has a
// product and a release. Only the port and the place of the folder are others.

import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Updater } from 'tuf-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTrust } from '../../cli/trust.ts';
import { readStatus } from '../../cli/tuf-status.ts';
import { House } from '../release/house.ts';

const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url));
const SECTIONS = [
  // The beginning of the page, before any section.
  '# Rotation: a new key for an old one, command by command',
  'TUF root',
  'TUF targets',
  'TUF snapshot and timestamp',
  'Releases keys',
  'Gate key',
] as const;

let house: House;
beforeAll(async () => {
  house = await House.open();
  // The page's names for what a house has.
  await symlink('data', house.path('registry'));
  await symlink('data/root.json', house.path('root.json'));
  await symlink('.', house.path('keys'));
  await house.product('add');
  await house.road('8.0.0');
});
afterAll(() => house.close());

/** The shell blocks of a section. */
async function blocksOf(section: string): Promise<readonly string[]> {
  const page = await readFile(join(CHECKOUT, 'docs/rotation.md'), 'utf8');
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? '';
  const here = text.replaceAll('http://127.0.0.1:8410', house.url);
  return [...here.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block as string);
}

test('every key is exchanged as the page says, and the road goes on', { timeout: 180_000 }, async () => {
  const status = () => readStatus({ registry: house.url, root: house.root }, Date.now());
  const idsOf = (roles: Awaited<ReturnType<typeof status>>, name: string) =>
    roles.find(({ role }) => role === name)?.keyIds ?? [];
  const env = { ...process.env, PATH: `${join(CHECKOUT, 'node_modules/.bin')}:${process.env.PATH}` };
  const before = await status();
  for (const section of SECTIONS) {
    const blocks = await blocksOf(section);
    expect([section, blocks.length > 0]).toEqual([section, true]);
    for (const block of blocks) {
      await promisify(execFile)('bash', ['-euc', block], { cwd: house.folder, env });
    }
  }
  const after = await status();
  expect(idsOf(after, 'root').filter((id) => idsOf(before, 'root').includes(id))).toHaveLength(2);
  for (const role of ['targets', 'snapshot', 'timestamp', 'releases-optiboot']) {
    expect(idsOf(after, role)).toHaveLength(1);
    expect(idsOf(before, role)).not.toEqual(idsOf(after, role));
  }
  const build = await house.build('8.1.0');
  await house.attestBuild(build);
  await house.gate(build, { key: house.path('gate-2.pem') });
  await house.release(build, { keys: [house.path('releases-2.pem')] });
  // Who has nothing but the first root follows to the last.
  const stateFolder = house.path('newcomer');
  const { client } = await openTrust({ registryUrl: house.url, rootPath: house.root, stateFolder });
  const last = after.find(({ role }) => role === 'root')?.version;
  expect(client.root.signed.version).toBe(last);
  expect(await stockClientFollows()).toBe(last);
});

/** A client of the field, with the first root alone: the version of root at which it fetched the trusted root. */
async function stockClientFollows(): Promise<number> {
  const metadataDir = house.path('stock');
  const targetDir = join(metadataDir, 'targets');
  await mkdir(targetDir, { recursive: true });
  await copyFile(house.root, join(metadataDir, 'root.json'));
  const metadataBaseUrl = `${house.url}/tuf`;
  const targetBaseUrl = `${metadataBaseUrl}/targets`;
  const updater = new Updater({ metadataDir, metadataBaseUrl, targetDir, targetBaseUrl });
  const info = await updater.getTargetInfo('trusted_root.json');
  if (info === undefined) throw new Error('target not found');
  await updater.downloadTarget(info);
  return JSON.parse(await readFile(join(metadataDir, 'root.json'), 'utf8')).signed.version;
}
