// SPDX-License-Identifier: Apache-2.0
// Attacks on update metadata, each from a client that is up to date: refused with its code, the roles before it kept, and the client
// up to date again as soon as the repository is sound. A11, A12 and the disk's half of A15 are in test/device/tuf-shell.test.ts.

import { beforeEach, describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { checkTargetBytes } from '../../../core/tuf/target.ts';
import { codeOf } from '../tlog/refusal.ts';
import {
  bytesOf,
  Client,
  ed25519Key,
  formatJson,
  LATER,
  NOW,
  PAST,
  renamed,
  type Signed,
  type SimulatedKey,
  Simulator,
} from './simulator.ts';

const OWN = 'releases-one';
const GOODS = 'packs/one/index.json';
const START = { [OWN]: 1, root: 1, snapshot: 2, targets: 2, timestamp: 2 };
let simulator: Simulator;
let client: Client;

/** Everything that a client of this repository does: a refresh, and a search in the delegation. */
const update = () => client.find(GOODS);

beforeEach(() => {
  simulator = new Simulator();
  simulator.delegate('targets', OWN, { paths: ['packs/one/*'], terminating: true });
  simulator.add(OWN, GOODS, bytesOf('{}'));
  simulator.files.clear();
  for (const [role, signed] of simulator.roles) signed.version = role === 'root' ? 1 : 0;
  for (const role of ['snapshot', 'timestamp', 'targets']) simulator.roles.get(role).version = 1;
  simulator.sign('root');
  simulator.publish('targets', OWN);
  simulator.add(OWN, GOODS, bytesOf('{}'));
  client = new Client(simulator);
  update();
  expect(client.versions()).toEqual(START);
});

/** The next update is refused with this code; then only the named roles are newer than at the start. */
function refused(code: string, newer: Record<string, number> = {}): void {
  expect(codeOf(update)).toBe(code);
  expect(client.versions()).toEqual({ ...START, ...newer });
}

/** Undoes the bending of a document; what was published stays published. */
function bend(role: string, change: (signed: Signed) => void): () => void {
  const before = structuredClone(simulator.roles.get(role));
  change(simulator.roles.get(role));
  return () => {
    const { version } = simulator.roles.get(role);
    simulator.roles.set(role, { ...before, version: Math.max(version, before.version) });
  };
}

/** With everything sound again, the client comes up to date. */
function recovers(): void {
  simulator.publish('targets', OWN);
  update();
  for (const role of ['snapshot', 'targets', 'timestamp', OWN]) {
    expect(client.kept.get(role), role).toEqual(simulator.current(role));
  }
}

const signers = (role: string) => simulator.keys.get(role) as readonly SimulatedKey[];

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
