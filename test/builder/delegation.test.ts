// SPDX-License-Identifier: Apache-2.0
// Where control groups of steps may be made, in version 2: builders are put into groups of a hierarchy that the tests have to themselves,
// as in test/long/control-group-v2.test.ts.

import { chownSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { findDelegation } from '../../builder/delegation.ts';
import {
  base,
  clear,
  holding,
  MEBIBYTE,
  NOBODY,
  outputOf,
  prepare,
  runOf,
  start,
  wholeHierarchy,
} from './grouped-builders.ts';

beforeAll(prepare);
afterAll(clear);

describe('in version 2 a group is made', () => {
  const made: string[] = [];
  const make = (path: string, files: Readonly<Record<string, string>> = {}, owner = 0): string => {
    mkdirSync(path);
    made.unshift(path);
    for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
    if (owner === 0) return path;
    for (const file of ['', 'cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'])
      chownSync(join(path, file), owner, owner);
    return path;
  };
  afterEach(() => {
    for (const path of made.splice(0)) rmdirSync(path);
  });
  const SHARED = { 'cgroup.subtree_control': '+memory +pids' };
  const where = (group: string, uid?: number): Promise<string> => {
    const script = `console.log(findDelegation()?.memory, await probeLimits());`;
    return outputOf(start(script, { ...(uid === undefined ? {} : { uid }), groups: [group] }));
  };

  test('beside a builder that is in a group, and in the root if that is where it is', async (context) => {
    const top = wholeHierarchy(context);
    expect(findDelegation()).toEqual({ version: 2, memory: top, pids: top });
    const inner = make(join(make(join(top, 'a')), 'b'));
    expect(await where(inner)).toBe(`${top}/a cgroup`);
    expect(readFileSync(join(top, 'a/cgroup.subtree_control'), 'utf8')).toMatch(/memory pids/);
  });

  test('below the nearest group that has no processes of its own', async (context) => {
    const top = wholeHierarchy(context);
    const inner = make(join(make(join(top, 'a')), 'b'));
    const neighbour = start('await new Promise((resolve) => setTimeout(resolve, 60000))', {
      groups: [join(top, 'a')],
    });
    try {
      await vi.waitFor(() => expect(readFileSync(join(top, 'a/cgroup.procs'), 'utf8')).not.toBe(''));
      expect(await where(inner)).toBe(`${top} cgroup`);
    } finally {
      neighbour.kill('SIGKILL');
      await new Promise((resolve) => neighbour.on('close', resolve));
    }
  });

  test('where an ordinary user may write, and not above', async (context) => {
    const top = wholeHierarchy(context);
    const given = make(join(make(join(top, 'a'), SHARED), 'given'), {}, NOBODY);
    expect(await where(given, NOBODY)).toBe('undefined rlimits');
    expect(await where(make(join(given, 'b'), {}, NOBODY), NOBODY)).toBe(`${given} cgroup`);
  });

  test('and not used where a process of the user cannot be moved into it', async (context) => {
    const given = make(join(wholeHierarchy(context), 'given'), SHARED);
    chownSync(given, NOBODY, NOBODY);
    expect(await where(make(join(given, 'b'), {}, NOBODY), NOBODY)).toBe(`${given} rlimits`);
  });

  test('not above the systemd unit that the builder is in', async (context) => {
    const top = wholeHierarchy(context);
    const unit = make(join(make(join(top, 'system.slice'), SHARED), 'ci.service'));
    expect(await where(unit)).toBe('undefined rlimits');
    expect(await where(make(join(unit, 'main')))).toBe(`${unit} cgroup`);
  });

  test('not where it cannot be made after all', async (context) => {
    const top = wholeHierarchy(context);
    const full = make(join(top, 'a'), { ...SHARED, 'cgroup.max.descendants': '1' });
    expect(await where(make(join(full, 'b')))).toBe(`${full} rlimits`);
  });

  test("and bounds an ordinary user's step like any other", async (context) => {
    const given = make(join(wholeHierarchy(context), 'given'), {}, NOBODY);
    const group = make(join(given, 'b'), {}, NOBODY);
    const place = join(base, 'given');
    for (const path of [place, join(place, 'w'), join(place, 'm')]) {
      mkdirSync(path);
      chownSync(path, NOBODY, NOBODY);
    }
    const folders = { work: join(place, 'w'), materials: join(place, 'm') };
    const asked = runOf(holding(100), { ...folders, memorySizeBytesMax: 64 * MEBIBYTE });
    const script = `console.log((await runInSandbox(${JSON.stringify(asked)})).over)`;
    expect(await outputOf(start(script, { uid: NOBODY, groups: [group] }))).toBe('memory');
    expect(readdirSync(given).filter((name) => name.startsWith('waybill-'))).toEqual([]);
  });

  /** Each in a mount namespace of its own, where the hierarchy of this machine is shown otherwise; the builder is in a/b. */
  test.for<[string, string, string | undefined]>([
    ['below a place with a space', 'mkdir "/mnt/a b"; mount -t cgroup2 x "/mnt/a b"', '/mnt/a b/a'],
    [
      'where a part of the hierarchy is mounted',
      'mkdir /mnt/part; mount --bind $top/a /mnt/part',
      '/mnt/part',
    ],
    ['not where another part is mounted', 'mkdir /mnt/c; mount --bind $top/c /mnt/c', undefined],
    [
      'not where a part is mounted whose name only begins alike',
      'mkdir /mnt/d; mount --bind $top/a- /mnt/d',
      undefined,
    ],
    ['not where nothing is mounted', 'true', undefined],
  ])('%s', async ([, mounting, expected], context) => {
    const top = wholeHierarchy(context);
    for (const name of ['c', 'a-']) make(join(top, name));
    const inner = make(join(make(join(top, 'a'), SHARED), 'b'));
    const before = [
      'unshare',
      '--mount',
      'sh',
      '-e',
      '-c',
      `top=${top}; mount -t tmpfs x /mnt; ${mounting}; umount $top; exec "$@"`,
      'sh',
    ];
    const script = `console.log(findDelegation()?.memory)`;
    expect(await outputOf(start(script, { groups: [inner], before }))).toBe(String(expected));
  });

  test('at the top of a container whose processes went to a group below', async (context) => {
    const top = wholeHierarchy(context);
    const container = make(join(top, 'a'));
    const enter = `mount -t cgroup2 x /mnt; umount ${top}; mkdir /mnt/b; echo 0 >/mnt/b/cgroup.procs; exec "$@"`;
    made.unshift(join(container, 'b'));
    const before = ['unshare', '--mount', '--cgroup', 'sh', '-e', '-c', enter, 'sh'];
    const script = `console.log(findDelegation()?.memory, await probeLimits());`;
    expect(await outputOf(start(script, { groups: [container], before }))).toBe('/mnt cgroup');
  });

  test('not from outside the namespace of what is mounted', async (context) => {
    const top = wholeHierarchy(context);
    const inner = make(join(make(join(top, 'a'), SHARED), 'b'));
    const mounting = `mount -t cgroup2 x /mnt; echo 0 >${top}/cgroup.procs; umount ${top}; exec "$@"`;
    const before = ['unshare', '--mount', '--cgroup', 'sh', '-e', '-c', mounting, 'sh'];
    expect(await outputOf(start('console.log(findDelegation())', { groups: [inner], before }))).toBe(
      'undefined',
    );
  });

  test.for(['memory.max', 'memory.high'])(
    'not outside a bound that is around the builder: %s',
    async (file, context) => {
      const top = wholeHierarchy(context);
      const outer = make(join(top, 'a'), SHARED);
      expect(await where(make(join(outer, 'free')))).toBe(`${outer} cgroup`);
      expect(await where(make(join(outer, 'bound'), { [file]: '900000000' }))).toBe('undefined rlimits');
    },
  );
});
