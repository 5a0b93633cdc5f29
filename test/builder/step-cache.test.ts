// SPDX-License-Identifier: Apache-2.0
// Steps that ran before [docs/spec/step-cache.md]: reused if nothing that they can see changed, run again if anything did, and never
// believed when what was kept is damaged. A step that puts a random number into its output tells which of the two happened.

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type BuildRequest, build } from '../../builder/build.ts';
import { checkBuild } from '../../builder/check.ts';
import { inputsSha256 } from '../../builder/definition.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock, type Lock } from '../../builder/lock-file.ts';
import { type StepClosure, stepKey } from '../../builder/step-cache.ts';
import { ContentStore } from '../../builder/store.ts';
import { type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { readYaml, stepYaml, type YamlOptions, yamlOver } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-steps-'));
const cache = join(base, 'cache');
let archive: Archive;
beforeAll(() => {
  archive = makeArchive([
    TOOLBOX,
    { name: 'firmware', files: { 'usr/src/image.bin': 'payload' }, depends: 'toolbox' },
  ]);
});
beforeEach(() => {
  rmSync(join(cache, 'steps'), { recursive: true, force: true });
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

const RANDOM = stepYaml('cat /proc/sys/kernel/random/uuid >image.bin');
let outs = 0;
const locks = new Map<string, Lock>();

async function request(text: string, folder = '/'): Promise<BuildRequest & { out: string }> {
  const definition = readYaml(text);
  // Debian's part of a lock is tested elsewhere: once for each set of inputs is enough here.
  const known = folder === '/' ? locks.get(inputsSha256(definition)) : undefined;
  const store = new ContentStore(cache);
  const lock = known ?? (await lockInputs(definition, { folder, mirror: archive.url, store }));
  locks.set(inputsSha256(definition), lock);
  return {
    ...{ definition, lock, folder, cache },
    definitionBytes: Buffer.from(text),
    lockBytes: formatLock(lock),
    out: join(base, `out-${++outs}`),
    replace: false,
    builderId: 'https://waybill.example/builders/test',
    toolVersion: '0.0.0',
    mirror: archive.url,
  };
}

type Change = Partial<Pick<BuildRequest, 'fresh' | 'audit' | 'conditions'>>;

/** Builds, and says which steps were reused and what the image holds. */
async function make(text: string, change: Change = {}, folder?: string) {
  const asked = { ...(await request(text, folder)), ...change };
  const { steps, images } = await build(asked);
  const image = readFileSync(join(asked.out, 'products', images[0]?.file ?? ''), 'utf8');
  return { image, reused: steps.filter(({ reused }) => reused).map(({ name }) => name), out: asked.out };
}

const yaml = (steps = RANDOM, options: Partial<YamlOptions> = {}) => yamlOver(archive, steps, options);
const kept = () => readdirSync(join(cache, 'steps')).filter((name) => /^[0-9a-f]{64}$/.test(name));

describe('a step that ran before', () => {
  test('is not run again, and everything but the invocation is the same', async () => {
    const lines: string[] = [];
    const first = await make(yaml());
    const asked = await request(yaml());
    await build({ ...asked, onEvent: (event) => event.kind === 'progress' && lines.push(event.text) });
    expect(lines).toContain('step make: nothing changed, from the cache');
    const files = readdirSync(first.out, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    expect(files.length).toBeGreaterThan(8);
    for (const { parentPath, name } of files) {
      if (name === 'build.json') continue;
      const path = join(parentPath, name);
      const text = (of: string) => readFileSync(of, 'latin1').replace(/urn:uuid:[0-9a-f-]+/, '');
      const other = path.replace(first.out, asked.out);
      expect([name, text(other)]).toEqual([name, text(path)]);
      if (path.includes('/outputs/')) expect(statSync(other).mtimeMs).toBe(statSync(path).mtimeMs);
    }
  });

  test('gives the bytes of a run, with the cache and without', async () => {
    const steps = stepYaml('cat /usr/src/image.bin /etc/passwd >image.bin; echo said', '');
    const [cold, warm, without] = [
      await make(yaml(steps, { packages: ['firmware'] })),
      await make(yaml(steps, { packages: ['firmware'] })),
      await make(yaml(steps, { packages: ['firmware'] }), { fresh: true }),
    ];
    expect([cold.reused, warm.reused, without.reused]).toEqual([[], ['make'], []]);
    for (const name of ['products/image.bin', 'sboms/image.bin.cdx.json', 'logs/make.log']) {
      const bytes = [cold, warm, without].map(({ out }) => readFileSync(join(out, name)).toString('hex'));
      expect(new Set(bytes).size).toBe(1);
    }
  });

  test('is run again by whoever wants to see steps run, and not kept for others', async () => {
    const { image } = await make(yaml());
    for (const change of [{ fresh: true }, { audit: true }, { conditions: {} }] as const) {
      const again = await make(yaml(), change);
      expect(again.reused).toEqual([]);
      expect(again.image).not.toBe(image);
    }
    expect((await make(yaml())).image).toBe(image);
    const { reproducible } = await checkBuild(await request(yaml()));
    expect(reproducible).toBe(false);
  });

  test('is compared with what is published each time', async () => {
    const published = (path: string) =>
      yaml(stepYaml('cp /usr/src/image.bin .', `        published: { package: firmware, path: ${path} }\n`), {
        packages: ['firmware'],
      });
    await make(published('usr/src/image.bin'));
    await expect(make(published('etc/none'))).rejects.toMatchObject({ code: 'STEP_PUBLISHED_MISSING' });
  });

  test('and failed is run again', async () => {
    const failing = yaml(stepYaml('echo x >image.bin; exit 3'));
    for (const _ of [1, 2]) await expect(make(failing)).rejects.toMatchObject({ code: 'STEP_FAILED' });
    expect(existsSync(join(cache, 'steps')) ? kept() : []).toEqual([]);
  });
});

describe('a step runs again when it sees', () => {
  const folder = mkdtempSync(join(base, 'folder-'));
  writeFileSync(join(folder, 'source'), 'one');
  const withFolder = (path: string) =>
    yaml(RANDOM.replace('inputs: [tools]', 'inputs: [tools, source]')).replace(
      'steps:',
      `  source:\n    kind: folder\n    role: source\n    path: ${path}\nsteps:`,
    );

  test.each([
    ['another command', RANDOM.replace('image.bin', './image.bin')],
    ['another variable', `${RANDOM}    environment: { V: "1" }\n`],
    ['another timeout', `${RANDOM}    timeoutSeconds: 5\n`],
    ['other limits', `${RANDOM}    memoryMebibytes: 999\n`],
    ['another size of outputs', `${RANDOM}    outputMebibytes: 9\n`],
    ['another output', `${RANDOM.replace('cat', 'echo >more; cat')}      - path: more\n`],
  ])('%s', async (_, steps) => {
    const first = await make(yaml());
    const second = await make(yaml(steps));
    expect([second.reused, second.image === first.image]).toEqual([[], false]);
    expect((await make(yaml(steps))).reused).toEqual(['make']);
  });

  test('another time, or other packages', async () => {
    await make(yaml());
    expect((await make(yaml().replace('1700000000', '1700000001'))).reused).toEqual([]);
    expect((await make(yaml(RANDOM, { packages: ['firmware'] }))).reused).toEqual([]);
  });

  test('another file of an input', async () => {
    await make(withFolder('.'), {}, folder);
    expect((await make(withFolder('.'), {}, folder)).reused).toEqual(['make']);
    writeFileSync(join(folder, 'source'), 'two');
    expect((await make(withFolder('.'), {}, folder)).reused).toEqual([]);
  });

  test('another material; and not when only what it does not see is another', async () => {
    const two = (first: string) =>
      `${stepYaml(first)}  - name: last
    inputs: [tools]
    materials: [make/image.bin]
    command: cat /materials/make/image.bin /proc/sys/kernel/random/uuid >last.bin
    outputs:
      - path: last.bin
`;
    const last = { image: 'last/last.bin' };
    await make(yaml(two('echo one >image.bin'), last));
    // The same bytes by another way.
    expect((await make(yaml(two('printf "one\\n" >image.bin'), last))).reused).toEqual(['last']);
    expect((await make(yaml(two('echo two >image.bin'), last))).reused).toEqual([]);
    const renamed = yaml(two('echo two >image.bin'), last).replace('1.2.3', '1.2.4');
    expect((await make(renamed)).reused).toEqual(['make', 'last']);
  });

  test('another sandbox: every member of its closure is in the key', () => {
    const [step] = readYaml(yaml(RANDOM)).steps;
    if (step === undefined) throw new Error('a definition without a step');
    const sandbox = {
      ...{ hermetic: true, mechanism: 'bubblewrap 0.8.0', kernel: '6.1', seccomp: true },
      ...{ limits: 'rlimits' as const, sourceDateEpoch: 0 },
    };
    const closure: StepClosure = {
      ...{ step, sandbox, rootKey: 'a', inputs: [{ name: 'i', key: 'a' }], materials: [], listWork: true },
    };
    const others: StepClosure[] = [
      closure,
      { ...closure, sandbox: { ...sandbox, kernel: '6.2' } },
      { ...closure, sandbox: { ...sandbox, mechanism: 'bubblewrap 0.9.0' } },
      { ...closure, sandbox: { ...sandbox, limits: 'cgroup' } },
      { ...closure, rootKey: 'b' },
      { ...closure, inputs: [{ name: 'i', key: 'b' }] },
      { ...closure, inputs: [{ name: 'j', key: 'a' }] },
      { ...closure, inputs: [] },
      { ...closure, listWork: false },
      { ...closure, step: { ...step, materials: [{ step: 's', file: 'f' }] }, materials: ['a'] },
      { ...closure, step: { ...step, materials: [{ step: 's', file: 'f' }] }, materials: ['b'] },
      { ...closure, step: { ...step, materials: [{ step: 't', file: 'f' }] }, materials: ['a'] },
    ];
    expect(new Set(others.map(stepKey)).size).toBe(others.length);
    expect(stepKey({ ...closure })).toBe(stepKey(closure));
  });
});

describe('what was kept is not believed when', () => {
  const outputs = () =>
    readdirSync(join(cache, 'steps/sha256'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name));
  test.each([
    ['an output has other bytes', () => writeFileSync(outputs()[0] ?? '', 'planted')],
    ['an output is gone', () => rmSync(outputs()[0] ?? '')],
    [
      'the entry names other outputs',
      () =>
        edit((text) =>
          text.replace(/"sha256":"./, (found) =>
            found.endsWith('0') ? found.replace(/0$/, '1') : found.replace(/.$/, '0'),
          ),
        ),
    ],
    ['the entry is cut', () => edit((text) => text.slice(0, -1))],
    ['the entry is empty', () => edit(() => '')],
    ['the entry is of another step', () => edit((text) => text.replace('image.bin', 'other.bin'))],
    ['its outputs have other names', () => forge((body) => body.replace('image.bin', 'other.bin'))],
    ['an output leads elsewhere', () => forge((body) => body.replace('image.bin', '../../../../planted'))],
    ['it has an output more', () => forge((body) => body.replace(/(\{"file.*?\})/, '$1,$1'))],
  ])('%s', async (_, damage) => {
    const first = await make(yaml());
    damage();
    const second = await make(yaml());
    expect([second.reused, second.image === first.image]).toEqual([[], false]);
    const third = await make(yaml());
    expect([third.reused, third.image]).toEqual([['make'], second.image]);
    expect(existsSync(join(base, '..', 'planted'))).toBe(false);
  });

  /** An entry with a digest that fits. */
  function forge(change: (body: string) => string): void {
    edit((text) => {
      const body = change(text.slice(65));
      return `${createHash('sha256').update(body).digest('hex')}\n${body}`;
    });
  }

  function edit(change: (text: string) => string): void {
    const path = join(cache, 'steps', kept()[0] ?? '');
    writeFileSync(path, change(readFileSync(path, 'utf8')));
  }
});

test('a step cannot reach the cache, so as to poison it for a later build', async () => {
  const poison = stepYaml(
    `path=${cache}
for place in $path /build/../../../$path /proc/1/root$path /proc/self/root$path; do
  ls $place && echo reached
  echo planted >$place/steps/planted && echo reached
done 2>/dev/null
while read -r line; do echo "$line"; done </proc/self/mountinfo >mounts
echo done >image.bin`,
  );
  const { out } = await make(yaml(poison));
  expect(readFileSync(join(out, 'logs/make.log'), 'utf8')).not.toContain('reached');
  expect(existsSync(join(cache, 'steps/planted'))).toBe(false);
});

test('an output may be unreadable or executable for its owner; the next build is not spoiled by it', async () => {
  const steps = stepYaml('cat /proc/sys/kernel/random/uuid >image.bin; chmod 000 image.bin');
  const first = await make(yaml(steps));
  expect(await make(yaml(steps))).toMatchObject({ reused: ['make'], image: first.image });
});

test('a cache that cannot be written does not fail a build, and says so', async () => {
  await make(yaml(stepYaml('echo other >image.bin')));
  rmSync(join(cache, 'steps'), { recursive: true });
  // A file in place of the folder stops root too.
  writeFileSync(join(cache, 'steps'), '');
  const lines: string[] = [];
  const asked = await request(yaml());
  await build({ ...asked, onEvent: (event) => event.kind === 'progress' && lines.push(event.text) });
  expect(lines).toContainEqual(expect.stringMatching(/^step make: not kept in the cache: /));
});

test('what nobody used for 30 days goes, what was used stays', async () => {
  await make(yaml());
  await make(yaml(stepYaml('cat /proc/sys/kernel/random/uuid >image.bin; true')));
  expect(kept()).toHaveLength(2);
  const old = Date.now() / 1000 - 31 * 24 * 3600;
  const all = readdirSync(join(cache, 'steps'), { recursive: true, withFileTypes: true });
  for (const { parentPath, name } of all) utimesSync(join(parentPath, name), old, old);
  // One is used: by the build that sweeps. Reading comes after sweeping, so it needs its time anew first.
  const [used] = kept();
  utimesSync(join(cache, 'steps', used ?? ''), new Date(), new Date());
  await make(yaml(stepYaml('echo third >image.bin')));
  expect(kept()).toContain(used);
  expect(kept()).toHaveLength(2);
});

test('two builds at once fill one cache', async () => {
  const [first, second] = await Promise.all([make(yaml()), make(yaml())]);
  const third = await make(yaml());
  expect(third.reused).toEqual(['make']);
  expect([first.image, second.image]).toContain(third.image);
});
