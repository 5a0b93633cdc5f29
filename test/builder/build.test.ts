// SPDX-License-Identifier: Apache-2.0
// Whole builds over a small archive: what they write, what they refuse, and that a failed one leaves nothing.

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { build } from '../../builder/build.ts';
import { probeLimits } from '../../builder/control-group.ts';
import { debianInputs } from '../../builder/lock-file.ts';
import { parseStepProvenance } from '../../core/intoto/provenance.ts';
import { parseSbomReference } from '../../core/intoto/reference.ts';
import { parseStatement } from '../../core/intoto/statement.ts';
import { ARCHITECTURE, type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { buildRequests } from './build-requests.ts';
import { stepYaml, type YamlOptions } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-build-'));
const cache = join(base, 'cache');
let archive: Archive;
beforeAll(() => {
  archive = makeArchive([
    TOOLBOX,
    {
      name: 'firmware',
      files: { 'usr/src/image.bin': 'payload' },
      links: { 'usr/src/link': '/etc/hostname' },
      depends: 'toolbox',
    },
  ]);
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

const request = buildRequests({ archive: () => archive, base, cache });
const make = async (steps: string, options?: Partial<YamlOptions>) => build(await request(steps, options));
/** Everything that a build may leave: beside the outputs, and under the cache. */
const leftovers = () => [
  ...readdirSync(base).filter((name) => !['outs', 'cache', 'elsewhere'].includes(name)),
  ...readdirSync(join(base, 'outs')).filter((name) => name.startsWith('.')),
  ...readdirSync(join(cache, 'work')),
  ...readdirSync(join(cache, 'roots')).filter((name) => name.startsWith('new-')),
  ...readdirSync(join(cache, 'store/sha256')).filter((name) => name.startsWith('new-')),
];
const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

const TWO_STEPS = `  - name: image
    inputs: [tools]
    materials: [make/a.elf]
    command: cat /materials/make/a.elf /materials/make/a.elf >image.bin
    outputs:
      - path: image.bin
  - name: make
    inputs: [tools]
    command: |
      mkdir out
      cat /usr/src/image.bin >out/a.elf
      chmod 000 out/a.elf out
    outputs:
      - path: out/a.elf
`;
const FIRMWARE = { packages: ['firmware'], role: 'source', image: 'image/image.bin' };

describe('a build', () => {
  test('writes what attest reads: outputs, product, SBOM, statements, copies', async () => {
    const asked = await request(TWO_STEPS, FIRMWARE);
    const summary = await build(asked);
    const read = (path: string) => readFileSync(join(asked.out, path));
    expect(readdirSync(asked.out).sort()).toEqual([
      'build.json',
      'logs',
      'outputs',
      'products',
      'sboms',
      'statements',
      'waybill.lock',
      'waybill.yaml',
    ]);
    expect(read('outputs/make/a.elf').toString()).toBe('payload');
    expect(read('products/image.bin').toString()).toBe('payloadpayload');
    expect(read('waybill.yaml').equals(Buffer.from(asked.definitionBytes))).toBe(true);
    expect(read('waybill.lock').equals(Buffer.from(asked.lockBytes))).toBe(true);
    expect(summary.images).toEqual([
      {
        ...{ file: 'image.bin', sha256: sha256('payloadpayload'), sizeBytes: 14 },
        sbom: { file: 'sboms/image.bin.cdx.json', sha256: expect.any(String), sizeBytes: expect.any(Number) },
        ships: [],
      },
    ]);
    expect(summary.statements).toEqual([
      '01-make.provenance.json',
      '02-image.provenance.json',
      '03-image.bin.sbom.json',
    ]);
    const provenance = parseStepProvenance(parseStatement(read('statements/02-image.provenance.json')));
    expect(provenance).toMatchObject({
      products: [{ name: 'image.bin', sha256: sha256('payloadpayload') }],
      builderId: 'https://waybill.example/builders/test',
      product: 'thing',
      version: '1.2.3',
      step: 'image',
      sandbox: {
        hermetic: true,
        mechanism: expect.stringMatching(/^bubblewrap \d+\./),
        kernel: release(),
        sourceDateEpoch: 1_700_000_000,
        seccomp: true,
        limits: await probeLimits(),
        clock: 'host',
        cpus: 1,
      },
    });
    const roles = provenance.resolvedDependencies.map(({ uri, name, annotations }) => [
      (uri ?? name)?.replace(/@.*/, ''),
      annotations?.role,
    ]);
    expect(roles).toEqual([
      ['pkg:deb/waybill-test/firmware', 'source'],
      ['pkg:deb/waybill-test/toolbox', 'toolchain'],
      ['waybill.yaml', 'config'],
      ['waybill.lock', 'config'],
      ['waybill:step/make/a.elf', 'material'],
    ]);
    const digests = provenance.resolvedDependencies.map((dependency) => dependency.sha256);
    expect(digests.slice(0, 2)).toEqual(debianInputs(asked.lock)[0]?.packages.map((locked) => locked.sha256));
    expect(digests.slice(2)).toEqual([
      sha256(asked.definitionBytes),
      sha256(asked.lockBytes),
      sha256('payload'),
    ]);
    const reference = parseSbomReference(parseStatement(read('statements/03-image.bin.sbom.json')));
    expect(reference).toEqual({
      subjects: [{ name: 'image.bin', sha256: sha256('payloadpayload') }],
      attesterId: 'https://waybill.example/builders/test',
      sbomSha256: sha256(read('sboms/image.bin.cdx.json')),
      downloadLocation: 'sboms/image.bin.cdx.json',
    });
    const sbom = JSON.parse(read('sboms/image.bin.cdx.json').toString());
    expect(sbom.metadata.component).toMatchObject({
      type: 'firmware',
      purl: 'pkg:generic/thing@1.2.3',
      hashes: [{ alg: 'SHA-256', content: sha256('payloadpayload') }, { alg: 'SHA-512' }],
    });
    // No evidence was named, so nothing is claimed.
    expect(sbom.components).toEqual([]);
    expect(sbom.compositions[0].aggregate).toBe('unknown');
    expect(sbom.formulation[0].components.map(({ name }: { name: string }) => name)).toEqual([
      'firmware',
      'toolbox',
    ]);
    const written = readdirSync(asked.out, { recursive: true, withFileTypes: true }).filter((file) =>
      file.isFile(),
    );
    for (const file of written) {
      const text = readFileSync(join(file.parentPath, file.name), 'latin1');
      expect([file.name, text.includes(archive.url)]).toEqual([file.name, false]);
    }
    expect(leftovers()).toEqual([]);
  });

  test('twice gives the same bytes but for the invocation', async () => {
    const first = await request(TWO_STEPS, FIRMWARE);
    const second = { ...first, out: `${first.out}-again`, cache: join(base, 'elsewhere') };
    await build(first);
    await build(second);
    for (const file of [
      'sboms/image.bin.cdx.json',
      'outputs/make/a.elf',
      'products/image.bin',
      'statements/03-image.bin.sbom.json',
    ]) {
      expect(readFileSync(join(first.out, file)).equals(readFileSync(join(second.out, file)))).toBe(true);
    }
    const statement = (out: string) =>
      readFileSync(join(out, 'statements/01-make.provenance.json'), 'utf8').replace(
        /urn:uuid:[0-9a-f-]+/,
        '',
      );
    expect(statement(first.out)).toBe(statement(second.out));
  });

  test('two at once on one cold cache', async () => {
    const [first, second] = [await request(TWO_STEPS, FIRMWARE), await request(TWO_STEPS, FIRMWARE)];
    const shared = mkdtempSync(join(base, 'elsewhere-'));
    try {
      const built = await Promise.all([
        build({ ...first, cache: shared }),
        build({ ...second, cache: shared }),
      ]);
      expect(built[0].images).toEqual(built[1].images);
    } finally {
      rmSync(shared, { recursive: true });
    }
  });

  test('compares with what was published', async () => {
    const published = (path: string, from = 'firmware') =>
      stepYaml('cp /usr/src/image.bin .', `        published: { package: ${from}, path: ${path} }\n`);
    const { comparisons, out } = await make(published('usr/src/image.bin'), { packages: ['firmware'] });
    expect(comparisons).toEqual([
      {
        step: 'make',
        file: 'image.bin',
        package: 'firmware',
        path: 'usr/src/image.bin',
        sha256: sha256('payload'),
        sizeBytes: 7,
      },
    ]);
    expect(readFileSync(join(out, 'sboms/image.bin.cdx.json'), 'utf8')).toContain(
      'make/image.bin is usr/src/image.bin of firmware',
    );
    await expect(make(published('bin/dash', 'toolbox'), { packages: ['firmware'] })).rejects.toMatchObject({
      code: 'STEP_OUTPUT_DIFFERS',
      message: expect.stringContaining('got 7 bytes that differ from byte 0 on'),
    });
    // The third is a link of the package that, outside the sandbox, would lead to a file of the host.
    for (const missing of [published('usr/src/nosuch'), published('bin/dash'), published('usr/src/link')]) {
      await expect(make(missing, { packages: ['firmware'] })).rejects.toMatchObject({
        code: 'STEP_PUBLISHED_MISSING',
      });
    }
  });
});

test('a step whose inputs hold libfaketime has its clock, and says so', async () => {
  const library = `usr/lib/${ARCHITECTURE}-test/faketime/libfaketime.so.1`;
  archive.publish([{ name: 'libfaketime', files: { [library]: 'a library in name only' } }]);
  const packages = ['toolbox', 'libfaketime'];
  const { out } = await make(stepYaml('env | grep FAKETIME >image.bin; echo $LD_PRELOAD >>image.bin'), {
    packages,
  });
  const read = (path: string) => readFileSync(join(out, path));
  expect(read('outputs/make/image.bin').toString().split('\n')).toEqual(
    expect.arrayContaining([
      'FAKETIME=@1700000000',
      'FAKETIME_FMT=%s',
      'FAKETIME_DONT_FAKE_MONOTONIC=1',
      `/${library}`,
    ]),
  );
  const provenance = parseStepProvenance(parseStatement(read('statements/01-make.provenance.json')));
  expect(provenance.sandbox.clock).toBe('libfaketime');
  expect(provenance.resolvedDependencies.map(({ uri }) => uri?.replace(/@.*/, ''))).toContain(
    'pkg:deb/waybill-test/libfaketime',
  );
});

test('materials, inputs and outputs have times that no clock gave them', async () => {
  const steps = `${stepYaml('echo x >image.bin')}  - name: image
    inputs: [tools]
    materials: [make/image.bin]
    command: stat -c %Y /materials/make/image.bin /usr/src/image.bin >times.bin
    outputs:
      - path: times.bin
`;
  const { out } = await make(steps, { ...FIRMWARE, image: 'image/times.bin' });
  const times = join(out, 'outputs/image/times.bin');
  // A package's files keep the times that it was packed with, which the archive of this test sets.
  expect(readFileSync(times, 'utf8')).toBe('1700000000\n1767225600\n');
  expect(statSync(times).mtimeMs).toBe(1_700_000_000_000);
}, 60_000);

test('a failed step names what it did not have', async () => {
  await expect(make(stepYaml('cat nosuch.h || nosuchtool'))).rejects.toMatchObject({
    code: 'STEP_FAILED',
    message: expect.stringMatching(/it did not find "nosuch\.h", "nosuchtool"/),
  });
});

test('a step whose processes together need too much memory is told so, where control groups may be made', async (context) => {
  if ((await probeLimits()) === 'rlimits') context.skip('no control group may be made here');
  const steps = `${stepYaml("perl -e 'fork; fork; vec($x, 30 << 20, 8) = 1; sleep 9'")}    memoryMebibytes: 64\n`;
  await expect(make(steps)).rejects.toMatchObject({
    code: 'STEP_MEMORY_TOO_LARGE',
    message: expect.stringMatching(/step make to keep to 67108864 bytes of memory, all its processes/),
  });
  expect(leftovers()).toEqual([]);
});

describe('outputs that are refused', () => {
  test.each([
    ['true', 'STEP_OUTPUT_MISSING'],
    ['ln -s /etc/passwd image.bin', 'STEP_OUTPUT_NOT_REGULAR'],
    ['ln -s nowhere image.bin', 'STEP_OUTPUT_NOT_REGULAR'],
    ['mkdir image.bin', 'STEP_OUTPUT_NOT_REGULAR'],
    ['mkfifo image.bin', 'STEP_OUTPUT_NOT_REGULAR'],
    ['echo x >other; ln other image.bin', 'STEP_OUTPUT_NOT_REGULAR'],
    // Set-id bits are refused by the filter of system calls already.
    ['echo x >image.bin; chmod u+s image.bin', 'STEP_FAILED'],
    ['echo x >image.bin; chmod g+s image.bin', 'STEP_FAILED'],
    ['echo x >image.bin; chmod +t image.bin', 'STEP_OUTPUT_PRIVILEGED'],
    ['exit 3', 'STEP_FAILED'],
    ['head -c 2000000 /dev/zero >image.bin', 'STEP_FAILED'],
    ['sleep 20', 'STEP_TIMEOUT'],
    ['for i in 1 2 3; do head -c 1000000 /dev/zero >$i; done; sleep 20', 'STEP_WORK_TOO_LARGE'],
    ["perl -e 'mkdir($_) for 1 .. 5000'; echo x >image.bin", 'STEP_WORK_TOO_LARGE'],
  ])('%s: %s', async (command, code) => {
    const steps = `${stepYaml(command)}    outputMebibytes: 1\n    workMebibytes: 2\n    timeoutSeconds: ${command.startsWith('sleep') ? 1 : 60}\n`;
    await expect(make(steps)).rejects.toMatchObject({ code });
    expect(leftovers()).toEqual([]);
  });

  test('a step that says nothing', async () => {
    await expect(make(stepYaml('exit 3'))).rejects.toMatchObject({
      message: 'expected step make to succeed, got exit code 3; its log is empty',
    });
  });

  test('a path through a link', async () => {
    const steps = stepYaml('mkdir real; echo x >real/image.bin; ln -s real out').replace(
      'path: image',
      'path: out/image',
    );
    await expect(make(steps)).rejects.toMatchObject({ code: 'STEP_OUTPUT_NOT_REGULAR' });
  });

  test('a path through a file, and more bytes in all than the limit', async () => {
    const through = stepYaml('echo x >out').replace('path: image', 'path: out/image');
    await expect(make(through)).rejects.toMatchObject({ code: 'STEP_OUTPUT_NOT_REGULAR' });
    const many = stepYaml(
      'head -c 900000 /dev/zero >image.bin; cp image.bin two.bin',
      '      - path: two.bin\n',
    );
    await expect(make(`${many}    outputMebibytes: 1\n`)).rejects.toMatchObject({
      code: 'STEP_OUTPUT_TOO_LARGE',
    });
  });

  test('the end of the log is told', async () => {
    const shown: string[] = [];
    const asked = await request(stepYaml('echo what went wrong; exit 3'));
    const failed = build({ ...asked, onEvent: (event) => shown.push(event.kind) });
    await expect(failed).rejects.toMatchObject({ message: expect.stringContaining('"what went wrong"') });
    expect(shown.slice(-2)).toEqual(['log', 'failed']);
  });
});

describe('a build is not begun', () => {
  test('with a lock of other inputs', async () => {
    const asked = await request(stepYaml('echo x >image.bin'));
    const lock = { ...asked.lock, inputsSha256: 'f'.repeat(64) };
    await expect(build({ ...asked, lock })).rejects.toMatchObject({ code: 'LOCK_OUTDATED' });
  });

  test('into a folder that exists, unless it is an earlier build that may be replaced', async () => {
    const asked = await request(stepYaml('echo x >image.bin'));
    mkdirSync(asked.out, { recursive: true });
    await build(asked);
    await expect(build(asked)).rejects.toMatchObject({ code: 'BUILD_FOLDER_OCCUPIED' });
    writeFileSync(join(asked.out, 'stale'), '');
    await build({ ...asked, replace: true });
    expect(existsSync(join(asked.out, 'stale'))).toBe(false);
    const precious = join(base, 'outs/precious');
    mkdirSync(precious);
    writeFileSync(join(precious, 'thesis.tex'), '');
    for (const replace of [false, true]) {
      await expect(build({ ...asked, out: precious, replace })).rejects.toMatchObject({
        code: 'BUILD_FOLDER_OCCUPIED',
      });
      await expect(build({ ...asked, out: join(precious, 'thesis.tex'), replace })).rejects.toMatchObject({
        code: 'BUILD_FOLDER_OCCUPIED',
      });
    }
    rmSync(precious, { recursive: true });
    expect(leftovers()).toEqual([]);
  });

  test('where nothing can be written', async () => {
    const asked = await request(stepYaml('echo x >image.bin'));
    const file = join(base, 'outs/file');
    writeFileSync(file, '');
    for (const change of [{ out: join(file, 'out') }, { cache: join(file, 'cache') }]) {
      await expect(build({ ...asked, ...change })).rejects.toMatchObject({ code: 'BUILD_FOLDER_UNWRITABLE' });
    }
  });
});

test('a cancelled build leaves nothing, and the next one works', async () => {
  const asked = await request(stepYaml('echo started; sleep 30; echo x >image.bin'));
  const stop = new AbortController();
  const ended = build({
    ...asked,
    signal: stop.signal,
    onEvent: (event) => event.kind === 'log' && stop.abort(new Error('stop')),
  });
  await expect(ended).rejects.toThrow('stop');
  expect(existsSync(asked.out)).toBe(false);
  expect(leftovers()).toEqual([]);
});

test('two builds at once on an empty cache do not take the root from each other', async () => {
  const step = stepYaml(
    'for i in 1 2 3 4 5 6 7 8; do sleep 0.1; cat /bin/cat >/dev/null; done; echo x >image.bin',
  );
  const fresh = mkdtempSync(join(base, 'elsewhere-'));
  const both = await Promise.all([1, 2].map(async () => build({ ...(await request(step)), cache: fresh })));
  expect(both).toHaveLength(2);
  expect(readdirSync(join(fresh, 'roots'))).toHaveLength(1);
  rmSync(fresh, { recursive: true });
});

test('a damaged root is set aside and not taken from under a step that runs on it', async () => {
  const fresh = mkdtempSync(join(base, 'elsewhere-'));
  const step = stepYaml(
    'echo started; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; cat /bin/cat >/dev/null; done; echo x >image.bin',
  );
  const first = await request(step);
  let second: Promise<unknown> | undefined;
  await build({
    ...first,
    cache: fresh,
    onEvent: (event) => {
      if (event.kind !== 'log' || second !== undefined) return;
      const [root = ''] = readdirSync(join(fresh, 'roots'));
      writeFileSync(join(fresh, 'roots', root, 'index.json'), '{}');
      second = request(stepYaml('echo y >image.bin')).then((asked) => build({ ...asked, cache: fresh }));
    },
  });
  await second;
  expect(readdirSync(join(fresh, 'roots')).filter((name) => name.endsWith('-old'))).toHaveLength(1);
  rmSync(fresh, { recursive: true });
});
