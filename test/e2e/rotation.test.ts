// SPDX-License-Identifier: Apache-2.0
// docs/rotation.md: the sections about offline, online and release managers' keys, command by command, on a registry that has a
// product and a release. Only the port and the place of the folder are others.

import { copyFile, mkdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Updater } from 'tuf-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTrust } from '../../cli/trust.ts';
import { readStatus } from '../../cli/tuf-status.ts';
import { typeOnTerminal } from '../cli/on-a-terminal.ts';
import { House } from '../release/house.ts';

const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url));
const PASSPHRASE = 'correct horse battery staple';
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

test('no section of the page is left out', async () => {
  const page = await readFile(join(CHECKOUT, 'docs/rotation.md'), 'utf8');
  // The rest is typed in test/cli/rotate.test.ts.
  const [mine = ''] = page.split('\n## Keys of the services\n');
  const sections = mine.split(/^## /m).filter((text) => text.includes('```'));
  expect(sections.map((text) => text.split('\n', 1)[0])).toEqual(SECTIONS);
});

test('every key is exchanged as the page says, and the road goes on', { timeout: 180_000 }, async () => {
  const status = () => readStatus({ registry: house.url, root: house.root }, Date.now());
  const idsOf = (roles: Awaited<ReturnType<typeof status>>, name: string) =>
    roles.find(({ role }) => role === name)?.keyIds ?? [];
  const asked: Record<string, number> = {};
  const before = await status();
  // A server that is away is not taken for a role that is due.
  const [ask = ''] = await blocksOf(SECTIONS[0]);
  const away = await typeOnTerminal(ask.replace(house.url, 'http://127.0.0.1:1'), house.folder, PASSPHRASE);
  expect(away.code).toBe(1);
  expect(away.shown).toMatch(/^waybill: [A-Z_]*UN(REACHABLE|AVAILABLE)/m);
  expect(away.shown).not.toContain('sign it again');
  for (const section of SECTIONS) {
    const blocks = await blocksOf(section);
    expect([section, blocks.length > 0]).toEqual([section, true]);
    for (const block of blocks) {
      const typed = await typeOnTerminal(block, house.folder, PASSPHRASE);
      expect([typed.code, block], typed.shown).toEqual([0, block]);
      asked[section] = (asked[section] ?? 0) + typed.asked;
    }
  }
  // New offline keys are under a passphrase: asked for twice when one is made, and wherever it signs.
  expect(asked).toMatchObject({ 'TUF root': 2, 'TUF targets': 6, 'Releases keys': 2, 'Gate key': 1 });
  for (const name of ['root-4.pem', 'targets-3.pem']) {
    expect(await readFile(house.path('offline', name), 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
  }
  const after = await status();
  // The third key, and no other, has gone.
  expect(idsOf(after, 'root').slice(0, 2)).toEqual(idsOf(before, 'root').slice(0, 2));
  expect(idsOf(after, 'root')).not.toContain(idsOf(before, 'root')[2]);
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
