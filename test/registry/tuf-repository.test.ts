// SPDX-License-Identifier: Apache-2.0
// What the TUF repository publishes and what it refuses, each refusal by its code.

import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { diskFiles } from '../../registry/store/durable-files.ts';
import { openTufOnlineKeys } from '../../registry/tuf/online-keys.ts';
import { signSnapshot, signTimestamp } from '../../registry/tuf/online-roles.ts';
import { createTufRepository, type TufRepository } from '../../registry/tuf/repository.ts';
import {
  buildHouse,
  delegationsTo,
  expiry,
  type House,
  NOW,
  newKey,
  quiet,
  sha256,
  signRole,
  targetsRole,
} from './tuf-house.ts';

const houses: House[] = [];
let house: House;
let tuf: TufRepository;
beforeEach(async () => {
  house = await buildHouse();
  houses.push(house);
  tuf = await house.open();
});
afterAll(() => Promise.all(houses.map((old) => old.remove())));

const IMAGE = utf8('the image');
const NAME = 'images/optiboot/optiboot-8.1.0.bin';
const release = (version: number, files: Record<string, Uint8Array> = { [NAME]: IMAGE }, more = {}) =>
  signRole(targetsRole(version, files, more), [house.releasesKey]);

async function json(name: string): Promise<{ signed: Record<string, never> & { version: number } }> {
  return JSON.parse(Buffer.from(await tuf.metadataFile(name)).toString());
}

async function currentVersions(repository = tuf) {
  const read = async (name: string) =>
    JSON.parse(Buffer.from(await repository.metadataFile(name)).toString());
  const timestamp = (await read('timestamp.json')).signed;
  const snapshot = (await read(`${timestamp.meta['snapshot.json'].version}.snapshot.json`)).signed;
  return { timestamp: timestamp.version, snapshot: snapshot.version, meta: snapshot.meta };
}

describe('publication', () => {
  it('publishes a role when all its files are there, under new snapshot and timestamp', async () => {
    await house.blobs.add(IMAGE);
    expect(await tuf.put('releases-optiboot', release(1), quiet)).toEqual({ kind: 'published', version: 1 });
    const { timestamp, snapshot, meta } = await currentVersions();
    expect([timestamp, snapshot]).toEqual([2, 2]);
    expect(meta['releases-optiboot.json']).toEqual({
      version: 1,
      length: release(1).length,
      hashes: { sha256: sha256(release(1)) },
    });
    expect(await tuf.metadataFile('1.releases-optiboot.json')).toEqual(release(1));
  });

  it('keeps a role pending until its files have come, and knows it after a restart', async () => {
    const missing = [{ name: NAME, sha256: sha256(IMAGE), sizeBytes: IMAGE.length }];
    expect(await tuf.put('releases-optiboot', release(1), quiet)).toEqual({ kind: 'pending', missing });
    expect(tuf.names(sha256(IMAGE))).toBe(true);
    expect(tuf.isPublished(sha256(IMAGE))).toBe(false);
    expect((await currentVersions()).snapshot).toBe(1);
    tuf = await house.open();
    expect(tuf.names(sha256(IMAGE))).toBe(true);
    await house.blobs.add(IMAGE);
    expect((await tuf.put('releases-optiboot', release(1), quiet)).kind).toBe('published');
    expect(await diskFiles.list(join(house.folder, 'tuf', 'pending'))).toEqual([]);
    expect(tuf.isPublished(sha256(IMAGE))).toBe(true);
  });

  it('takes the same bytes again as unchanged', async () => {
    await house.blobs.add(IMAGE);
    await tuf.put('releases-optiboot', release(1), quiet);
    expect(await tuf.put('releases-optiboot', release(1), quiet)).toEqual({ kind: 'unchanged', version: 1 });
    expect((await currentVersions()).snapshot).toBe(2);
  });

  it('takes signatures over the form that TUF names, where a line end in a text is not escaped', async () => {
    await house.blobs.add(IMAGE);
    const signed = targetsRole(1, { [NAME]: IMAGE }, { note: 'first\nsecond' });
    expect((await tuf.put('releases-optiboot', signRole(signed, [house.releasesKey]), quiet)).kind).toBe(
      'published',
    );
  });

  it('shows a change to its observer before and after, and takes its refusal', async () => {
    await house.blobs.add(IMAGE);
    const seen: string[] = [];
    const observer = {
      examine: async (role: string) => {
        seen.push(`examine ${role} at ${(await currentVersions()).snapshot}`);
      },
      published: async (role: string) => {
        seen.push(`published ${role} at ${(await currentVersions()).snapshot}`);
      },
    };
    await tuf.put('releases-optiboot', release(1), observer);
    expect(seen).toEqual(['examine releases-optiboot at 1', 'published releases-optiboot at 2']);
    const refusing = { ...quiet, examine: async () => Promise.reject(new Error('no')) };
    await expect(tuf.put('targets', house.targets(2), refusing)).rejects.toThrow('no');
    expect((await currentVersions()).snapshot).toBe(2);
  });

  it('tells its observer again when the first answer was lost on the way', async () => {
    await house.blobs.add(IMAGE);
    let told = 0;
    const failing = {
      ...quiet,
      published: async () => (++told === 1 ? Promise.reject(new Error('full')) : undefined),
    };
    await expect(tuf.put('releases-optiboot', release(1), failing)).rejects.toThrow('full');
    expect(await tuf.put('releases-optiboot', release(1), failing)).toMatchObject({ kind: 'unchanged' });
    expect(told).toBe(2);
  });

  it('knows when the offline roles expire', () => {
    const inAYear = NOW + 365 * 86_400_000;
    expect(tuf.offlineExpiriesMs()).toEqual({ root: inAYear, targets: inAYear });
  });

  it('never serves a file that no published state names', async () => {
    await writeFile(join(house.folder, 'tuf', '2.snapshot.json'), '{}');
    const unknown = { code: 'TUF_REPOSITORY_FILE_UNKNOWN' };
    await expect(tuf.metadataFile('2.snapshot.json')).rejects.toMatchObject(unknown);
    await expect(tuf.metadataFile('2.root.json')).rejects.toMatchObject(unknown);
    await expect(tuf.metadataFile('../keys/tuf-snapshot.pem')).rejects.toMatchObject(unknown);
    expect((await json('1.root.json')).signed.version).toBe(1);
  });

  it('signs timestamp and snapshot again when half their life is over, and only then', async () => {
    let now = NOW;
    tuf = await house.open(() => now);
    now = NOW + 11 * 3_600_000;
    expect(await tuf.renew()).toEqual([]);
    now = NOW + 13 * 3_600_000;
    expect(await tuf.renew()).toEqual(['timestamp']);
    expect(await currentVersions()).toMatchObject({ timestamp: 2, snapshot: 1 });
    now = NOW + 30 * 86_400_000;
    expect(await tuf.renew()).toEqual(['snapshot', 'timestamp']);
    expect(await currentVersions()).toMatchObject({ timestamp: 3, snapshot: 2 });
    expect((await json('timestamp.json')).signed.expires).toBe(expiry(now + 86_400_000));
  });

  it('signs them again when the clock had run ahead and is right again', async () => {
    let now = NOW + 20 * 365 * 86_400_000;
    tuf = await house.open(() => now);
    expect(await tuf.renew()).toEqual(['snapshot', 'timestamp']);
    now = NOW;
    expect(await tuf.renew()).toEqual(['snapshot', 'timestamp']);
    expect((await json('timestamp.json')).signed.expires).toBe(expiry(now + 86_400_000));
    expect(await tuf.renew()).toEqual([]);
  });

  it('publishes the next root, signed by old and new threshold', async () => {
    const next = [newKey(), newKey()];
    const { keys, roles } = house.root(2) as { keys: object; roles: object };
    const { keys: added } = delegationsTo({ x: next });
    const rootRole = { keyids: Object.keys(added), threshold: 2 };
    const root2 = house.root(2, { keys: { ...keys, ...added }, roles: { ...roles, root: rootRole } });
    const signedByNewOnly = tuf.putRoot(signRole(root2, next));
    await expect(signedByNewOnly).rejects.toMatchObject({ code: 'TUF_REPOSITORY_THRESHOLD_UNMET' });
    const signedByOldOnly = tuf.putRoot(signRole(root2, house.rootKeys));
    await expect(signedByOldOnly).rejects.toMatchObject({ code: 'TUF_REPOSITORY_THRESHOLD_UNMET' });
    const both = signRole(root2, [...house.rootKeys, ...next]);
    expect(await tuf.putRoot(both)).toEqual({ kind: 'published', version: 2 });
    expect(await tuf.putRoot(both)).toEqual({ kind: 'unchanged', version: 2 });
    tuf = await house.open();
    expect(await tuf.metadataFile('2.root.json')).toEqual(both);
  });
});

describe('refusals', () => {
  const refused = (role: string, bytes: Uint8Array, code: string) =>
    expect(tuf.put(role, bytes, quiet)).rejects.toMatchObject({ code });

  it('of metadata that is not sound', async () => {
    const malformed = (bytes: Uint8Array) => refused('targets', bytes, 'TUF_REPOSITORY_METADATA_MALFORMED');
    await malformed(utf8('{'));
    await malformed(utf8('{"signed":{},"signed":{},"signatures":[]}'));
    await malformed(signRole(targetsRole(1.5, {}), [house.targetsKey]));
    const fraction = { ...targetsRole(2, {}), note: 0.5 };
    await malformed(
      utf8(JSON.stringify({ signed: fraction, signatures: [{ keyid: 'ab'.repeat(32), sig: 'ab' }] })),
    );
    await malformed(signRole({ ...targetsRole(2, {}), _type: 'snapshot' }, [house.targetsKey]));
    await malformed(signRole({ ...targetsRole(2, {}), expires: '2027-02-31T00:00:00Z' }, [house.targetsKey]));
    const otherHash = { 'tlog-policy': { length: 1, hashes: { sha512: 'ab' } } };
    await malformed(signRole({ ...targetsRole(2, {}), targets: otherHash }, [house.targetsKey]));
    await malformed(
      signRole({ ...targetsRole(2, {}), delegations: { keys: 1, roles: [] } }, [house.targetsKey]),
    );
  });

  it('of metadata larger than clients read', async () => {
    const padding = 'x'.repeat(512_000);
    const root = tuf.putRoot(signRole(house.root(2, { padding }), house.rootKeys));
    await expect(root).rejects.toMatchObject({ code: 'TUF_REPOSITORY_METADATA_MALFORMED' });
    const targets = house.targets(2, {}, { padding: padding.repeat(10) });
    await refused('targets', targets, 'TUF_REPOSITORY_METADATA_MALFORMED');
  });

  it('of metadata that is made of more parts than any, before it is parsed', async () => {
    const noted = (count: number) => house.targets(2, {}, { note: Array(count).fill(0) });
    await expect(tuf.put('targets', noted(66_000), quiet)).rejects.toMatchObject({
      code: 'TUF_REPOSITORY_METADATA_MALFORMED',
      message: expect.stringContaining('at most 65536 commas, colons and brackets'),
    });
    expect(await tuf.put('targets', noted(65_000), quiet)).toMatchObject({ kind: 'published' });
  });

  it('of metadata that lists more than its readers can take, at once and whoever signed it', async () => {
    const many = (count: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, n) => [
          `images/optiboot/optiboot-${n}.bin`,
          { length: 1, hashes: { sha256: 'ab'.repeat(32) } },
        ]),
      );
    const malformed = 'TUF_REPOSITORY_METADATA_MALFORMED';
    const startedMs = performance.now();
    await refused(
      'releases-optiboot',
      signRole({ ...targetsRole(1, {}), targets: many(30_000) }, [newKey()]),
      malformed,
    );
    const signed = signRole({ ...targetsRole(1, {}), targets: many(1025) }, [house.releasesKey]);
    await refused('releases-optiboot', signed, malformed);
    const { keys } = house.root(2) as { keys: object };
    const strange = Array.from({ length: 1025 }, (_, n) => [
      n.toString(16).padStart(64, '0'),
      Object.values(keys)[0],
    ]);
    const manyKeys = { ...keys, ...Object.fromEntries(strange) };
    await expect(
      tuf.putRoot(signRole(house.root(2, { keys: manyKeys }), house.rootKeys)),
    ).rejects.toMatchObject({
      code: malformed,
    });
    const delegations = delegationsTo({ optiboot: [house.releasesKey] });
    await refused(
      'targets',
      house.targets(2, {}, { delegations: { ...delegations, keys: manyKeys } }),
      malformed,
    );
    const roles = Array.from({ length: 1025 }, (_, n) => ({
      ...delegations.roles[0],
      name: `releases-p${n}`,
    }));
    await refused('targets', house.targets(2, {}, { delegations: { ...delegations, roles } }), malformed);
    const one = JSON.parse(Buffer.from(release(1)).toString());
    const signatures = Array.from({ length: 1025 }, () => one.signatures[0]);
    await refused('releases-optiboot', utf8(JSON.stringify({ ...one, signatures })), malformed);
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });

  it('of roles that nobody delegated', async () => {
    for (const role of ['constructor', '__proto__', 'releases-', 'releases-A', '../targets', 'timestamp']) {
      await refused(role, release(1, {}), 'TUF_REPOSITORY_ROLE_UNKNOWN');
    }
    await refused('snapshot', release(1, {}), 'TUF_REPOSITORY_ROLE_UNKNOWN');
    await refused(
      'releases-other',
      signRole(targetsRole(1, {}), [house.releasesKey]),
      'TUF_REPOSITORY_ROLE_UNKNOWN',
    );
  });

  it('of signatures below the threshold, by other keys, or counted twice', async () => {
    const code = 'TUF_REPOSITORY_THRESHOLD_UNMET';
    await refused('releases-optiboot', signRole(targetsRole(1, {}), [newKey()]), code);
    await refused('releases-optiboot', signRole(targetsRole(1, {}), [house.targetsKey]), code);
    await refused('targets', signRole(targetsRole(2, {}), [house.releasesKey]), code);
    const [one, two] = [newKey(), newKey()];
    const delegations = delegationsTo({ optiboot: [one, two] });
    await tuf.put('targets', house.targets(2, {}, { delegations }), quiet);
    await refused('releases-optiboot', signRole(targetsRole(1, {}), [one]), code);
    const both = signRole(targetsRole(1, {}), [one, two]);
    expect(await tuf.put('releases-optiboot', both, quiet)).toMatchObject({ kind: 'published' });
  });

  it('of edited metadata', async () => {
    const edited = utf8(Buffer.from(release(1)).toString().replace('8.1.0', '8.2.0'));
    await refused('releases-optiboot', edited, 'TUF_REPOSITORY_THRESHOLD_UNMET');
  });

  it('of a version that is not the next', async () => {
    await house.blobs.add(IMAGE);
    await refused('releases-optiboot', release(2), 'TUF_REPOSITORY_VERSION_WRONG');
    await tuf.put('releases-optiboot', release(1), quiet);
    await refused('releases-optiboot', release(3), 'TUF_REPOSITORY_VERSION_WRONG');
    const sameVersion = release(1, { 'images/optiboot/optiboot-8.2.0.bin': IMAGE });
    await refused('releases-optiboot', sameVersion, 'TUF_REPOSITORY_VERSION_WRONG');
    await refused('targets', house.targets(3), 'TUF_REPOSITORY_VERSION_WRONG');
  });

  it('of metadata that has expired', async () => {
    const expired = release(1, {}, { expires: expiry(NOW) });
    await refused('releases-optiboot', expired, 'TUF_REPOSITORY_EXPIRED');
  });

  it('of targets that a role may not name', async () => {
    const code = 'TUF_REPOSITORY_TARGET_FORBIDDEN';
    for (const name of [
      'images/optiboot/x.bin',
      'packs/optiboot/x',
      'device-policy/../x.json',
      'other.json',
    ]) {
      await refused('targets', house.targets(2, { [name]: IMAGE }), code);
    }
    for (const name of [
      'trusted_root.json',
      'images/other/x.bin',
      'images/optiboot/deep/x.bin',
      'images/optiboot/..',
      'images/optiboot/.x',
      'images/optiboot',
    ]) {
      await refused('releases-optiboot', release(1, { [name]: IMAGE }), code);
    }
  });

  it('of delegations other than one terminating role for one product', async () => {
    const code = 'TUF_REPOSITORY_DELEGATION_FORBIDDEN';
    const withRole = (change: Record<string, unknown>) =>
      house.targets(2, {}, { delegations: delegationsTo({ optiboot: [house.releasesKey] }, change) });
    await refused('targets', withRole({ name: 'other' }), code);
    await refused('targets', withRole({ terminating: false }), code);
    await refused('targets', withRole({ paths: ['images/optiboot/*', 'packs/*'] }), code);
    await refused('targets', withRole({ paths: ['*'] }), code);
    await refused('targets', withRole({ threshold: 2 }), code);
    await refused('targets', withRole({ keyids: ['ab'.repeat(32)] }), code);
    const bins = { keyids: [], threshold: 1, bit_length: 2, name_prefix: 'releases' };
    await refused('targets', house.targets(2, {}, { delegations: { keys: {}, succinct_roles: bins } }), code);
    const further = release(1, {}, { delegations: delegationsTo({ optiboot: [house.releasesKey] }) });
    await refused('releases-optiboot', further, code);
  });

  it('of a delegation for what is no product', async () => {
    const delegations = delegationsTo({ optiboot: [house.releasesKey] });
    const paths = ['images/undefined/*', 'packs/undefined/*'];
    const roles = delegations.roles.map((role) => ({ ...role, name: 'goods', paths }));
    const targets = house.targets(2, {}, { delegations: { ...delegations, roles } });
    await refused('targets', targets, 'TUF_REPOSITORY_DELEGATION_FORBIDDEN');
  });

  it('of one key under two key ids', async () => {
    const delegations = delegationsTo({ optiboot: [house.releasesKey] }, { threshold: 2 });
    const [id = '', key] = Object.entries(delegations.keys)[0] ?? [];
    const twice = {
      keys: { [id]: key, ['ab'.repeat(32)]: key },
      roles: delegations.roles.map((role) => ({ ...role, keyids: [id, 'ab'.repeat(32)] })),
    };
    await refused(
      'targets',
      house.targets(2, {}, { delegations: twice }),
      'TUF_REPOSITORY_DELEGATION_FORBIDDEN',
    );
  });

  it('of one key in two spellings', async () => {
    const delegations = delegationsTo({ optiboot: [house.releasesKey] }, { threshold: 2 });
    const [id = '', key] = Object.entries(delegations.keys)[0] as [string, { keyval: { public: string } }];
    const shouted = { ...key, keyval: { public: key.keyval.public.toUpperCase() } };
    const shoutedId = sha256(canonicalJsonBytes(shouted as never));
    const twice = {
      keys: { [id]: key, [shoutedId]: shouted },
      roles: delegations.roles.map((role) => ({ ...role, keyids: [id, shoutedId] })),
    };
    await refused(
      'targets',
      house.targets(2, {}, { delegations: twice }),
      'TUF_REPOSITORY_DELEGATION_FORBIDDEN',
    );
  });

  it('of a length that a stored file does not have', async () => {
    await house.blobs.add(IMAGE);
    const signed = targetsRole(1, {});
    const targets = { [NAME]: { length: 5, hashes: { sha256: sha256(IMAGE) } } };
    const bytes = signRole({ ...signed, targets }, [house.releasesKey]);
    await refused('releases-optiboot', bytes, 'TUF_REPOSITORY_TARGET_SIZE');
  });

  it('of a root that would break the repository', async () => {
    const unsuitable = (change: Record<string, unknown>) =>
      expect(tuf.putRoot(signRole(house.root(2, change), house.rootKeys))).rejects.toMatchObject({
        code: 'TUF_REPOSITORY_ROOT_UNSUITABLE',
      });
    const { roles, keys } = house.root(2) as { roles: Record<string, object>; keys: object };
    await unsuitable({ consistent_snapshot: false });
    await unsuitable({ roles: { ...roles, snapshot: roles.targets } });
    await unsuitable({ roles: { ...roles, timestamp: roles.targets } });
    await unsuitable({ roles: { ...roles, root: { ...roles.root, threshold: 4 } } });
    const { keys: other } = delegationsTo({ x: [newKey()] });
    const otherTargets = { keyids: Object.keys(other), threshold: 1 };
    await unsuitable({ keys: { ...keys, ...other }, roles: { ...roles, targets: otherTargets } });
    const skipped = tuf.putRoot(signRole(house.root(3), house.rootKeys));
    await expect(skipped).rejects.toMatchObject({ code: 'TUF_REPOSITORY_VERSION_WRONG' });
    const expired = tuf.putRoot(signRole(house.root(2, { expires: expiry(NOW) }), house.rootKeys));
    await expect(expired).rejects.toMatchObject({ code: 'TUF_REPOSITORY_EXPIRED' });
  });

  it('of a ceremony that lacks a file', async () => {
    const making = createTufRepository({
      folder: join(house.folder, 'second'),
      keysFolder: join(house.folder, 'keys'),
      blobs: house.blobs,
      clock: () => NOW,
      root: signRole(house.root(1), house.rootKeys),
      targets: house.targets(1, { 'tlog-policy': utf8('absent') }),
      targetFiles: [],
    });
    await expect(making).rejects.toMatchObject({ code: 'TUF_TARGETS_MISSING' });
  });
});

describe('a damaged folder', () => {
  const open = (code: string) => expect(house.open()).rejects.toMatchObject({ code });
  const path = (name: string) => join(house.folder, 'tuf', name);

  it('is not opened', async () => {
    const snapshot = Buffer.from(await tuf.metadataFile('1.snapshot.json')).toString();
    await writeFile(path('1.snapshot.json'), snapshot.replace('"version":1', '"version":2'));
    await open('REGISTRY_DATA_DAMAGED');
    await writeFile(path('1.snapshot.json'), snapshot);
    await writeFile(path('1.targets.json'), house.targets(1, { 'tlog-policy': utf8('x') }));
    await open('REGISTRY_DATA_DAMAGED');
    await diskFiles.remove(path('1.targets.json'));
    await open('REGISTRY_DATA_MISSING');
  });

  it('is not opened without top-level targets', async () => {
    const snapshot = signSnapshot(1, new Map(), house.online, NOW);
    await writeFile(path('1.snapshot.json'), snapshot.bytes);
    await writeFile(path('timestamp.json'), signTimestamp(1, snapshot, house.online, NOW).bytes);
    await open('REGISTRY_DATA_DAMAGED');
  });

  it('is not opened without its own keys, or with keys of another kind', async () => {
    const keys = join(house.folder, 'keys');
    const opened = (code: string) => expect(openTufOnlineKeys(keys)).rejects.toMatchObject({ code });
    const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    for (const text of ['garbage', p256.export({ type: 'pkcs8', format: 'pem' })]) {
      await writeFile(join(keys, 'tuf-timestamp.pem'), text);
      await opened('REGISTRY_DATA_DAMAGED');
    }
    await diskFiles.remove(join(keys, 'tuf-timestamp.pem'));
    await opened('REGISTRY_DATA_MISSING');
  });

  it('is not opened with the keys of another', async () => {
    const other = await buildHouse();
    houses.push(other);
    await writeFile(path('1.root.json'), signRole(other.root(1), other.rootKeys));
    await open('REGISTRY_DATA_DAMAGED');
  });
});
