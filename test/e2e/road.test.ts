// SPDX-License-Identifier: Apache-2.0
// The demo's road, asserted: firmware that nobody here wrote goes from Debian's source to a device, and every attack on the
// way is refused by the check that is meant to refuse it. Everything is real; only the CI's OIDC issuer is played.

import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { utf8Decode } from '../../core/encoding/utf8.ts';
import { parseNote } from '../../core/tlog/note.ts';
import { ATTACKS } from '../../examples/demo/attacks/all.ts';
import { DEMO_CLAIMS } from '../../examples/demo/oidc-issuer.ts';
import { Road } from '../../examples/demo/road.ts';
import { Scene } from '../../examples/demo/scene.ts';

const INDEPENDENT = fileURLToPath(new URL('../independent/verify-bundle.mjs', import.meta.url));
const run = promisify(execFile);
const IDENTITY = `https://github.com/${DEMO_CLAIMS.job_workflow_ref}`;
let folder: string;
let road: Road;
let scene: Scene;
const shown: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-road-'));
  const show = (text: string): void => void shown.push(text);
  road = await Road.travel(folder, { stage: show, command: show, show });
  scene = await Scene.set(road);
}, 300_000);

afterAll(async () => {
  await scene?.close();
  await road?.close();
  await rm(folder, { recursive: true, force: true });
});

interface Traced {
  readonly imageSha256: string;
}

const json = async (args: string[]): Promise<never> =>
  (await road.cli.must([...args, '--json'])).json as never;

describe('the honest road', () => {
  test('the image is, byte for byte, the one that Debian publishes', async () => {
    const { stdout } = await road.cli.must([
      'build',
      join(folder, 'source', 'waybill.yaml'),
      '--out',
      join(folder, 'again'),
      '--json',
    ]);
    expect(JSON.parse(stdout)).toMatchObject({
      // A difference would have ended the build.
      comparisons: [{ file: 'optiboot_atmega328.hex', package: 'arduino-core-avr' }],
    });
  });

  test('the device runs the newest release and has said so', async () => {
    const [, newest] = road.releases;
    const status = await json(['device', 'status', road.devicePath]);
    expect(status).toMatchObject({ active: { version: '8.1.0', sha256: newest?.imageSha256 } });
    const known = JSON.parse(utf8Decode(await scene.fetch('/api/v1/devices/device-1')) ?? '');
    expect(known).toMatchObject({
      product: 'optiboot',
      lastReport: {
        outcome: 'installed',
        imageSha256: newest?.imageSha256,
        previousSha256: road.releases[0]?.imageSha256,
      },
    });
  });

  test('the components of the image are told from the tools that made it', async () => {
    const [first] = road.releases;
    const about = (answer: { shipsIn: Traced[]; builtWith: Traced[] }) => ({
      shipsIn: answer.shipsIn.map(({ imageSha256 }) => imageSha256),
      builtWith: answer.builtWith.map(({ imageSha256 }) => imageSha256),
    });
    const trace = async (purl: string) => about(await json(['trace', purl, '--registry', road.registryUrl]));
    const source = await trace('pkg:deb/debian/arduino-core-avr');
    expect(source.shipsIn).toContain(first?.imageSha256);
    const compiler = await trace('pkg:deb/debian/gcc-avr');
    expect(compiler.shipsIn).toEqual([]);
    expect(compiler.builtWith).toContain(first?.imageSha256);
    const nothing = await trace('pkg:deb/debian/gcc-av');
    expect(nothing).toEqual({ shipsIn: [], builtWith: [] });
  });

  test("bundles verify with a script that knows nothing but the field's verifier", async () => {
    const [first] = road.releases;
    const built = first?.folder ?? '';
    const trust = join(road.dataFolder, 'trust', 'trusted_root.json');
    const bundles = join(built, 'bundles');
    const names = await readdir(bundles);
    expect(names).toHaveLength(3);
    const image = names.find((name) => name.includes('-image.')) ?? '';
    const args = [trust, join(bundles, image), first?.imagePath ?? '', IDENTITY, road.issuer.url];
    await run(process.execPath, [INDEPENDENT, ...args]);
    for (const [place, wrong] of [
      [3, `${IDENTITY}x`],
      [4, `${road.issuer.url}/`],
      [2, join(built, 'waybill.lock')],
    ] as const) {
      const changed = args.map((arg, i) => (i === place ? wrong : arg));
      await expect(run(process.execPath, [INDEPENDENT, ...changed])).rejects.toThrow();
    }
  });

  test('no identity token and no private key is left in what was written or said', async () => {
    const token = /eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/;
    expect(shown.join('\n')).not.toMatch(token);
    for (const { folder: built } of road.releases) {
      for (const name of await readdir(built, { recursive: true, withFileTypes: true })) {
        if (!name.isFile()) continue;
        const text = await readFile(join(name.parentPath, name.name), 'latin1');
        expect(text, name.name).not.toMatch(token);
        expect(text, name.name).not.toContain('PRIVATE KEY');
      }
    }
  });

  test('the pack holds what a device needs, and no more', async () => {
    const { pack } = await scene.offer('8.0.0');
    expect(pack.bundles).toHaveLength(4);
    expect(pack.bodies).toHaveLength(1);
  });

  test("both witnesses stand behind the pack's checkpoint, and whoever verifies it says so", async () => {
    const { pack } = await scene.offer('8.0.0');
    const { signatures } = parseNote(pack.checkpoint);
    expect(signatures.map(({ name }) => name).slice(1)).toEqual(['w1', 'w2']);
    expect(shown.join('\n')).toMatch(/leaf \d+ of \d+ in "log\.waybill\.example", witnesses "w1", "w2"/);
  });
});

describe('attacks', () => {
  test.each(ATTACKS.map((attack) => [`${attack.name} -> ${attack.stage}`, attack] as const))(
    '%s',
    async (_, attack) => {
      expect(await attack.mount(scene)).toEqual({
        code: attack.code,
        exitCode: 1,
        untouched: true,
      });
    },
    60_000,
  );

  test('after all of them the first device can still be reached and its slot holds what it held', async () => {
    const status = await json(['device', 'status', road.devicePath]);
    expect(status).toMatchObject({ active: { version: '8.1.0' } });
  });
});
