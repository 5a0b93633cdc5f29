// SPDX-License-Identifier: Apache-2.0
// A release is withdrawn with a signed denial: a device that has not installed it refuses, one that has reports it.

import { PRODUCT } from '../road.ts';
import { OWN_ROLE, type Scene } from '../scene.ts';
import type { Attack } from './attack.ts';

/** Withdraws the newest release; again is no harm. */
async function withdraw(scene: Scene): Promise<void> {
  const { cli, releases } = scene.road;
  const how = ['--product', PRODUCT, '--key', scene.road.releasesKey(PRODUCT), ...scene.road.trust()];
  const bad = `sha256:${releases.find(({ version }) => version === '8.1.0')?.imageSha256}`;
  await cli.must(['release', '--withdraw', bad, '--reason', 'watchdog resets on revision B', ...how]);
}

export const WITHDRAWAL_ATTACKS: readonly Attack[] = [
  {
    ...{
      name: 'withdrawn release: put back under its denial with the stolen releases key',
      stage: 'device',
      code: 'UPDATE_WITHDRAWN',
    },
    async mount(scene) {
      const before = await scene.offer('8.1.0', 'releases', 'online');
      await withdraw(scene);
      const offer = await scene.offer('8.0.0', 'releases', 'online');
      offer.index = { ...before.index, denials: offer.index.denials };
      for (const [name, target] of Object.entries(before.forge.roles.get(OWN_ROLE).targets)) {
        offer.forge.roles.get(OWN_ROLE).targets[name] = target;
      }
      scene.list(offer);
      offer.forge.publish(OWN_ROLE);
      return scene.attackDevice(offer.forge);
    },
  },
  {
    ...{
      name: 'withdrawn release: already on the device, which reports it',
      stage: 'device',
      code: 'UPDATE_INSTALLED_WITHDRAWN',
    },
    mount: (scene) => scene.updateDevice(scene.road.devicePath),
  },
];
