// SPDX-License-Identifier: Apache-2.0
// What killed builds left beside an output folder is removed by the next build to it, and nothing else.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../../builder/build.ts';
import { checkBuild } from '../../builder/check.ts';
import { isDead, processMark } from '../../builder/process-mark.ts';
import { sweepBeside } from '../../builder/sweep.ts';
import { startBuilder } from './killed-builds.ts';
import { makeSmallBuild, type SmallBuild } from './small-build.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-sweep-'));
let small: SmallBuild;
/** Of a process that has ended. */
let dead: string;
beforeAll(async () => {
  small = await makeSmallBuild();
  const module = new URL('../../builder/process-mark.ts', import.meta.url).href;
  const program = `import { processMark } from '${module}'; process.stdout.write(processMark())`;
  dead = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
});
afterAll(() => {
  small.close();
  rmSync(base, { recursive: true, force: true });
});

test('a build that was killed leaves something beside, which the next one to the same folder removes', async () => {
  const outs = join(small.folder, 'outs');
  const builder = startBuilder(small, 'killed');
  const ended = once(builder, 'exit');
  const left = () => readdirSync(outs).filter((name) => name.startsWith('.killed.'));
  while (left().length === 0) {
    expect(builder.exitCode).toBeNull();
    await sleep(1);
  }
  builder.kill('SIGKILL');
  await ended;
  expect(left()).toHaveLength(1);
  await build({ ...small.request, cache: join(small.folder, 'cache/waybill'), out: join(outs, 'other') });
  expect(left()).toHaveLength(1);
  await build({ ...small.request, cache: join(small.folder, 'cache/waybill'), out: join(outs, 'killed') });
  expect(readdirSync(outs).sort()).toEqual(['killed', 'other']);
}, 120_000);

test('a check removes what a killed one left', async () => {
  const outs = join(small.folder, 'outs');
  mkdirSync(join(outs, `.checked.${dead}.check/first`), { recursive: true });
  await checkBuild({
    ...small.request,
    cache: join(small.folder, 'cache/waybill'),
    out: join(outs, 'checked'),
  });
  expect(readdirSync(outs).filter((name) => name.includes('checked'))).toEqual(['checked']);
}, 120_000);

const lay = (...names: string[]) => {
  for (const name of names) {
    mkdirSync(join(base, name, 'outputs'), { recursive: true });
    writeFileSync(join(base, name, 'build.json'), '{}');
  }
};
const swept = async () => {
  await sweepBeside(join(base, 'out'));
  const names = readdirSync(base).sort();
  for (const name of names) rmSync(join(base, name), { recursive: true });
  return names;
};

test('what a living build writes stays, and so does what is of nobody or beside another folder', async () => {
  const stays = [
    `.out.${processMark()}.new`,
    '.out.0123456789ab.new',
    `.out.more.${dead}.new`,
    `.out.${dead}.txt`,
    `out.${dead}.new`,
    'other',
  ];
  lay(...stays, `.out.${dead}.new`, `.out.${dead}.check`);
  expect(await swept()).toEqual(stays.sort());
});

test('an earlier build that a killed one had moved away is put back, unless there is another', async () => {
  lay(`.out.${dead}.new`, `.out.${dead}.new.old`);
  await sweepBeside(join(base, 'out'));
  expect(existsSync(join(base, 'out/build.json'))).toBe(true);
  lay(`.out.${dead}.new.old`);
  expect(await swept()).toEqual(['out']);
});

test('of another machine, or before this one was started, age tells', async () => {
  const [space, pid, start, , random] = dead.split('-');
  const elsewhere = [space, pid, start, '00000000', random].join('-');
  expect(isDead(elsewhere)).toBeUndefined();
  lay(`.out.${elsewhere}.new`, `.out.${elsewhere}.check`);
  const daysAgo = Date.now() / 1000 - 3 * 24 * 3600;
  utimesSync(join(base, `.out.${elsewhere}.check`), daysAgo, daysAgo);
  expect(await swept()).toEqual([`.out.${elsewhere}.new`]);
});

test('a mark is dead only if all of it says so', () => {
  const own = processMark();
  expect([isDead(own), isDead(dead), isDead('x')]).toEqual([false, true, undefined]);
  const [space = '', pid, start, ...rest] = own.split('-');
  expect(isDead([space, pid, `${Number(start) - 1}`, ...rest].join('-'))).toBe(true);
  expect(isDead([`${Number(space) + 1}`, pid, `${Number(start) - 1}`, ...rest].join('-'))).toBeUndefined();
});
