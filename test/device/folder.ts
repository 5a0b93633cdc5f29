// SPDX-License-Identifier: Apache-2.0
// A device in a temporary folder, with a factory root that some repository may or may not stand behind.

import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FactorySettings, makeDevice } from '../../device/enrolment.ts';
import type { DeviceFiles, DeviceHost } from '../../device/host.ts';
import { nodeFiles, nodeHost } from '../../device/node-host.ts';
import { TufForge } from '../../examples/demo/tuf-forge.ts';
import { roleKey } from '../../release/role-metadata.ts';

/** A TUF root with one key a role. */
export function someRoot(): Uint8Array {
  const forge = new TufForge();
  const key = generateKeyPairSync('ed25519').privateKey;
  const { keyId, json } = roleKey(key);
  const role = { keyids: [keyId], threshold: 1 };
  forge.keys.set('root', [key]);
  forge.roles.set('root', {
    _type: 'root',
    spec_version: '1.0.31',
    version: 1,
    expires: '2036-01-01T00:00:00Z',
    consistent_snapshot: true,
    keys: { [keyId]: json },
    roles: { root: role, targets: role, snapshot: role, timestamp: role },
  });
  return forge.sign('root');
}

/** A folder that is removed by `dispose`. */
export async function temporaryFolder(): Promise<{ path: string; dispose: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'waybill-device-'));
  return { path, dispose: () => rm(path, { recursive: true, force: true }) };
}

/** Settings that a factory could have chosen. */
export function factory(change: Partial<FactorySettings> = {}): FactorySettings {
  return {
    id: 'bench-1',
    product: 'optiboot',
    hardwareId: 'atmega328p',
    registryUrl: 'http://127.0.0.1:9',
    versionFloor: '8.0.0',
    root: someRoot(),
    image: { bytes: Buffer.from('factory image'), version: '8.0.0' },
    ...change,
  };
}

/** Node's host with some of its file operations replaced. */
export function hostWith(files: Partial<DeviceFiles>): DeviceHost {
  return { ...nodeHost(), files: { ...nodeFiles, ...files } };
}

/** Makes a device in a folder. */
export async function device(folder: string, change: Partial<FactorySettings> = {}): Promise<void> {
  await makeDevice(folder, factory(change), nodeHost());
}
