// SPDX-License-Identifier: Apache-2.0
// Metadata that is none: every member made wrong in turn, arbitrary bytes, and documents that are long on purpose. Nothing foreign is
// thrown, what the specification leaves open is left alone, and time is linear in the size.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Crypto, portableCrypto } from '../../../core/crypto.ts';
import { DocumentNode } from '../../../core/encoding/document.ts';
import type { Json } from '../../../core/encoding/strict-json.ts';
import { Rejection } from '../../../core/faults.ts';
import { TUF } from '../../../core/tuf/faults.ts';
import { readRoot, readSnapshot, readTargets, readTimestamp } from '../../../core/tuf/roles.ts';
import { codeOf } from '../tlog/refusal.ts';
import { bytesOf, Client, ed25519Key, formatJson, LATER, type Signed, Simulator } from './simulator.ts';

const refuse = (message: string, at: string) => TUF.reject('TUF_METADATA_MALFORMED', message, { at });
const read = (reader: (signed: DocumentNode, crypto: Crypto) => unknown) => (document: Json) =>
  codeOf(() => reader(new DocumentNode(document, { refuse }), portableCrypto));

const head = (type: string) => ({ _type: type, spec_version: '1.0.34', version: 1, expires: LATER });
const key = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: 'ab'.repeat(32) } };
const signers = { keyids: ['k'], threshold: 1 };
const file = { length: 1, hashes: { sha256: 'ab'.repeat(32), sha512: 'ab'.repeat(64) } };
const listed = { version: 1, ...file };
const role = { ...signers, terminating: false };

/** A role with every member that there is, and what its format leaves open: by pointer, and with `+` for a stranger among members. */
const SUBJECTS: readonly [string, (document: Json) => string, Json, RegExp][] = [
  [
    'root',
    read(readRoot),
    {
      ...head('root'),
      consistent_snapshot: true,
      keys: { k: key },
      roles: { root: signers, timestamp: signers, snapshot: signers, targets: signers, mirrors: signers },
    },
    // An unknown kind of key signs nothing; a role may list keys that are not there.
    /^(-consistent_snapshot|-keys\/k|\{\} keys|"x" (keys\/k\/(keytype|scheme|keyval\/public)|.*keyids\/0)|.* roles\/mirrors.*|-roles\/mirrors.*)$/,
  ],
  [
    'timestamp',
    read(readTimestamp),
    { ...head('timestamp'), meta: { 'snapshot.json': listed } },
    /^-.*\/(length|hashes(\/sha\d+)?)$/,
  ],
  [
    'snapshot',
    read(readSnapshot),
    { ...head('snapshot'), meta: { 'targets.json': listed, 'a.json': listed } },
    /^-.*\/(length|hashes(\/sha\d+)?|a\.json)$/,
  ],
  [
    'targets',
    read(readTargets),
    {
      ...head('targets'),
      targets: { x: file },
      delegations: {
        keys: { k: key },
        roles: [
          { name: 'a', ...role, paths: ['p'] },
          { name: 'b', ...role, path_hash_prefixes: ['0'] },
        ],
      },
    },
    /^(-delegations|-targets\/x|-.*\/hashes\/sha\d+|-delegations\/(keys\/k|roles\/\d(\/(paths|path_hash_prefixes)(\/0)?)?)|\{\} (targets|delegations\/keys)|\[\] delegations\/roles(\/\d\/(paths|path_hash_prefixes))?|"x" .*\/(keytype|scheme|public|name|keyids\/0|paths\/0))$/,
  ],
];

/** Pointers to every member of a document. */
function pointersOf(value: Json, at: readonly string[] = []): (readonly string[])[] {
  if (value === null || typeof value !== 'object') return [];
  const members = Object.entries(value) as [string, Json][];
  return members.flatMap(([name, member]) => [[...at, name], ...pointersOf(member, [...at, name])]);
}

describe.each(SUBJECTS)('%s, every member made wrong', (_, verdict, document, open) => {
  test('is read as it is', () => {
    expect(verdict(document)).toBe('accepted');
  });

  test.each(pointersOf(document).map((pointer) => [pointer.join('/'), pointer] as const))(
    '%s',
    (text, pointer) => {
      const attempt = (change: (parent: Signed, name: string) => void): string => {
        const bent: Signed = structuredClone(document);
        change(
          pointer.slice(0, -1).reduce((value, name) => value[name], bent),
          pointer.at(-1) as string,
        );
        return verdict(bent);
      };
      for (const wrong of [null, [], {}, 'x', -1, 1.5, true]) {
        const code = attempt((parent, name) => {
          // What is a truth value already is not made wrong by another.
          parent[name] = typeof parent[name] === 'boolean' && wrong === true ? 'true' : wrong;
        });
        if (code === 'accepted') expect(`${JSON.stringify(wrong)} ${text}`).toMatch(open);
        else expect(code).toBe('TUF_METADATA_MALFORMED');
      }
      const removed = attempt((parent, name) => {
        if (Array.isArray(parent)) parent.splice(Number(name), 1);
        else delete parent[name];
      });
      if (removed === 'accepted') expect(`-${text}`).toMatch(open);
    },
  );

  test('members that nobody knows are left alone where they add to what is there', () => {
    const bent: Signed = structuredClone(document);
    const add = (value: Signed): void => {
      if (value === null || typeof value !== 'object') return;
      for (const member of Object.values(value)) add(member);
      // Here the names are what is said.
      if (
        !Array.isArray(value) &&
        Object.keys(value).some((name) => /^(_type|version|keyids|keytype|public|length)$/.test(name))
      ) {
        value.stranger = { whatever: [1, 'x', { a: null }] };
      }
    };
    add(bent);
    expect(JSON.stringify(bent)).toContain('stranger');
    expect(verdict(bent)).toBe('accepted');
  });
});

describe('arbitrary bytes', () => {
  test('as any role are refused with a code', () => {
    const simulator = new Simulator();
    const files = ['2.root.json', 'timestamp.json', '2.snapshot.json', '2.targets.json'];
    const originals = new Map(simulator.files);
    const noise = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map(bytesOf));
    fc.assert(
      fc.property(fc.constantFrom(...files), noise, (file, bytes) => {
        simulator.files.set(file, bytes);
        expect(codeOf(() => new Client(simulator).refresh())).toMatch(/^TUF_/);
        for (const [path, original] of originals) simulator.files.set(path, original);
        simulator.files.delete('2.root.json');
      }),
      { numRuns: 300 },
    );
  });

  test('one bit of a file changed is refused, or changes nothing that is signed', () => {
    const simulator = new Simulator();
    simulator.lists = true;
    simulator.publish('targets');
    const bytes = simulator.current('targets');
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
        const bent = Uint8Array.from(bytes);
        bent[at] = (bent[at] as number) ^ (1 << bit);
        simulator.lay('targets', bent);
        // The snapshot lists the digest.
        expect(codeOf(() => new Client(simulator).refresh())).toBe('TUF_METADATA_DIGEST');
      }),
      { numRuns: 100 },
    );
  });
});

test.each([
  ['a name twice', (text: string) => text.replace('{"signed"', '{"signatures":[],"signed"')],
  ['__proto__', (text: string) => text.replace('{"signed"', '{"__proto__":{},"signed"')],
  ['a lone surrogate', (text: string) => text.replace('"timestamp"', '"\\ud800"')],
  ['text behind it', (text: string) => `${text}{}`],
  [
    'two signatures under one key id',
    (text: string) => text.replace(/"signatures":\[(.*)\]/, '"signatures":[$1,$1]'),
  ],
  ['nothing signed', (text: string) => text.replace('"signed"', '"sigend"')],
  ['too many bytes', (text: string) => text + ' '.repeat(16_384)],
])('%s is refused', (_, change) => {
  const simulator = new Simulator();
  simulator.lay('timestamp', bytesOf(change(Buffer.from(simulator.current('timestamp')).toString())));
  expect(codeOf(() => new Client(simulator).refresh())).toBe('TUF_METADATA_MALFORMED');
});

describe('time', () => {
  const seconds = (work: () => void): number => {
    const startedMs = performance.now();
    work();
    return (performance.now() - startedMs) / 1000;
  };

  test('is not spent on what is listed without end', () => {
    for (const change of [
      (s: Simulator) => {
        const { json } = ed25519Key();
        for (let i = 0; i < 1025; i++) s.roles.get('root').keys[`k${i}`] = json;
        s.publishRoot();
      },
      (s: Simulator) => {
        for (let i = 0; i < 20_000; i++) s.roles.get('snapshot').meta[`r${i}.json`] = { version: 1 };
        s.publishSnapshot();
      },
      (s: Simulator) => {
        const paths = Array.from({ length: 1025 }, (_, i) => `${i}/*`);
        s.delegate('targets', 'A', { paths });
        s.publish('A', 'targets');
      },
    ]) {
      const simulator = new Simulator();
      change(simulator);
      const took = seconds(() =>
        expect(codeOf(() => new Client(simulator).refresh())).toBe('TUF_METADATA_MALFORMED'),
      );
      expect(took).toBeLessThan(10);
    }
  });

  /** A client that counts how many signatures it checks. */
  const counting = (simulator: Simulator) => {
    const client = new Client(simulator);
    const counted = { client, checks: 0 };
    const { crypto } = client;
    client.crypto = {
      ...crypto,
      verifyEd25519: (...args) => {
        counted.checks++;
        return crypto.verifyEd25519(...args);
      },
    };
    return counted;
  };

  test('is not spent on signatures by keys that may not sign', () => {
    const simulator = new Simulator();
    const signed = simulator.roles.get('targets');
    const signatures = Array.from({ length: 1000 }, (_, i) => ({ keyid: `k${i}`, sig: 'ab'.repeat(64) }));
    simulator.lay('targets', formatJson({ signed, signatures }));
    const counted = counting(simulator);
    expect(codeOf(() => counted.client.refresh())).toBe('TUF_SIGNATURE_THRESHOLD');
    // The root is signed by two keys and then by itself; timestamp and snapshot by one.
    expect(counted.checks).toBe(4);
  });

  test.each([
    ['each once if all must', 1000, 1004],
    ['no more once enough did', 3, 7],
  ])('of a role with 1,000 keys and signatures: %s', (_, threshold, checks) => {
    const simulator = new Simulator();
    simulator.keys.set('targets', Array.from({ length: 1000 }, ed25519Key));
    simulator.list('targets', threshold);
    simulator.files.set('1.root.json', simulator.sign('root'));
    simulator.publish('targets');
    const counted = counting(simulator);
    expect(seconds(() => counted.client.refresh())).toBeLessThan(20);
    expect(counted.checks).toBe(checks);
  });

  test('of a role of five megabytes is short', () => {
    const simulator = new Simulator();
    for (let i = 0; i < 1024; i++) {
      simulator.add('targets', `${i}/${'\\"é'.repeat(500)}`, bytesOf('x'), ['sha256', 'sha512']);
    }
    simulator.files.clear();
    simulator.sign('root');
    simulator.publish('targets');
    expect(simulator.current('targets').length).toBeGreaterThan(3_000_000);
    const client = new Client(simulator);
    expect(seconds(() => client.refresh())).toBeLessThan(20);
    expect(client.versions().targets).toBe(3);
  });
});

test('what is refused says where, and quotes what is foreign', () => {
  const simulator = new Simulator();
  simulator.roles.get('timestamp').expires = '\u001b[2Jnever';
  simulator.sign('timestamp');
  try {
    new Client(simulator).refresh();
    expect.unreachable();
  } catch (failure) {
    expect(failure).toBeInstanceOf(Rejection);
    expect(failure).toMatchObject({ code: 'TUF_METADATA_MALFORMED', at: '/signed/expires' });
    expect((failure as Error).message).not.toContain('\u001b');
  }
});

test('a root lists the four top-level roles and no other, a timestamp the snapshot alone', () => {
  const four = { root: signers, timestamp: signers, snapshot: signers, targets: signers };
  const root = { ...head('root'), keys: { k: key }, roles: four };
  expect(read(readRoot)(root)).toBe('accepted');
  expect(read(readRoot)({ ...root, roles: { ...four, releases: signers } })).toBe('TUF_METADATA_MALFORMED');
  const timestamp = { ...head('timestamp'), meta: { 'snapshot.json': listed, 'targets.json': listed } };
  expect(read(readTimestamp)(timestamp)).toBe('TUF_METADATA_MALFORMED');
});
