// SPDX-License-Identifier: Apache-2.0
// Attacks A9, A10, A16 and A17 on update metadata: files that do not belong together, versions without measure, digests and thresholds
// that anybody would meet.

import { beforeEach, describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { checkTargetBytes } from '../../../core/tuf/target.ts';
import { codeOf } from '../tlog/refusal.ts';
import {
  bend,
  client,
  GOODS,
  OWN,
  recovers,
  refused,
  signers,
  simulator,
  update,
  useAttackedRepository,
} from './attack-ground.ts';
import { bytesOf, ed25519Key, formatJson, type Signed, Simulator } from './simulator.ts';

useAttackedRepository();

describe('A9, mix and match', () => {
  beforeEach(() => {
    simulator.lists = true;
    simulator.publish('targets', OWN);
    update();
  });

  test.each(['snapshot', 'targets', OWN])('of %s with the roles of another state', (role) => {
    const before = client.versions();
    simulator.publish('targets', OWN);
    // Signed by its own keys, of the version that is listed, and yet not the file that is meant.
    simulator.roles.get(role).expires = '2026-11-30T00:00:00Z';
    simulator.sign(role);
    expect(codeOf(update)).toBe('TUF_METADATA_DIGEST');
    const newer = role === 'snapshot' ? { timestamp: 4 } : { timestamp: 4, snapshot: 4 };
    expect(client.versions()).toEqual({ ...before, ...newer, ...(role === OWN ? { targets: 4 } : {}) });
    recovers();
  });

  test.each([
    ['of another length', { length: 1 }],
    ['with digests that nobody knows', { hashes: { md5: 'd41d8cd98f00b204e9800998ecf8427e' } }],
  ])('of metadata that is listed %s', (_, listed) => {
    simulator.roles.get('targets').version += 1;
    simulator.sign('targets');
    simulator.roles.get('snapshot').meta['targets.json'] = { version: 4, ...listed };
    simulator.publishSnapshot();
    expect(codeOf(update)).toMatch(/^TUF_METADATA_(DIGEST|MALFORMED)$/);
    recovers();
  });

  test('of what is kept: a snapshot of the announced version that is another one is fetched', () => {
    simulator.roles.get('snapshot').expires = '2026-11-30T00:00:00Z';
    const again = simulator.describe('snapshot', simulator.sign('snapshot'));
    simulator.roles.get('timestamp').meta['snapshot.json'] = again;
    simulator.publishTimestamp();
    client.asked.length = 0;
    update();
    expect(client.asked.slice(2)).toEqual(['3.snapshot.json']);
    expect(client.kept.get('snapshot')).toEqual(simulator.current('snapshot'));
  });

  test('of what is kept: a file of the right version that is not the listed one is fetched', () => {
    client.kept.set('targets', new Simulator().current('targets'));
    client.kept.set('snapshot', simulator.files.get('2.snapshot.json') as Uint8Array);
    client.asked.length = 0;
    update();
    expect(client.asked.slice(2)).toEqual(['3.snapshot.json', '3.targets.json']);
  });
});

describe('A10, fast-forward', () => {
  test.each(['timestamp', 'snapshot', 'targets'])(
    'of %s: new keys for timestamp and snapshot bring the versions back',
    (role) => {
      const sound = new Map(simulator.roles);
      for (const [name, signed] of sound) sound.set(name, structuredClone(signed));
      simulator.roles.get(role).version = Number.MAX_SAFE_INTEGER - 1;
      if (role === 'timestamp') simulator.publishTimestamp();
      else if (role === 'snapshot') simulator.publishSnapshot();
      else simulator.publish('targets');
      update();
      expect(client.versions()[role]).toBe(Number.MAX_SAFE_INTEGER);
      for (const name of ['timestamp', 'snapshot', 'targets']) simulator.roles.set(name, sound.get(name));
      simulator.publish('targets');
      simulator.publish('targets');
      expect(codeOf(update)).toBe('TUF_VERSION_ROLLBACK');
      for (const name of ['timestamp', 'snapshot']) simulator.rotate(name);
      simulator.publishRoot();
      recovers();
      expect(client.versions()).toMatchObject({ root: 2, timestamp: 5, snapshot: 5 });
    },
  );

  test('of the snapshot alone is undone by a new key of the snapshot, though the timestamp signed it on', () => {
    const sound = structuredClone(simulator.roles.get('snapshot'));
    simulator.roles.get('snapshot').version = 1_000_000;
    simulator.publishSnapshot();
    update();
    simulator.roles.set('snapshot', sound);
    simulator.rotate('snapshot');
    simulator.publishRoot();
    recovers();
    expect(client.versions().snapshot).toBe(3);
  });

  test('a key that is added forgets nothing', () => {
    simulator.keys.set('timestamp', [...signers('timestamp'), ed25519Key()]);
    simulator.list('timestamp', 1);
    simulator.publishRoot();
    simulator.roles.get('timestamp').version = 1;
    simulator.sign('timestamp');
    refused('TUF_VERSION_ROLLBACK', { root: 2 });
  });

  test('no version is past what a number holds', () => {
    const text = Buffer.from(simulator.current('timestamp')).toString();
    simulator.lay('timestamp', bytesOf(text.replace('"version":2,', '"version":9007199254740993,')));
    refused('TUF_METADATA_MALFORMED');
    recovers();
  });
});

describe('A16, digests of a target', () => {
  const found = (algorithms: readonly string[], bend?: (hashes: Signed) => void) => {
    simulator.add(OWN, GOODS, bytesOf('{}'), algorithms);
    bend?.(simulator.roles.get(OWN).targets[GOODS].hashes);
    simulator.publish(OWN);
    return codeOf(() => checkTargetBytes(update(), bytesOf('{}'), portableCrypto));
  };

  test('all that are listed and known must fit, and one must be known', () => {
    expect(found(['sha256'])).toBe('accepted');
    expect(found(['sha512'])).toBe('accepted');
    expect(found(['sha256', 'sha512'])).toBe('accepted');
    expect(found(['sha256', 'md5'])).toBe('accepted');
    expect(found(['md5'])).toBe('TUF_METADATA_MALFORMED');
    const wrong = (name: string) => (hashes: Signed) => {
      hashes[name] = hashes[name].replace(/^./, (digit: string) => (digit === '0' ? '1' : '0'));
    };
    expect(found(['sha256', 'sha512'], wrong('sha256'))).toBe('TUF_TARGET_DIGEST');
    expect(found(['sha256', 'sha512'], wrong('sha512'))).toBe('TUF_TARGET_DIGEST');
    recovers();
  });

  test('no digest, or one that is none, is refused with the role', () => {
    for (const bad of [
      (hashes: Signed) => delete hashes.sha256,
      (hashes: Signed) => (hashes.sha256 = ''),
      (hashes: Signed) => (hashes.sha256 = '../'.repeat(21)),
      (hashes: Signed) => (hashes.sha256 = 'A'.repeat(64)),
      (hashes: Signed) => (hashes.sha512 = 'a'.repeat(64)),
    ]) {
      expect(found(['sha256'], bad)).toBe('TUF_METADATA_MALFORMED');
    }
    simulator.add(OWN, GOODS, bytesOf('{}'));
    recovers();
  });

  test('the length counts, too', () => {
    simulator.roles.get(OWN).targets[GOODS].length = 3;
    simulator.publish(OWN);
    expect(codeOf(() => checkTargetBytes(update(), bytesOf('{}'), portableCrypto))).toBe('TUF_TARGET_DIGEST');
  });
});

describe('A17, thresholds and keys that anybody would meet', () => {
  test.each([
    ['a threshold of 0', (role: Signed) => (role.threshold = 0)],
    ['a negative threshold', (role: Signed) => (role.threshold = -1)],
    ['a threshold of half a key', (role: Signed) => (role.threshold = 0.5)],
    ['no threshold', (role: Signed) => delete role.threshold],
    ['no keys', (role: Signed) => (role.keyids = [])],
  ])('%s', (_, change) => {
    for (const role of ['root', 'timestamp', 'snapshot', 'targets']) {
      const undo = bend('root', ({ roles }) => change(roles[role]));
      simulator.roles.get('root').version = 2;
      const fraction = simulator.roles.get('root').roles[role].threshold === 0.5;
      // What holds a fraction has no form that could be signed.
      if (fraction)
        simulator.lay('root', formatJson({ signed: simulator.roles.get('root'), signatures: [] }));
      else simulator.sign('root');
      refused('TUF_METADATA_MALFORMED');
      undo();
      simulator.roles.get('root').version = 1;
      simulator.files.delete('2.root.json');
    }
    const undo = bend('targets', ({ delegations }) => change(delegations.roles[0]));
    if (simulator.roles.get('targets').delegations.roles[0].threshold !== 0.5) {
      simulator.publish('targets');
      refused('TUF_METADATA_MALFORMED', { timestamp: 3, snapshot: 3 });
    }
    undo();
    recovers();
  });

  test('a threshold above the number of keys: nobody can meet it', () => {
    simulator.list('timestamp', 2);
    simulator.publishRoot();
    simulator.publishTimestamp();
    refused('TUF_SIGNATURE_THRESHOLD', { root: 2 });
    simulator.list('timestamp', 1);
    simulator.publishRoot();
    recovers();
  });

  test('keys that are not listed sign nothing', () => {
    const undo = bend('root', (root) => {
      root.keys = Object.fromEntries(
        Object.entries(root.keys).filter(([id]) => !root.roles.timestamp.keyids.includes(id)),
      );
    });
    simulator.publishRoot();
    simulator.publishTimestamp();
    expect(codeOf(update)).toBe('TUF_SIGNATURE_THRESHOLD');
    // Their key was taken from them, so what they had signed is forgotten.
    expect(client.versions()).toEqual({ [OWN]: 1, root: 2, targets: 2 });
    undo();
    simulator.publishRoot();
    recovers();
  });
});
