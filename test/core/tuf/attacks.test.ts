// SPDX-License-Identifier: Apache-2.0
// Attacks on update metadata, each from a client that is up to date: refused with its code, the roles before it kept, and the client
// up to date again as soon as the repository is sound. Here who signs, which version, and until when; A9, A10, A16 and A17 are in
// attacks-on-content.test.ts, A13 to A15 in search.test.ts, A11, A12 and the disk's half of A15 in test/device/tuf-shell.test.ts.

import { describe, expect, test } from 'vitest';
import { codeOf } from '../tlog/refusal.ts';
import {
  bend,
  client,
  OWN,
  recovers,
  refused,
  START,
  signers,
  simulator,
  update,
  useAttackedRepository,
} from './attack-ground.ts';
import { ed25519Key, formatJson, LATER, NOW, PAST, renamed, type SimulatedKey } from './simulator.ts';

useAttackedRepository();

describe('A1, unsigned or under the threshold', () => {
  test('root', () => {
    simulator.roles.get('root').version = 2;
    simulator.sign('root', signers('root').slice(0, 1));
    refused('TUF_SIGNATURE_THRESHOLD');
    simulator.sign('root', signers('root').slice(1));
    recovers();
    expect(client.versions().root).toBe(2);
  });

  test.each([
    ['timestamp', {}],
    ['snapshot', { timestamp: 3 }],
    ['targets', { timestamp: 3, snapshot: 3 }],
    [OWN, { timestamp: 3, snapshot: 3 }],
  ])('%s', (role, newer) => {
    for (const keys of [[], [ed25519Key()]]) {
      const held = signers(role);
      simulator.keys.set(role, keys);
      if (role === 'timestamp') simulator.publishTimestamp();
      else if (role === 'snapshot') simulator.publishSnapshot();
      else simulator.publish(role);
      simulator.keys.set(role, held);
      expect(codeOf(update)).toBe('TUF_SIGNATURE_THRESHOLD');
      if (keys.length === 0) expect(client.versions()).toEqual({ ...START, ...newer });
    }
    recovers();
  });

  test('a signature over other bytes', () => {
    const { signatures } = JSON.parse(Buffer.from(simulator.current('timestamp')).toString());
    const signed = { ...simulator.roles.get('timestamp'), version: 3 };
    simulator.lay('timestamp', formatJson({ signed, signatures }));
    refused('TUF_SIGNATURE_THRESHOLD');
    recovers();
  });
});

describe('A2, one key counted twice', () => {
  const timestampOfTwo = (keys: readonly SimulatedKey[]) => {
    simulator.keys.set('timestamp', keys);
    simulator.list('timestamp', 2);
    simulator.publishRoot();
    simulator.publishTimestamp();
  };

  test('under the same key id', () => {
    const [key] = signers('timestamp') as [SimulatedKey];
    simulator.keys.set('timestamp', [key, ed25519Key()]);
    simulator.list('timestamp', 2);
    simulator.publishRoot();
    simulator.roles.get('timestamp').version = 3;
    simulator.sign('timestamp', [key, key]);
    refused('TUF_METADATA_MALFORMED', { root: 2 });
    recovers();
  });

  test('under two key ids', () => {
    const [key] = signers('timestamp') as [SimulatedKey];
    timestampOfTwo([key, renamed(key)]);
    refused('TUF_SIGNATURE_THRESHOLD', { root: 2 });
    timestampOfTwo([key, ed25519Key()]);
    recovers();
  });

  test('listed twice for one role', () => {
    const [key] = signers('timestamp') as [SimulatedKey];
    const undo = bend('root', (root) => root.roles.timestamp.keyids.push(key.keyId));
    simulator.publishRoot();
    refused('TUF_METADATA_MALFORMED');
    undo();
    simulator.sign('root');
    recovers();
  });

  test('while a bad signature beside enough good ones changes nothing', () => {
    const [good, bad] = [ed25519Key(), ed25519Key()];
    simulator.keys.set('timestamp', [bad, good]);
    simulator.list('timestamp', 1);
    simulator.publishRoot();
    for (const sig of ['00'.repeat(64), '', 'no hex']) {
      simulator.roles.get('timestamp').version += 1;
      simulator.sign('timestamp', [{ ...bad, sign: () => sig }, good]);
      update();
    }
    expect(client.versions()).toEqual({ ...START, root: 2, timestamp: 5 });
  });
});

test.each([
  ['skipped', 3],
  ['lower', 1],
])('A3, a root that is %s', (_, version) => {
  simulator.roles.get('root').version = version;
  simulator.files.set('2.root.json', simulator.sign('root'));
  refused('TUF_VERSION_ROLLBACK');
  simulator.roles.get('root').version = 1;
  simulator.files.delete('3.root.json');
  simulator.publishRoot();
  recovers();
});

describe('A4, a root that is not signed by both its own keys and those before it', () => {
  test.each([
    ['new', 3, 6],
    ['old', 0, 3],
    ['one of each', 2, 4],
  ])('but by the %s', (_, from, to) => {
    const keys = [...signers('root'), ed25519Key(), ed25519Key(), ed25519Key()];
    simulator.roles.get('root').version = 2;
    simulator.keys.set('root', keys.slice(3));
    simulator.list('root', 2);
    simulator.sign('root', keys.slice(from, to));
    refused('TUF_SIGNATURE_THRESHOLD');
    simulator.sign('root', keys.slice(1, 5));
    recovers();
    expect(client.versions().root).toBe(2);
  });
});

describe('A5, rollback', () => {
  test('of the timestamp', () => {
    simulator.roles.get('timestamp').version = 1;
    simulator.sign('timestamp');
    refused('TUF_VERSION_ROLLBACK');
    simulator.roles.get('timestamp').version = 2;
    recovers();
  });

  test('of the snapshot, by whoever holds the timestamp key', () => {
    simulator.roles.get('timestamp').meta['snapshot.json'] = { version: 1 };
    simulator.publishTimestamp();
    refused('TUF_VERSION_ROLLBACK');
    recovers();
  });

  test('of the snapshot, though every trace of the timestamp is gone', () => {
    for (const place of ['timestamp', 'timestamp.copy']) client.kept.delete(place);
    simulator.roles.get('timestamp').meta['snapshot.json'] = { version: 1 };
    simulator.publishTimestamp();
    expect(codeOf(update)).toBe('TUF_VERSION_ROLLBACK');
    recovers();
  });

  test.each(['targets', OWN])('of %s, by whoever holds the online keys', (role) => {
    simulator.publish('targets', OWN);
    update();
    const before = client.versions();
    const undo = bend('snapshot', ({ meta }) => {
      meta[`${role}.json`].version -= 1;
    });
    simulator.publishSnapshot();
    expect(codeOf(update)).toBe('TUF_VERSION_ROLLBACK');
    expect(client.versions()).toEqual({ ...before, timestamp: 4 });
    undo();
    recovers();
  });

  test('of the snapshot, whose file is not the version that the timestamp announces', () => {
    simulator.files.set('3.snapshot.json', simulator.current('snapshot'));
    simulator.roles.get('timestamp').meta['snapshot.json'] = { version: 3 };
    simulator.publishTimestamp();
    refused('TUF_VERSION_ROLLBACK', { timestamp: 3 });
    recovers();
  });

  test('of targets, whose file is not the version that the snapshot lists', () => {
    simulator.files.set('3.targets.json', simulator.current('targets'));
    simulator.roles.get('snapshot').meta['targets.json'].version = 3;
    simulator.publishSnapshot();
    refused('TUF_VERSION_ROLLBACK', { timestamp: 3, snapshot: 3 });
    simulator.roles.get('targets').version = 3;
    recovers();
  });
});

test('A6, a role dropped from the snapshot', () => {
  const undo = bend('snapshot', ({ meta }) => delete meta[`${OWN}.json`]);
  simulator.publishSnapshot();
  refused('TUF_VERSION_ROLLBACK', { timestamp: 3 });
  undo();
  recovers();
});

describe('A7, freeze: an expired', () => {
  test.each([
    ['root', { root: 2 }],
    ['timestamp', {}],
    ['snapshot', { timestamp: 3 }],
    ['targets', { timestamp: 3, snapshot: 3 }],
    [OWN, { timestamp: 3, snapshot: 3 }],
  ])('%s', (role, newer) => {
    const undo = bend(role, (signed) => {
      signed.expires = PAST;
    });
    if (role === 'root') simulator.publishRoot();
    else if (role === 'timestamp') simulator.publishTimestamp();
    else if (role === 'snapshot') simulator.publishSnapshot();
    else simulator.publish(role);
    refused('TUF_ROLE_EXPIRED', newer);
    undo();
    if (role === 'root') simulator.publishRoot();
    recovers();
  });

  test('timestamp that is kept still bounds what may come', () => {
    client.nowMs = Date.parse('2027-01-01T00:00:00Z');
    for (const signed of simulator.roles.values()) signed.expires = '2027-06-01T00:00:00Z';
    simulator.publishRoot();
    refused('TUF_ROLE_EXPIRED', { root: 2 });
    simulator.roles.get('timestamp').version = 1;
    simulator.sign('timestamp');
    refused('TUF_VERSION_ROLLBACK', { root: 2 });
    simulator.roles.get('timestamp').version = 2;
    recovers();
  });

  test.each([
    ['timestamp', 'the same one is offered again'],
    ['snapshot', 'a new timestamp announces it still'],
  ])('%s that is kept is not enough, though %s', (role) => {
    for (const signed of simulator.roles.values()) signed.expires = '2027-06-01T00:00:00Z';
    simulator.roles.get(role).expires = LATER;
    simulator.publishRoot();
    simulator.publish('targets', OWN);
    update();
    client.nowMs = Date.parse(LATER);
    if (role === 'snapshot') simulator.publishTimestamp();
    expect(codeOf(update)).toBe('TUF_ROLE_EXPIRED');
    simulator.roles.get(role).expires = '2027-06-01T00:00:00Z';
    recovers();
  });

  test('role at the very instant: it must expire later than the update began', () => {
    client.nowMs = Date.parse(LATER) - 1;
    update();
    client.nowMs += 1;
    refused('TUF_ROLE_EXPIRED');
    client.nowMs = NOW;
    recovers();
  });
});

test('A8, the version that is known with other content: what is trusted stays, and that is no fault', () => {
  const before = client.kept.get('timestamp');
  simulator.roles.get('timestamp').meta['snapshot.json'].version = 9;
  simulator.sign('timestamp');
  update();
  expect(client.kept.get('timestamp')).toEqual(before);
  recovers();
});
