// SPDX-License-Identifier: Apache-2.0
// A release is withdrawn with a signed denial: a device that has not installed it refuses, one that has reports it.

import { PRODUCT } from '../road.ts';
import type { Attack } from './attack.ts';

export const WITHDRAWAL_ATTACKS: readonly Attack[] = [
  {
    ...{
      name: 'withdrawn release: offered to a device that has not installed it',
      stage: 'device',
      code: 'UPDATE_WITHDRAWN',
    },
    async mount(scene) {
      const { cli, registryUrl, rootPath, releasesKey, releases } = scene.road;
      const folder = await scene.device(registryUrl, '8.0.0');
      const bad = releases.at(-1);
      const how = ['--product', PRODUCT, '--key', releasesKey, '--registry', registryUrl, '--root', rootPath];
      await cli.must([
        'release',
        '--withdraw',
        `sha256:${bad?.imageSha256}`,
        '--reason',
        'watchdog resets on rev B',
        ...how,
      ]);
      return scene.updateDevice(folder);
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
