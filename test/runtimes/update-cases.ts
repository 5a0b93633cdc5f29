// SPDX-License-Identifier: Apache-2.0
// Update metadata as cases: repositories signed with new keys, each bent in one way, recorded file by file. What each must be refused
// with is what the attack is known for (test/core/tuf/).

import {
  bytesOf,
  Client,
  ecdsaKey,
  formatJson,
  NOW,
  PAST,
  rsaKey,
  Simulator,
} from '../core/tuf/simulator.ts';
import type { Case } from './cases.ts';
import type { Octets } from './replay.ts';

const GOODS = 'packs/one/index.json';
const OWN = 'releases-one';
const b64 = (bytes: Uint8Array): Octets => Buffer.from(bytes).toString('base64');
const recorded = (files: ReadonlyMap<string, Uint8Array>) =>
  Object.fromEntries([...files].map(([path, bytes]) => [path, b64(bytes)]));

/** A repository with a delegation for goods. */
function repository(): Simulator {
  const simulator = new Simulator();
  simulator.delegate('targets', OWN, { paths: ['packs/one/*'], terminating: true });
  simulator.add(OWN, GOODS, bytesOf('{}'), ['sha256', 'sha512']);
  simulator.publish('targets', OWN);
  return simulator;
}

interface Bending {
  readonly expected: string;
  /** What the client has kept from before: nothing, or the repository as it was. */
  readonly client: 'new' | 'up to date';
  readonly bend: (simulator: Simulator) => void;
  readonly target?: string;
}

const BENDINGS: Readonly<Record<string, Bending>> = {
  'a sound repository': { expected: 'accepted', client: 'new', bend: () => undefined },
  'a sound repository, seen before': {
    expected: 'accepted',
    client: 'up to date',
    bend: (simulator) => simulator.publish('targets', OWN),
  },
  'new keys of every kind but RSA': {
    expected: 'accepted',
    client: 'up to date',
    bend: (simulator) => {
      simulator.rotate('timestamp', ecdsaKey());
      simulator.rotate('snapshot', ecdsaKey('ecdsa-sha2-nistp256'));
      simulator.publishRoot();
      simulator.publish('targets', OWN);
    },
  },
  'a role under an RSA key, which no portable engine has': {
    expected: 'TUF_KEY_UNSUPPORTED',
    client: 'up to date',
    bend: (simulator) => {
      simulator.rotate('timestamp', rsaKey());
      simulator.publishRoot();
      simulator.publishTimestamp();
    },
  },
  'a root under its threshold': {
    expected: 'TUF_SIGNATURE_THRESHOLD',
    client: 'up to date',
    bend: (simulator) => {
      simulator.roles.get('root').version += 1;
      simulator.sign('root', simulator.keys.get('root')?.slice(0, 1));
    },
  },
  'a snapshot signed by the key of another role': {
    expected: 'TUF_SIGNATURE_THRESHOLD',
    client: 'new',
    bend: (simulator) => void simulator.sign('snapshot', simulator.keys.get('targets')),
  },
  'a timestamp from before': {
    expected: 'TUF_VERSION_ROLLBACK',
    client: 'up to date',
    bend: (simulator) => {
      simulator.roles.get('timestamp').version -= 2;
      simulator.publishTimestamp();
    },
  },
  'a timestamp that has expired': {
    expected: 'TUF_ROLE_EXPIRED',
    client: 'new',
    bend: (simulator) => {
      simulator.roles.get('timestamp').expires = PAST;
      simulator.publishTimestamp();
    },
  },
  'a role that is not the one that the snapshot lists': {
    expected: 'TUF_METADATA_DIGEST',
    client: 'new',
    bend: (simulator) => {
      simulator.lists = true;
      simulator.publish('targets', OWN);
      simulator.roles.get(OWN).expires = '2026-11-01T00:00:00Z';
      simulator.sign(OWN);
    },
  },
  'metadata with a name given twice': {
    expected: 'TUF_METADATA_MALFORMED',
    client: 'new',
    bend: (simulator) => {
      const text = Buffer.from(simulator.current('timestamp')).toString();
      simulator.lay('timestamp', bytesOf(text.replace('{', '{"signatures":[],')));
    },
  },
  'metadata that is no metadata': {
    expected: 'TUF_METADATA_MALFORMED',
    client: 'new',
    bend: (simulator) => void simulator.lay('timestamp', formatJson([])),
  },
  'a target that nobody names': {
    expected: 'TUF_TARGET_MISSING',
    client: 'new',
    bend: () => undefined,
    target: 'packs/one/other.json',
  },
};

/** All of them, made anew. */
export function updateCases(): Case[] {
  return Object.entries(BENDINGS).map(([name, { expected, client, bend, target = GOODS }]) => {
    const simulator = repository();
    const device = new Client(simulator);
    if (client === 'up to date') device.find(GOODS);
    const kept = recorded(device.kept);
    bend(simulator);
    const question = {
      ask: 'update',
      root: b64(simulator.root1),
      files: recorded(simulator.files),
      kept,
      nowMs: NOW,
      target,
    } as const;
    return { name: `update/${name}`, question, expected };
  });
}
