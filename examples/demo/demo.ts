// SPDX-License-Identifier: Apache-2.0
// `npm run demo`: the road from source to device with firmware that nobody here wrote, then every attack on the way.

import { mkdir, rm } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatPack } from '../../core/release/pack.ts';
import { ATTACKS, isRefused, LANES, LAST, mount } from './attacks/all.ts';
import type { Attack } from './attacks/attack.ts';
import { type Reporter, Road } from './road.ts';
import { Scene } from './scene.ts';

const FOLDER = fileURLToPath(new URL('../../.demo', import.meta.url));
const started = performance.now();
const seconds = (): string => `${((performance.now() - started) / 1000).toFixed(1)} s`;
const say = (text = ''): void => void process.stdout.write(`${text}\n`);

const reporter: Reporter = {
  stage: (title) => say(`\n== ${title}  [${seconds()}]`),
  command: (line) => say(`   $ ${line}`),
  show: (text) => say(text.trimEnd().replace(/^/gm, '     ')),
};

async function attackAll(scene: Scene): Promise<number> {
  say(`\n== Attacks: the attacker owns every stage before the one that must refuse  [${seconds()}]`);
  const width = Math.max(...ATTACKS.map(({ name }) => name.length));
  say(`   ${'attack'.padEnd(width)}  ${'refused by'.padEnd(10)}  code`);
  let failed = 0;
  const run = async (attack: Attack, on: Scene): Promise<void> => {
    const refusal = await mount(attack, on);
    const refused = isRefused(attack, refusal);
    if (!refused) failed += 1;
    const got = `exit ${refusal.exitCode}, slot ${refusal.untouched ? 'untouched' : 'CHANGED'}`;
    const note = refused ? '' : `   NOT AS EXPECTED: ${attack.code}, exit 1, slot untouched; got ${got}`;
    say(`   ${attack.name.padEnd(width)}  ${attack.stage.padEnd(10)}  ${refusal.code}${note}`);
  };
  // What both lists need is made before they start.
  await scene.otherOffer('8.7.0');
  const scenes = [scene, await scene.another()];
  const lane = async (attacks: readonly Attack[], on: Scene): Promise<void> => {
    for (const attack of attacks) await run(attack, on);
  };
  await Promise.all(LANES.map((attacks, i) => lane(attacks, scenes[i] ?? scene)));
  await lane(LAST, scene);
  return failed;
}

async function summarise(scene: Scene): Promise<void> {
  const { pack, sbom } = await scene.offer('8.0.0');
  const bundles = pack.bundles.map(({ bundle }) => bundle.length);
  say(`\n== What was made, all under ${relative(process.cwd(), FOLDER) || '.'}/`);
  say('   build-8.0.0/, build-8.1.0/   image, SBOM, statements, bundles');
  say('   registry/, offline/          data folder of `waybill serve`, and the keys that it never sees');
  say(
    '   releases/, repository/       evidence packs, and a copy of the update repository: enough for `waybill verify`',
  );
  say('   device/                      the simulated device: slots, trusted metadata, counter');
  say(
    `   evidence pack ${formatPack(pack).length} bytes, SBOM ${sbom.length} bytes, bundles ${bundles.join(', ')} bytes`,
  );
}

async function main(): Promise<number> {
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  let road: Road | undefined;
  let scene: Scene | undefined;
  const close = async (): Promise<void> => {
    await scene?.close();
    await road?.close();
  };
  process.once('SIGINT', () => void close().then(() => process.exit(130)));
  try {
    road = await Road.travel(FOLDER, reporter);
    const roadTime = seconds();
    road.silence();
    scene = await Scene.set(road);
    await summarise(scene);
    const failed = await attackAll(scene);
    say(
      `\n${ATTACKS.length - failed} of ${ATTACKS.length} attacks refused by the right check, active slot untouched.`,
    );
    say(`Road ${roadTime}, with attacks ${seconds()}. Nothing is left running.`);
    return failed === 0 ? 0 : 1;
  } finally {
    await close();
  }
}

process.exitCode = await main();
