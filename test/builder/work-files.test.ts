// SPDX-License-Identifier: Apache-2.0
// What steps leave in their work folders: removed whatever it is, and looked at for evidence within bounds.

import { createHash } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { build } from '../../builder/build.ts';
import { listWorkFiles } from '../../builder/outputs.ts';
import { DEFAULT_LIMITS } from '../../builder/resource-limits.ts';
import { type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { buildRequests } from './build-requests.ts';
import { stepYaml, type YamlOptions } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-work-files-'));
const cache = join(base, 'cache');
let archive: Archive;
beforeAll(() => {
  mkdirSync(join(base, 'outs'));
  archive = makeArchive([TOOLBOX]);
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

const request = buildRequests({ archive: () => archive, base, cache });
const make = async (steps: string, options?: Partial<YamlOptions>) => build(await request(steps, options));
const leftovers = () => [
  ...readdirSync(join(base, 'outs')).filter((name) => name.startsWith('.')),
  ...readdirSync(join(cache, 'work')),
];
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

describe('what a step leaves', () => {
  const LEAVING = { name: 'make', limits: { ...DEFAULT_LIMITS, workSizeBytesMax: 2 ** 40 } };

  test('is removed however deep and unreadable it is, and a build is not spoiled by it', async () => {
    const deep = `perl -e 'for (1..600) { mkdir "dddddddddd"; chdir "dddddddddd" or die } open F, ">x"; chmod 0, "x", "."'`;
    await make(stepYaml(`${deep}; echo x >image.bin`));
    expect(leftovers()).toEqual([]);
  });

  test('counts however deep it is', async () => {
    const deep = `perl -e 'for (1..600) { mkdir "dddddddddd"; chdir "dddddddddd" or die } open F, ">x"; print F "x" x (20 << 20)'`;
    await expect(
      make(`${stepYaml(`${deep}; echo x >image.bin`)}    workMebibytes: 10\n`),
    ).rejects.toMatchObject({
      code: 'STEP_WORK_TOO_LARGE',
    });
    const many = `perl -e 'for (1..600) { mkdir "dddddddddd"; chdir "dddddddddd" or die } for (1..3000) { open F, ">$_" }'`;
    await expect(
      make(`${stepYaml(`${many}; echo x >image.bin`)}    workMebibytes: 1\n`),
    ).rejects.toMatchObject({
      code: 'STEP_WORK_TOO_LARGE',
    });
    expect(leftovers()).toEqual([]);
    const descriptors = readdirSync('/proc/self/fd').map((name) => {
      try {
        return readlinkSync(`/proc/self/fd/${name}`);
      } catch {
        return '';
      }
    });
    expect(descriptors.filter((path) => path.includes('dddddddddd'))).toEqual([]);
  }, 60_000);

  test('are not read on when the build is to stop', async () => {
    const work = join(base, 'outs/large');
    mkdirSync(work);
    for (let i = 0; i < 200; i++) {
      writeFileSync(join(work, `${i}`), '');
      truncateSync(join(work, `${i}`), 64 * 1024 * 1024);
    }
    const [stop, why] = [new AbortController(), new Error('enough')];
    setTimeout(() => stop.abort(why), 100);
    await expect(listWorkFiles(LEAVING, work, { signal: stop.signal })).rejects.toBe(why);
    rmSync(work, { recursive: true });
  });

  test('is looked at for evidence within bounds: bytes, with holes', async () => {
    const holes = `perl -e 'open F, q(>holes); truncate F, 5 << 20'`;
    const steps = `${stepYaml(`echo x >map; echo x >elf; echo x >image.bin; ${holes}`)}      - path: map
      - path: elf
    workMebibytes: 4
`;
    await make(steps);
    const evidence = '    evidence: { map: make/map, elf: make/elf }\n';
    await expect(make(steps, { evidence })).rejects.toMatchObject({
      code: 'STEP_WORK_TOO_LARGE',
      message: expect.stringContaining('got more with "holes"'),
    });
    expect(leftovers()).toEqual([]);
  });

  test('is looked at for evidence within bounds: files and folders', async () => {
    const work = join(base, 'outs/many');
    for (let i = 0; i < 10; i++) {
      mkdirSync(join(work, `${i}`), { recursive: true });
      for (let j = 0; j < 9; j++) symlinkSync('nowhere', join(work, `${i}`, `${j}`));
    }
    expect(await listWorkFiles(LEAVING, work, { entriesMax: 100 })).toEqual(new Map());
    const more = listWorkFiles(LEAVING, work, { entriesMax: 99 });
    await expect(more).rejects.toMatchObject({ code: 'STEP_WORK_TOO_MANY' });
    rmSync(work, { recursive: true });
  });

  test('is not looked at on when the build is to stop, however many files a folder has', async () => {
    const work = join(base, 'outs/wide');
    mkdirSync(work);
    for (let i = 0; i < 2500; i++) symlinkSync('nowhere', join(work, `${i}`));
    const [stop, why] = [new AbortController(), new Error('enough')];
    const ended = listWorkFiles(LEAVING, work, { signal: stop.signal, entriesMax: 2000 });
    setImmediate(() => setImmediate(() => stop.abort(why)));
    await expect(ended).rejects.toBe(why);
    rmSync(work, { recursive: true });
  });

  test('may have names that are no text: they lead nowhere else', async () => {
    const victim = join(base, 'elsewhere');
    mkdirSync(join(victim, 'folder'), { recursive: true });
    writeFileSync(join(victim, 'file'), 'x');
    chmodSync(join(victim, 'folder'), 0o755);
    chmodSync(join(victim, 'file'), 0o644);
    const work = join(base, 'outs/named');
    mkdirSync(work);
    // Read as text, the bytes 0xff become the name of the link beside them.
    for (const [folder, target] of [
      ['a', 'folder'],
      ['b', 'file'],
    ] as const) {
      mkdirSync(join(work, folder));
      const raw = Buffer.concat([Buffer.from(`${join(work, folder)}/`), Buffer.of(0xff)]);
      if (target === 'folder') mkdirSync(raw);
      else writeFileSync(raw, 'y');
      symlinkSync(join(victim, target), join(work, folder, '\ufffd'));
    }
    writeFileSync(join(work, 'plain'), 'z');
    expect(await listWorkFiles(LEAVING, work)).toEqual(new Map([['plain', sha256('z')]]));
    const modes = ['folder', 'file'].map((name) => statSync(join(victim, name)).mode & 0o777);
    expect(modes).toEqual([0o755, 0o644]);
    rmSync(work, { recursive: true });
    rmSync(victim, { recursive: true });
  });

  test('may be deeper than a path can say: what is too deep proves nothing', async () => {
    const evidence = '    evidence: { map: make/map, elf: make/elf }\n';
    const deep = `perl -e 'for (1..600) { mkdir "dddddddddd"; chdir "dddddddddd" or die } open F, ">x"'`;
    const steps = stepYaml(
      `${deep}; echo x >image.bin; echo 'Linker script and memory map' >map; cp /bin/cat elf`,
      '      - path: map\n      - path: elf\n',
    );
    expect((await make(steps, { evidence })).images[0]?.ships).toEqual([]);
  });
});
