// SPDX-License-Identifier: Apache-2.0
// The device's key: ECDSA P-256, made on the device, never leaves it. Signs reports and the proof of possession.

import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto';
import { quote } from '../core/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceFiles } from './host.ts';
import { devicePaths, readFactoryFile } from './state.ts';

export interface DeviceKey {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** SHA-256 of `publicKey`, lower-case hex. */
  readonly keyId: string;
  /** ECDSA with SHA-256 [FIPS186-5 §6.4], DER [RFC3279 §2.2.3]. */
  sign(data: Uint8Array): Uint8Array;
}

/** Makes the key and writes it with mode 0600. @throws DEVICE_STATE_UNWRITABLE */
export async function makeDeviceKey(files: DeviceFiles, folder: string): Promise<DeviceKey> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  await files.write(devicePaths(folder).key, Buffer.from(pem), 0o600);
  return keyOf(privateKey);
}

/** @throws DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE */
export async function readDeviceKey(files: DeviceFiles, folder: string): Promise<DeviceKey> {
  const path = devicePaths(folder).key;
  const pem = await readFactoryFile(files, path);
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(Buffer.from(pem));
  } catch {
    // OpenSSL's reason could quote what it read.
    key = undefined;
  }
  if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw DEVICE.reject(
      'DEVICE_STATE_DAMAGED',
      `expected a P-256 private key in ${quote(path)}, got something else`,
    );
  }
  return keyOf(key);
}

function keyOf(key: KeyObject): DeviceKey {
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }));
  return {
    publicKey,
    keyId: createHash('sha256').update(publicKey).digest('hex'),
    sign: (data) => new Uint8Array(sign('sha256', data, key)),
  };
}
