// SPDX-License-Identifier: Apache-2.0
// The search of a target through delegations: its order, its end, and who vouches for what. Attacks A13, A14 and A15.

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { matchesPath } from '../../../core/tuf/delegation.ts';
import { codeOf } from '../tlog/refusal.ts';
import { bytesOf, Client, type Signed, Simulator } from './simulator.ts';

let simulator: Simulator;
let client: Client;

beforeEach(() => {
  simulator = new Simulator();
  client = new Client(simulator);
});

/** Makes a graph of delegations, `from>to`, each with options, and publishes it. */
function graph(...edges: readonly (readonly [string, string, object?])[]): void {
  for (const [from, to, change] of edges) simulator.delegate(from, to, change);
  simulator.publish(...new Set(edges.flatMap(([from, to]) => [to, from])), 'targets');
}

/** Searches a name, and returns the delegated roles that were asked for. */
function visits(name: string): string[] {
  client.asked.length = 0;
  expect(codeOf(() => client.find(name))).toBe('TUF_TARGET_MISSING');
  return client.asked.slice(4).map((path) => path.replace(/^\d+\.|\.json$/g, ''));
}

describe('A13, the order of visits', () => {
  const END = { terminating: true };
  const ELSEWHERE = { paths: ['*.py'] };
  test.each([
    [
      'one after another',
      [
        ['targets', 'A'],
        ['targets', 'B'],
      ],
      'A B',
    ],
    [
      'children before siblings',
      [
        ['targets', 'A'],
        ['targets', 'B'],
        ['A', 'C'],
        ['C', 'D'],
      ],
      'A C D B',
    ],
    [
      'terminating: descendants and no more',
      [
        ['targets', 'A'],
        ['targets', 'B'],
        ['A', 'C', END],
        ['A', 'D'],
        ['C', 'E'],
      ],
      'A C E',
    ],
    [
      'a terminating one that does not cover ends nothing',
      [
        ['targets', 'A', { ...END, ...ELSEWHERE }],
        ['targets', 'B'],
      ],
      'B',
    ],
    [
      'by path',
      [
        ['targets', 'A', ELSEWHERE],
        ['targets', 'B'],
        ['A', 'C'],
      ],
      'B',
    ],
    [
      'a cycle ends',
      [
        ['targets', 'A'],
        ['A', 'B'],
        ['B', 'A'],
        ['B', 'C'],
      ],
      'A B C',
    ],
    [
      'no role twice',
      [
        ['targets', 'A'],
        ['targets', 'B'],
        ['B', 'C'],
        ['A', 'C'],
      ],
      'A C B',
    ],
    [
      'itself',
      [
        ['targets', 'A'],
        ['A', 'A'],
        ['A', 'B'],
      ],
      'A B',
    ],
  ] as [string, [string, string, object?][], string][])('%s', (_, edges, order) => {
    graph(...edges);
    expect(visits('missing')).toEqual(order.split(' '));
  });

  test('what a role names ends the search', () => {
    graph(['targets', 'A'], ['targets', 'B'], ['A', 'C']);
    for (const role of ['B', 'C']) simulator.add(role, 'x', bytesOf(role));
    simulator.publish('B', 'C');
    expect(client.find('x')).toMatchObject({ role: 'C' });
  });

  test('every role of the chain must cover it', () => {
    graph(['targets', 'A', { paths: ['a/*'] }], ['A', 'B', { paths: ['*', 'b/*', 'a/*'] }]);
    for (const name of ['b/x', 'a/x']) simulator.add('B', name, bytesOf(name));
    simulator.publish('B');
    expect(visits('b/x')).toEqual([]);
    expect(client.find('a/x')).toMatchObject({ role: 'B' });
  });

  test('32 delegated roles and no more', () => {
    const names = Array.from({ length: 34 }, (_, i) => `r${i}`);
    graph(...names.map((name) => ['targets', name] as const));
    simulator.add('r32', 'x', bytesOf('x'));
    simulator.add('r31', 'y', bytesOf('y'));
    simulator.publish('r31', 'r32');
    expect(visits('x')).toEqual(names.slice(0, 32));
    expect(client.find('y')).toMatchObject({ role: 'r31' });
  });

  test('a role that the snapshot does not list is not asked for', () => {
    simulator.delegate('targets', 'A');
    simulator.publish('targets');
    expect(codeOf(() => client.find('x'))).toBe('TUF_ROLE_MISSING');
    expect(client.asked).not.toContain('1.A.json');
    expect(client.versions()).toMatchObject({ targets: 3 });
  });

  test('a role that is refused ends the search, though another could name the target', () => {
    graph(['targets', 'A'], ['targets', 'B']);
    simulator.add('B', 'x', bytesOf('x'));
    simulator.publish('B');
    simulator.keys.set('A', []);
    simulator.publish('A');
    expect(codeOf(() => client.find('x'))).toBe('TUF_SIGNATURE_THRESHOLD');
  });
});

describe('A14, a role that two delegate to', () => {
  beforeEach(() => {
    simulator.delegate('targets', 'A', { paths: ['a/*'] });
    simulator.delegate('targets', 'B', { paths: ['b/*'] });
    simulator.delegate('A', 'release', { paths: ['a/*'] });
    const ofA = simulator.keys.get('release');
    simulator.keys.delete('release');
    simulator.delegate('B', 'release', { paths: ['b/*'] });
    // Signed for A alone.
    simulator.keys.set('release', ofA ?? []);
    for (const name of ['a/x', 'b/x']) simulator.add('release', name, bytesOf(name));
    simulator.publish('release', 'A', 'B', 'targets');
  });

  test('is not believed through the one whose keys did not sign it, in one process or the next', () => {
    const workflow = client.refresh();
    expect(client.run(workflow.findTarget('a/x'))).toMatchObject({ role: 'release' });
    expect(codeOf(() => client.run(workflow.findTarget('b/x')))).toBe('TUF_SIGNATURE_THRESHOLD');
    expect(client.run(workflow.findTarget('a/x'))).toMatchObject({ role: 'release' });
    expect(codeOf(() => client.find('b/x'))).toBe('TUF_SIGNATURE_THRESHOLD');
    expect(client.find('a/x')).toMatchObject({ role: 'release' });
  });
});

test('a role whose delegation was given other keys is not believed any more, though it is kept', () => {
  graph(['targets', 'A']);
  simulator.add('A', 'x', bytesOf('x'));
  simulator.publish('A');
  client.find('x');
  simulator.keys.delete('A');
  simulator.roles.get('targets').delegations = undefined;
  const targets = simulator.roles.get('targets');
  delete targets.delegations;
  simulator.delegate('targets', 'A');
  simulator.publish('targets');
  expect(codeOf(() => client.find('x'))).toBe('TUF_SIGNATURE_THRESHOLD');
});

describe('A15, names that lead elsewhere', () => {
  test.each(['?', '#', '/abs', '../x', '..', '1.role', 'a b', 'ä', '%2e%2e', 'a.json', '\\x', 'x\ny'])(
    'a role %j is asked for under its own encoded name',
    (name) => {
      graph(['targets', name]);
      visits('missing');
      expect(client.asked.at(-1)).toBe(`1.${encodeURIComponent(name)}.json`);
      expect(client.versions()).toMatchObject({ [name]: 1 });
    },
  );

  test.each(['root', 'timestamp', 'snapshot', 'targets', 'x'.repeat(201), 'ä'.repeat(34), ''])(
    'a role %j is refused with the role that delegates to it',
    (name) => {
      client.refresh();
      simulator.delegate('targets', 'A');
      simulator.roles.get('targets').delegations.roles[0].name = name;
      simulator.publish('targets');
      expect(codeOf(() => client.refresh())).toBe('TUF_METADATA_MALFORMED');
      expect(client.versions()).toMatchObject({ targets: 2 });
    },
  );

  test.each(['../x', '/abs', 'a//b', 'a/../b', './a', 'a/..', 'a/'])('a target %j is refused', (name) => {
    simulator.add('targets', name, bytesOf('x'));
    simulator.add('targets', 'good', bytesOf('x'));
    simulator.publish('targets');
    expect(codeOf(() => client.find(name))).toBe('TUF_TARGET_NAME');
    expect(client.find('good')).toMatchObject({ role: 'targets' });
  });

  test.each(['?', '#', '1.role', 'a\\b', '..x', '%2e%2e/x'])(
    'a target %j is one path below the targets',
    (name) => {
      simulator.add('targets', name, bytesOf('x'));
      simulator.publish('targets');
      const { path } = client.find(name);
      const url = new URL(path, 'http://127.0.0.1/targets/');
      expect(url.pathname.startsWith('/targets/')).toBe(true);
      expect(url.search + url.hash).toBe('');
      expect(decodeURIComponent(url.pathname).endsWith(name.split('/').at(-1) ?? '')).toBe(true);
    },
  );
});

describe('paths', () => {
  test.each([
    ['targets/*.tgz', 'targets/foo.tgz', true],
    ['targets/*.tgz', 'targets/foo.txt', false],
    ['foo-version-?.tgz', 'foo-version-2.tgz', true],
    ['foo-version-?.tgz', 'foo-version-alpha.tgz', false],
    ['*.tgz', 'foo.tgz', true],
    ['*.tgz', 'targets/foo.tgz', false],
    ['foo.tgz', 'foo.tgz', true],
    ['*', '', true],
    ['?', '😀', true],
    ['a*b*c', 'aXbYbZc', true],
    ['a*b*c', 'aXbYbZ', false],
    ['*/*', 'a', false],
    ['[ab]', 'a', false],
    ['[ab]', '[ab]', true],
    ['A', 'a', false],
    ['**/x', 'a/b/x', false],
    ['.*', 'xy', false],
    ['*', '.hidden', true],
  ])('%j and %j: %s', (pattern, name, expected) => {
    expect(matchesPath(pattern, name)).toBe(expected);
  });

  test('agree with the definition by regular expressions', () => {
    const piece = fc.constantFrom('a', 'b', '/', '*', '?', '.');
    const pattern = fc.array(piece, { maxLength: 8 }).map((parts) => parts.join(''));
    const name = fc
      .array(fc.constantFrom('a', 'b', '/', '.'), { maxLength: 8 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(pattern, name, (p, n) => {
        const source = p.replace(/[.*?]/g, (c) => (c === '*' ? '[^/]*' : c === '?' ? '[^/]' : '\\.'));
        expect(matchesPath(p, n)).toBe(new RegExp(`^${source}$`).test(n));
      }),
      { numRuns: 2000 },
    );
  });

  test('by digest of the path', () => {
    const digest = createHash('sha256').update('x').digest('hex');
    const prefixes = (...path_hash_prefixes: string[]) => ({ path_hash_prefixes, paths: undefined });
    graph(
      ['targets', 'A', prefixes(digest.slice(0, 2) === '00' ? '01' : '00')],
      ['targets', 'B', prefixes('ff00', digest.slice(0, 3))],
      ['targets', 'C', { paths: undefined }],
    );
    expect(visits('x')).toEqual(['B']);
  });

  test.each([
    ['both kinds', (role: Signed) => (role.path_hash_prefixes = ['00'])],
    [
      'a prefix in capitals',
      (role: Signed) => Object.assign(role, { paths: undefined, path_hash_prefixes: ['AB'] }),
    ],
    [
      'a prefix of nothing',
      (role: Signed) => Object.assign(role, { paths: undefined, path_hash_prefixes: [''] }),
    ],
    ['no word on terminating', (role: Signed) => delete role.terminating],
    ['a name twice', (_: Signed, roles: Signed) => roles.push(roles[0])],
    ['no list', (_: Signed, __: Signed, delegations: Signed) => delete delegations.roles],
    ['no keys', (_: Signed, __: Signed, delegations: Signed) => delete delegations.keys],
  ])('delegations with %s are refused', (_, change) => {
    simulator.delegate('targets', 'A');
    const { delegations } = simulator.roles.get('targets');
    change(delegations.roles[0], delegations.roles, delegations);
    simulator.roles.set('targets', JSON.parse(JSON.stringify(simulator.roles.get('targets'))));
    simulator.publish('targets');
    expect(codeOf(() => client.refresh())).toBe('TUF_METADATA_MALFORMED');
  });
});
