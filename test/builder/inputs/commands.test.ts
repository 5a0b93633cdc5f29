// SPDX-License-Identifier: Apache-2.0
// `waybill lock` and `build` over inputs of several kinds, as a user types them.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { say, waybill } from '../../cli/command-line.ts';
import { type Archive, makeArchive, TOOLBOX } from '../archive.ts';
import { stepYaml, yamlOver } from '../definitions.ts';
import { makeFolder } from './workshop.ts';

const base = makeFolder({ 'src/main.c': 'main' });
const started = process.cwd();
let archive: Archive;
beforeAll(() => {
  archive = makeArchive([TOOLBOX]);
  const step = stepYaml('cat /inputs/local/main.c >image.bin').replace('[tools]', '[local, tools]');
  const local = 'inputs:\n  local: { kind: folder, role: source, path: src }\n';
  writeFileSync(join(base, 'waybill.yaml'), yamlOver(archive, step).replace('inputs:\n', local));
});
afterAll(() => {
  archive.close();
  vi.unstubAllEnvs();
  process.chdir(started);
});

test('lock, check, upgrade, build with an archive, build without a mirror', {
  timeout: 120_000,
}, async () => {
  const run = (...argv: string[]) => waybill(argv, base);
  /** The same in this process. */
  process.chdir(base);
  vi.stubEnv('XDG_CACHE_HOME', join(base, '.cache'));
  const here = (...argv: string[]) => say(argv);
  const mirror = ['--mirror', archive.url];
  const locked = await run('lock', ...mirror);
  expect([locked.code, locked.out]).toEqual([0, expect.stringContaining('1 package, 1 other input in all')]);
  const first = readFileSync(join(base, 'waybill.lock'), 'utf8');
  expect(await here('lock', '--check')).toMatchObject({ code: 0 });

  writeFileSync(join(base, 'src/main.c'), 'changed');
  const checked = await here('lock', '--check');
  expect([checked.code, checked.err]).toEqual([1, expect.stringContaining('folder local: "main.c" changed')]);
  const refused = await here('build', '--out', 'out', ...mirror);
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('LOCK_OUTDATED')]);

  const upgraded = await here('lock', '--upgrade', 'local');
  expect([upgraded.code, upgraded.out]).toEqual([0, 'local: "main.c" changed\nwrote waybill.lock\n']);
  const tools = (text: string) => text.slice(text.indexOf('"name": "tools"'));
  const second = readFileSync(join(base, 'waybill.lock'), 'utf8');
  expect([tools(second), second === first]).toEqual([tools(first), false]);
  expect((await here('lock', '--upgrade', 'nosuch')).code).toBe(2);
  const again = await here('lock', '--upgrade', 'local', '--json');
  expect(JSON.parse(again.out)).toMatchObject({ changes: [], packageCount: 1 });

  const built = await run('build', '--out', 'out', '--archive', 'kept', ...mirror);
  expect([built.code, built.err, built.out]).toEqual([
    0,
    expect.any(String),
    expect.stringContaining('; 1 package, local, nothing else'),
  ]);
  rmSync(join(base, '.cache'), { recursive: true });
  const nowhere = ['--mirror', 'http://127.0.0.1:9/'];
  expect((await here('build', '--out', 'without', ...nowhere)).code).toBe(75);
  const offline = await run('build', '--out', 'again', '--archive', 'kept', ...nowhere);
  expect([offline.code, readFileSync(join(base, 'again/products/image.bin'), 'utf8')]).toEqual([
    0,
    'changed',
  ]);
});
