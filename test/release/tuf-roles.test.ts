// SPDX-License-Identifier: Apache-2.0
// The offline roles of a running registry: renewed, rotated, signed in turns, and what is refused on the way.

import { execFile } from 'node:child_process';
import { copyFile, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openTrust } from '../../cli/trust.ts';
import { makeOnlineKeys } from '../../cli/tuf.ts';
import {
  openOfflineRoles,
  publishRoleFile,
  renewRole,
  rotateKeys,
  signRoleFile,
  type TufInputs,
  updateTrust,
} from '../../cli/tuf-roles.ts';
import { readStatus } from '../../cli/tuf-status.ts';
import { parseLogPolicy } from '../../core/tlog/log-policy.ts';
import { verifyWitnessedCheckpoint } from '../../core/tlog/proof.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { generateKey, writeKeyPair } from '../../release/key-file.ts';
import { openRoleKeys } from '../../release/open-key.ts';
import { Registry } from '../../release/registry.ts';
import { formatMetadata, signaturesOver } from '../../release/role-metadata.ts';
import { runWitness, witnessFolder } from '../registry/witness/running-witness.ts';
import { House } from './house.ts';

const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url));
let house: House;
beforeEach(async () => {
  house = await House.open();
});
afterEach(() => house.close());

const offline = (...names: string[]) => names.map((name) => house.path('offline', `${name}.pem`));
const base = (...keys: string[]): TufInputs => ({
  registry: house.url,
  root: house.root,
  keys,
  progress: () => {},
});
const newPair = (name: string) => writeKeyPair(house.path('offline', `${name}.pem`), generateKey('ed25519'));
const refusedAs = (code: string) => ({ code });
const roleOf = async (name: string) => {
  const status = await readStatus({ registry: house.url, root: house.root }, Date.now());
  const role = status.find(({ role: found }) => found === name);
  if (role === undefined) throw new Error(`no role ${name}`);
  return role;
};
/** A client that has nothing but the first root. */
const newClient = async () =>
  openTrust({
    registryUrl: house.url,
    rootPath: house.root,
    stateFolder: house.path(`client-${Math.random()}`),
  });

/** The recipe of docs/spec/tuf-repository.md, as a reader types it. */
async function typeRecipe(): Promise<void> {
  await symlink('data', house.path('registry'));
  await symlink('data/root.json', house.path('root.json'));
  const page = await readFile(join(CHECKOUT, 'docs/spec/tuf-repository.md'), 'utf8');
  const [, recipe = ''] = /^```sh\n(.*?)^```$/ms.exec(page) ?? [];
  const typed = recipe.replaceAll('http://127.0.0.1:8410', house.url);
  const env = { ...process.env, PATH: `${join(CHECKOUT, 'node_modules/.bin')}:${process.env.PATH}` };
  await promisify(execFile)('bash', ['-euc', typed], { cwd: house.folder, env });
}

describe('update', () => {
  test('switches witnesses on for a registry that had none; products stay', {
    timeout: 120_000,
  }, async () => {
    await house.product('add');
    await house.road('8.0.0');
    const before = await newClient();
    const policy = Buffer.from(await before.tlogPolicy()).toString();
    const [, logKey = ''] = policy.split(' ');
    const made = await witnessFolder([logKey]);
    const witness = await runWitness(made);
    witness.clock.ms = Date.now();
    await writeFile(house.path('witnesses'), `witness w1 ${made.vkey} ${witness.url}\nquorum w1\n`);
    await typeRecipe();
    const text = await readFile(house.path('tlog-policy'), 'utf8');
    expect(parseLogPolicy(new Uint8Array(Buffer.from(text)), nodeCrypto).quorum).toBe('w1');
    const after = await newClient();
    expect(Buffer.from(await after.tlogPolicy()).toString()).toBe(text);
    const [old, now] = [before, after].map(({ client }) => client.role('targets').json) as [never, never];
    expect((now as { delegations: object }).delegations).toEqual(
      (old as { delegations: object }).delegations,
    );
    expect(after.client.trustMaterialNames()).toContain('device-policy/optiboot.json');
    // What is proved from now on has the witness behind it.
    await house.attestBuild(await house.build('8.1.0'));
    const { checkpoint } = await new Registry(house.url).proof('log', 0n);
    const parsed = parseLogPolicy(new Uint8Array(Buffer.from(text)), nodeCrypto);
    expect(verifyWitnessedCheckpoint(checkpoint, parsed, nodeCrypto).witnesses).toHaveLength(1);
    const again = { ...base(...offline('targets-1')), logPolicy: house.path('tlog-policy') };
    await expect(updateTrust(again)).rejects.toMatchObject(refusedAs('OFFLINE_ROLE_UNCHANGED'));
  });

  test('refuses files that their users could not read, and nothing at all', async () => {
    await writeFile(house.path('bad'), 'nonsense');
    const bad = house.path('bad');
    const inputs = base(...offline('targets-1'));
    await expect(updateTrust(inputs)).rejects.toMatchObject(refusedAs('CLI_USAGE'));
    const files = {
      logPolicy: 'tlog-policy',
      trustedRoot: 'trusted_root.json',
      signingConfig: 'signing_config.v0.2.json',
    };
    for (const [option, name] of Object.entries(files)) {
      await expect(updateTrust({ ...inputs, [option]: bad })).rejects.toMatchObject({
        code: 'CLI_TRUST_FILE_UNSUITABLE',
        message: expect.stringContaining(`expected ${name} in "${bad}", got a file that is none: `),
      });
    }
    expect((await roleOf('targets')).version).toBe(1);
  });
});

describe('a trusted root', () => {
  test('that takes back the end of a key is neither signed nor published, unless that is meant', async () => {
    const text = await readFile(house.path('data', 'trust', 'trusted_root.json'), 'utf8');
    const ended = JSON.parse(text);
    // An instance of somebody else's, say, beside ours.
    ended.timestampAuthorities[0].validFor.end = '2026-01-31T12:00:00Z';
    const [before, after] = [house.path('before.json'), house.path('after.json')];
    await writeFile(before, text.replace('}],', '}], '));
    await writeFile(after, `${JSON.stringify(ended)}\n`);
    const inputs = base(...offline('targets-1'));
    expect(await updateTrust({ ...inputs, trustedRoot: after })).toMatchObject({ published: true });
    const reopening = { ...inputs, trustedRoot: before };
    await expect(updateTrust(reopening)).rejects.toMatchObject(refusedAs('TRUST_ROOT_REOPENS'));
    const out = house.path('3.targets.json');
    await expect(updateTrust({ ...reopening, out })).rejects.toMatchObject(refusedAs('TRUST_ROOT_REOPENS'));
    await updateTrust({ ...reopening, out, allowReopen: true });
    const publishing = { ...base(), file: out, trustedRoot: before };
    await expect(publishRoleFile(publishing)).rejects.toMatchObject(refusedAs('TRUST_ROOT_REOPENS'));
    expect(await publishRoleFile({ ...publishing, allowReopen: true })).toMatchObject({ published: true });
    // And at once.
    expect(await updateTrust({ ...inputs, trustedRoot: after })).toMatchObject({ published: true });
    expect(await updateTrust({ ...reopening, allowReopen: true })).toMatchObject({ published: true });
  });
});

describe('renew', () => {
  test('signs root again with nothing changed but version and expiry', async () => {
    const before = (await newClient()).client.root.json;
    const result = await renewRole({ ...base(...offline('root-1', 'root-3')), role: 'root' });
    expect(result).toMatchObject({ version: 2, published: true });
    const { json } = (await newClient()).client.root;
    expect({ ...json, version: 1, expires: before.expires }).toEqual(before);
    expect(await roleOf('root')).toMatchObject({ version: 2, threshold: 2, isDue: false });
  });

  test('says how many signatures are missing, and of whom', async () => {
    const ids = (await roleOf('root')).keyIds.map((id) => id.slice(0, 12));
    const renewing = renewRole({ ...base(...offline('root-1')), role: 'root' });
    await expect(renewing).rejects.toMatchObject({
      code: 'OFFLINE_ROLE_UNSIGNED',
      message: expect.stringContaining(
        `expected signatures by 2 of 3 root keys, got 1: 1 more of ${ids[1]}, ${ids[2]}`,
      ),
    });
    const strange = renewRole({ ...base(...offline('targets-1')), role: 'root' });
    await expect(strange).rejects.toMatchObject(refusedAs('RELEASE_KEY_NOT_DELEGATED'));
    const twice = renewRole({ ...base(...offline('root-1', 'root-1')), role: 'root' });
    await expect(twice).rejects.toMatchObject(refusedAs('OFFLINE_ROLE_UNSIGNED'));
  });

  test('roles that have expired can still be renewed, by those who sign them alone', async () => {
    await expire('root');
    await expect(newClient()).rejects.toMatchObject(refusedAs('TUF_ROLE_EXPIRED'));
    await expect(house.product('add')).rejects.toMatchObject(refusedAs('TUF_ROLE_EXPIRED'));
    expect(await roleOf('root')).toMatchObject({ isDue: true, daysLeft: -1 });
    await renewRole({ ...base(...offline('root-1', 'root-2')), role: 'root' });
    await expire('targets');
    await expect(newClient()).rejects.toMatchObject(refusedAs('TUF_ROLE_EXPIRED'));
    await renewRole({ ...base(...offline('targets-1')), role: 'targets' });
    await newClient();
  });
});

/** Publishes the next version of a role so that it expires at once. */
async function expire(role: 'root' | 'targets'): Promise<void> {
  const client = await openOfflineRoles({ registry: house.url, root: house.root });
  const { json } = role === 'root' ? client.root : client.role('targets');
  const expires = new Date(Date.now() + 2000).toISOString().replace(/\.\d{3}Z$/, 'Z');
  const signed = { ...json, version: (json.version as number) + 1, expires };
  const keys = await openRoleKeys(offline(...(role === 'root' ? ['root-1', 'root-2'] : ['targets-1'])));
  await new Registry(house.url).putRole(role, formatMetadata(signed, await signaturesOver(signed, keys)));
  await pause(2000);
}

describe('in turns', () => {
  const file = () => house.path('2.root.json');

  test('a root goes from officer to officer, without network, and is published when enough have signed', async () => {
    const made = await renewRole({ ...base(...offline('root-1')), role: 'root', out: file() });
    expect(made).toMatchObject({
      published: false,
      path: file(),
      missing: [expect.stringContaining('1 more')],
    });
    const publishing = { ...base(), file: file() };
    await expect(publishRoleFile(publishing)).rejects.toMatchObject(refusedAs('OFFLINE_ROLE_UNSIGNED'));
    expect((await roleOf('root')).version).toBe(1);
    const shown: string[] = [];
    const signing = { root: house.root, file: file(), progress: (line: string) => void shown.push(line) };
    expect((await signRoleFile({ ...signing, keys: [] })).missing).toHaveLength(1);
    const signed = await signRoleFile({ ...signing, keys: offline('root-2') });
    expect(signed).toMatchObject({ missing: [], signedBy: { length: 2 } });
    expect(shown[0]).toBe('root version 2, against version 1 in force:');
    expect(shown).toContain('version 1 becomes 2');
    expect(await publishRoleFile(publishing)).toMatchObject({ published: true, version: 2 });
    const wasPublished = { published: true, wasPublished: true, version: 2, changes: [], missing: [] };
    expect(await publishRoleFile(publishing)).toEqual(expect.objectContaining(wasPublished));
    // Another root of the same version is no such one, nor is a trust file that the targets in force do not name.
    const { signed: now, signatures } = JSON.parse(await readFile(file(), 'utf8'));
    const other = { ...publishing, file: house.path('other.root.json') };
    await writeFile(other.file, JSON.stringify({ signed: { ...now, note: 'x' }, signatures }));
    await expect(publishRoleFile(other)).rejects.toMatchObject(refusedAs('OFFLINE_ROLE_STALE'));
    const policy = join(house.path('data', 'trust'), 'tlog-policy');
    await writeFile(house.path('policy'), `# x\n${await readFile(policy, 'utf8')}`);
    expect(await publishRoleFile({ ...publishing, logPolicy: policy })).toMatchObject({ wasPublished: true });
    await expect(publishRoleFile({ ...publishing, logPolicy: house.path('policy') })).rejects.toMatchObject(
      refusedAs('OFFLINE_ROLE_STALE'),
    );
    const late = { ...signing, registry: house.url, keys: offline('root-3') };
    const text = await readFile(file(), 'utf8');
    expect(await signRoleFile(late)).toMatchObject({ wasPublished: true, missing: [], version: 2 });
    expect(await readFile(file(), 'utf8')).toBe(text);
    await expect(signRoleFile({ ...late, file: other.file })).rejects.toMatchObject(
      refusedAs('OFFLINE_ROLE_STALE'),
    );
  });

  test('an officer sees what somebody slipped in, and strangers sign nothing', async () => {
    await renewRole({ ...base(), role: 'root', out: file() });
    const { signed } = JSON.parse(await readFile(file(), 'utf8'));
    signed.roles.targets.threshold = 1;
    signed.roles.root.threshold = 1;
    signed.note = 'x';
    await writeFile(file(), JSON.stringify({ signed, signatures: [] }));
    const signing = { root: house.root, file: file(), progress: () => {} };
    const { changes } = await signRoleFile({ ...signing, keys: [] });
    expect(changes).toContain('role "root": threshold 2 becomes 1');
    expect(changes).toContain('member "note" changes from nothing to "x"');
    const stranger = signRoleFile({ ...signing, keys: offline('targets-1') });
    await expect(stranger).rejects.toMatchObject(refusedAs('RELEASE_KEY_NOT_DELEGATED'));
    await writeFile(file(), '{}');
    await expect(signRoleFile({ ...signing, keys: [] })).rejects.toMatchObject(
      refusedAs('OFFLINE_ROLE_MALFORMED'),
    );
  });

  test('targets are signed against a copy of those in force', async () => {
    const next = house.path('next.json');
    await renewRole({ ...base(), role: 'targets', out: next });
    const current = house.path('1.targets.json');
    await copyFile(house.path('data', 'state', 'tuf', '1.targets.json'), current);
    const signing = { root: house.root, file: next, keys: offline('targets-1'), progress: () => {} };
    await expect(signRoleFile(signing)).rejects.toMatchObject(refusedAs('CLI_USAGE'));
    await expect(signRoleFile({ ...signing, current: house.root })).rejects.toMatchObject(
      refusedAs('CLI_USAGE'),
    );
    await expect(signRoleFile({ ...signing, current: next })).rejects.toMatchObject(
      refusedAs('OFFLINE_ROLE_UNSIGNED'),
    );
    expect(await signRoleFile({ ...signing, current })).toMatchObject({ missing: [] });
    expect(await publishRoleFile({ ...base(), file: next })).toMatchObject({ version: 2 });
  });

  test('trust files come along with a file of targets', async () => {
    const next = house.path('next.json');
    const policy = house.path('tlog-policy');
    const { tlogPolicy } = await newClient();
    await writeFile(policy, `# of today\n${Buffer.from(await tlogPolicy()).toString()}`);
    const made = await updateTrust({ ...base(...offline('targets-1')), logPolicy: policy, out: next });
    expect(made.changes).toContainEqual(
      expect.stringMatching(
        /^file "tlog-policy" changes from \d+ bytes of sha256 [0-9a-f]{64} to \d+ bytes of sha256 [0-9a-f]{64}$/,
      ),
    );
    expect(made.changes).not.toContainEqual(expect.stringMatching(/trusted_root|signing_config|delegation/));
    expect(made.changes.at(-1)).toBe(
      'tlog-policy: no line is another one; only comments, spaces or the order',
    );
    const publishing = { ...base(), file: next };
    await expect(publishRoleFile(publishing)).rejects.toMatchObject(refusedAs('RELEASE_TARGET_LOST'));
    expect(await publishRoleFile({ ...publishing, logPolicy: policy })).toMatchObject({ published: true });
  });
});

test('who signs a log policy sees the lines that go and come', { timeout: 60_000 }, async () => {
  const { vkey } = await witnessFolder([]);
  const log = Buffer.from(await (await newClient()).tlogPolicy()).toString();
  const [without, withOne] = [house.path('without'), house.path('with')];
  const witness = `witness w1 ${vkey} http://127.0.0.1:1`;
  await writeFile(without, log);
  await writeFile(withOne, `${log.replace('quorum none\n', '')}${witness}\nquorum w1\n`);
  const updating = base(...offline('targets-1'));
  expect((await updateTrust({ ...updating, logPolicy: withOne })).changes).toEqual(
    expect.arrayContaining([
      'tlog-policy loses "quorum none"',
      `tlog-policy gains "${witness}"`,
      'tlog-policy gains "quorum w1"',
    ]),
  );

  const next = house.path('next.json');
  await updateTrust({ ...base(), logPolicy: without, out: next });
  const shown: string[] = [];
  const signing = { root: house.root, file: next, keys: [], progress: (line: string) => shown.push(line) };
  const here = { ...signing, registry: house.url };
  const policy = { logPolicy: without };
  const loss = [
    `tlog-policy loses "${witness}"`,
    'tlog-policy loses "quorum w1"',
    'tlog-policy gains "quorum none"',
  ];
  const { changes } = await signRoleFile({ ...here, ...policy });
  expect(changes.slice(-3)).toEqual(loss);
  expect(shown.slice(-3)).toEqual(loss);
  await signRoleFile(here);
  expect(shown.at(-1)).toContain('--log-policy');
  const wrong = signRoleFile({ ...here, logPolicy: withOne });
  await expect(wrong).rejects.toMatchObject(refusedAs('CLI_TRUST_FILE_UNSUITABLE'));
  // Without network all lines of the new one are told.
  const current = house.path('data', 'state', 'tuf', '2.targets.json');
  const alone = await signRoleFile({ ...signing, ...policy, current });
  expect(alone.changes.slice(-3)).toEqual([
    'tlog-policy in force is not at hand: all lines of the new one',
    `tlog-policy gains "${log.split('\n')[0]}"`,
    'tlog-policy gains "quorum none"',
  ]);
});

describe('rotate', () => {
  test('a root key is exchanged by old and new threshold; the old one counts no more', async () => {
    await newPair('root-4');
    const [, , third = ''] = (await roleOf('root')).keyIds;
    const change = { addRoot: [house.path('offline', 'root-4.pub')], removeRoot: [third] };
    const rotating = rotateKeys({ ...base(...offline('root-1', 'root-3')), ...change });
    await expect(rotating).rejects.toMatchObject({
      code: 'OFFLINE_ROLE_UNSIGNED',
      message: expect.stringContaining('root keys of version 2, got 1'),
    });
    const { version } = await rotateKeys({ ...base(...offline('root-1', 'root-4')), ...change }).catch(
      async (cause) => {
        // One of the old threshold alone is not enough either.
        expect(cause).toMatchObject(refusedAs('OFFLINE_ROLE_UNSIGNED'));
        return rotateKeys({ ...base(...offline('root-1', 'root-2', 'root-4')), ...change });
      },
    );
    expect(version).toBe(2);
    await newClient();
    const lost = renewRole({ ...base(...offline('root-1', 'root-3')), role: 'root' });
    await expect(lost).rejects.toMatchObject(refusedAs('RELEASE_KEY_NOT_DELEGATED'));
    await renewRole({ ...base(...offline('root-1', 'root-4')), role: 'root' });
  });

  test('impossible changes are refused before anybody signs', async () => {
    const rotate = (change: Partial<Parameters<typeof rotateKeys>[0]>) =>
      rotateKeys({ ...base(), ...change });
    await expect(rotate({})).rejects.toMatchObject(refusedAs('OFFLINE_ROLE_UNCHANGED'));
    await expect(rotate({ rootThreshold: 4 })).rejects.toMatchObject(refusedAs('CEREMONY_THRESHOLD_INVALID'));
    await expect(rotate({ removeRoot: [house.path('offline', 'targets-1.pub')] })).rejects.toMatchObject(
      refusedAs('OFFLINE_KEY_UNKNOWN'),
    );
    await expect(rotate({ removeRoot: ['ab'] })).rejects.toMatchObject(refusedAs('OFFLINE_KEY_UNKNOWN'));
    await expect(rotate({ removeRoot: ['ab'.repeat(32)] })).rejects.toMatchObject(
      refusedAs('OFFLINE_KEY_UNKNOWN'),
    );
    await newPair('targets-2');
    const targetsKey = [house.path('offline', 'targets-2.pub')];
    await expect(rotate({ targetsKey })).rejects.toMatchObject(refusedAs('OFFLINE_TARGETS_FIRST'));
  });

  test('targets keys are exchanged over targets that both sign', { timeout: 120_000 }, async () => {
    await house.product('add');
    await house.road('8.0.0');
    await newPair('targets-2');
    await renewRole({
      ...base(...offline('targets-1')),
      role: 'targets',
      newKeys: offline('targets-2'),
    });
    const targetsKey = [house.path('offline', 'targets-2.pub')];
    await rotateKeys({ ...base(...offline('root-1', 'root-2')), targetsKey });
    const old = renewRole({ ...base(...offline('targets-1')), role: 'targets' });
    await expect(old).rejects.toMatchObject(refusedAs('RELEASE_KEY_NOT_DELEGATED'));
    await renewRole({ ...base(...offline('targets-2')), role: 'targets' });
    await house.road('8.1.0');
    const misplaced = renewRole({ ...base(), role: 'root', newKeys: offline('targets-2') });
    await expect(misplaced).rejects.toMatchObject(refusedAs('CLI_USAGE'));
  });

  test('a targets key that is lost is replaced by root alone, in two steps', async () => {
    await newPair('targets-2');
    const officers = offline('root-1', 'root-2');
    const key = [house.path('offline', 'targets-2.pub')];
    expect(await rotateKeys({ ...base(...officers), addTargets: key })).toMatchObject({ version: 2 });
    await renewRole({ ...base(...offline('targets-2')), role: 'targets' });
    await rotateKeys({ ...base(...officers), targetsKey: key });
    expect(await roleOf('targets')).toMatchObject({ version: 2, keyIds: { length: 1 } });
    await newClient();
  });

  test('online keys change at once with the root that names them; clients old and new follow', {
    timeout: 120_000,
  }, async () => {
    await house.product('add');
    const [first, staged] = [await newClient(), await makeOnlineKeys(house.path('data'))];
    const change = { snapshotKey: staged.snapshot.publicPath, timestampKey: staged.timestamp.publicPath };
    const before = (await roleOf('snapshot')).keyIds;
    await rotateKeys({ ...base(...offline('root-1', 'root-2')), ...change });
    const now = await roleOf('snapshot');
    expect(now.keyIds).not.toEqual(before);
    await newClient();
    await first.client.refresh();
    await house.road('8.0.0');
    const strange = house.path('releases.pub');
    const refused = rotateKeys({ ...base(...offline('root-1', 'root-2')), snapshotKey: strange });
    await expect(refused).rejects.toMatchObject({
      code: 'RELEASE_REGISTRY_REFUSED',
      message: expect.stringContaining('TUF_REPOSITORY_ROOT_UNSUITABLE'),
    });
  });
});

test('status tells people in time: a month for root and targets, a fortnight for releases', async () => {
  await house.product('add');
  await house.road('8.0.0');
  const dueIn = async (days: number) => {
    const status = await readStatus(
      { registry: house.url, root: house.root },
      Date.now() + days * 86_400_000,
    );
    return status.filter(({ isDue }) => isDue).map(({ role }) => role);
  };
  expect(await dueIn(0)).toEqual([]);
  expect(await dueIn(75)).toEqual([]);
  expect(await dueIn(77)).toEqual(['releases-optiboot']);
  expect(await dueIn(334)).toEqual(['releases-optiboot']);
  expect(await dueIn(336)).toEqual(['root', 'targets', 'releases-optiboot']);
  const { client } = await newClient();
  expect(client.root.signed.version).toBe(1);
});
