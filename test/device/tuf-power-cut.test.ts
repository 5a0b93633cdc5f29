// SPDX-License-Identifier: Apache-2.0
// A50 for update metadata: the power goes before every operation on the file system, and what was not synced is there or not in every
// combination. Whatever is found then, the client comes up to date again, and accepts nothing older than what it durably trusted.

import { describe, expect, test } from 'vitest';
import { Rejection } from '../../core/faults.ts';
import type { Workflow } from '../../core/tuf/workflow.ts';
import type { DeviceHost } from '../../device/host.ts';
import { durableFiles, nodeHost } from '../../device/node-host.ts';
import { TufShell } from '../../device/tuf-shell.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { bytesOf, NOW, Simulator } from '../core/tuf/simulator.ts';
import { TornDisk } from './torn-disk.ts';

const STATE = '/var/lib/device/tuf';
const OWN = 'releases-one';
const GOODS = 'packs/one/index.json';
type Files = ReadonlyMap<string, Uint8Array>;
type Versions = Readonly<Record<string, number>>;

/** What the repository publishes one after another; each is a whole repository as it stands. */
function history(...changes: readonly ((simulator: Simulator) => void)[]) {
  const simulator = new Simulator();
  simulator.lists = true;
  simulator.delegate('targets', OWN, { paths: ['packs/one/*'], terminating: true });
  simulator.add(OWN, GOODS, bytesOf('{}'));
  simulator.publish('targets', OWN);
  const states = [new Map(simulator.files)];
  for (const change of changes) {
    change(simulator);
    states.push(new Map(simulator.files));
  }
  return { root: simulator.root1, states };
}

/** A run of the client on a disk against a repository; `trusted` is called when a role is durably trusted. */
async function run(
  disk: TornDisk,
  files: Files,
  root: Uint8Array,
  trusted: (role: string, version: number) => void = () => undefined,
): Promise<Workflow> {
  const durable = durableFiles(disk);
  const host: DeviceHost = {
    nowMs: () => NOW,
    fetch: async (url) => {
      const found = files.get(decodeURIComponent(url.slice('http://repository/'.length)));
      return found === undefined ? new Response(null, { status: 404 }) : new Response(Buffer.from(found));
    },
    files: {
      ...nodeHost().files,
      ...durable,
      async write(path, bytes) {
        await durable.write(path, bytes);
        const role = /\/([^/]+)\.json$/.exec(path)?.[1];
        if (role !== undefined) trusted(decodeURIComponent(role), versionOf(bytes));
      },
    },
    crypto: nodeCrypto,
  };
  const place = {
    metadataUrl: 'http://repository',
    targetsUrl: 'http://repository/targets',
    stateFolder: STATE,
  };
  const shell = new TufShell(host, place);
  const workflow = await shell.open(root, NOW);
  await shell.run(workflow.refresh());
  await shell.run(workflow.findTarget(GOODS));
  return workflow;
}

const versionOf = (bytes: Uint8Array): number => JSON.parse(Buffer.from(bytes).toString()).signed.version;

function versionsOf(workflow: Workflow): Versions {
  const { root, timestamp, snapshot } = workflow;
  const roles = [root, timestamp, snapshot, workflow.role('targets'), workflow.role(OWN)];
  return Object.fromEntries(roles.map((role) => [role?.name, role?.signed.version ?? 0]));
}

/** A refusal, or what was accepted; nothing else may happen. */
async function attempt(disk: TornDisk, files: Files, root: Uint8Array): Promise<Versions | string> {
  try {
    return versionsOf(await run(disk, files, root));
  } catch (failure) {
    if (failure instanceof Rejection) return failure.code;
    throw failure;
  }
}

/** What a replay leads to: of the state before, versions tell; of the first state, it is always refused; `untold` where nothing can. */
type Replay = 'by version' | 'always' | 'untold';

/** Cuts the step from one state of a repository to the next everywhere. */
async function cutEverywhere(root: Uint8Array, before: readonly Files[], after: Files, told: Replay) {
  const start = new TornDisk();
  for (const files of before) await run(start, files, root);
  const newest = versionsOf(await run(start.copy(), after, root));
  let found = 0;
  for (let cutAt = 1; ; cutAt++) {
    const disk = start.copy();
    disk.cutAt = cutAt;
    const durable: Record<string, number> = {};
    await run(disk, after, root, (role, version) => {
      durable[role] = version;
    }).catch((failure: { code?: string }) => {
      if (!disk.isCut) throw failure;
    });
    for (const crashed of disk.crashes()) {
      found++;
      const twice = crashed.copy();
      expect(versionsOf(await run(crashed, after, root)), `after a cut at ${cutAt}`).toEqual(newest);
      if (told === 'untold') continue;
      // Someone replays what was published before.
      const old = told === 'always' ? before[0] : before.at(-1);
      const replayed = await attempt(twice, old ?? after, root);
      if (typeof replayed === 'object' && told === 'by version') {
        for (const [role, version] of Object.entries(durable)) {
          expect(replayed[role], `${role} after a cut at ${cutAt}`).toBeGreaterThanOrEqual(version);
        }
      }
      if (told === 'always') expect(replayed, `after a cut at ${cutAt}`).toBeTypeOf('string');
      // What the replay left behind stands in nobody's way.
      expect(versionsOf(await run(twice, after, root))).toEqual(newest);
    }
    if (!disk.isCut) return { cuts: cutAt - 1, found };
  }
}

describe('a power cut at every operation', () => {
  test('of the first update', async () => {
    const { root, states } = history();
    const { cuts } = await cutEverywhere(root, [], states[0] as Files, 'by version');
    expect(cuts).toBeGreaterThan(40);
  }, 300_000);

  test('of an update of every role', async () => {
    const { root, states } = history((simulator) => {
      simulator.publishRoot();
      simulator.publish('targets', OWN);
    });
    const { cuts } = await cutEverywhere(root, states.slice(0, 1), states[1] as Files, 'by version');
    expect(cuts).toBeGreaterThan(30);
  }, 300_000);

  test('of a recovery from a fast-forward: new keys, and versions that begin anew', async () => {
    const { root, states } = history(
      (simulator) => simulator.publish('targets', OWN),
      (simulator) => {
        for (const role of ['timestamp', 'snapshot']) {
          simulator.rotate(role);
          simulator.roles.get(role).version = 0;
        }
        simulator.publishRoot();
        simulator.publish('targets', OWN);
      },
    );
    // Forgotten is what the old keys signed only once nobody believes them any more.
    await cutEverywhere(root, states.slice(0, 2), states[2] as Files, 'always');
  }, 300_000);

  test('of a recovery in which the timestamp keeps its key, and still says too much of the snapshot', async () => {
    const { root, states } = history(
      (simulator) => {
        simulator.roles.get('snapshot').version = 1000;
        simulator.publish(OWN);
      },
      (simulator) => {
        simulator.rotate('snapshot');
        simulator.roles.get('snapshot').version = 4;
        simulator.publishRoot();
        simulator.publish(OWN);
      },
    );
    // Whoever replays the old timestamp now is believed: its key is still good, and forgetting was what was asked for.
    await cutEverywhere(root, states.slice(0, 2), states[2] as Files, 'untold');
  }, 300_000);
});

describe('a damaged file', () => {
  const kinds: readonly [string, (content: Uint8Array) => Uint8Array | undefined][] = [
    ['torn', (content) => content.slice(0, content.length / 2)],
    ['empty', () => new Uint8Array()],
    ['gone', () => undefined],
    [
      'with one bit flipped',
      (content) => Uint8Array.from(content, (byte, i) => (i === 99 ? byte ^ 1 : byte)),
    ],
    ['of something else', () => bytesOf('{"signed":{},"signatures":[]}')],
  ];

  test.each(kinds)('%s opens no way back, and is whole again after the next update', async (_, change) => {
    const { root, states } = history((simulator) => {
      simulator.publishRoot();
      simulator.publish('targets', OWN);
    });
    const [old, current] = states as unknown as [Files, Files];
    const disk = new TornDisk();
    const newest = versionsOf(await run(disk, current, root));
    expect(disk.files.length).toBe(8);
    for (const path of disk.files) {
      const damaged = disk.copy();
      damaged.damage(path, change);
      expect(await attempt(damaged.copy(), old, root), path).toBe('TUF_VERSION_ROLLBACK');
      expect(await attempt(damaged, current, root), path).toEqual(newest);
      // A damaged copy is written anew with the next version; that of the root is all there may ever be, and is at once.
      if (path.endsWith('.copy') && !path.includes('root')) continue;
      expect(await damaged.readFile(path)).toEqual(await disk.readFile(path));
    }
  });

  test.each(kinds)('and its copy, %s: the factory root leads back', async (_, change) => {
    const { root, states } = history((simulator) => {
      simulator.rotate('timestamp');
      simulator.publishRoot();
      simulator.publish('targets', OWN);
    });
    const disk = new TornDisk();
    const newest = versionsOf(await run(disk, states[1] as Files, root));
    for (const path of disk.files) disk.damage(path, change);
    expect(await attempt(disk, states[1] as Files, root)).toEqual(newest);
  });
});

test('a newer root of the factory takes the place of an older one that was kept', async () => {
  const { root, states } = history((simulator) => {
    for (const role of ['timestamp', 'snapshot']) {
      simulator.rotate(role);
      simulator.roles.get(role).version = 0;
    }
    simulator.publishRoot();
    simulator.publish('targets', OWN);
  });
  const [old, current] = states as unknown as [Files, Files];
  const disk = new TornDisk();
  await run(disk, old, root);
  const factory = current.get('2.root.json') as Uint8Array;
  // The repository has lost the way between the two.
  const withoutRoots = new Map([...current].filter(([path]) => !path.endsWith('.root.json')));
  expect(await attempt(disk.copy(), withoutRoots, root)).toBe('TUF_SIGNATURE_THRESHOLD');
  expect(await attempt(disk, withoutRoots, factory)).toMatchObject({ root: 2, timestamp: 1 });
  // The older one of the factory is not gone back to.
  expect(await attempt(disk, old, root)).toBe('TUF_SIGNATURE_THRESHOLD');
});
