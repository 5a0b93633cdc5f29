// SPDX-License-Identifier: Apache-2.0
// core's TUF client beside the field's, tuf-js: over one repository, from one state. What one takes and the other refuses stands in
// [docs/spec/tuf-client.md §Differences between core and tuf-js], and nothing else differs.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Updater } from 'tuf-js';
import { DownloadHTTPError } from 'tuf-js/dist/error.js';
import { afterAll, describe, expect, test } from 'vitest';
import type { Json } from '../../core/encoding/strict-json.ts';
import { codeOf } from '../core/tlog/refusal.ts';
import {
  bytesOf,
  Client,
  ecdsaKey,
  ed25519Key,
  NOW,
  PAST,
  renamed,
  rsaKey,
  type Signed,
  type SimulatedKey,
  Simulator,
  Unreachable,
} from '../core/tuf/simulator.ts';

const GOODS = 'packs/one/index.json';
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** The library's own updater over the simulator's files, at the simulator's time. */
class Library {
  private readonly folder = mkdtempSync(join(tmpdir(), 'waybill-tuf-js-'));
  private readonly simulator: Simulator;

  constructor(simulator: Simulator) {
    this.simulator = simulator;
    folders.push(this.folder);
    writeFileSync(join(this.folder, 'root.json'), simulator.root1);
  }

  /** Updates and searches; `accepted`, or what the library says. */
  async update(): Promise<string> {
    try {
      const updater = new Updater({
        metadataDir: this.folder,
        metadataBaseUrl: 'http://repository',
        fetcher: {
          downloadBytes: async (url: string, sizeBytesMax: number) => {
            const found = this.simulator.files.get(url.slice('http://repository/'.length));
            if (found === undefined) throw new DownloadHTTPError('not found', 404);
            if (found.length > sizeBytesMax) throw new Error('too long');
            return Buffer.from(found);
          },
        } as never,
      });
      (updater as unknown as { trustedSet: { referenceTime: Date } }).trustedSet.referenceTime = new Date(
        NOW,
      );
      await updater.refresh();
      const target = await updater.getTargetInfo(GOODS);
      return target === undefined ? 'no target' : 'accepted';
    } catch (failure) {
      return String((failure as Error).message).slice(0, 100) || 'refused';
    }
  }
}

function repository(): Simulator {
  const simulator = new Simulator();
  simulator.lists = true;
  simulator.delegate('targets', 'A', { paths: ['packs/one/*'] });
  simulator.delegate('targets', 'B', { paths: undefined, path_hash_prefixes: ['00', 'f'] });
  simulator.add('A', GOODS, bytesOf('{}'), ['sha256', 'sha512']);
  simulator.add('targets', 'x', bytesOf('x'));
  simulator.publish('A', 'B', 'targets');
  return simulator;
}

/** The same with core. */
function core(client: Client): string {
  try {
    return codeOf(() => client.find(GOODS));
  } catch (failure) {
    if (failure instanceof Unreachable) return 'TUF_UNREACHABLE';
    throw failure;
  }
}

/** Publishes a role as it stands under roles that name it. */
function publish(simulator: Simulator, role: string): void {
  if (role === 'root') {
    simulator.files.set('2.root.json', simulator.sign('root'));
  } else if (role === 'timestamp') simulator.sign('timestamp');
  else if (role === 'snapshot') {
    simulator.roles.get('timestamp').meta['snapshot.json'] = simulator.describe(
      'snapshot',
      simulator.sign('snapshot'),
    );
    simulator.publishTimestamp();
  } else {
    simulator.roles.get('snapshot').meta[`${role}.json`] = simulator.describe(role, simulator.sign(role));
    simulator.publishSnapshot();
  }
}

const pointersOf = (value: Json, at: readonly string[] = []): (readonly string[])[] =>
  value === null || typeof value !== 'object'
    ? []
    : Object.entries(value as Record<string, Json>).flatMap(([name, member]) => [
        [...at, name],
        ...pointersOf(member, [...at, name]),
      ]);

const WRONG: readonly [string, (parent: Signed, name: string) => void][] = [
  ...[null, [], {}, 'x', '', -1, 0, true, '2099'].map(
    (value) =>
      [
        JSON.stringify(value),
        (parent: Signed, name: string) => {
          parent[name] = value;
        },
      ] as const,
  ),
  [
    'absent',
    (parent, name) => (Array.isArray(parent) ? parent.splice(Number(name), 1) : delete parent[name]),
  ],
  ['twice', (parent, name) => (Array.isArray(parent) ? parent.push(parent[Number(name)]) : undefined)],
  [
    'a stranger in',
    (parent, name) => {
      if (typeof parent[name] === 'object' && !Array.isArray(parent[name])) parent[name].stranger = 1;
    },
  ],
] as [string, (parent: Signed, name: string) => void][];

/** core refuses what the library takes: pointer and change. The numbers are those of the page. */
const STRICTER: readonly RegExp[] = [
  // 1: times in the one form that the specification gives.
  /\/expires "2099"$/,
  // 2: versions from 1 on.
  /^timestamp\/version (-1|0)$/,
  // 3: digests: at least one, in the form of their algorithm, wherever they are listed.
  /\/hashes (\[\]|\{\})$|\/hashes\/(sha256|sha512) ("x"|""|"2099"|absent)$/,
  // 4: keys: each word at least one letter, a public portion for each known kind, no scheme that the key type does not have.
  /\/keys\/ID\/(keytype|scheme|keyval\/public) ""$|\/keys\/ID\/keyval (\[\]|\{\})$|\/keyval\/public absent$|\/scheme ("x"|"2099")$/,
  // 5: who may sign: at least one key, none without a name.
  /\/keyids (\[\])$|\/keyids\/\d (""|absent)$/,
  // 6: names of roles, and digits of digests, that are none.
  /\/roles\/\d\/name ""$|\/path_hash_prefixes\/\d ("x"|"")$/,
];
/** core takes what the library refuses. */
const LOOSER: readonly RegExp[] = [
  // 7: members that nobody knows are left alone everywhere; the library wants none beside a public portion.
  /\/keyval a stranger in$/,
  // 8: signed bytes stay as they are; the library writes roles with numbers for names in another order, and misses their signature.
  /\/roles\/\d\/name "2099"$/,
];

describe.each(['root', 'timestamp', 'snapshot', 'targets', 'A'])(
  '%s with a member made otherwise',
  (role) => {
    const names = pointersOf(JSON.parse(JSON.stringify(repository().roles.get(role))));

    test('is judged alike', async () => {
      const differences: string[] = [];
      for (const [i, pointer] of names.entries()) {
        for (const [what, change] of WRONG) {
          const simulator = repository();
          const signed = simulator.roles.get(role);
          // Key ids are chance, their places are not.
          const place = pointersOf(JSON.parse(JSON.stringify(signed)))[i] ?? pointer;
          if (role === 'root') signed.version = 2;
          change(
            place.slice(0, -1).reduce((value: Signed, name) => value[name], signed),
            place.at(-1) as string,
          );
          publish(simulator, role);
          const ours = core(new Client(simulator));
          const theirs = await new Library(simulator).update();
          if ((ours === 'accepted') === (theirs === 'accepted')) continue;
          const text = `${role}/${place.join('/').replace(/[0-9a-f]{64}/g, 'ID')} ${what}`;
          const listed = ours === 'accepted' ? LOOSER : STRICTER;
          if (!listed.some((pattern) => pattern.test(text)))
            differences.push(`${text}: core ${ours}, tuf-js ${theirs}`);
        }
      }
      expect(differences).toEqual([]);
    }, 300_000);
  },
);

type Change = (simulator: Simulator, role: (name: string) => Signed) => void;
const RSA = rsaKey();
const held = (simulator: Simulator, role: string) => simulator.keys.get(role) as readonly SimulatedKey[];

function next(simulator: Simulator, role: string): void {
  if (role === 'timestamp') simulator.publishTimestamp();
  else if (role === 'snapshot') simulator.publishSnapshot();
  else simulator.publish(role);
}

/** Of a role, each refused. */
const ofRole = (name: string): readonly (readonly [string, 'refused', Change])[] => [
  [
    `${name} expired`,
    'refused',
    (s, role) => {
      role(name).expires = PAST;
      next(s, name);
    },
  ],
  ...[[], [ed25519Key()]].map(
    (keys) =>
      [
        `${name} signed by ${keys.length} others`,
        'refused',
        (s: Simulator) => {
          s.keys.set(name, keys);
          next(s, name);
        },
      ] as const,
  ),
];

/** Changes of a repository that a client has seen before, each with what both must say. */
const STATEFUL: readonly (readonly [string, 'accepted' | 'refused', Change])[] = [
  ['nothing', 'accepted', () => undefined],
  [
    'new versions of all roles',
    'accepted',
    (s) => {
      s.publishRoot();
      s.publish('A', 'B', 'targets');
    },
  ],
  [
    'root without its threshold',
    'refused',
    (s, role) => {
      role('root').version = 2;
      s.sign('root', held(s, 'root').slice(1, 2));
    },
  ],
  [
    'a root that skips one',
    'refused',
    (s, role) => {
      role('root').version = 3;
      s.files.set('2.root.json', s.sign('root'));
    },
  ],
  [
    'an expired root',
    'refused',
    (s, role) => {
      role('root').expires = PAST;
      s.publishRoot();
    },
  ],
  ...['timestamp', 'snapshot', 'targets', 'A'].flatMap(ofRole),
  [
    'an older timestamp',
    'refused',
    (s, role) => {
      role('timestamp').version = 1;
      s.sign('timestamp');
    },
  ],
  [
    'the same timestamp with other content',
    'accepted',
    (s, role) => {
      role('timestamp').more = 1;
      s.sign('timestamp');
    },
  ],
  [
    'a timestamp that describes more than the snapshot',
    'refused',
    (s, role) => {
      role('timestamp').meta['other.json'] = { version: 1 };
      s.publishTimestamp();
    },
  ],
  [
    'an older snapshot',
    'refused',
    (s, role) => {
      role('timestamp').meta['snapshot.json'].version = 1;
      s.publishTimestamp();
    },
  ],
  [
    'older targets',
    'refused',
    (s, role) => {
      role('snapshot').meta['targets.json'].version = 1;
      s.publishSnapshot();
    },
  ],
  [
    'a role dropped',
    'refused',
    (s, role) => {
      delete role('snapshot').meta['B.json'];
      s.publishSnapshot();
    },
  ],
  [
    'a role mixed in',
    'refused',
    (s, role) => {
      s.publish('A');
      role('A').more = 1;
      s.sign('A');
    },
  ],
  [
    'keys of timestamp and snapshot exchanged, versions begun anew',
    'accepted',
    (s, role) => {
      for (const name of ['timestamp', 'snapshot']) {
        s.rotate(name);
        role(name).version = 0;
      }
      s.publishRoot();
      s.publish('A', 'B', 'targets');
    },
  ],
  [
    'a delegation exchanged without its role',
    'refused',
    (s, role) => {
      s.keys.delete('A');
      delete role('targets').delegations;
      s.delegate('targets', 'A', { paths: ['packs/one/*'] });
      s.publish('targets');
    },
  ],
  [
    'a delegated role named as a top-level one',
    'refused',
    (s, role) => {
      role('targets').delegations.roles[1].name = 'root';
      s.publish('targets');
    },
  ],
  [
    'ECDSA and RSA',
    'accepted',
    (s) => {
      s.rotate('timestamp', ecdsaKey());
      s.rotate('snapshot', RSA);
      s.publishRoot();
      s.publish('A');
    },
  ],
  [
    'a mirrors role',
    'accepted',
    (s, role) => {
      role('root').roles.mirrors = role('root').roles.targets;
      s.publishRoot();
    },
  ],
  [
    'no consistent snapshots',
    'accepted',
    (s, role) => {
      role('root').consistent_snapshot = false;
      s.publishRoot();
      s.publish('A', 'B', 'targets');
    },
  ],
  [
    'a target behind a terminating delegation',
    'refused',
    (s, role) => {
      const { roles } = role('targets').delegations;
      roles.unshift({
        ...roles.pop(),
        path_hash_prefixes: undefined,
        paths: ['packs/*/*'],
        terminating: true,
      });
      s.publish('targets');
    },
  ],
];

describe('a client that was up to date, then', () => {
  test.each(STATEFUL)('%s: %s', async (_, expected, change) => {
    const simulator = repository();
    const [client, library] = [new Client(simulator), new Library(simulator)];
    expect([core(client), await library.update()]).toEqual(['accepted', 'accepted']);
    change(simulator, (name) => simulator.roles.get(name));
    const both = [core(client), await library.update()].map((said) =>
      said === 'accepted' ? said : 'refused',
    );
    expect(both).toEqual([expected, expected]);
  });

  /** What core says, and whether the library takes it; the numbers are those of the page. */
  const apart: readonly (readonly [string, string, boolean, Change])[] = [
    [
      '9: one key under two key ids',
      'TUF_SIGNATURE_THRESHOLD',
      true,
      (s) => {
        const [key] = held(s, 'timestamp') as [SimulatedKey];
        s.keys.set('timestamp', [key, renamed(key)]);
        s.list('timestamp', 2);
        s.publishRoot();
        s.publishTimestamp();
      },
    ],
    [
      '10: the key of the snapshot exchanged, its versions begun anew',
      'accepted',
      false,
      (s, role) => {
        s.rotate('snapshot');
        role('snapshot').version = 0;
        s.publishRoot();
        s.publish('A');
      },
    ],
    [
      '11: no word on consistent snapshots, and none there',
      'accepted',
      false,
      (s, role) => {
        delete role('root').consistent_snapshot;
        s.publishRoot();
        s.publish('A', 'B', 'targets');
        for (const path of s.files.keys()) if (/^\d+\.(snapshot|targets|A)/.test(path)) s.files.delete(path);
      },
    ],
    [
      '12: brackets in a path stand for themselves',
      'TUF_TARGET_MISSING',
      true,
      (s, role) => {
        role('targets').delegations.roles[0].paths = ['packs/[no]ne/*'];
        s.publish('targets');
      },
    ],
    [
      '13: more than is listed of anything',
      'TUF_METADATA_MALFORMED',
      true,
      (s, role) => {
        for (let i = 0; i < 1100; i++) role('snapshot').meta[`r${i}.json`] = { version: 1 };
        s.publishSnapshot();
      },
    ],
    [
      '14: hash bins of TAP 15',
      'TUF_METADATA_MALFORMED',
      true,
      (s, role) => {
        const { keys, roles } = role('targets').delegations;
        const { keyids } = roles[0];
        const bins = { keyids, threshold: 1, bit_length: 1, name_prefix: 'bin' };
        role('targets').delegations = { keys, succinct_roles: bins };
        for (const name of ['bin-0', 'bin-1']) {
          s.roles.set(name, structuredClone(role('A')));
          s.keys.set(name, held(s, 'A'));
        }
        s.publish('bin-0', 'bin-1', 'targets');
      },
    ],
  ];

  test.each(apart)('%s: core says %s', async (_, code, accepted, change) => {
    const simulator = repository();
    const [client, library] = [new Client(simulator), new Library(simulator)];
    expect([core(client), await library.update()]).toEqual(['accepted', 'accepted']);
    change(simulator, (name) => simulator.roles.get(name));
    expect(core(client)).toBe(code);
    expect((await library.update()) === 'accepted').toBe(accepted);
  });
});
