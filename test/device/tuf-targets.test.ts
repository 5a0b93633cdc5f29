// SPDX-License-Identifier: Apache-2.0
// Targets under the roles that may name them, and what a client keeps between runs.

import type { KeyObject } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { roleKey } from '../../release/role-metadata.ts';
import {
  asked,
  delegation,
  folder,
  forge,
  goods,
  newKey,
  OWN,
  open,
  refreshed,
  useRepository,
} from './tuf-ground.ts';

const coded = (code: string) => expect.objectContaining({ code });
useRepository();

describe('targets', () => {
  test('a changed file is refused', async () => {
    forge.addTarget(OWN, 'packs/optiboot/releases.json', utf8('{"n":2}'), utf8('{"n":1}'));
    await expect(goods(await refreshed())).rejects.toEqual(coded('TUF_TARGET_DIGEST'));
  });

  test.each<[string, string, (target: { length: number; hashes: object }) => void]>([
    ['longer than its file', 'TUF_TARGET_DIGEST', (target) => target.length++],
    ['shorter than its file', 'TUF_TARGET_DIGEST', (target) => target.length--],
    ['larger than is asked for', 'TUF_METADATA_MALFORMED', (target) => (target.length = 1001)],
    [
      'without a SHA-256',
      'TUF_METADATA_MALFORMED',
      (target) => (target.hashes = { sha512: 'ab'.repeat(64) }),
    ],
    [
      'with a SHA-256 that is none',
      'TUF_METADATA_MALFORMED',
      (target) => (target.hashes = { sha256: '../'.repeat(21) }),
    ],
  ])('a target that its role says is %s is refused', async (_, code, change) => {
    change(forge.roles.get(OWN).targets['packs/optiboot/releases.json']);
    forge.publish(OWN);
    await expect(goods(await refreshed())).rejects.toEqual(coded(code));
  });

  test('a file as large as is asked for is taken; one that the repository lost is worth another try', async () => {
    const client = await refreshed();
    expect(await client.goods('optiboot', 'packs/optiboot/releases.json', 7)).toEqual(utf8('{"n":1}'));
    const { url: place } = await client.goodsTarget('optiboot', 'packs/optiboot/releases.json');
    forge.files.delete(decodeURIComponent(new URL(place).pathname.slice('/tuf/'.length)));
    await expect(goods(client)).rejects.toEqual(coded('TUF_UNREACHABLE'));
  });

  test('of several products each has its own delegation, which covers nothing else', async () => {
    const other = newKey();
    forge.roles.get('targets').delegations.keys[roleKey(other).keyId] = roleKey(other).json;
    forge.roles
      .get('targets')
      .delegations.roles.unshift(delegation('releases-other', other, ['packs/other/*', 'images/other/*']));
    forge.publish('targets');
    const client = await refreshed();
    expect(await goods(client)).toEqual(utf8('{"n":1}'));
    await expect(client.goods('optiboot', 'elsewhere/releases.json', 10)).rejects.toEqual(
      coded('TUF_ROLE_MISSING'),
    );
  });

  test('goods on top are refused', async () => {
    forge.addTarget('targets', 'packs/optiboot/releases.json', utf8('{"n":9}'));
    forge.publish('targets');
    await expect(refreshed()).rejects.toEqual(coded('TUF_GOODS_WRONG_ROLE'));
  });

  test('goods that another delegation covers are refused', async () => {
    forge.roles
      .get('targets')
      .delegations.roles.unshift(
        delegation('releases-other', (forge.keys.get(OWN) as [KeyObject])[0], ['packs/*/*']),
      );
    forge.publish('targets');
    await expect(goods(await refreshed())).rejects.toEqual(coded('TUF_GOODS_WRONG_ROLE'));
  });

  test('a delegation that is not terminating, not there or without metadata is refused', async () => {
    await expect((await refreshed()).goods('other', 'packs/other/releases.json', 10)).rejects.toEqual(
      coded('TUF_ROLE_MISSING'),
    );
    forge.roles.get('targets').delegations.roles[0].terminating = false;
    forge.publish('targets');
    await expect(goods(await refreshed())).rejects.toEqual(coded('TUF_ROLE_MISSING'));
    forge.roles.get('targets').delegations.roles[0].terminating = true;
    forge.roles.get('snapshot').meta = { 'targets.json': forge.roles.get('snapshot').meta['targets.json'] };
    forge.publish('targets');
    await rm(join(folder, 'state'), { recursive: true });
    await expect(goods(await refreshed())).rejects.toEqual(coded('TUF_ROLE_MISSING'));
  });

  test('a name that no role names is missing; trust material is not looked for among goods', async () => {
    const client = await refreshed();
    await expect(client.trustMaterial('packs/optiboot/releases.json')).rejects.toEqual(
      coded('TUF_TARGET_MISSING'),
    );
    await expect(client.goods('optiboot', 'packs/optiboot/other', 10)).rejects.toEqual(
      coded('TUF_TARGET_MISSING'),
    );
  });
});

describe('what a signer asks', () => {
  test('who may sign, and the bytes of what was signed', async () => {
    await expect(async () => (await open()).role('targets')).rejects.toThrow('before refresh()');
    const client = await refreshed();
    const [ownKey] = (forge.keys.get(OWN) ?? []).map((key) => roleKey(key).keyId);
    const [topKey] = (forge.keys.get('targets') ?? []).map((key) => roleKey(key).keyId);
    expect(client.signersOf('targets')).toMatchObject({ keyIds: [topKey], threshold: 1 });
    expect(client.signersOf(OWN)).toMatchObject({ keyIds: [ownKey], threshold: 1 });
    expect(client.signersOf('releases-other')).toBeUndefined();
    expect(client.role('targets').bytes).toEqual(forge.files.get('2.targets.json'));
    expect(() => client.role(OWN)).toThrow('before refresh()');
  });
});

describe('kept state', () => {
  test('a root that was seen once is the one to start from, whatever becomes of those before it', async () => {
    forge.roles.get('root').version = 2;
    const next = newKey();
    const { keyId, json } = roleKey(next);
    forge.roles.get('root').keys[keyId] = json;
    forge.roles.get('root').roles.timestamp.keyids = [keyId];
    forge.sign('root');
    forge.keys.set('timestamp', [next]);
    forge.publishSnapshot();
    await refreshed();
    forge.files.delete('2.root.json');
    await refreshed();
  });

  test('what is known and unchanged is not fetched again', async () => {
    await goods(await refreshed());
    asked.length = 0;
    await goods(await refreshed());
    expect(asked.filter((path) => path.endsWith('.json') && !path.includes('/targets/'))).toEqual([
      '/tuf/2.root.json',
      '/tuf/timestamp.json',
    ]);
  });

  test('damaged files are replaced by sound ones, the root by the factory root', async () => {
    await goods(await refreshed());
    const state = join(folder, 'state');
    for (const name of await readdir(state)) await writeFile(join(state, name), '{"signed":');
    expect(await goods(await refreshed())).toEqual(utf8('{"n":1}'));
    expect(JSON.parse(await readFile(join(state, 'timestamp.json'), 'utf8')).signed._type).toBe('timestamp');
  });

  test('a role with a path for a name stays in the folder', async () => {
    const evil = '../../escape';
    const key = (forge.keys.get(OWN) as [KeyObject])[0];
    forge.roles.get('targets').delegations.roles.push(delegation(evil, key, ['x/*']));
    forge.roles.set(evil, { ...forge.roles.get(OWN), version: 1 });
    forge.keys.set(evil, [key]);
    forge.publish('targets', evil);
    forge.files.set(`2.${encodeURIComponent(evil)}.json`, forge.files.get(`2.${evil}.json`) as Uint8Array);
    await (await refreshed()).delegatedRole(evil);
    expect(await readdir(join(folder, 'state'))).toContain('%2E%2E%2F%2E%2E%2Fescape.json');
    expect(await readdir(folder)).toEqual(['state']);
  });

  test('a write that fails leaves nothing beside', async () => {
    const client = await open();
    forge.roles.get('root').version = 2;
    forge.sign('root');
    await mkdir(join(folder, 'state', 'root.json', 'in the way'), { recursive: true });
    await expect(client.refresh()).rejects.toEqual(coded('TUF_STATE_UNWRITABLE'));
    expect(await readdir(join(folder, 'state'))).toEqual(['root.json', 'root.json.copy']);
  });

  test('a folder that cannot be written is worth another try', async () => {
    await writeFile(join(folder, 'state'), 'a file where the folder should be');
    await expect(refreshed()).rejects.toEqual(coded('TUF_STATE_UNWRITABLE'));
  });
});
