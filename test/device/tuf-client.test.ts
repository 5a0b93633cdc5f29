// SPDX-License-Identifier: Apache-2.0
// The TUF client against a repository on loopback that does everything that a repository must not do.

import type { KeyObject } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import {
  forge,
  goods,
  LATER,
  makeEndless,
  NOW,
  newKey,
  OWN,
  open,
  refreshed,
  sentBytes,
  statuses,
  useRepository,
} from './tuf-ground.ts';

const coded = (code: string) => expect.objectContaining({ code });
useRepository();

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
    const index = 'packs/optiboot/releases.json';
    expect(await client.goods('optiboot', index, 10, { evenExpired: true })).toEqual(utf8('{"n":1}'));
    await expect(client.goods('optiboot', index, 10)).rejects.toEqual(coded('TUF_ROLE_EXPIRED'));
    expect((await client.delegatedRole(OWN, { evenExpired: true }))?.signed.version).toBe(3);
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

  test('a role that lists without end is refused before the library takes its time', async () => {
    const startedMs = performance.now();
    const { meta } = forge.roles.get('snapshot');
    for (let n = 0; n < 20_000; n++) meta[`releases-p${n}.json`] = { version: 1 };
    forge.publishSnapshot();
    await expect(refreshed()).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
    expect(performance.now() - startedMs).toBeLessThan(10_000);
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
      makeEndless(`/tuf/${version}.${role}.json`);
      await expect(refreshed()).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
      expect(sentBytes).toBeLessThan(16_000_000);
    },
  );

  test('where the next root is forbidden there is none; any other answer is worth another try', async () => {
    statuses.set('/tuf/2.root.json', 403);
    await refreshed();
    statuses.set('/tuf/2.root.json', 500);
    await expect(refreshed()).rejects.toEqual(coded('TUF_UNREACHABLE'));
    statuses.clear();
    statuses.set('/tuf/timestamp.json', 503);
    await expect(refreshed()).rejects.toEqual(coded('TUF_UNREACHABLE'));
  });

  test('an absent repository is worth another try', async () => {
    forge.files.delete('timestamp.json');
    await expect(refreshed()).rejects.toEqual(coded('TUF_UNREACHABLE'));
  });
});

test('a root that is none is refused at once', async () => {
  await expect(open(NOW, utf8('{}'))).rejects.toEqual(coded('TUF_METADATA_MALFORMED'));
});
