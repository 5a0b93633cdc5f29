// SPDX-License-Identifier: Apache-2.0
// Instances of the services [docs/spec/trust-services.md §Rotation]: each rotation adds one, numbered from 1, with files and, for a
// log, a name of its own. The first has the bare names, so a data folder without rotations looks as if there were none.

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../../core/faults.ts';
import { TRUST } from '../trust-faults.ts';

/** A service whose key can be rotated. */
export type Service = 'ca' | 'ct' | 'log' | 'tsa';
/** A service whose key has a certificate. */
export type CertifiedService = 'ca' | 'tsa';
/** A service that is a log: each of its instances is a shard. */
export type LogService = 'ct' | 'log';

const KEY_NAME: Readonly<Record<Service, string>> = {
  ca: 'ca-intermediate',
  ct: 'ct',
  log: 'log',
  tsa: 'tsa',
};

/** `name` for the first instance, `name-2` for the second. */
const numbered = (name: string, instance: number): string => (instance === 1 ? name : `${name}-${instance}`);

/** Where the private key of an instance lies in a data folder. */
export function keyPath(folder: string, service: Service, instance = 1): string {
  return join(folder, 'keys', `${numbered(KEY_NAME[service], instance)}.pem`);
}

/** The file that, in place of a key, names the socket of the signer that holds it. */
export function signerPath(folder: string, service: Service, instance = 1): string {
  return keyPath(folder, service, instance).replace(/\.pem$/, '.signer');
}

/** Where the certificates of an instance lie, its own first. */
export function chainPath(folder: string, service: CertifiedService, instance = 1): string {
  return join(folder, 'trust', `${numbered(`${service}-chain`, instance)}.pem`);
}

/** Where the offline key of a root lies; roots are numbered with the instance that brought them. */
export function rootKeyPath(offlineFolder: string, service: CertifiedService, instance = 1): string {
  return join(offlineFolder, `${numbered(`${service}-root`, instance)}.pem`);
}

/** `log`, `log2`, `log3`: the first label of a shard's origin, the prefix of its address, and its place in the database. */
export function shardName<S extends LogService>(service: S, instance: number): S | `${S}${number}` {
  return instance === 1 ? service : `${service}${instance}`;
}

/** The origin of a shard, given that of the first: `log2.acme.com` after `log.acme.com`. */
export function shardOrigin(service: LogService, firstOrigin: string, instance: number): string {
  return `${shardName(service, instance)}${firstOrigin.slice(service.length)}`;
}

/** `log2` of `log2.acme.com`: the inverse of `shardOrigin`; undefined if that is the origin of no shard of the service. */
export function shardNameOf(service: LogService, origin: string): string | undefined {
  const [name = ''] = origin.split('.', 1);
  const isShard = name.startsWith(service) && /^([2-9]|[1-9][0-9]+)?$/.test(name.slice(service.length));
  return isShard && name.length < origin.length ? name : undefined;
}

/** The name of an authority in its certificates: `ca.acme.com`, then `ca.acme.com 2`. */
export function authorityName(name: string, instance: number): string {
  return instance === 1 ? name : `${name} ${instance}`;
}

/**
 * How many instances of a service a data folder has had keys for, or named signers for: the largest number of those that are there.
 * Keys of older instances may have been destroyed.
 * @throws CA_FILES_UNREADABLE if there is none
 */
export async function countInstances(folder: string, service: Service): Promise<number> {
  const count = await newestKey(folder, service);
  if (count > 0) return count;
  const path = keyPath(folder, service);
  throw TRUST.reject('CA_FILES_UNREADABLE', `expected a readable file ${quote(path)}, found none`, {
    at: path,
  });
}

/** The same, 0 if there is none. @throws CA_FILES_UNREADABLE */
export async function newestKey(folder: string, service: Service): Promise<number> {
  const form = new RegExp(`^${KEY_NAME[service]}(?:-([2-9]|[1-9][0-9]{1,3}))?\\.(?:pem|signer)$`);
  const names = await readdir(join(folder, 'keys')).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    const got = `expected a folder of keys in ${quote(folder)}, got ${cause.code}`;
    throw TRUST.reject('CA_FILES_UNREADABLE', got, { cause });
  });
  const numbers = names.map((name) => form.exec(name)).filter((match) => match !== null);
  return Math.max(0, ...numbers.map(([, number = '1']) => Number(number)));
}

/** True if a data folder has the key of an instance, or names the signer that holds it. @throws CA_FILES_UNREADABLE */
export async function hasKey(folder: string, service: Service, instance: number): Promise<boolean> {
  const path = keyPath(folder, service, instance);
  return (await isThere(path)) || (await isThere(signerPath(folder, service, instance)));
}

/** @throws CA_FILES_UNREADABLE */
export async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return false;
      throw TRUST.reject(
        'CA_FILES_UNREADABLE',
        `expected a readable file ${quote(path)}, got ${cause.code}`,
        {
          cause,
        },
      );
    },
  );
}
