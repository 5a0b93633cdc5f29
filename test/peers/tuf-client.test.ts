// SPDX-License-Identifier: Apache-2.0
// The TUF client against a repository on loopback that does everything that a repository must not do.

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { TufForge } from '../../examples/demo/tuf-forge.ts';
import { TufClient } from '../../peers/tuf-client.ts';
import { roleKey } from '../../release/role-metadata.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const LATER = '2026-12-01T00:00:00Z';
const OWN = 'releases-optiboot';
const newKey = () => generateKeyPairSync('ed25519').privateKey;
const coded = (code: string) => expect.objectContaining({ code });
let folder: string;
let server: Server;
let url: string;
let forge: TufForge;
let root1: Uint8Array;
/** Path of a file that does not end, and how much of it was sent. */
let endless: string | undefined;
let sentBytes: number;
const spaces = Buffer.alloc(64 * 1024, ' ');

function delegation(name: string, key: KeyObject, paths: string[]) {
  return { name, keyids: [roleKey(key).keyId], threshold: 1, terminating: true, paths };
}

/** A sound repository: 2 of 3 root keys, trust material on top, one product with one release. */
function soundRepository(): TufForge {
  const made = new TufForge();
  const held = {
    root: [newKey(), newKey(), newKey()],
    targets: [newKey()],
    snapshot: [newKey()],
    timestamp: [newKey()],
    [OWN]: [newKey()],
  };
  for (const [role, keys] of Object.entries(held)) made.keys.set(role, keys);
  const listed = (role: keyof typeof held) => held[role].map((key) => roleKey(key));
  const keys = Object.fromEntries(
    (['root', 'targets', 'snapshot', 'timestamp'] as const).flatMap((role) =>
      listed(role).map((k) => [k.keyId, k.json]),
    ),
  );
  const head = { spec_version: '1.0.31', version: 1, expires: LATER };
  const role = (name: keyof typeof held, threshold = 1) => ({
    keyids: listed(name).map((k) => k.keyId),
    threshold,
  });
  made.roles.set('root', {
    _type: 'root',
    ...head,
    consistent_snapshot: true,
    keys,
    roles: {
      root: role('root', 2),
      targets: role('targets'),
      snapshot: role('snapshot'),
      timestamp: role('timestamp'),
    },
  });
  const own = held[OWN][0] as KeyObject;
  made.roles.set('targets', {
    _type: 'targets',
    ...head,
    targets: {},
    delegations: {
      keys: { [roleKey(own).keyId]: roleKey(own).json },
      roles: [delegation(OWN, own, ['images/optiboot/*', 'packs/optiboot/*'])],
    },
  });
  made.roles.set(OWN, { _type: 'targets', ...head, targets: {} });
  made.roles.set('snapshot', { _type: 'snapshot', ...head, meta: {} });
  made.roles.set('timestamp', { _type: 'timestamp', ...head, meta: {} });
  made.addTarget('targets', 'trusted_root.json', utf8('{}'));
  made.addTarget(OWN, 'packs/optiboot/releases.json', utf8('{"n":1}'));
  made.sign('root');
  made.publish('targets', OWN);
  return made;
}

const open = (nowMs = NOW) =>
  TufClient.open({ root: root1, registryUrl: url, stateFolder: join(folder, 'state'), nowMs });
async function refreshed(nowMs = NOW): Promise<TufClient> {
  const client = await open(nowMs);
  await client.refresh();
  return client;
}
const goods = (client: TufClient) => client.goods('optiboot', 'packs/optiboot/releases.json', 1000);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-tuf-'));
  forge = soundRepository();
  root1 = forge.files.get('1.root.json') as Uint8Array;
  endless = undefined;
  sentBytes = 0;
  server = createServer((request, response) => {
    if (request.url === endless) {
      const more = (): void => {
        while (!response.destroyed && response.write(spaces)) sentBytes += spaces.length;
      };
      response.on('drain', more).writeHead(200);
      return more();
    }
    const body = forge.files.get(decodeURIComponent((request.url ?? '').slice('/tuf/'.length)));
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

test('a sound repository gives trust material and goods', async () => {
  const client = await refreshed();
  expect(await client.trustMaterial('trusted_root.json')).toEqual(utf8('{}'));
  expect(await goods(client)).toEqual(utf8('{"n":1}'));
  expect(client.trustMaterialNames()).toEqual(['trusted_root.json']);
  expect(await client.delegatedRole('releases-other')).toBeUndefined();
});

describe('metadata', () => {
  test('under the threshold of root keys is refused', async () => {
    forge.roles.get('root').version = 2;
    forge.keys.set('root', (forge.keys.get('root') ?? []).slice(0, 1));
    forge.sign('root');
    await expect(refreshed()).rejects.toEqual(coded('TUF_SIGNATURE_THRESHOLD'));
  });

  test('one key does not count twice', async () => {
    const [key] = forge.keys.get('root') as [KeyObject];
    forge.roles.get('root').version = 2;
    forge.keys.set('root', [key, key]);
    forge.sign('root');
    await expect(refreshed()).rejects.toEqual(
      expect.objectContaining({
        code: expect.stringMatching(/^TUF_(SIGNATURE_THRESHOLD|METADATA_MALFORMED)$/),
      }),
    );
  });

  test('a root may be renewed by its threshold, and not skipped', async () => {
    forge.roles.get('root').version = 2;
    forge.sign('root');
    await refreshed();
    forge.roles.get('root').version = 4;
    forge.files.set('3.root.json', forge.sign('root'));
    await expect(refreshed()).rejects.toEqual(coded('TUF_VERSION_ROLLBACK'));
  });

  test.each(['targets', 'snapshot', 'timestamp'])(
    'a %s role signed by someone else is refused',
    async (role) => {
      forge.keys.set(role, [newKey()]);
      if (role === 'targets') forge.publish('targets');
      else forge.publishSnapshot();
      await expect(refreshed()).rejects.toEqual(coded('TUF_SIGNATURE_THRESHOLD'));
    },
  );

  test('a delegated role signed by someone else is refused', async () => {
    forge.keys.set(OWN, [newKey()]);
    forge.publish(OWN);
    await expect(goods(await refreshed())).rejects.toEqual(coded('TUF_SIGNATURE_THRESHOLD'));
  });

  test.each(['timestamp', 'snapshot', 'targets', 'root'])('an expired %s role is refused', async (role) => {
    forge.roles.get(role).expires = '2026-05-31T23:59:59Z';
    if (role === 'root') {
      forge.roles.get('root').version = 2;
      forge.sign('root');
    }
    forge.publish('targets');
    await expect(refreshed()).rejects.toEqual(coded('TUF_ROLE_EXPIRED'));
  });

  test('an expired delegated role is refused', async () => {
    forge.roles.get(OWN).expires = '2026-05-31T23:59:59Z';
    forge.publish(OWN);
    await expect(goods(await refreshed())).rejects.toEqual(coded('TUF_ROLE_EXPIRED'));
  });

  test('who signs a targets role anew starts from an expired one, under roles that have not', async () => {
    for (const role of ['targets', OWN]) forge.roles.get(role).expires = '2026-05-31T23:59:59Z';
    forge.publish('targets', OWN);
    const client = await open();
    await client.refresh({ evenExpired: true });
    await expect(client.delegatedRole(OWN)).rejects.toEqual(coded('TUF_ROLE_EXPIRED'));
    expect((await client.delegatedRole(OWN, { evenExpired: true }))?.version).toBe(3);
    await expect(refreshed()).rejects.toEqual(coded('TUF_ROLE_EXPIRED'));
    forge.roles.get('snapshot').expires = '2026-05-31T23:59:59Z';
    forge.publishSnapshot();
    await expect((await open()).refresh({ evenExpired: true })).rejects.toEqual(coded('TUF_ROLE_EXPIRED'));
  });

  test('what was seen once is not unseen: timestamp, snapshot and delegated role do not go back', async () => {
    const before = new Map(forge.files);
    forge.publish('targets', OWN);
    await goods(await refreshed());
    const replay = new Map(forge.files);
    replay.set('timestamp.json', before.get('timestamp.json') as Uint8Array);
    for (const [name, bytes] of replay) forge.files.set(name, bytes);
    await expect(refreshed()).rejects.toEqual(coded('TUF_VERSION_ROLLBACK'));
    // The same with new signatures over the old role: the online keys alone can not turn back a release.
    forge.roles.get('snapshot').meta[`${OWN}.json`].version -= 1;
    forge.publishSnapshot();
    await expect(refreshed()).rejects.toEqual(coded('TUF_VERSION_ROLLBACK'));
  });

  test('an expired kept timestamp still bounds what may come', async () => {
    forge.roles.get('timestamp').expires = '2026-06-02T00:00:00Z';
    forge.publishSnapshot();
    await refreshed();
    forge.roles.get('timestamp').version -= 1;
    forge.roles.get('timestamp').expires = LATER;
    forge.sign('timestamp');
    await expect(refreshed(Date.parse('2026-06-03T00:00:00Z'))).rejects.toEqual(
      coded('TUF_VERSION_ROLLBACK'),
    );
  });

  test('a snapshot that is not the announced one is refused', async () => {
    const { version } = forge.roles.get('snapshot');
    forge.roles.get('snapshot').expires = LATER.replace('12-01', '12-02');
    forge.files.set(`${version}.snapshot.json`, forge.sign('snapshot'));
    await expect(refreshed()).rejects.toEqual(coded('TUF_METADATA_DIGEST'));
  });

  test('duplicate names and endless data are refused', async () => {
    const bytes = forge.files.get('timestamp.json') as Uint8Array;
    const text = new TextDecoder().decode(bytes).replace('{"signed"', '{"signatures":[],"signed"');
    forge.files.set('timestamp.json', utf8(text));
    await expect(refreshed()).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
    forge.files.set('timestamp.json', new Uint8Array(20_000).fill(0x20));
    await expect(refreshed()).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
  });

  test.each([
    ['expires', 'never'],
    // JavaScript makes a date of it, and a terminal a clear screen.
    ['expires', 'Jan 1 2099 (\u001b[2J)'],
    ['expires', '2099'],
    ['version', 2.5],
  ])('a %s of %j is refused', async (name, value) => {
    forge.roles.get('timestamp')[name] = value;
    forge.files.set('timestamp.json', forge.sign('timestamp'));
    await expect(refreshed()).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
  });

  test.each(['snapshot', 'targets'])(
    'a %s that is announced to be endless is cut off at the limit',
    async (role) => {
      const above = role === 'snapshot' ? 'timestamp' : 'snapshot';
      const version = forge.roles.get(role).version + 1;
      forge.roles.get(above).meta[`${role}.json`] = { version, length: 1e12 };
      forge.sign(above);
      if (above === 'snapshot') forge.publishSnapshot();
      forge.roles.get('timestamp').version += 1;
      forge.sign('timestamp');
      endless = `/tuf/${version}.${role}.json`;
      await expect(refreshed()).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
      expect(sentBytes).toBeLessThan(16_000_000);
    },
  );

  test('an absent repository is worth another try', async () => {
    forge.files.delete('timestamp.json');
    await expect(refreshed()).rejects.toEqual(coded('TUF_UNREACHABLE'));
  });
});

describe('targets', () => {
  test('a changed file is refused', async () => {
    forge.addTarget(OWN, 'packs/optiboot/releases.json', utf8('{"n":2}'), utf8('{"n":1}'));
    await expect(goods(await refreshed())).rejects.toEqual(coded('TUF_TARGET_DIGEST'));
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

describe('kept state', () => {
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
    expect(await readdir(join(folder, 'state'))).toEqual(['root.json']);
  });

  test('a folder that cannot be written is worth another try', async () => {
    await writeFile(join(folder, 'state'), 'a file where the folder should be');
    await expect(refreshed()).rejects.toEqual(coded('TUF_STATE_UNWRITABLE'));
  });
});

test('a root that is none is refused at once', async () => {
  root1 = utf8('{}');
  await expect(open()).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
});
